"""What collections call views, splits and nothing at all, in the few words used here."""

from __future__ import annotations

import re
from functools import lru_cache

from pytest_occlusion.errors import printable

FRONTAL = ("PA", "AP", "frontal")
"""What ``views=frontal`` keeps: CXR-CLIP's Open-i evaluation takes all frontal radiographs."""

_VIEWS = {
    "PA": ("pa", "posteroanterior", "posterioranterior"),
    # AP (KUB) is in CheXficient's frontal set of ReXGradient; AP_horizontal is PadChest's.
    "AP": ("ap", "anteroposterior", "anteriorposterior", "apkub", "aphorizontal", "portable"),
    "frontal": ("frontal",),
    "lateral": ("lateral", "ll", "lat", "l", "leftlateral", "rightlateral", "xtablelateral"),
}
_VIEW = {word: view for view, words in _VIEWS.items() for word in words}

_PLACED = re.compile(r"\b(supine|erect|upright|portable|sitting|semi)\b", re.IGNORECASE)

_SPLITS = {
    "train": ("train", "training"),
    "validate": ("validate", "val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
_SPLIT = {word: split for split, words in _SPLITS.items() for word in words}

MISSING = frozenset(("nan", "-nan", "none", "null", "n/a", "na", "<na>", "#n/a", "nat"))
"""What programs write where there is nothing, in any case."""


def spelling(name: str) -> str:
    """A name without case, blanks and marks: ``Study ID``, ``study_id`` and ``StudyId`` alike."""
    return re.sub(r"[\W_]+", "", name).casefold()


@lru_cache(maxsize=1024)
def view_of(word: str) -> str:
    """``PA``, ``AP``, ``frontal``, ``lateral``, or nothing for a view that is none of these.

    How the patient was placed does not matter: ``AP Supine`` is ``AP``.
    """
    return _VIEW.get(spelling(word), "") or _VIEW.get(
        spelling(_PLACED.sub("", word.replace("_", " "))), ""
    )


@lru_cache(maxsize=1024)
def split_of(word: str) -> str:
    """``train``, ``validate``, ``test``, or another name without case and blanks around it."""
    return _SPLIT.get(spelling(word), word.strip().casefold())


def one_line(text: str) -> str:
    """A value as messages and tables may show it: no line breaks, nothing a terminal would obey."""
    return " ".join(printable(text).split())


def text_of(cell: object) -> str:
    """A cell without white space around it, empty where the value is missing."""
    text = str(cell).strip()
    return "" if len(text) < 5 and text.casefold() in MISSING else text
