"""What one process holds open for the cells that ask: corpus, encoder, ranks, results.

A cell asks for its result; the first cell of a model makes the pipeline measure everything that the
selected cells of that model need, and the others look it up.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from pytest_occlusion.corpora import Corpus, load_corpus
from pytest_occlusion.corpora.digests import opaque_name, read_key
from pytest_occlusion.corpora.groups import Grouping, group_queries
from pytest_occlusion.corpora.labels import Labels, read_labels
from pytest_occlusion.corpora.task import Task, build_task
from pytest_occlusion.encoders.base import Encoder
from pytest_occlusion.engine.decoding import Decoders
from pytest_occlusion.engine.job import Condition, Job, Measured
from pytest_occlusion.engine.models import ModelRecord, check_model, known_record, open_encoder
from pytest_occlusion.engine.pieces import in_shards
from pytest_occlusion.engine.pipeline import measure
from pytest_occlusion.engine.results import CellResult, cell_results
from pytest_occlusion.engine.store import Store
from pytest_occlusion.errors import MissingError, OcclusionError, listed
from pytest_occlusion.retrieval.intervals import Resamples, draw_resamples, resampled_means
from pytest_occlusion.retrieval.recall import FloatArray, hit_probability
from pytest_occlusion.suite.grid import REVERSE, Cell, Curve, takes_whole_models
from pytest_occlusion.suite.settings import Settings
from pytest_occlusion.suite.table import ENGINE

if TYPE_CHECKING:
    from pytest_occlusion.engine.cluster import Cluster

Made = TypeVar("Made")


@dataclass(frozen=True)
class Later:
    """Cells that questions asked at the end will need: best measured while the encoder is open."""

    cells: Callable[[str], Sequence[Cell]]  # of a model
    asked: Callable[[str], bool]  # whether they will be, of a model whose other cells are measured


@dataclass
class Session:
    """Measurements of one run in one process."""

    settings: Settings
    wanted: Sequence[Cell] = ()  # the cells that were selected (known once tests are collected)
    later: Later | None = None  # what questions beyond the cells' own need, where there are some
    workers: int = 1  # processes that share the work
    say: Callable[[str], None] = print  # where progress lines go
    contents: bool = True  # whether image files are read for what the corpus' fingerprint says
    decoders: Decoders = field(default_factory=Decoders, init=False)
    _results: dict[Cell, CellResult] = field(default_factory=dict, init=False)
    _measured: dict[tuple[str, Condition, str], Measured] = field(default_factory=dict, init=False)
    _faults: dict[str, OcclusionError] = field(default_factory=dict, init=False)
    _records: dict[str, ModelRecord] = field(default_factory=dict, init=False)
    _resamples: dict[str, Resamples] = field(default_factory=dict, init=False)
    _sampled: dict[Cell, FloatArray] = field(default_factory=dict, init=False)
    _groupings: dict[str, Grouping] = field(default_factory=dict, init=False)
    _once: dict[Hashable, Any] = field(default_factory=dict, init=False)
    _scratch: tempfile.TemporaryDirectory[str] | None = field(default=None, init=False)
    _open: tuple[str, Encoder] | None = field(default=None, init=False)

    @cached_property
    def store(self) -> Store:
        """What is kept between runs; a sample that grows needs one, if only for this run."""
        if self.settings.quick and self.settings.store is None:
            self._scratch = tempfile.TemporaryDirectory(prefix="occlusion-")
            return Store(Path(self._scratch.name), forgiving=True)
        # Workers of a cluster meet in it: there it has to be whole.
        return Store(self.settings.store, forgiving=self.settings.engine == "local")

    @cached_property
    def cluster(self) -> Cluster | None:
        """Whose workers do the work, if not this process; joined when it is needed first."""
        if self.settings.engine == "local":
            return None
        from pytest_occlusion.engine.cluster import Cluster

        address = self.settings.engine.removeprefix("ray").removeprefix("://")
        address = address or os.environ.get("RAY_ADDRESS", "")
        if address and not ENGINE.fullmatch(f"ray://{address}"):
            raise OcclusionError(
                f"the environment variable RAY_ADDRESS is {address!r}, which is no head",
                remedy="give HOST:PORT of `ray start --head` (6379, not Ray Client's 10001), "
                "auto, or unset it",
            )
        return Cluster(address, self.settings.ray, self.store, self.say)

    @cached_property
    def corpus(self) -> Corpus:
        """The corpus, loaded and checked at first use."""
        if self.settings.corpus_missing:
            names = ", ".join(f"${name}" for name in self.settings.corpus_missing)
            raise MissingError(
                f"the corpus needs the environment variable {names}, which is not set",
                remedy="export it, or name another corpus with --occlusion-corpus",
            )
        return load_corpus(
            self.settings.corpus,
            base=self.settings.base,
            split=self.settings.split,
            memory=self.store,
            contents=self.contents,
            say=self.say,
        )

    @cached_property
    def task(self) -> Task:
        """What is retrieved from what."""
        rule, candidates = self.settings.text_rule, self.settings.candidates
        return build_task(self.corpus, text_rule=rule, candidates=candidates)

    @cached_property
    def labels(self) -> Labels | None:
        """What the reports say is there, if anybody knows."""
        return read_labels(self.corpus, self.settings.labels)

    def grouping(self, attribute: str) -> Grouping:
        """The radiographs of the task by an attribute."""
        if attribute not in self._groupings:
            self._groupings[attribute] = group_queries(
                self.corpus, self.task, attribute, self.labels, self.settings.uncertain
            )
        return self._groupings[attribute]

    def once(self, what: Hashable, work_out: Callable[[], Made]) -> Made:
        """What is worked out of the measurements at first use, by a name of it."""
        if what not in self._once:
            self._once[what] = work_out()
        made: Made = self._once[what]
        return made

    def preflight(self, models: Sequence[str]) -> dict[str, str]:
        """Find what is wrong with the models that will be needed before anything takes long.

        Returns:
            Models that are to be skipped -> why; empty unless the settings allow what is missing.

        Raises:
            OcclusionError: Faults of the corpus, its labels or groups, or of models and ks, listed.
        """
        allowed = self.settings.allow_missing
        absent: dict[str, str] = {}
        faults: list[str] = []
        for name in models:
            if fault := check_model(self.settings.model(name)):
                told = f"{fault.problem} ({fault.remedy})"
                if allowed and isinstance(fault, MissingError):
                    absent[name] = told
                else:
                    faults.append(told)
        if faults:
            raise OcclusionError(
                f"{len(faults)} of {len(models)} models cannot be loaded:\n{listed(faults)}",
                remedy="correct the paths, leave models out with --occlusion-models, or skip what "
                "is missing with --occlusion-allow-missing",
            )
        try:
            self._check_ks()
            _ = self.labels
        except MissingError as missing:
            if not allowed:
                raise
            return dict.fromkeys(models, f"{missing.problem} ({missing.remedy})")
        for attribute in self.settings.group_by:
            self.grouping(attribute)
        return absent

    def _check_ks(self) -> None:
        texts, images = len(self.task.candidate_text), len(self.task.radiographs)
        faults: list[str] = []
        for way in self.settings.grid.directions:
            count, what = (images, "radiographs") if way == REVERSE else (texts, "texts")
            large = [k for k in self.settings.grid.ks if k > count]
            faults += [f"k = {k}: there are only {count} candidate {what}" for k in large]
        if faults:
            raise OcclusionError(
                f"the corpus {self.corpus.name!r} is too small for this suite:\n{listed(faults)}",
                remedy=f"choose ks up to {texts} with --occlusion-ks, or a larger corpus",
            )

    def result(self, cell: Cell) -> CellResult:
        """The result of one cell.

        Raises:
            OcclusionError: What stopped its model; the same for all of its cells.
        """
        if cell not in self._results:
            self._measure(cell)
        return self._results[cell]

    def curve(self, curve: Curve, k: int) -> list[CellResult]:
        """Results of one k over all ratios of a curve."""
        grid = self.settings.grid
        return [
            self.result(Cell(curve.model, curve.direction, curve.occluder, ratio, k))
            for ratio in grid.levels(curve.occluder)
        ]

    def sampled_recall(self, cell: Cell) -> FloatArray:
        """Recall of the whole sample, then of every resample: float64 ``[1 + B]``."""
        if cell not in self._sampled:  # several claims look at the same cells
            self.result(cell)
            chances = [hit_probability(one.ranks, cell.k) for one in self.measured(cell)]
            by_query = np.mean(chances, axis=0)
            resampled = resampled_means(self.resamples(cell.direction), by_query)
            self._sampled[cell] = np.concatenate([[by_query.mean()], resampled])
        return self._sampled[cell]

    def record(self, model: str) -> ModelRecord:
        """What a model is, opened only if no earlier run has seen it."""
        if model in self._records:
            return self._records[model]
        settings = self.settings.model(model)
        if known := known_record(settings, self.settings.precision_of(settings), self.store):
            self._records[model] = known
            return known
        # A new model most likely shows new canvases; in an empty store that is certain.
        radiographs = self.corpus.chosen(self.task.radiographs.tolist())
        if self.cluster is not None:
            pass  # its workers decode
        elif self.workers == 1 and not self.settings.quick and not self.store.any("canvases"):
            self.decoders.open_ahead(in_shards(radiographs))
        else:
            self.decoders.start(len(radiographs))
        self.encoder(model)
        return self._records[model]

    def encoder(self, model: str) -> Encoder:
        """The opened encoder; one at a time is kept in memory."""
        if self._open is None or self._open[0] != model:
            self._open = None
            settings = self.settings.model(model)
            encoder, self._records[model] = open_encoder(
                settings,
                precision=self.settings.precision_of(settings),
                device=self.settings.device,
                store=self.store,
            )
            self._open = (model, encoder)
        return self._open[1]

    def resamples(self, direction: str) -> Resamples:
        """Resamples of the patients behind the queries of one direction."""
        if direction not in self._resamples:
            task, back = self.task, direction == REVERSE
            patients = task.candidate_patient if back else task.radiograph_patient
            self._resamples[direction] = draw_resamples(patients)
        return self._resamples[direction]

    def query_name(self, cell: Cell, place: int) -> str:
        """What failures call a query: an opaque name, or its own if the user asked for that."""
        task = self.task
        if cell.direction == REVERSE:
            candidate = place % len(task.candidate_text)
            row = task.radiographs[int(np.flatnonzero(task.radiograph_group == candidate)[0])]
            name = self.corpus.studies[self.corpus.radiographs[row].study].key
        else:
            name = self.corpus.radiographs[task.radiographs[place % len(task.radiographs)]].key
        return name if self.settings.show_queries else opaque_name(name, self._name_key)

    @cached_property
    def _name_key(self) -> bytes:
        return read_key(self.store.root)

    def measured(self, cell: Cell) -> list[Measured]:
        """Ranks behind a measured cell, one per mask seed."""
        return [self._measured[cell.model, c, cell.direction] for c in self.conditions(cell)]

    def conditions(self, cell: Cell) -> list[Condition]:
        """How a cell's radiographs are shown, one for each mask seed."""
        return [
            Condition(cell.occluder, cell.ratio, self.settings.fill, seed)
            for seed in self.settings.seeds
        ]

    def together(self, cell: Cell) -> list[Cell]:
        """The cells to measure in one go with this one."""
        of_model = [other for other in self.wanted if other.model == cell.model]
        others = [other for other in of_model if self._whole or other.tag == cell.tag]
        if cell in others:
            return others
        beside = self._unmeasured(cell.model)
        return beside if cell in beside else [*others, cell]

    def _unmeasured(self, model: str) -> list[Cell]:
        """What later questions need of a model and no cell's own test measures."""
        cells = self.later.cells(model) if self.later else ()
        return [cell for cell in cells if cell not in self._results and cell not in self.wanted]

    @property
    def _whole(self) -> bool:
        """Whether this process measures whole models."""
        return takes_whole_models(self.settings.grid, self.workers)

    def _measure(self, cell: Cell) -> None:
        if cell.model in self._faults:
            raise self._faults[cell.model]
        try:
            together = self.together(cell)
            if self._whole and self.store.root is None:  # a second pass would decode again
                together += [one for one in self._unmeasured(cell.model) if one not in together]
            self._measure_cells(together)
            beside = self._unmeasured(cell.model)
            if beside and self._whole and self.later and self.later.asked(cell.model):
                self._measure_cells(beside)
        except OcclusionError as fault:
            self._faults[cell.model] = fault
            raise

    def _measure_cells(self, cells: Sequence[Cell]) -> None:
        model = cells[0].model
        for want, measured in measure(self.job_of(model, cells)).items():
            self._measured[model, *want] = measured
        groups: dict[tuple[Curve, float], list[Cell]] = {}
        for cell in cells:
            groups.setdefault((cell.curve, cell.ratio), []).append(cell)
        for group in groups.values():
            ranks, resamples = self.measured(group[0]), self.resamples(group[0].direction)
            for result in cell_results(group, ranks, self.task, resamples):
                self._results[result.cell] = result

    def close(self) -> None:
        """Let go of processes and weights; what was measured stays known."""
        self.decoders.close()
        if self.cluster is not None:
            self.cluster.close()
        if self._scratch is not None:
            self._scratch.cleanup()
        self._open = None

    def job_of(self, model: str, cells: Sequence[Cell] = ()) -> Job:
        """A model's job: what has to be measured for some of its cells."""
        engine = None
        if self.cluster is not None:
            told, device = self.settings.model(model), self.settings.device
            engine = partial(self.cluster.engine, model=told, device=device)
        return Job(
            label=model,
            engine=engine,
            record=self.record(model),
            encoder=lambda: self.encoder(model),
            corpus=self.corpus,
            task=self.task,
            conditions=list(dict.fromkeys(c for one in cells for c in self.conditions(one))),
            directions=list(dict.fromkeys(one.direction for one in cells)),
            store=self.store,
            batch_size=self.settings.batch_size,
            say=self.say,
            decoders=self.decoders,
            first=self._first,
        )

    @property
    def _first(self) -> int:
        """How many of the best candidates are kept: two tell how sure a model is."""
        return 2 if self.labels is None else max(2, *self.settings.grid.ks)
