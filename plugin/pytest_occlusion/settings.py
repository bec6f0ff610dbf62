"""Settings: one frozen record, from the command line over the suite file over the defaults.

This module alone decides what a user may write and what it means. It touches no data and imports
nothing heavy; every fault of a file or command line is collected and reported at once.
"""

from __future__ import annotations

import os
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pytest_occlusion.corpora.task import CANDIDATES, TEXT_RULES
from pytest_occlusion.errors import OcclusionError, listed
from pytest_occlusion.occlusion.names import FILLS, OCCLUDERS

RATIOS = (0.0, 0.09, 0.16, 0.25, 0.36, 0.49, 0.64, 0.81)
"""Eight levels from 0 to 81 % (Deanda et al. 2025); ours are squares, so that a block has sides
of 0, .3, .4 ... .9 of the canvas. The paper does not list its own."""

KS = (5, 10, 20, 30, 50, 100)
"""Recall@k of Deanda et al. 2025."""

TOLERANCE = 0.01
"""Share of the queries of a cell that may change: no red in 200 simulated re-runs that flip as many
queries as bf16 against fp32, while a loss of 2 points of 1,770 queries is caught in 199 of 200
(``benchmarks/gate_rates.py``, table in ``docs/verdicts.md``)."""

DIRECTIONS: dict[str, tuple[str, ...]] = {
    "image-to-text": ("image-to-text",),
    "both": ("image-to-text", "text-to-image"),
}
"""Value of the setting -> directions that are measured."""

PRECISIONS = ("fp32", "bf16", "fp16")
FAIL_ON = {
    "any": "every change beyond the tolerance, improvements too",
    "regression": "losses beyond the tolerance",
    "significant-regression": "losses beyond the tolerance that are significant (Holm)",
}
"""Value of ``fail-on`` -> what turns a cell red."""

MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9_+-]*", re.IGNORECASE)


@dataclass(frozen=True)
class ModelSettings:
    """One model of a suite.

    Attributes:
        name: What ids, snapshots and tables call it.
        family: Checkpoint format, a name of the encoder registry.
        checkpoint: Path with variables expanded and made absolute, or an id the family understands.
        tokenizer: Path or hub id, where the family needs one.
        precision: Overrides the suite's.
        tolerance: Overrides the suite's.
        options: The family's own options.
        missing: Names of unset environment variables in its paths.
    """

    name: str
    family: str
    checkpoint: str = ""
    tokenizer: str | None = None
    precision: str | None = None
    tolerance: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Grid:
    """Which cells exist: models x directions x occluders x ratios x ks."""

    models: tuple[str, ...]
    directions: tuple[str, ...]
    occluders: tuple[str, ...]
    ratios: tuple[float, ...]
    ks: tuple[int, ...]


@dataclass(frozen=True)
class Settings:
    """Everything a run needs to know.

    Attributes:
        suite: Name that snapshots belong to.
        origin: Where the suite was read, for messages.
        models: All models of the suite, in its order (also those that were not selected).
        grid: The cells to run: what the suite holds, narrowed or changed on the command line.
        suite_grid: The cells of the suite itself; only these have a baseline.
        corpus: Corpus specification with variables expanded.
        corpus_missing: Names of unset environment variables in it.
        base: Folder that relative paths of the suite start from.
        split: Named part of the corpus, where it has parts.
        text_rule: Which text stands for a study.
        candidates: What is retrieved: distinct ``texts`` or ``studies``.
        fill: What blocked pixels become.
        seeds: Mask seeds; several are pooled, each query counting once per seed.
        tolerance: Queries of a cell that may change between hit and miss (net): a whole number, or
            a share of the queries when below 1.
        tolerances: (pattern of cell ids, tolerance), the last match wins over everything else.
        fail_on: Which verdicts turn a cell red.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` ...
        precision: Of the forward passes.
        batch_size: Canvases per forward pass; halves by itself when memory runs out.
        store: Folder of the store; ``None`` keeps nothing.
        ad_hoc: Protocol settings that the command line changed; such a run has no baseline.
        allow_missing: Whether missing checkpoints and corpora are skipped instead of refused.
        outputs: Kind (``json``, ``csv``, ``markdown``) -> file to write.
        calibrate: How many times to repeat every model with what must not matter changed.
        show_queries: Whether failures may name radiographs and studies.
    """

    suite: str
    origin: str
    models: tuple[ModelSettings, ...]
    grid: Grid
    suite_grid: Grid
    corpus: str
    corpus_missing: tuple[str, ...]
    base: Path
    split: str
    text_rule: str
    candidates: str
    fill: str
    seeds: tuple[int, ...]
    tolerance: float
    tolerances: tuple[tuple[str, float], ...]
    fail_on: str
    device: str
    precision: str
    batch_size: int
    store: Path | None
    ad_hoc: tuple[str, ...]
    allow_missing: bool
    outputs: Mapping[str, Path]
    calibrate: int = 0
    show_queries: bool = False

    def model(self, name: str) -> ModelSettings:
        """The settings of one model."""
        return next(model for model in self.models if model.name == name)

    def protocol(self) -> dict[str, Any]:
        """What a number depends on besides weights, corpus and environment; plain data."""
        return {
            "split": self.split,
            "text_rule": self.text_rule,
            "candidates": self.candidates,
            "fill": self.fill,
            "seeds": list(self.seeds),
        }

    def tolerance_of(self, cell_id: str, model: str, calibrated: int | None = None) -> float:
        """The tolerance in force for one cell.

        In this order: a pattern of the cell's id, what was calibrated for the cell, the model's,
        the suite's (or the command line's).
        """
        for pattern, tolerance in reversed(self.tolerances):
            if fnmatchcase(cell_id, pattern):
                return tolerance
        if calibrated is not None:
            return float(max(1, calibrated))
        own = self.model(model).tolerance
        return self.tolerance if own is None else own

    def gated(self, model: str, direction: str, occluder: str, ratio: float, k: int) -> bool:
        """Whether a cell is compared with a baseline.

        The rule: a cell has a baseline exactly when the suite itself contains it and the command
        line did not change the protocol.
        """
        grid = self.suite_grid
        return (
            not self.ad_hoc
            and model in grid.models
            and direction in grid.directions
            and occluder in grid.occluders
            and ratio in grid.ratios
            and k in grid.ks
        )


def _numbers(value: object, kind: type) -> list[Any] | None:
    if not isinstance(value, list) or not value:
        return None
    good = all(
        isinstance(item, (int, float) if kind is float else int) and not isinstance(item, bool)
        for item in value
    )
    try:
        return [kind(item) for item in value] if good else None
    except OverflowError:  # a whole number beyond every float
        return None


def _check_ratios(value: object) -> str | None:
    numbers = _numbers(value, float)
    if numbers is None:
        return "is not a list of numbers"
    outside = [number for number in numbers if not 0 <= number < 1]
    if outside:
        return f"holds {', '.join(map(str, outside))}, outside [0, 1): 0.25 blocks a quarter"
    if len({f"{100 * number:.4f}" for number in numbers}) != len(numbers):  # as ids spell them
        return "names a ratio twice"
    return None


def _check_ks(value: object) -> str | None:
    numbers = _numbers(value, int)
    if numbers is None:
        return "is not a list of whole numbers"
    if min(numbers) < 1:
        return "holds a k below 1"
    return "names a k twice" if len(set(numbers)) != len(numbers) else None


def _check_seeds(value: object) -> str | None:
    numbers = _numbers(value, int)
    if numbers is None:
        return "is not a list of whole numbers"
    return "names a seed twice" if len(set(numbers)) != len(numbers) else None


def _check_occluders(value: object) -> str | None:
    if not isinstance(value, list) or not value:
        return "is not a list of names"
    unknown = [str(n) for n in value if not isinstance(n, str) or n not in OCCLUDERS]
    if unknown:
        return f"holds unknown {', '.join(unknown)}; known: {', '.join(OCCLUDERS)}"
    return "names an occluder twice" if len(set(value)) != len(value) else None


def _one_of(known: Iterable[str]) -> Any:
    names = tuple(known)

    def check(value: object) -> str | None:
        return None if value in names else f"is {value!r}; known: {', '.join(names)}"

    return check


def _check_text(value: object) -> str | None:
    return None if isinstance(value, str) and value.strip() else "is not a text"


def _check_batch_size(value: object) -> str | None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return None if whole and value > 0 else "is not a positive whole number"  # type: ignore[operator]


def _check_tolerance(value: object) -> str | None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 <= value <= sys.maxsize:  # type: ignore[operator]
        return "is neither a number of queries nor a share below 1"
    if value >= 1 and value != int(value):  # type: ignore[operator,call-overload]
        return f"is {value}: from 1 on it counts queries and must be whole"
    return None


@dataclass(frozen=True)
class Setting:
    """One line of the table below: a setting that suites and command lines may give.

    Attributes:
        default: Value where nobody gives one.
        check: Value -> what is wrong with it, or ``None``.
        protocol: Whether it changes what is measured (and so has a baseline of its own).
    """

    default: Any
    check: Any
    protocol: bool = False


SETTINGS: dict[str, Setting] = {
    "corpus": Setting("embedded", _check_text, protocol=True),
    "split": Setting("", lambda value: None if isinstance(value, str) else "is not a text", True),
    "text-rule": Setting("findings+impression", _one_of(TEXT_RULES), protocol=True),
    "candidates": Setting("texts", _one_of(CANDIDATES), protocol=True),
    "direction": Setting("image-to-text", _one_of(DIRECTIONS)),
    "ratios": Setting(list(RATIOS), _check_ratios),
    "ks": Setting(list(KS), _check_ks),
    "occluders": Setting(["block"], _check_occluders),
    "fill": Setting("black", _one_of(FILLS), protocol=True),
    "seed": Setting([0], _check_seeds, protocol=True),
    "tolerance": Setting(TOLERANCE, _check_tolerance),
    "fail-on": Setting("any", _one_of(FAIL_ON)),
    "device": Setting("auto", _check_text),
    "precision": Setting("fp32", _one_of(PRECISIONS)),
    "batch-size": Setting(64, _check_batch_size),
}
"""Setting -> default, check, and whether it belongs to the protocol."""

MODEL_KEYS = ("family", "checkpoint", "tokenizer", "precision", "tolerance")


def _expand(text: str) -> tuple[str, tuple[str, ...]]:
    """Expand ``$NAME`` and ``${NAME}``; also give the names that are not set."""
    missing = tuple(
        name
        for name in re.findall(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)\}?", text)
        if name not in os.environ
    )
    return os.path.expandvars(text), missing


def read_suite(path: Path, *, table: tuple[str, ...] = ()) -> dict[str, Any]:
    """Read a suite's TOML table.

    Args:
        path: The file.
        table: Where in the file the suite lies, e.g. ``("tool", "occlusion")``.

    Raises:
        OcclusionError: A missing file or one that is not TOML.
    """
    try:
        with path.open("rb") as file:
            content: Any = tomllib.load(file)
    except FileNotFoundError:
        raise OcclusionError(
            f"no suite file {path}", remedy="name a .toml file, or a suite that comes with the tool"
        ) from None
    except OSError as fault:
        raise OcclusionError(
            f"{path}: cannot be read ({fault.strerror})", remedy="name the .toml file itself"
        ) from fault
    except (ValueError, RecursionError) as fault:
        raise OcclusionError(f"{path}: not TOML ({fault})", remedy="correct that line") from fault
    for name in table:
        content = content.get(name, {})
        if not isinstance(content, dict):
            raise OcclusionError(
                f"{path}: {name} is not a table",
                remedy=f"write the settings below a line [{'.'.join(table)}]",
            )
    return dict(content)


def _hyphened(table: Mapping[str, Any], label: str, faults: list[str]) -> dict[str, Any]:
    """The table with ``-`` for ``_`` in its names."""
    names = [name.replace("_", "-") for name in table]
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    faults += [f"{label}: {name} is given twice, with - and with _" for name in twice]
    return dict(zip(names, table.values(), strict=True))


def build_settings(
    suite: Mapping[str, Any],
    *,
    origin: str,
    base: Path,
    command_line: Mapping[str, Any],
    selected: Sequence[str] | None = None,
    store: Path | None = None,
    outputs: Mapping[str, Path] | None = None,
    allow_missing: bool = False,
) -> Settings:
    """Merge and check.

    Args:
        suite: The suite's table.
        origin: What messages call it.
        base: Folder its relative paths start from.
        command_line: Setting -> value for what the command line gave, parsed but unchecked.
        selected: Models named on the command line; ``None`` means all.
        store: Folder of the store, or ``None``.
        outputs: Kind -> file to write.
        allow_missing: Whether missing checkpoints and corpora are skipped instead of refused.

    Raises:
        OcclusionError: All faults of the suite and the command line, listed.
    """
    faults: list[str] = []
    given = _hyphened(suite, origin, faults)
    if isinstance(given.get("seed"), int) and not isinstance(given.get("seed"), bool):
        given["seed"] = [given["seed"]]
    known = {*SETTINGS, "suite", "models", "tolerances"}
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
        if (wrong := _check_tolerance(value))
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
        if "tolerance" in table and (wrong := _check_tolerance(table["tolerance"])):
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
    names = tuple(model.name for model in models)
    suite_grid = Grid(
        models=names,
        directions=DIRECTIONS[from_suite["direction"]],
        occluders=tuple(from_suite["occluders"]),
        ratios=tuple(sorted(float(ratio) for ratio in from_suite["ratios"])),
        ks=tuple(sorted(from_suite["ks"])),
    )
    grid = Grid(
        models=tuple(name for name in names if selected is None or name in selected),
        directions=DIRECTIONS[merged["direction"]],
        occluders=tuple(merged["occluders"]),
        ratios=tuple(sorted(float(ratio) for ratio in merged["ratios"])),
        ks=tuple(sorted(merged["ks"])),
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
    )


def parse_list(text: str, kind: type) -> list[Any]:
    """Parse a comma-separated value; what cannot be parsed stays text for the check to refuse."""
    items: list[Any] = []
    for item in text.split(","):
        try:
            items.append(kind(item.strip()))
        except ValueError:
            items.append(item.strip())
    return items


def with_precision(settings: Settings, model: ModelSettings) -> str:
    """The precision in force for one model."""
    return model.precision or settings.precision


__all__ = [
    "KS",
    "RATIOS",
    "SETTINGS",
    "Grid",
    "ModelSettings",
    "Settings",
    "build_settings",
    "parse_list",
    "read_suite",
    "with_precision",
]
