"""Where the authors of each family publish their checkpoints: what ``published.toml`` says."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files

from pytest_occlusion.errors import OcclusionError


@dataclass(frozen=True)
class Published:
    """One published file.

    Attributes:
        name: ``family:variant``, as ``fetch`` takes it.
        url: Its authors' own location.
        licence: What its authors say, shown before anything is downloaded.
        sha256: The checksum that its authors publish; empty when they publish none.
        how: ``"direct"``, or ``"by hand"`` when the location is a page with a button.
    """

    name: str
    url: str
    licence: str
    sha256: str = ""
    how: str = "direct"

    @property
    def family(self) -> str:
        """The family that loads it."""
        return self.name.partition(":")[0]

    @property
    def file(self) -> str:
        """Its name, also in the user's cache."""
        return self.url.rpartition("/")[2]


def _published() -> Iterator[Published]:
    table = files("pytest_occlusion.encoders").joinpath("published.toml").read_text("utf-8")
    for family, known in tomllib.loads(table).items():
        for variant, path in known["files"].items():
            folder = path.rpartition("/")[0]
            yield Published(
                name=f"{family}:{variant}",
                url=known["base"] + path,
                licence=known["licence"],
                sha256=folder if len(folder) == 64 else "",
                how=known.get("how", "direct"),
            )


PUBLISHED = tuple(_published())
"""Every file that ``fetch`` knows; the first of a family is what the family's bare name means."""


def find_published(name: str) -> Published:
    """Look up ``family`` or ``family:variant``.

    Raises:
        OcclusionError: Nothing of that name is known; lists what is.
    """
    asked = name.strip().lower().replace("_", "-")
    for entry in PUBLISHED:
        if asked in (entry.name.replace("_", "-"), entry.family):
            return entry
    raise OcclusionError(
        f"no published checkpoint is known as {name!r}",
        remedy=f"use one of {', '.join(entry.name for entry in PUBLISHED)}.",
    )
