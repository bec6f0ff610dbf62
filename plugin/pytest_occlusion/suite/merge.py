"""Settings from a suite and the command line.

Order of precedence: command line, suite, defaults. Every fault of both is collected and reported at
once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pytest_occlusion.errors import OcclusionError, listed
from pytest_occlusion.suite.settings import (
    CLAIM_NAMES,
    DIRECTIONS,
    OUTCOMES,
    PRECISIONS,
    ROLES,
    Grid,
    ModelSettings,
    Settings,
)
from pytest_occlusion.suite.suites import Suite
from pytest_occlusion.suite.validation import SETTINGS, check_tolerance

MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9_+-]*", re.IGNORECASE)

MODEL_KEYS = ("family", "checkpoint", "tokenizer", "precision", "tolerance", "role")


def _hyphened(table: Mapping[str, Any], label: str, faults: list[str]) -> dict[str, Any]:
    """The table with ``-`` for ``_`` in its names."""
    names = [name.replace("_", "-") for name in table]
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    faults += [f"{label}: {name} is given twice, with - and with _" for name in twice]
    return dict(zip(names, table.values(), strict=True))


def build_settings(
    suite: Suite,
    *,
    command_line: Mapping[str, Any],
    selected: Sequence[str] | None = None,
    store: Path | None = None,
    outputs: Mapping[str, Path] | None = None,
    allow_missing: bool = False,
) -> Settings:
    """Merge and check.

    Args:
        suite: As it was found.
        command_line: Setting -> value for what the command line gave, parsed but unchecked.
        selected: Models named on the command line; ``None`` means all.
        store: Folder of the store, or ``None``.
        outputs: Kind -> file to write.
        allow_missing: Whether missing checkpoints and corpora are skipped instead of refused.

    Raises:
        OcclusionError: All faults of the suite and the command line, listed.
    """
    faults: list[str] = []
    origin, base = suite.origin, suite.base
    given = _hyphened(suite.table, origin, faults)
    if isinstance(given.get("seed"), int) and not isinstance(given.get("seed"), bool):
        given["seed"] = [given["seed"]]
    known = {*SETTINGS, "suite", "models", "tolerances", "claims"}
    faults += [f"{origin}: unknown setting {name!r}" for name in given if name not in known]
    for name, setting in SETTINGS.items():
        for source, values in ((origin, given), ("command line", command_line)):
            if name in values and (wrong := setting.check(values[name])):
                label = f"--occlusion-{name}" if source == "command line" else f"{origin}: {name}"
                faults.append(f"{label} {wrong}")
    name = given.get("suite", "")
    if not isinstance(name, str) or not MODEL_NAME.fullmatch(name):
        faults.append(f"{origin}: suite is {name!r}; a name of letters, digits, - and _ is needed")
    faults += _tolerance_faults(given.get("tolerances", {}), origin)
    faults += _claim_faults(given.get("claims", {}), origin)
    models = _models(given.get("models"), origin, base, faults)
    unknown = [one for one in selected or () if one not in {model.name for model in models}]
    if unknown:
        faults.append(
            f"--occlusion-models: unknown model {', '.join(unknown)}; the suite {name!r} has "
            f"{', '.join(model.name for model in models) or 'none'}"
        )
    if faults:
        raise OcclusionError(
            f"the suite cannot be run as given:\n{listed(faults)}",
            remedy="correct the file or the command line; nothing was run",
        )
    settings = _merge(given, command_line, models, selected, origin, base)
    return replace(settings, store=store, outputs=dict(outputs or {}), allow_missing=allow_missing)


def _tolerance_faults(table: object, origin: str) -> list[str]:
    if not isinstance(table, dict):
        return [f"{origin}: tolerances is not a table of cell patterns"]
    return [
        f"{origin}: tolerances.{pattern} {wrong}"
        for pattern, value in table.items()
        if (wrong := check_tolerance(value))
    ]


def _claim_faults(table: object, origin: str) -> list[str]:
    if not isinstance(table, dict):
        return [f"{origin}: claims is not a table of claims and outcomes"]
    faults = [
        f"{origin}: unknown claim {name!r}; known: {', '.join(CLAIM_NAMES)}"
        for name in table
        if name not in CLAIM_NAMES
    ]
    return faults + [
        f"{origin}: claims.{name} is {value!r}; known: {', '.join(OUTCOMES)}"
        for name, value in table.items()
        if value not in OUTCOMES
    ]


def _models(
    tables: object, origin: str, base: Path, faults: list[str]
) -> tuple[ModelSettings, ...]:
    from pytest_occlusion.encoders import family_names

    known = family_names()

    if not isinstance(tables, dict) or not tables:
        faults.append(f"{origin}: no models; give each a table [models.NAME]")
        return ()
    models = []
    for name, raw in tables.items():
        label = f"{origin}: models.{name}"
        if not isinstance(raw, dict):
            faults.append(f"{label} is not a table")
            continue
        table = _hyphened(raw, label, faults)
        if not MODEL_NAME.fullmatch(name):
            faults.append(f"{label}: a name holds letters, digits, -, + and _ only")
        family = table.get("family")
        if not isinstance(family, str) or family not in known:
            faults.append(f"{label}: family is {family!r}; known: {', '.join(known)}")
        faults += [
            f"{label}: {key} is not a text"
            for key in MODEL_KEYS
            if key != "tolerance" and key in table and not isinstance(table[key], str)
        ]
        if table.get("precision") not in (None, *PRECISIONS):
            faults.append(f"{label}: precision is {table['precision']!r}")
        if table.get("role", "") not in ("", *ROLES):
            faults.append(f"{label}: role is {table['role']!r}; known: {', '.join(ROLES)}")
        if "tolerance" in table and (wrong := check_tolerance(table["tolerance"])):
            faults.append(f"{label}: tolerance {wrong}")
        places: dict[str, str] = {}
        missing: list[str] = []
        for key in ("checkpoint", "tokenizer"):
            text, unset = _expand(str(table.get(key, "")))
            missing += unset
            try:
                places[key] = _absolute(text, base) if text else ""
            except (OSError, ValueError, RuntimeError) as fault:
                reason = fault.strerror if isinstance(fault, OSError) else fault
                faults.append(f"{label}: {key} cannot be a path ({reason})")
        if places.get("checkpoint") == "":
            faults.append(f"{label}: no checkpoint")
        models.append(
            ModelSettings(
                name=name,
                family=str(family),
                checkpoint=places.get("checkpoint", ""),
                tokenizer=places.get("tokenizer") or None,
                precision=table.get("precision"),
                tolerance=table.get("tolerance"),
                options={key: value for key, value in table.items() if key not in MODEL_KEYS},
                role=str(table.get("role", "")),
                missing=tuple(missing),
            )
        )
    return tuple(models)


def _absolute(place: str, base: Path) -> str:
    """Make a path absolute; leave alone what is no path here (a hub id, an open_clip tag)."""
    if re.match(r"[a-z][a-z-]+:", place):
        return place
    path = Path(place).expanduser()
    if path.is_absolute():
        return str(path)
    looks_like_path = place.startswith(".") or (base / path).exists() or path.suffix != ""
    return str((base / path).resolve()) if looks_like_path else place


def _merge(
    given: Mapping[str, Any],
    command_line: Mapping[str, Any],
    models: tuple[ModelSettings, ...],
    selected: Sequence[str] | None,
    origin: str,
    base: Path,
) -> Settings:
    from_suite = {name: given.get(name, setting.default) for name, setting in SETTINGS.items()}
    merged = {**from_suite, **command_line}
    if _kind(merged["corpus"]) != _kind(from_suite["corpus"]) and "split" not in command_line:
        merged["split"] = ""  # the suite's is a part of the suite's own corpus
    names = tuple(model.name for model in models)
    suite_grid = Grid(
        models=names,
        directions=DIRECTIONS[from_suite["direction"]],
        occluders=tuple(from_suite["occluders"]),
        ratios=tuple(sorted(float(ratio) for ratio in from_suite["ratios"])),
        ks=tuple(sorted(from_suite["ks"])),
        severities=tuple(sorted(from_suite["severities"])),
    )
    grid = Grid(
        models=tuple(name for name in names if selected is None or name in selected),
        directions=DIRECTIONS[merged["direction"]],
        occluders=tuple(merged["occluders"]),
        ratios=tuple(sorted(float(ratio) for ratio in merged["ratios"])),
        ks=tuple(sorted(merged["ks"])),
        severities=tuple(sorted(merged["severities"])),
    )
    corpus, missing = _expand(merged["corpus"])
    return Settings(
        suite=given["suite"],
        origin=origin,
        models=models,
        grid=grid,
        suite_grid=suite_grid,
        corpus=corpus,
        corpus_missing=missing,
        base=Path.cwd() if "corpus" in command_line else base,
        split=merged["split"],
        text_rule=merged["text-rule"],
        candidates=merged["candidates"],
        fill=merged["fill"],
        seeds=tuple(merged["seed"]),
        tolerance=float(merged["tolerance"]),
        tolerances=tuple((name, float(v)) for name, v in given.get("tolerances", {}).items()),
        fail_on=merged["fail-on"],
        device=merged["device"],
        precision=merged["precision"],
        batch_size=merged["batch-size"],
        store=None,
        ad_hoc=tuple(
            name
            for name, setting in SETTINGS.items()
            if setting.protocol and merged[name] != from_suite[name]
        ),
        allow_missing=False,
        outputs={},
        claims=dict(given.get("claims", {})),
        map_grid=merged["map"],
        map_ratios=_map_ratios(merged["map-ratios"], grid),
    )


def _kind(corpus: str) -> str:
    return _expand(corpus)[0].partition(":")[0]


def _map_ratios(value: list[Any] | str, grid: Grid) -> tuple[float, ...]:
    chosen = grid.ratios if value in ("all", ["all"]) else value
    return tuple(sorted(float(ratio) for ratio in chosen if ratio))


def _expand(text: str) -> tuple[str, tuple[str, ...]]:
    """Expand ``$NAME`` and ``${NAME}``; also give the names that are not set."""
    missing = tuple(
        name
        for name in re.findall(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)\}?", text)
        if name not in os.environ
    )
    return os.path.expandvars(text), missing


def parse_list(text: str, kind: type) -> list[Any]:
    """Parse a comma-separated value; what cannot be parsed stays text for the check to refuse."""
    items: list[Any] = []
    for item in text.split(","):
        try:
            items.append(kind(item.strip()))
        except ValueError:
            items.append(item.strip())
    return items
