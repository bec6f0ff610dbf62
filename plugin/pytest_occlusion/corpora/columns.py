"""Which column says what: by its own name, by option, or by a guess that is said aloud."""

from __future__ import annotations

import ast
import io
import json
import tokenize
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise

from pytest_occlusion.corpora.words import spelling, text_of
from pytest_occlusion.errors import OcclusionError

TEXTS = ("report", "findings", "impression")

NAMES: dict[str, tuple[str, ...]] = {
    "image": (
        "image",
        "images",
        "image_path",
        "image_paths",
        "img_path",
        "img",
        "path",
        "path_to_image",
        "file_name",
    ),
    "study": ("study_id", "study", "study_instance_uid", "accession_number"),
    "patient": ("patient_id", "patient", "subject_id", "subject", "deid_patient_id"),
    "view": ("view", "views", "view_name", "view_names", "view_position", "projection"),
    "split": ("split",),
    "report": ("report", "text", "caption"),
    "findings": ("findings", "section_findings", "report_findings"),
    "impression": ("impression", "section_impression", "report_impression"),
}
"""What a column is for -> its name, then others that tables of the field have for it, compared
without case and marks."""

ROLES = (*NAMES, "radiograph")
"""All that a column can be for; nothing but an option says which one names the radiographs."""

KNOWN = tuple(name for names in NAMES.values() for name in names)


def find_columns(
    header: Sequence[str], asked: Mapping[str, str], where: str, *, pictures: bool = False
) -> tuple[dict[str, str], tuple[str, ...]]:
    """The column of each role that a table has one for, and a note that says what was guessed.

    Names that were asked for come first, then the own name of a role, then a guess. Where a text is
    asked for, no other text is guessed. Names of the table are only told where they are spelled
    like a known one: without a header, the first row's cells are the names.

    Args:
        header: Names of all columns.
        asked: Role -> the name that the user gives; empty where none is given.
        where: What messages call the table.
        pictures: Whether the pictures are known without a column.

    Raises:
        OcclusionError: A column that was asked for, the images' or any text's is not there.
    """
    columns: dict[str, str] = {}
    guessed = []
    spelled = {spelling(name): name for name in reversed(header)}
    texts_asked = any(asked.get(role) for role in TEXTS)
    for role in ROLES:
        known = NAMES.get(role, ())
        if name := asked.get(role, ""):
            if name not in header:
                near = spelled.get(spelling(name))
                meant = f" (spelled otherwise: {near!r})" if near else ""
                raise OcclusionError(
                    f"{where}: missing columns {name}{meant}",
                    remedy=f"{role}= names a column of the table, as it is spelled there",
                )
            columns[role] = name
            continue
        if (texts_asked and role in TEXTS) or (pictures and role == "image"):
            continue
        if known and known[0] in header:
            columns[role] = known[0]
            continue
        taken = {*columns.values(), *asked.values()}
        near = next((spelled[s] for s in map(spelling, known) if s in spelled), "")
        if near and near not in taken:
            columns[role] = near
            guessed.append(f"{role}={near}")
    missing = [] if pictures or "image" in columns else ["image"]
    missing += [] if set(TEXTS) & set(columns) else ["report"]
    if missing:
        says = "&".join(f"{role}=COLUMN" for role in missing)
        raise OcclusionError(
            f"{where}: missing columns {', '.join(missing)}",
            remedy="a table has a column for the image and one for the report (or findings, "
            f"impression): say which they are ({says}); the first line of a CSV table names them",
        )
    note = f"columns guessed from their names: {', '.join(guessed)}"
    return columns, (note,) if guessed else ()


def check_kept(keep: Sequence[str], header: Collection[str], where: str) -> None:
    """Refuse attributes that no column is called after.

    Raises:
        OcclusionError: Columns to keep that are not there.
    """
    if missing := [name for name in keep if name not in header]:
        remedy = "keep= names columns of the table, as they are spelled there, with , between them"
        raise OcclusionError(f"{where}: missing columns {', '.join(missing)}", remedy=remedy)


def several(cell: str, separator: str = "") -> list[str]:
    """The texts of a cell of a table; those of a list that are missing are empty.

    A cell is the spelling of a list in Python or JSON, texts with a separator between them, or one
    text.

    Raises:
        ValueError: A list that numpy printed (it has no commas, and Python would join its texts).
    """
    items = _listed(cell) if cell[:1] in ("[", "(") else None
    if items is None:
        if not separator or separator not in cell:
            return [cell]
        items = cell.split(separator)
    return [text_of(item) for item in items]


def _listed(text: str) -> Sequence[object] | None:
    """The list that a text spells, or ``None`` where it spells none or one of other things."""
    try:
        items = json.loads(text)
    except (ValueError, RecursionError):
        try:
            items = ast.literal_eval(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            return None
        if isinstance(items, (list, tuple)):
            kinds = [token.type for token in tokenize.generate_tokens(io.StringIO(text).readline)]
            kinds = [kind for kind in kinds if kind != tokenize.NL]
            if (tokenize.STRING, tokenize.STRING) in pairwise(kinds):
                raise ValueError("is a list without commas, as numpy prints it") from None
    if not isinstance(items, (list, tuple)):
        return None
    plain = all(item is None or item != item or isinstance(item, str) for item in items)
    return items if plain else None
