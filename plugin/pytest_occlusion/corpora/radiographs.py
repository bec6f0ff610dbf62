"""What the readers of corpora share: radiographs chosen, looked for, grouped by study, opened.

A reader makes one :class:`Wanted` for each radiograph. A :class:`Selection` of them is filtered and
counted, finds its image files and says whether the download is whole enough; of what was found,
:func:`file_radiographs` makes studies and radiographs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pytest_occlusion.corpora.base import Attributes, Radiograph, Request, Step, Study
from pytest_occlusion.corpora.dicom import import_pydicom, open_dicom
from pytest_occlusion.corpora.files import FileState, content_digests, file_states, lacking
from pytest_occlusion.corpora.images import AGAIN, LARGEST, ImageFault, is_dicom, open_image
from pytest_occlusion.corpora.members import Member, read_member
from pytest_occlusion.corpora.tables import refuse_listed
from pytest_occlusion.errors import OcclusionError, listed

if TYPE_CHECKING:
    from PIL import Image


class Wanted(NamedTuple):
    """A radiograph before its file is found; lists call it so, or by where it is ("row 7").

    ``name`` is the path of its file, or of the file that holds it as a member, where a table says.
    """

    key: str
    study: Study
    view: str
    where: str
    called: str = ""
    attributes: Attributes = ()
    name: str = ""
    member: Member | None = None

    def has(self, problem: str) -> str:
        """A line of a list of faults."""
        return f"{self.called or self.where}: {problem}"


Found = Sequence[tuple[Wanted, FileState]]
Grouped = tuple[tuple[Study, ...], tuple[Radiograph, ...]]


def number_of(one: Wanted) -> int:
    """The number in where it is."""
    return int(one.where.rpartition(" ")[2])


def forgives(allowed: float, lost: int, total: int) -> bool:
    """Whether so many of all may be missing: a share below 1 is allowed, or a number."""
    return lost <= (allowed if allowed >= 1 else allowed * total)


@dataclass
class Selection:
    """What filters leave of a collection, how much it was after each, and what files it has."""

    wanted: list[Wanted]
    steps: list[Step] = field(default_factory=list)
    found: Found = ()
    lost: list[tuple[Wanted, str]] = field(default_factory=list)

    def count(self, name: str, test: Callable[[Study], object] = lambda study: True) -> None:
        """Add a step of those radiographs whose study passes a test."""
        passed = [one.study.key for one in self.wanted if test(one.study)]
        self.steps.append(Step.of(name, passed))

    def keep(self, name: str, test: Callable[[Wanted], object]) -> None:
        """Leave out what does not pass, and count."""
        self.wanted = [one for one in self.wanted if test(one)]
        self.count(name)

    def keep_frontal(self, views: Sequence[str]) -> None:
        """Leave out radiographs of other views."""
        self.keep(f"frontal ({', '.join(views)})", lambda one: one.view in views)

    def keep_one_each(self, views: Sequence[str]) -> None:
        """Leave one radiograph of each study, by the order of views; of equals, the first."""
        rank = {view: at for at, view in enumerate(views)}
        ranked = sorted(self.wanted, key=lambda one: rank.get(one.view, len(rank)))
        best = {id(one.study): one for one in reversed(ranked)}
        self.keep("one radiograph per study", lambda one: best[id(one.study)] is one)

    def keep_sections(self) -> None:
        """Leave out studies that have neither findings nor an impression."""
        self.count("  with findings", lambda study: study.findings)
        self.count("  with impression", lambda study: study.impression)
        either = "with findings or impression"
        self.keep(either, lambda one: one.study.findings or one.study.impression)

    def find(self, root: Path, layouts: Iterable[Sequence[str]]) -> None:
        """Look for files under one set of names after the other; the first that any has counts."""
        for names in layouts:
            states = list(zip(self.wanted, file_states(root, names), strict=True))
            self.found = [
                (one, replace(state, member=one.member) if one.member else state)
                for one, state in states
                if state and state.size
            ]
            self.lost = [(one, lacking(state)) for one, state in states if lacking(state)]
            if self.found:
                break
        if self.is_dicom:
            import_pydicom()

    @property
    def is_dicom(self) -> bool:
        """Whether the files that were found are DICOM."""
        return bool(self.found) and is_dicom(self.found[0][1].name)

    def keep_found(
        self, reports: Sequence[str], expected: int, allowed: float, *,
        kind: str, head: str, remedy: str,
    ) -> tuple[tuple[str, ...], dict[str, int | str]]:  # fmt: skip
        """Leave out what has no file, if no more than allowed is missing of images and reports.

        Args:
            reports: What to call those that are missing, of so many that are ``expected``.
            expected: How many reports there should be.
            allowed: The share (below 1) or number that may be missing of either.
            kind: Kind of corpus.
            head: Of what something is missing.
            remedy: Where files are looked for, or what their names in a list are.

        Returns:
            What to say and what to record of it.

        Raises:
            OcclusionError: More is missing (listed).
        """
        lost = sorted(self.lost, key=lambda pair: number_of(pair[0]))
        images = [one.has(problem) for one, problem in lost]
        totals = (len(images), len(self.wanted)), (len(reports), expected)
        counts = [f"{lost:,} of {total:,}" for lost, total in totals]
        both = "{} image files and {} reports are missing".format(*counts)
        if not all(forgives(allowed, *counted) for counted in totals):
            lists = [f"{name}: its report does not exist" for name in reports], images
            raise OcclusionError(
                f"{head}{both}:\n" + "\n".join(listed(lines) for lines in lists if lines),
                remedy=f"finish the download, or say how many may be missing: {kind}:ROOT?missing="
                f"{max(len(images), len(reports))} (or a share below 1); {remedy}",
            )
        self.wanted = [one for one, _ in self.found]
        self.count("with an image file")
        notes = (f"a partial download: {both}",) if images or reports else ()
        return notes, {"missing_images": len(images), "missing_reports": len(reports)}


def file_radiographs(
    root: Path,
    found: Found,
    asked: Request,
    max_pixels: int,
    refuse: Callable[[Sequence[tuple[int, str]]], None] | None = None,
) -> Grouped:
    """Studies, and radiographs grouped by study, of files that can be read.

    ``refuse`` takes the positions of those that cannot, with what is wrong; else they are listed.
    """
    digests, unreadable = content_digests(root, [file for _, file in found], asked)
    if refuse:
        refuse(unreadable)
    refuse_listed(
        f"{root}: {len(unreadable)} image files cannot be read",
        [found[at][0].has(problem) for at, problem in unreadable],
        "see to it that you may read them",
    )
    opens = [
        partial(open_radiograph, root, file.name, one.where, max_pixels, file.member)
        for one, file in found
    ]
    return grouped([one for one, _ in found], digests, opens)


def grouped(
    wanted: Sequence[Wanted], contents: Sequence[str], opens: Sequence[Callable[[], Image.Image]]
) -> Grouped:
    """Studies as they first occur, and their radiographs, in the order of the studies."""
    position = {study: at for at, study in enumerate(dict.fromkeys(one.study for one in wanted))}
    radiographs = [
        Radiograph(
            one.key, position[one.study], one.view, content, one.where, open_it, one.attributes
        )
        for one, content, open_it in zip(wanted, contents, opens, strict=True)
    ]
    # The sort is stable: within a study the order stays.
    return tuple(position), tuple(sorted(radiographs, key=lambda radiograph: radiograph.study))


def open_radiograph(
    root: Path, name: str, where: str, max_pixels: int = LARGEST, member: Member | None = None
) -> Image.Image:
    """Decode one radiograph of a corpus: a PIL image of mode ``L`` or ``RGB`` in its own size.

    The root is apart from the name because many share it; the name is an identifier and is not
    told: messages say where it is.

    Raises:
        ImageFault: As the decoders', with what it is called.
        OcclusionError: A DICOM file, and pydicom is not installed.
    """
    try:
        if member is not None:
            return open_image(_payload(root / name, member), max_pixels=max_pixels)
        decode = open_dicom if is_dicom(name) else open_image
        return decode(root / name, max_pixels=max_pixels)
    except ImageFault as fault:
        raise ImageFault(
            f"{where}: {fault.reason}", remedy=fault.remedy, reason=fault.reason
        ) from None


def _payload(path: Path, member: Member) -> bytes:
    try:
        return read_member(path, member)
    except OSError as fault:
        raise ImageFault(f"cannot be read ({fault.strerror})", remedy=AGAIN) from None
