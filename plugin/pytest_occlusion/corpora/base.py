"""The records of a corpus: studies with their reports, radiographs with a way to open them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pytest_occlusion.corpora.digests import combined_digest

if TYPE_CHECKING:
    from PIL import Image


APART = "\x1f"
"""Stands between the id that a table gives and what keeps several studies of that id apart."""

Attributes = tuple[tuple[str, str], ...]
"""Names and values; a missing value is empty."""


@dataclass(frozen=True)
class Study:
    """One examination. Its representation, which tracebacks show, says nothing of whom it is of.

    Attributes:
        key: Unique within the corpus. Never leaves the process in the clear.
        patient: Whom the study is of; the unit that confidence intervals resample.
        report: The whole text.
        findings: The Findings section, empty where there is none.
        impression: The Impression section, empty where there is none.
    """

    key: str = field(repr=False)
    patient: str = field(repr=False)
    report: str = field(repr=False)
    findings: str = field(default="", repr=False)
    impression: str = field(default="", repr=False)

    @property
    def given_id(self) -> str:
        """The id that its table gives it, which several reports may share."""
        return self.key.partition(APART)[0]


@dataclass(frozen=True)
class Radiograph:
    """One image of a study.

    Attributes:
        key: Unique within the corpus; decides, with the seed and the occluder, what is blocked.
        study: Position of its study in :attr:`Corpus.studies`.
        view: ``"PA"``, ``"AP"``, ``"frontal"``, ``"lateral"`` or ``""`` where unknown.
        content: Digest (hex) that changes when the pixels do; part of store keys.
        where: What messages call it: a row number or position, never a name or an identifier.
        open: Decodes it: an 8-bit PIL image of mode ``L`` or ``RGB``. Picklable (a module-level
            function or a ``functools.partial`` of one) so that worker processes can call it.
        attributes: What else is known of it, its study or its patient ("sex", "F"), by name;
            groups of queries are made from these.
    """

    key: str = field(repr=False)
    study: int
    view: str
    content: str
    where: str
    open: Callable[[], Image.Image] = field(repr=False)
    attributes: Attributes = field(default=(), repr=False)


@dataclass(frozen=True)
class Step:
    """What one filter left: how many studies with a radiograph, and how many radiographs."""

    name: str
    studies: int
    radiographs: int

    @classmethod
    def of(cls, name: str, studies: Iterable[object]) -> Step:
        """Count from the study of each radiograph that is left."""
        return cls(name, len(set(left := list(studies))), len(left))


@dataclass(frozen=True)
class Corpus:
    """Studies and radiographs in a fixed order.

    Attributes:
        name: What the user asked for, without paths: ``"embedded"``, ``"open-i"``, ``"manifest"``.
        studies: Every kept study.
        radiographs: Every kept radiograph, grouped by study in the order of ``studies``.
        notes: Lines worth showing once: licences, what was left out and why.
        fields: Counts worth recording beside the results (plain ints and strings).
        steps: What each filter left, in order, where studies are chosen from a larger collection.
        published: What a paper counts in the same selection, if one does.
    """

    name: str
    studies: tuple[Study, ...]
    radiographs: tuple[Radiograph, ...]
    notes: tuple[str, ...] = ()
    fields: dict[str, int | str] = field(default_factory=dict)
    steps: tuple[Step, ...] = ()
    published: Step | None = None

    def chosen(self, rows: Iterable[int]) -> list[Radiograph]:
        """The radiographs at some positions."""
        return [self.radiographs[row] for row in rows]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over study keys, report bytes and image contents, in any order."""
        images: dict[int, list[str]] = {}
        for one in self.radiographs:
            images.setdefault(one.study, []).append(f"{one.key}\x1f{one.content}")
        texts = attrgetter("key", "patient", "report", "findings", "impression")
        return combined_digest(
            "\x1e".join((*texts(study), *sorted(images.get(at, ()))))
            for at, study in enumerate(self.studies)
        )


class Memory(Protocol):
    """Where digests are remembered; the engine's store is one."""

    @property
    def root(self) -> Path | None:
        """The user's store folder; ``None`` remembers nothing."""

    def read(self, kind: str, key: str) -> Any:
        """What was written under a key, with ``arrays`` by name; ``None`` where nothing was."""

    def write(self, kind: str, key: str, arrays: Mapping[str, Any]) -> None:
        """Replace what is under a key."""

    def lock(self, key: str) -> AbstractContextManager[None]:
        """Keep other processes from working on the same key."""


@dataclass(frozen=True)
class Request:
    """What a loader is asked for, as :func:`pytest_occlusion.corpora.load_corpus` is.

    ``place`` follows the colon of the specification; an empty ``split`` leaves it to the corpus.
    """

    place: str
    base: Path
    split: str = ""
    memory: Memory | None = None
    contents: bool = True
    say: Callable[[str], None] | None = None
