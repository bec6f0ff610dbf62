"""The one exception that users of this package are meant to read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

SHOWN = 20
"""How many faults of one kind a message lists before it says how many more there are."""


class OcclusionError(Exception):
    """A fault in what the user gave: a file, an option, a table, a checkpoint.

    The message always says what is wrong, why, and what to do about it. Anything else that is
    raised by this package is a bug in this package.
    """

    def __init__(self, problem: str, *, remedy: str = "") -> None:
        """Join the two halves of the message.

        Args:
            problem: What is wrong and where; names the file, the option or the row.
            remedy: What the user can do, as one or two sentences.
        """
        self.problem = printable(problem)
        self.remedy = printable(remedy)
        super().__init__(f"{self.problem}\n  -> {self.remedy}" if remedy else self.problem)

    def __reduce__(self) -> tuple[object, ...]:
        """Survive pickling (worker processes), which keyword-only arguments would break."""
        return _rebuild, (type(self), self.problem, self.remedy)


def printable(text: str) -> str:
    """Escape what a terminal would obey: names out of files may hold anything."""
    kept = (c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)
    return text if text.isprintable() else "".join(kept)


def _rebuild(kind: type[OcclusionError], problem: str, remedy: str) -> OcclusionError:
    return kind(problem, remedy=remedy)


def listed(faults: Sequence[str], *, shown: int = SHOWN) -> str:
    """Format faults of one kind as an indented list, cut after ``shown`` lines."""
    lines = [f"  - {fault}" for fault in faults[:shown]]
    if len(faults) > shown:
        lines.append(f"  ... and {len(faults) - shown} more")
    return "\n".join(lines)


class MissingError(OcclusionError):
    """What is needed is not on this machine: a checkpoint, a corpus, a variable that names one.

    Kept apart because ``--occlusion-allow-missing`` forgives this and nothing else.
    """


class UnacceptedError(AssertionError):
    """A result that its baseline does not allow; the message is meant to be read as it is."""

    def __init__(self, message: str, *, model: str = "", brief: str = "") -> None:
        """Say it.

        Args:
            message: All of it.
            model: Whose result it is; of those with one, a run tells only one per model whole.
            brief: One line that stands for the message where it is not told; not needed for cells,
                which are told in a table.
        """
        self.model, self.brief = model, brief
        super().__init__(message)


def unwritable(root: Path, fault: OSError, *, what: str = "write to") -> OcclusionError:
    """What to say where the folder of a store cannot be written, or read."""
    room = "make room there, " if what == "write to" else ""
    return OcclusionError(
        f"cannot {what} the store {root}: {fault.strerror or fault}",
        remedy=f"{room}choose another folder with --occlusion-store DIR, or use "
        "--occlusion-no-store",
    )
