"""The register of known models: ``register.toml`` as records, and what a suite needs of each.

Facts only; what is not known is empty or 0. Nothing here asks the network or reads a checkpoint.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from pytest_occlusion.encoders.files import HUB
from pytest_occlusion.errors import OcclusionError

HUB_PAGE = "https://huggingface.co/"
"""What addresses of repositories' pages begin with."""

OF_HUB = ("revision", "weights")
"""Keys that belong to the files on the hub: of no use beside a checkpoint of the user's own."""


@dataclass(frozen=True)
class Known:
    """One model, as it was published.

    Attributes:
        name: What users call it.
        family: The family that loads it.
        title: Its name in words.
        licence: In a word or two; ``terms`` is what its authors say of it and what it forbids.
        page: Their page.
        hub: ``ORGANISATION/NAME`` of its repository on the hub, and ``revision``: a commit or tag.
        url: The authors' own address, where it is not on the hub.
        how: ``"hub"``, ``"direct"``, or ``"by hand"`` when the address is a page with a button.
        gated: Whether terms must be accepted on the hub first.
        files: Names of its weights files, all of which are needed; ``|`` is between alternatives.
        beside: Other repositories whose configuration its loader reads.
        options: What must be written besides the family, in a model's table.
        size: Bytes, of all its files.
        sha256: The checksum that its authors publish; ``md5`` likewise, of one of the files.
        sums: File -> SHA-256 that others saw: good enough to recognise it, not to refuse it.
        side: Side of the input in pixels; ``tokens``: of a text that its text tower is given.
        variant: What its tensors read as, in the words of ``inspect``.
        trained: What it was trained on; ``unheld``: what is therefore no held-out test, or may be
            none.
        paper: arXiv id, or authors and title.
        notes: What else to know; ``mistake``: how it is usually loaded wrongly.
        also: Other names that mean it.
    """

    name: str
    family: str
    title: str = ""
    licence: str = ""
    terms: str = ""
    page: str = ""
    hub: str = ""
    revision: str = ""
    url: str = ""
    how: str = "direct"
    gated: bool = False
    files: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    size: int = 0
    sha256: str = ""
    md5: str = ""
    sums: Mapping[str, str] = field(default_factory=dict)
    side: int = 0
    tokens: int = 0
    variant: str = ""
    trained: tuple[str, ...] = ()
    unheld: tuple[str, ...] = ()
    paper: str = ""
    notes: tuple[str, ...] = ()
    mistake: str = ""
    also: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        """The address that a browser opens."""
        return f"{HUB_PAGE}{self.hub}" if self.hub else self.url

    @property
    def file(self) -> str:
        """Name of the one file that is fetched directly."""
        return self.url.rpartition("/")[2]

    @property
    def source(self) -> str:
        """How it is fetched, in a word or two."""
        return "gated" if self.gated else self.how

    @property
    def place(self) -> Path:
        """Where ``fetch`` keeps the file: in the user's cache, beside the plugin's store."""
        from platformdirs import user_cache_path

        return user_cache_path("pytest-occlusion") / "checkpoints" / self.family / self.file

    def table(self) -> dict[str, Any]:
        """What a suite's table of the model holds: family, checkpoint, options."""
        table: dict[str, Any] = {"family": self.family}
        if self.hub:
            table["checkpoint"] = f"{HUB}{self.hub}"
            table |= {"revision": self.revision} if self.revision else {}
        elif self.how == "direct":
            table["checkpoint"] = str(self.place)
        return {**table, **self.options}


def _read() -> Iterator[Known]:
    from importlib.resources import files  # 8 ms, which a suite that names no entry need not pay

    text = files("pytest_occlusion.encoders").joinpath("register.toml").read_text("utf-8")
    for group, shared in tomllib.loads(text).items():
        for number, (name, own) in enumerate(shared.pop("models").items()):
            told = {"name": name, "title": name, **shared, **own}
            base, path = told.pop("base", ""), told.pop("path", "")
            folder = path.rpartition("/")[0]
            told["url"] = base + path
            told["sha256"] = folder if len(folder) == 64 else ""
            if "hub" in told:
                told["how"] = "hub"
            told = {key: tuple(v) if isinstance(v, list) else v for key, v in told.items()}
            # A group's bare name means its first model.
            told["also"] = told.get("also", ()) + (() if number else (group,))
            yield Known(**told)


@cache
def known_models() -> tuple[Known, ...]:
    """Every model of the register."""
    return tuple(_read())


def find_model(name: str) -> Known:
    """Look a model up; ``_``, ``:`` and ``-`` are the same in its name, and so is the case.

    Raises:
        OcclusionError: No model is called that; names those with the nearest names.
    """
    asked = re.sub(r"[\s_:]", "-", name.strip().lower())
    names = {other: entry for entry in known_models() for other in (entry.name, *entry.also)}
    if asked in names:
        return names[asked]
    near = difflib.get_close_matches(asked, names, n=3, cutoff=0.4)
    raise OcclusionError(
        f"no published model is known as {name!r}" + (f" (near: {', '.join(near)})" * bool(near)),
        remedy="`python -m pytest_occlusion models` lists those that are.",
    )


def unpinned(entry: Known) -> OcclusionError:
    """What to say where no commit of a hub model is known."""
    return OcclusionError(
        f"{entry.name}: no commit of {HUB}{entry.hub} is known here",
        remedy=f"choose one on {entry.where}/commits/main, and give it as revision.",
    )


def by_hand(entry: Known) -> OcclusionError:
    """What to say of a model that only a person can fetch."""
    return OcclusionError(
        f"{entry.name}: its authors publish it on a page that only a browser can use",
        remedy=f"open {entry.url}, save the file, and give its path as the checkpoint.",
    )


def completed(given: Mapping[str, Any]) -> dict[str, Any]:
    """A model's table whose ``model`` names an entry, with what the register knows filled in.

    What is written in the table wins. Beside a checkpoint of the user's own, nothing that belongs
    to the files on the hub is filled in.

    Raises:
        OcclusionError: No model is called that, another family is asked for, or the user must
            say where the file is or which commit is meant.
    """
    entry = find_model(str(given["model"]))
    family = str(given.get("family", entry.family)).strip().lower().replace("_", "-")
    if family != entry.family:
        raise OcclusionError(
            f"model = {given['model']!r} is of family {entry.family!r}, and family = "
            f"{given['family']!r} contradicts it",
            remedy="leave one of the two out.",
        )
    told = entry.table()
    own = str(given.get("checkpoint", ""))
    if own and own != told.get("checkpoint"):
        told = {key: value for key, value in told.items() if key not in OF_HUB}
    elif entry.how == "by hand":
        raise by_hand(entry)
    elif entry.hub and not told.get("revision") and not given.get("revision"):
        raise unpinned(entry)
    return {**told, **given, "model": entry.name}
