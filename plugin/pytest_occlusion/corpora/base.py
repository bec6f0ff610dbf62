"""The records of a corpus: studies with their reports, radiographs with a way to open them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class Study:
    """One examination.

    Attributes:
        key: Unique within the corpus. Never leaves the process in the clear.
        patient: Whom the study is of; the unit that confidence intervals resample.
        report: The whole text.
        findings: The Findings section, empty where there is none.
        impression: The Impression section, empty where there is none.
    """

    key: str
    patient: str
    report: str
    findings: str = ""
    impression: str = ""


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

    key: str
    study: int
    view: str
    content: str
    where: str
    open: Callable[[], Image.Image]


@dataclass(frozen=True)
class Corpus:
    """Studies and radiographs in a fixed order.

    Attributes:
        name: What the user asked for, without paths: ``"embedded"``, ``"open-i"``, ``"manifest"``.
        studies: Every kept study.
        radiographs: Every kept radiograph, grouped by study in the order of ``studies``.
        notes: Lines worth showing once: licences, what was left out and why.
        fields: Counts worth recording beside the results (plain ints and strings).
    """

    name: str
    studies: tuple[Study, ...]
    radiographs: tuple[Radiograph, ...]
    notes: tuple[str, ...] = ()
    fields: dict[str, int | str] = field(default_factory=dict)

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


def combined_digest(entries: Iterable[str]) -> str:
    """SHA-256 (hex) of a multiset of strings: the order in which they come does not matter."""
    digests = sorted(hashlib.sha256(entry.encode()).digest() for entry in entries)
    return hashlib.sha256(b"".join(digests)).hexdigest()
