"""The grid: cells, their ids, their order, and which worker takes what."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_occlusion.occlusion.levels import SEVERITIES, is_corruption, level_tag, severity_level
from pytest_occlusion.suite.table import CLAIM_NAMES, attribute_tag

REVERSE = "text-to-image"

FOCUS_K = 10
"""The k of everything that is about one k, where the run has it."""

MAIN_OCCLUDER = "block"
"""What curves are about, where the run has it."""

LEVEL = r"r\d+(?:p\d+)?|s\d"
"""Tags of levels in ids: a blocked share, or the severity of a corruption."""


@dataclass(frozen=True)
class Grid:
    """Which cells exist: models x directions x occluders x levels x ks.

    A corruption is named among the occluders; its levels are the severities.
    """

    models: tuple[str, ...]
    directions: tuple[str, ...]
    occluders: tuple[str, ...]
    ratios: tuple[float, ...]
    ks: tuple[int, ...]
    severities: tuple[int, ...] = SEVERITIES

    def levels(self, occluder: str) -> tuple[float, ...]:
        """The levels of one occluder or corruption, ascending, in [0, 1]."""
        if is_corruption(occluder):
            return tuple(severity_level(severity) for severity in self.severities)
        return self.ratios


@dataclass(frozen=True)
class Curve:
    """Recall over the ratios of one (model, direction, occluder)."""

    model: str
    direction: str
    occluder: str

    @property
    def id(self) -> str:
        """Id of tests, e.g. ``clip-block``; reverse curves end in ``-t2i``."""
        return f"{self.model}-{self.occluder}{_suffix(self.direction)}"


@dataclass(frozen=True)
class GroupedCurve:
    """A curve, asked of every group by an attribute."""

    curve: Curve
    attribute: str  # as the suite names it

    @property
    def model(self) -> str:
        """The curve's."""
        return self.curve.model

    @property
    def id(self) -> str:
        """Id of tests, e.g. ``clip-block-by-age-20``."""
        return f"{self.curve.id}-by-{attribute_tag(self.attribute)}"


@dataclass(frozen=True)
class Cell:
    """One (model, direction, occluder, ratio, k); of a corruption the ratio is severity over 5."""

    model: str
    direction: str
    occluder: str
    ratio: float
    k: int

    @property
    def id(self) -> str:
        """Id of tests and snapshots, e.g. ``clip-block-r49-k005``, ``clip-blur-s3-k005``.

        No dots: syrupy splits names there.
        """
        suffix = _suffix(self.direction)
        return f"{self.model}-{self.occluder}-{self.tag}-k{self.k:03d}{suffix}"

    @property
    def tag(self) -> str:
        """The level in ids."""
        return level_tag(self.occluder, self.ratio)

    @property
    def curve(self) -> Curve:
        """The curve that the cell is a point of."""
        return Curve(self.model, self.direction, self.occluder)


def _suffix(direction: str) -> str:
    return "-t2i" if direction == REVERSE else ""


def cells(grid: Grid) -> list[Cell]:
    """All cells in the order they run: everything that one encoder serves stands together."""
    return [
        Cell(model, direction, occluder, ratio, k)
        for model in grid.models
        for direction in grid.directions
        for occluder in grid.occluders
        for ratio in grid.levels(occluder)
        for k in grid.ks
    ]


def cells_of_curve(grid: Grid, curve: Curve) -> list[Cell]:
    """The cells of a curve, levels ascending, each with every k."""
    own = curve.model, curve.direction, curve.occluder
    return [Cell(*own, ratio, k) for ratio in grid.levels(curve.occluder) for k in grid.ks]


def curves(grid: Grid) -> list[Curve]:
    """All curves, in the order of their cells."""
    return list(dict.fromkeys(cell.curve for cell in cells(grid)))


def grouped_curves(grid: Grid, attributes: Sequence[str]) -> list[GroupedCurve]:
    """All curves from image to report by every attribute: a report has no view."""
    forward = [curve for curve in curves(grid) if curve.direction != REVERSE]
    return [GroupedCurve(curve, one) for curve in forward for one in attributes]


def focus_k(ks: Sequence[int]) -> int:
    """The k of everything that is about one k: 10, else the middle one of those there are."""
    return FOCUS_K if FOCUS_K in ks else ks[len(ks) // 2]


def takes_whole_models(grid: Grid, workers: int) -> bool:
    """Whether a worker takes whole models, or one (model, ratio) at a time.

    One pass serves all ratios, so whole models are cheaper; but some workers might idle.
    """
    return workers <= len(grid.models)


def model_of(name: str, grid: Grid) -> str | None:
    """The model of a cell's or a curve's id; one model's name may begin another's."""
    longest_first = sorted(grid.models, key=len, reverse=True)
    return next((model for model in longest_first if name.startswith(f"{model}-")), None)


def scope_of(nodeid: str, grid: Grid, workers: int) -> str:
    """The unit of work that a test belongs to: tests of one scope run on one worker.

    The model, or the model with its ratio; for a test of neither, its own id.
    """
    bracket = re.search(r"\[([^\[\]]+)\]$", nodeid)
    name = bracket[1] if bracket else ""
    if name in CLAIM_NAMES:
        return "occlusion claims"  # they look at the same cells, which one worker looks up once
    whole = takes_whole_models(grid, workers)
    # Its encoder is open where its cells are measured.
    model = name if whole and name in grid.models else model_of(name, grid)
    if model is None:
        return nodeid
    level = None if whole else re.search(rf"-({LEVEL})-k\d+(?:-t2i)?$", name)
    return f"occlusion {model} {level[1]}" if level else f"occlusion {model}"
