"""Radiographs that decoding processes are sent in tests; nothing heavy is imported for them."""

from __future__ import annotations

import os
import signal
import sys
import time
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pytest_occlusion.corpora.images import ImageFault

SIZE = 4


def grey(level: int) -> Image.Image:
    """One grey level."""
    return Image.new("L", (SIZE, SIZE), level)


def shown(image: Image.Image) -> NDArray[np.uint8]:
    """The canvas of an image, ``[1, 4, 4]``."""
    return np.asarray(image)[None]


def faulty() -> Image.Image:
    """A file that is damaged."""
    raise ImageFault("/secret/name.png: damaged", reason="damaged")


def killed() -> Image.Image:
    """A decoder that a bad file brings down."""
    os.kill(os.getpid(), signal.SIGSEGV)
    raise AssertionError


def killed_elsewhere(own: int) -> Image.Image:
    """The same, but process ``own`` is spared: that of the tests, which has to tell of it."""
    assert os.getpid() != own, "decoded in the process of the run"
    return killed()


def killed_once(mark: str, level: int) -> Image.Image:
    """A process that something else ends the first time."""
    if not Path(mark).exists():
        Path(mark).touch()
        killed()
    return grey(level)


def enlarged(side: int, ballast: bytes, image: Image.Image) -> NDArray[np.uint8]:
    """A large canvas, drawn by a recipe that takes room of its own."""
    assert ballast
    return np.asarray(image.resize((side, side)))[None]


def exits() -> Image.Image:
    """A decoder that ends the process it runs in."""
    os._exit(3)


def wrong() -> Image.Image:
    """A corpus with a bug."""
    raise KeyError("a bug")


class Picky(Exception):
    """An exception that pickle cannot make from what it is made of."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} and {two}")


def picky() -> Image.Image:
    """A corpus with a bug that tells of it in its own way."""
    raise Picky("one", "two")


def chatty() -> Image.Image:
    """A decoder that prints, through Python and past it."""
    print("name of a file")  # noqa: T201
    os.write(1, b"name of a file")
    sys.stderr.write("name of a file")
    return grey(7)


@lru_cache(maxsize=64)
def _process(number: int) -> int:
    return os.getpid() + 0 * number


def whose(number: int) -> Image.Image:
    """The process that first drew this number, as two grey levels."""
    image = grey(0)
    identity = _process(number)
    image.putpixel((0, 0), identity % 256)
    image.putpixel((1, 0), identity // 256 % 256)
    return image


def alarming() -> Image.Image:
    """One that is being decoded when the run is interrupted."""
    os.kill(os.getppid(), signal.SIGALRM)
    time.sleep(0.5)
    return grey(0)


def noted(log: str, level: int) -> Image.Image:
    """One grey level, and a byte in a file for every time that it is asked for."""
    with Path(log).open("a") as file:
        file.write("x")
    return grey(level)


def slow(log: str, level: int) -> Image.Image:
    """The same, a hundredth of a second later."""
    time.sleep(0.01)
    return noted(log, level)


def vast(log: str, level: int) -> Image.Image:
    """The same, of a size that few are kept of."""
    noted(log, level)
    return Image.new("L", (8192, 4096))


def without_torch() -> Image.Image:
    """One grey level, unless the process holds more than it needs."""
    assert not {"torch", "transformers", "pytest"} & set(sys.modules)
    return grey(0)


def fatal(log: str) -> Image.Image:
    """The same, and the decoder comes down."""
    noted(log, 0)
    return killed()
