"""Settings from a suite and the command line.

Order of precedence: command line, suite, defaults. Every fault of both is collected and reported at
once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pytest_occlusion.corpora.files import expanded
from pytest_occlusion.corpora.labels import TABLES
from pytest_occlusion.encoders import family_names
from pytest_occlusion.encoders.register import completed
from pytest_occlusion.errors import OcclusionError, listed
from pytest_occlusion.suite import table
from pytest_occlusion.suite.grid import Grid
from pytest_occlusion.suite.settings import ModelSettings, RaySettings, Settings, attribute
from pytest_occlusion.suite.suites import EMBEDDED, Suite, embedded_checkpoint, find_suite
from pytest_occlusion.suite.table import SETTINGS, Check

NAME = re.compile(r"[a-z0-9][a-z0-9_+-]*", re.IGNORECASE)
"""What suites and models may be called: their names stand in ids and are names of files."""

MODEL_KEYS: dict[str, Check] = {
    "model": table.check_text,
    "family": table.one_of(family_names),
    "checkpoint": table.check_text,
    "tokenizer": table.check_text,
    "precision": table.one_of(lambda: table.PRECISIONS),
    "tolerance": table.check_tolerance,
    "role": table.one_of(lambda: ("", *table.ROLES)),
}
"""Settings of a model; whatever else its table holds is an option of the family."""

SUITE_KEYS: dict[str, Check] = {
    **{name: setting.check for name, setting in SETTINGS.items()},
    "suite": table.needs(
        "a name of letters, digits, - and _ is needed",
        lambda name: isinstance(name, str) and NAME.fullmatch(name),
    ),
    **dict.fromkeys(("tolerances", "claims", "columns"), table.check_table),
    "ray": table.check_ray,
    "groups": table.check_groups,
    "models": lambda models: None,  # see below: each fault is told with its model
}
"""What a suite may hold."""

IN_GRID = ("direction", "occluders", "ratios", "ks", "severities")
"""Settings that say which cells there are."""


def read_settings(
    asked: str | None, root: Path, texts: Mapping[str, str | None], models: str | None
) -> Settings:
    """Settings as a command line gives them.

    Args:
        asked: The suite, by name or file; see :func:`find_suite`.
        root: Folder of the project.
        texts: Setting -> text in place of the suite's value, if any.
        models: Names of those that are selected, with commas between; ``None`` means all.

    Raises:
        OcclusionError: There is no such suite, or what :func:`build_settings` says.
    """
    given = {name: SETTINGS[name].parse(text) for name, text in texts.items() if text is not None}
    selected = table.parse_list(models, str) if models else None
    return build_settings(find_suite(asked, root), command_line=given, selected=selected)


def build_settings(
    suite: Suite, *, command_line: Mapping[str, Any], selected: Sequence[str] | None = None
) -> Settings:
    """Merge and check.

    Args:
        suite: As it was found.
        command_line: Setting -> value for what the command line gave, parsed but unchecked.
        selected: Models named on the command line; ``None`` means all.

    Raises:
        OcclusionError: All faults of the suite and the command line, listed.
    """
    faults: list[str] = []
    origin = suite.origin
    tables: dict[str, Any] = {
        name: {} for name in ("claims", "tolerances", "columns", "groups", "ray")
    }
    empty: dict[str, Any] = {"suite": "", **tables}
    given = {**empty, **_hyphened(suite.table, origin, faults)}
    if type(given.get("seed")) is int:
        given["seed"] = [given["seed"]]
    faults += _unknown("setting", given, SUITE_KEYS, origin)
    faults += _wrong(given, SUITE_KEYS, f"{origin}: ")
    faults += _wrong(command_line, SUITE_KEYS, "--occlusion-")
    if isinstance(patterns := given["tolerances"], dict):
        shares = dict.fromkeys(patterns, table.check_tolerance)
        faults += _wrong(patterns, shares, f"{origin}: tolerances.")
    if isinstance(claims := given["claims"], dict):
        faults += _unknown("claim", claims, table.CLAIM_NAMES, origin)
        outcomes = dict.fromkeys(claims, table.one_of(lambda: table.OUTCOMES))
        faults += _wrong(claims, outcomes, f"{origin}: claims.")
    if isinstance(columns := given["columns"], dict):
        faults += _wrong(columns, dict.fromkeys(columns, table.check_column), f"{origin}: columns.")
    models = _models(given.get("models"), origin, suite.base, faults)
    there = [model.name for model in models]
    reference = command_line.get("reference", given.get("reference", ""))
    if isinstance(reference, str) and reference and reference not in there:
        said = table.known(there, reference)
        label = "--occlusion-" if "reference" in command_line else f"{origin}: "
        faults.append(
            f"{label}reference is {table.shown(reference)}, no model of the suite; {said}"
        )
    if unknown := [one for one in selected or () if one not in there]:
        faults.append(
            f"--occlusion-models: unknown model {', '.join(unknown)}; the suite {given['suite']!r} "
            f"has {', '.join(there) or 'none'}"
        )
    if not faults and (wrong := table.check_attributes(_grouped_by(given, command_line))):
        faults.append(f"{origin}: group-by with gate of groups {wrong}")
    if faults:
        raise OcclusionError(
            f"the suite cannot be run as given:\n{listed(faults)}",
            remedy="correct the file or the command line; nothing was run",
        )
    names = [name for name in there if selected is None or name in selected]
    return _merge(suite, given, command_line, models, names)


def _hyphened(table: Mapping[str, Any], label: str, faults: list[str]) -> dict[str, Any]:
    """The table with ``-`` for ``_`` in its names."""
    names = [name.replace("_", "-") for name in table]
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    faults += [f"{label}: {name} is given twice, with - and with _" for name in twice]
    return dict(zip(names, table.values(), strict=True))


def _unknown(what: str, values: Iterable[str], known: Collection[str], origin: str) -> list[str]:
    said = f"{origin}: unknown {what}"
    return [f"{said} {name!r}; {table.known(known, name)}" for name in values if name not in known]


def _wrong(values: Mapping[str, Any], checks: Mapping[str, Check], label: str) -> list[str]:
    found = {name: checks[name](value) for name, value in values.items() if name in checks}
    return [f"{label}{name} {wrong}" for name, wrong in found.items() if wrong]


def _models(tables: object, origin: str, base: Path, faults: list[str]) -> list[ModelSettings]:
    if not isinstance(tables, dict) or not tables:
        faults.append(f"{origin}: no models; give each a table [models.NAME]")
        return []
    models = []
    for name, raw in tables.items():
        label = f"{origin}: models.{name}"
        if wrong := table.check_table(raw):
            faults.append(f"{label} {wrong}")
            continue
        own = _hyphened(raw, label, faults)
        if not NAME.fullmatch(name):
            faults.append(f"{label}: a name holds letters, digits, -, + and _ only")
        if "model" in own:
            try:
                own = completed(own)
            except OcclusionError as fault:
                faults.append(f"{label}: {fault.problem}; {fault.remedy}")
                faults += _wrong(own, MODEL_KEYS, f"{label}: ")
                continue
        own = {"family": None, **own}
        faults += _wrong(own, MODEL_KEYS, f"{label}: ")
        missing: list[str] = []
        for key in ("checkpoint", "tokenizer"):
            text, unset = _expand(str(own.get(key, "")))
            missing += unset
            try:
                own[key] = _absolute(text, base) if text else ""
                if key == "checkpoint" and (there := _meant(own[key], text, base)):
                    faults.append(f"{label}: {key} = {text!r} is not there; {there}")
            except OcclusionError as fault:
                faults.append(f"{label}: {fault.problem}; {fault.remedy}")
            except (OSError, ValueError, RuntimeError) as fault:
                reason = fault.strerror if isinstance(fault, OSError) else fault
                faults.append(f"{label}: {key} cannot be a path ({reason})")
        if own["checkpoint"] == "":
            faults.append(f"{label}: no checkpoint")
        own["tokenizer"] = own["tokenizer"] or None
        keys = {key: own.pop(key) for key in MODEL_KEYS if key in own}
        models.append(ModelSettings(name=name, **keys, options=own, missing=tuple(missing)))
    return models


def _absolute(place: str, base: Path) -> str:
    """Make a path absolute; leave alone what is no path here (a hub id, an open_clip tag)."""
    if place.startswith(EMBEDDED):
        return str(embedded_checkpoint(place.removeprefix(EMBEDDED)))
    if re.match(r"[a-z][a-z-]+:", place):
        return place
    path = Path(place).expanduser()
    if path.is_absolute():
        return str(path)
    looks_like_path = place.startswith(".") or (base / path).exists() or path.suffix != ""
    return str((base / path).resolve()) if looks_like_path else place


def _meant(place: str, text: str, base: Path) -> str:
    """What to write for a path that starts where pytest was started, and not at the suite."""
    here = Path(text).expanduser()
    if here.is_absolute() or Path(place).exists() or not here.exists():
        return ""
    told = Path(os.path.relpath(here, base)).as_posix()
    return f"paths start at the suite's folder: write {told!r}"


def _expand(text: str) -> tuple[str, tuple[str, ...]]:
    """Expand ``$NAME`` and ``${NAME}``; also give the names that are not set."""
    names = re.findall(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)\}?", text)
    return os.path.expandvars(text), tuple(name for name in names if name not in os.environ)


def _merge(
    suite: Suite,
    given: Mapping[str, Any],
    command_line: Mapping[str, Any],
    models: Sequence[ModelSettings],
    selected: Sequence[str],
) -> Settings:
    of_suite = {name: given.get(name, setting.default) for name, setting in SETTINGS.items()}
    merged = {**of_suite, **command_line}
    kinds = {_expand(one["corpus"])[0].partition(":")[0] for one in (merged, of_suite)}
    if len(kinds) > 1 and "split" not in command_line:
        merged["split"] = ""  # the suite's is a part of the suite's own corpus
    grid = _grid(selected, merged)
    if merged["map-ratios"] in ("all", ["all"]):
        merged["map-ratios"] = [ratio for ratio in grid.ratios if ratio]
    corpus, corpus_missing = _expand(merged["corpus"])
    if "corpus" not in command_line:
        corpus = _with_columns(corpus, given["columns"])
    plain = {attribute(name): merged[name] for name in SETTINGS if name not in IN_GRID}
    groups, base = given["groups"], Path.cwd() if "labels" in command_line else suite.base
    # Another corpus need not know the attributes, and has no baseline.
    gated = tuple(groups.get("gate", ())) if merged["corpus"] == of_suite["corpus"] else ()
    plain |= {
        "corpus": corpus,
        "group_by": tuple(dict.fromkeys([*merged["group-by"], *gated])),
        "gated_by": gated,
        "smallest_group": groups.get("minimum", table.SMALLEST_GROUP),
        "labels": _labels(merged["labels"], base),
        "seeds": tuple(merged["seed"]),
        "tolerance": float(merged["tolerance"]),
        "map_ratios": tuple(sorted(map(float, merged["map-ratios"]))),
    }
    changed = [name for name in SETTINGS if merged[name] != of_suite[name]]
    return Settings(
        suite=given["suite"],
        origin=suite.origin,
        base=Path.cwd() if "corpus" in command_line else suite.base,
        models=tuple(models),
        grid=grid,
        suite_grid=_grid([model.name for model in models], of_suite),
        corpus_missing=corpus_missing,
        tolerances=tuple((name, float(v)) for name, v in given["tolerances"].items()),
        claims=dict(given["claims"]),
        ray=RaySettings(**given["ray"]),
        ad_hoc=tuple(name for name in changed if SETTINGS[name].protocol),
        **plain,
    )


def _grouped_by(given: Mapping[str, Any], command_line: Mapping[str, Any]) -> list[str]:
    """Attributes that are asked for or gated, each once."""
    asked = command_line.get("group-by", given.get("group-by", ()))
    return list(dict.fromkeys([*asked, *given["groups"].get("gate", ())]))


def _labels(asked: str | list[str], base: Path) -> tuple[str, ...]:
    """Names of attributes, or the path of a table; variables that are not set stay in it."""
    names = asked if isinstance(asked, list) else table.parse_list(asked, str)
    if len(names) == 1 and names[0].lower().endswith(TABLES):
        return (str(base / expanded(_expand(names[0])[0])),)
    return tuple(names)


def _with_columns(corpus: str, columns: Mapping[str, str | list[str]]) -> str:
    """The specification with the columns of the suite as its options."""
    texts = {name: [text] if isinstance(text, str) else text for name, text in columns.items()}
    options = [
        f"{name.replace('_', '-')}={','.join(map(quote, text))}" for name, text in texts.items()
    ]
    joint = "&" if "?" in corpus else "?"
    return corpus + joint + "&".join(options) if options else corpus


def _grid(models: Sequence[str], values: Mapping[str, Any]) -> Grid:
    return Grid(
        models=tuple(models),
        directions=table.DIRECTIONS[values["direction"]],
        occluders=tuple(values["occluders"]),
        ratios=tuple(sorted(map(float, values["ratios"]))),
        ks=tuple(sorted(values["ks"])),
        severities=tuple(sorted(values["severities"])),
    )
