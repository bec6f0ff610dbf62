"""The records of a corpus: studies with their reports, radiographs with a way to open them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

    from pytest_occlusion.corpora.contents import Memory


@dataclass(frozen=True)
class Study:
    """One examination.

    Its representation, which tracebacks show, says nothing of whom it is of.

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
    """

    key: str = field(repr=False)
    study: int
    view: str
    content: str
    where: str
    open: Callable[[], Image.Image] = field(repr=False)


@dataclass(frozen=True)
class Step:
    """What one filter left.

    Attributes:
        name: What the filter asks for, e.g. ``"with a report"``.
        studies: Studies that have a radiograph left.
        radiographs: Radiographs left.
    """

    name: str
    studies: int
    radiographs: int


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
    """

    name: str
    studies: tuple[Study, ...]
    radiographs: tuple[Radiograph, ...]
    notes: tuple[str, ...] = ()
    fields: dict[str, int | str] = field(default_factory=dict)
    steps: tuple[Step, ...] = ()

    def chosen(self, rows: Iterable[int]) -> list[Radiograph]:
        """The radiographs at some positions."""
        return [self.radiographs[row] for row in rows]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over study keys, report bytes and image contents, in any order."""
        images: dict[int, list[str]] = {}
        for radiograph in self.radiographs:
            entry = f"{radiograph.key}\x1f{radiograph.content}"
            images.setdefault(radiograph.study, []).append(entry)
        return combined_digest(
            "\x1e".join(
                (
                    study.key,
                    study.patient,
                    study.report,
                    study.findings,
                    study.impression,
                    *sorted(images.get(index, ())),
                )
            )
            for index, study in enumerate(self.studies)
        )


@dataclass(frozen=True)
class Request:
    """What a loader is asked for.

    Attributes:
        place: What follows the colon of the specification.
        base: Folder that relative paths start from.
        split: Named part, for corpora that have parts; ``""`` is the corpus's own choice.
        memory: Where digests of files are remembered from run to run, if anywhere.
        contents: Whether images must be digested; without, a loader may leave them unread, and the
            fingerprint means nothing.
        say: Where progress lines go, if anywhere.
    """

    place: str
    base: Path
    split: str = ""
    memory: Memory | None = None
    contents: bool = True
    say: Callable[[str], None] | None = None


def combined_digest(entries: Iterable[str]) -> str:
    """SHA-256 (hex) of a multiset of strings: the order in which they come does not matter."""
    digests = sorted(hashlib.sha256(entry.encode()).digest() for entry in entries)
    return hashlib.sha256(b"".join(digests)).hexdigest()
