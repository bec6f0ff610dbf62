"""Corruption errors: how much recall corruptions cost, alone and beside a reference model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Recalls:
    """Recall@k of one model, in [0, 1].

    Attributes:
        clean: Of untouched radiographs.
        corrupted: By corruption and severity, 1 and above.
    """

    clean: float
    corrupted: Mapping[tuple[str, int], float]


@dataclass(frozen=True)
class CorruptionError:
    """One corruption, or the mean over all. 0.1 is 10 %; ``None`` where undefined.

    Attributes:
        corruption: Its name; empty for the mean.
        mmi: Share of the clean recall that is lost, mean over severities (MultiModal Impact; Qiu
            et al. 2022, arXiv 2212.08044); undefined where the clean recall is 0.
        ce: Error (1 - recall) in shares of the reference's, both summed over severities
            (Hendrycks & Dietterich 2019, arXiv 1903.12261); undefined without a reference, or
            where that never errs.
        relative_ce: The same of what each loses against its own clean recall; undefined where the
            reference loses nothing.
    """

    corruption: str
    mmi: float | None
    ce: float | None
    relative_ce: float | None


def corruption_errors(
    model: Recalls, reference: Recalls | None = None
) -> tuple[CorruptionError, tuple[CorruptionError, ...]]:
    """Sum up what corruptions cost.

    Returns:
        The mean over corruptions, and each of them by name. A mean of which a part is undefined is
        undefined too: over fewer corruptions it would be another measure.

    Raises:
        ValueError: No corruption, or the reference was measured under others.
    """
    if not model.corrupted:
        raise ValueError("recall under no corruption was given")
    if reference is not None and reference.corrupted.keys() != model.corrupted.keys():
        raise ValueError("corruptions and severities of the model and the reference differ")
    parts = []
    for name in sorted({name for name, _ in model.corrupted}):
        own = _of(model, name)
        ce = relative = None
        if reference is not None:
            other = _of(reference, name)
            ce = _share((1 - own).sum(), (1 - other).sum())
            relative = _share((model.clean - own).sum(), (reference.clean - other).sum())
        mmi = _share((model.clean - own).mean(), model.clean)
        parts.append(CorruptionError(name, mmi, ce, relative))
    mean = CorruptionError(
        "",
        _mean([one.mmi for one in parts]),
        _mean([one.ce for one in parts]),
        _mean([one.relative_ce for one in parts]),
    )
    return mean, tuple(parts)


def _of(recalls: Recalls, name: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Of one corruption, over its severities."""
    return np.array([value for (one, _), value in sorted(recalls.corrupted.items()) if one == name])


def _share(part: float, whole: float) -> float | None:
    # What is left of a sum of differences that cancel is rounding.
    return float(part / whole) if whole > 1e-12 else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None
