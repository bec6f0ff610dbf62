"""What a run will cost, in lines: before hours of work."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from pytest_occlusion.corpora.summary import summary_lines
from pytest_occlusion.encoders.register import find_model
from pytest_occlusion.engine.estimate import ModelPlan, Work, plan_model
from pytest_occlusion.engine.session import Session
from pytest_occlusion.errors import MissingError, OcclusionError
from pytest_occlusion.reporting.page import counted
from pytest_occlusion.suite.grid import Cell


def plan_lines(session: Session, cells: Sequence[Cell]) -> Iterator[str]:
    """Lines of a plan, each as soon as it is known; nothing is stored but digests of files.

    Raises:
        OcclusionError: A corpus that is there and cannot be used, or no model that can.
    """
    settings = session.settings
    models = list(dict.fromkeys(cell.model for cell in cells))
    levels = len({(cell.occluder, cell.ratio, cell.direction) for cell in cells})
    ks = len({cell.k for cell in cells})
    yield f"suite {settings.suite}: {counted(len(models), 'model')}, {levels} levels, {ks} ks"
    yield f"= {counted(len(cells), 'cell')}; with a test for each, and for each curve"
    # Digests of images are asked of the store, and of no use where it has nothing.
    session.contents = any(map(session.store.any, ("canvases", "embeddings", "ranks")))
    try:
        corpus = session.corpus
    except MissingError as missing:
        yield f"corpus {settings.corpus.partition(':')[0]} is missing: {missing.problem}"
        yield f"  -> {missing.remedy}"
        return
    rule, candidates = settings.text_rule, settings.candidates
    yield from summary_lines(corpus, text_rule=rule, candidates=candidates)
    if settings.engine != "local":
        yield ""
        yield "times are those of this machine alone: divide by what the cluster has more"
    plans = []
    for name in models:
        plans.append(plan_model(session, name, cells))
        yield ""
        yield from _model_lines(plans[-1])
    yield ""
    if all(plan.fault for plan in plans):
        raise OcclusionError(
            "no model of the plan can be run here", remedy="mend what is said of each above"
        )
    yield from _whole(plans, session.store.root)
    if any(not one.content for one in corpus.radiographs[:1]):
        yield "before that every image file is read once, for its digest: not counted"


def _model_lines(plan: ModelPlan) -> Iterator[str]:
    record = plan.record
    if record is None:
        yield f"{plan.name}: cannot be run here"
        yield from (f"  {line}" for line in plan.fault.splitlines())
        return
    where = f", {plan.device} {record.precision}" if plan.device else ""
    yield f"{plan.name}: {record.family} {record.variant}, weights {record.weights[:8]}{where}"
    if plan.known:
        yield f"  {'licence':<16}{find_model(plan.known).terms or 'none is stated'}"
    texts = next((work.count for work in plan.works if work.what == "texts"), 0)
    if plan.cut is not None:
        yield f"  {'texts cut':<16}{plan.cut:,} of {texts:,}, to {record.token_limit} tokens"
    yield f"  {'':<16}{'in all':>12}{'in store':>12}{'to do':>12}{'time':>10}{'disk':>10}"
    yield from map(_work_line, plan.works)
    if plan.memory is not None:
        yield f"  {'memory':<16}{_bytes(plan.memory)}"


def _work_line(work: Work) -> str:
    shown = f"  {work.what:<16}{work.count:>12,}{work.kept:>12,}{work.left:>12,}"
    return f"{shown}{time_text(work.seconds):>10}{_bytes(work.bytes) if work.bytes else '-':>10}"


def _whole(plans: Sequence[ModelPlan], store: Path | None) -> Iterator[str]:
    ready = [plan for plan in plans if not plan.fault]
    if less := len(plans) - len(ready):
        yield f"without {counted(less, 'model')} that cannot be run here:"
    needed = sum(plan.bytes for plan in ready)
    if not any(work.left for plan in ready for work in plan.works):
        yield "all is in the store: a run reads ranks, and opens no model"
        return
    yield (
        f"all together about {time_text(sum(plan.seconds for plan in ready))}, and at most "
        f"{_bytes(needed)} on disk"
    )
    if len(ready) > 1:
        yield "less where models share canvases, which are drawn once"
    if store is None:
        yield "nothing is kept: --occlusion-no-store"
        return
    place = next(one for one in (store, *store.parents) if one.exists())
    free = shutil.disk_usage(place).free
    yield f"store {store}: {_bytes(free)} free"
    if free < needed:
        yield "  -> that is not enough: choose another folder with --occlusion-store DIR"


def time_text(seconds: float) -> str:
    """Seconds as a person would say them: ``0 s``, ``45 s``, ``12 min``, ``3.4 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def _bytes(count: int) -> str:
    size, units = float(count), ["B", "KB", "MB", "GB", "TB"]
    while size >= 1000 and len(units) > 1:
        size, _ = size / 1000, units.pop(0)
    return f"{size:.0f} {units[0]}" if size >= 10 or units[0] == "B" else f"{size:.1f} {units[0]}"
