"""Coverage-guided fuzzing of whatever reads a stranger's file; needs ``pip install atheris``.

``python -m tests.corpora.fuzz TARGET [SEEDS] [-max_total_time=600 ...]`` with a target of
:data:`TARGETS`; what follows is libFuzzer's. It stops at the first exception that is not ours, and
writes the input that brought it about; such an input belongs into the tests.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]

TABLES = ["pydicom.datadict", "pydicom._dicom_dict", "pydicom._private_dict"]
"""Large and without branches: instrumenting them takes minutes."""

with atheris.instrument_imports(include=["pytest_occlusion", "PIL", "pydicom"], exclude=TABLES):
    from PIL import Image

    from pytest_occlusion.corpora import load_corpus
    from pytest_occlusion.corpora.dicom import import_pydicom, open_dicom
    from pytest_occlusion.corpora.images import ImageFault, open_image
    from pytest_occlusion.corpora.open_i import parse_report
    from pytest_occlusion.corpora.sections import parse_sections
    from pytest_occlusion.errors import OcclusionError

    Image.init()
    import_pydicom()

MAX_PIXELS = 200_000
"""Small pictures: the time should go into decoders, not into pixels."""

FOLDER = Path(tempfile.mkdtemp())


def _written(data: bytes, name: str) -> Path:
    path = FOLDER / name
    path.write_bytes(data)
    return path


def sections(data: bytes) -> None:
    """Report sections: every piece is a part of the text."""
    text = data.decode("utf-8", "surrogateescape")
    found = parse_sections(text)
    assert all(p in text for p in (*found.findings, *found.impression, *found.narrative))


def xml(data: bytes) -> None:
    """Open-i's reports."""
    with contextlib.suppress(ValueError):
        parse_report(data)


def manifest(data: bytes) -> None:
    """Tables: the first byte decides between CSV and JSON lines."""
    path = _written(data[1:], "m.jsonl" if data[:1] == b"{" else "m.csv")
    with contextlib.suppress(OcclusionError):
        assert len(load_corpus(f"manifest:{path}").fingerprint) == 64


def image(data: bytes) -> None:
    """Pictures of any format."""
    with contextlib.suppress(ImageFault):
        assert open_image(_written(data, "x"), max_pixels=MAX_PIXELS).mode in ("L", "RGB")


def dicom(data: bytes) -> None:
    """DICOM files."""
    with contextlib.suppress(ImageFault):
        assert open_dicom(_written(data, "x.dcm"), max_pixels=MAX_PIXELS).mode in ("L", "RGB")


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target for target in (sections, xml, manifest, image, dicom)
}

if __name__ == "__main__":
    chosen = TARGETS[sys.argv.pop(1)]
    Image.new("L", (4, 4)).save(FOLDER / "a.png")
    warnings.simplefilter("ignore")
    atheris.Setup(sys.argv, chosen)
    atheris.Fuzz()
