"""Radiographs whose images are files: looked for, listed, and opened by what kind they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pytest_occlusion.corpora.base import Radiograph, Request, Study
from pytest_occlusion.corpora.contents import content_digests
from pytest_occlusion.corpora.dicom import import_pydicom, open_dicom
from pytest_occlusion.corpora.faults import refuse_listed
from pytest_occlusion.corpora.files import FileState, file_states, lacking
from pytest_occlusion.corpora.images import LARGEST, ImageFault, is_dicom, open_image

if TYPE_CHECKING:
    from PIL import Image


class Wanted(NamedTuple):
    """A radiograph whose file is still to be found; lists call it so, or by where it is."""

    key: str
    study: Study
    view: str
    where: str
    called: str = ""


Found = Sequence[tuple[Wanted, FileState]]


def find_images(
    root: Path, wanted: Sequence[Wanted], layouts: Iterable[Sequence[str]]
) -> tuple[Found, list[str]]:
    """Look for files under one set of names after the other; the first that any file has counts.

    Returns:
        The radiographs that have a file, and what is wrong with the others.
    """
    for names in layouts:
        states = list(zip(wanted, file_states(root, names), strict=True))
        found = [(one, state) for one, state in states if state and state.size]
        if found:
            if is_dicom(found[0][1].name):
                import_pydicom()
            break
    faults = [(one, lacking(state)) for one, state in states]
    return found, [f"{one.called or one.where}: {problem}" for one, problem in faults if problem]


def file_radiographs(
    root: Path,
    found: Found,
    asked: Request,
    max_pixels: int,
    refuse: Callable[[Sequence[tuple[int, str]]], None] | None = None,
) -> tuple[tuple[Study, ...], tuple[Radiograph, ...]]:
    """Studies, and radiographs grouped by study, of files that can be read.

    ``refuse`` takes the positions of those that cannot, with what is wrong; else they are listed.
    """
    digests, unreadable = content_digests(root, [file for _, file in found], asked)
    if refuse:
        refuse(unreadable)
    refuse_listed(
        f"{root}: {len(unreadable)} image files cannot be read",
        [f"{found[at][0].called or found[at][0].where}: {what}" for at, what in unreadable],
        "see to it that you may read them",
    )
    position = {study: at for at, study in enumerate(dict.fromkeys(one.study for one, _ in found))}
    radiographs = [
        Radiograph(
            key=one.key,
            study=position[one.study],
            view=one.view,
            content=digest,
            where=one.where,
            open=partial(open_radiograph, root, file.name, one.where, max_pixels),
        )
        for (one, file), digest in zip(found, digests, strict=True)
    ]
    # The sort is stable: within a study the order stays.
    return tuple(position), tuple(sorted(radiographs, key=lambda radiograph: radiograph.study))


def open_radiograph(root: Path, name: str, where: str, max_pixels: int = LARGEST) -> Image.Image:
    """Decode one radiograph of a corpus: a PIL image of mode ``L`` or ``RGB`` in its own size.

    The root is apart from the name because many share it; the name is an identifier and is not
    told: messages say where it is.

    Raises:
        ImageFault: As the decoders', with what it is called.
        OcclusionError: A DICOM file, and pydicom is not installed.
    """
    decode = open_dicom if is_dicom(name) else open_image
    try:
        return decode(root / name, max_pixels=max_pixels)
    except ImageFault as fault:
        raise ImageFault(
            f"{where}: {fault.reason}", remedy=fault.remedy, reason=fault.reason
        ) from None
