"""The first contact of a model with a corpus, in words for a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap

from pytest_occlusion.engine.trial import FEWEST, SEED, Trial
from pytest_occlusion.reporting.page import percent

WIDTH = 80


def trial_lines(trial: Trial) -> Iterator[str]:
    """What was seen, a table of recalls, and what it comes to."""
    record, (images, texts) = trial.record, trial.alike
    limit = record.token_limit
    told = {
        "model": f"{record.variant} (family {record.family}), weights {record.weights[:12]}",
        "canvas": f"{record.canvas}, {record.canvas_size[0]} x {record.canvas_size[1]} px",
        "corpus": f"{trial.corpus}: {trial.radiographs:,} of {trial.whole:,} radiographs (seed "
        f"{SEED}) and their {trial.reports} different reports",
        "tokens": f"at most {limit:,}; the longest report has {trial.longest:,}, {trial.cut} of "
        f"{trial.reports} are cut",
        "norms": f"1, within {trial.off_norm:.0e}",
        "alike": f"mean cosine {images:.3f} between two radiographs, {texts:.3f} between reports"
        * (min(trial.radiographs, trial.reports) > 1),
        "ties": f"{percent(trial.deciding.tied)} % of the queries tie with another report",
        "speed": f"{trial.speeds[0]:,.1f} radiographs/s, {trial.speeds[1]:,.1f} reports/s on "
        f"{trial.device}, {record.precision}",
    }
    for name, said in told.items():
        for number, line in enumerate(wrap(said, WIDTH - 9, break_on_hyphens=False)):
            yield f"{name * (not number):<9}{line}"
    yield ""
    yield f"{'':<9}{'chance':>8}{'constant':>10}{'0 %':>9}   {'[95 %]':<15}{'25 %':>8} blocked"
    clear, blocked = (
        [one for one in trial.results if bool(one.cell.ratio) is shown] for shown in (False, True)
    )
    for whole, part in zip(clear, blocked, strict=True):
        span = f"[{100 * whole.ci_low:.1f}, {100 * whole.ci_high:.1f}]"
        floors = f"{percent(whole.chance):>8}{percent(whole.constant):>10}"
        recalls = f"{percent(whole.recall):>9}   {span:<15}{percent(part.recall):>8}"
        yield f"{f'R@{whole.cell.k}':<9}{floors}{recalls}"
    yield ""
    yield from _verdict(trial)


def _verdict(trial: Trial) -> Iterator[str]:
    one = trial.deciding
    if trial.too_few:
        yield f"Too few different reports to tell ({trial.reports}): at least {FEWEST} are needed."
        return
    if not trial.at_chance:
        yield f"It retrieves: R@{one.cell.k} is above chance and the constant ranking."
        return
    record = trial.record
    yield f"AT CHANCE: R@{one.cell.k} cannot be told from a ranking that ignores the radiograph."
    yield "A model that never saw chest radiographs is there by right. Else, likeliest first:"
    causes = (
        f"wrong preprocessing: family {record.family} draws {record.canvas}. Other families read "
        "files of the same names: `inspect FILE` tells which known models this one can be",
        f"wrong tokenizer: {trial.cut} of {trial.reports} reports are cut, and a vocabulary of "
        "the right size may still be another one: give as tokenizer the one that was trained with",
        "wrong pairing: are these the radiographs of these reports? `corpus SPEC` counts what "
        "the reader took for studies and texts; look at a few by hand",
    )
    if max(trial.alike) > 0.999:
        what = "radiographs" if trial.alike[0] >= trial.alike[1] else "reports"
        yield f"All {what} look the same to it (cosine {max(trial.alike):.4f}): not the pairing."
    for number, cause in enumerate(causes, start=1):
        for at, line in enumerate(wrap(cause, WIDTH - 4, break_on_hyphens=False)):
            yield f"{f' {number}.' * (not at):<4}{line}"
