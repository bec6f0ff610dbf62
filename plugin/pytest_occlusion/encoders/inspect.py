"""Say what a checkpoint file holds, without needing to know its family beforehand."""

from __future__ import annotations

import contextlib
import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_occlusion.encoders import get_family, load_encoder
from pytest_occlusion.encoders.checkpoints import Checkpoint, read_checkpoint
from pytest_occlusion.encoders.files import ALL, weight_candidates
from pytest_occlusion.encoders.recognise import by_file, by_shapes
from pytest_occlusion.encoders.register import Known
from pytest_occlusion.encoders.signatures import TORCHSCRIPT, identify
from pytest_occlusion.encoders.weights import Plan, misfits, not_numbers, weights_digest
from pytest_occlusion.errors import SHOWN, OcclusionError, listed, printable


@dataclass(frozen=True)
class Inspection:
    """What was found.

    Attributes:
        read: The checkpoint.
        what: The state_dict in words.
        family: The family that loads it; empty when none is known.
        plan: How it fills that family's model; None where shapes do not tell.
        digest: The weights digest, as encoders, snapshots and reports show it.
        faults: What keeps it from loading, one line each.
        known: Entries of the register that it can be.
        told_by: What says so.
    """

    read: Checkpoint
    what: str
    family: str
    plan: Plan | None
    digest: str
    faults: tuple[str, ...]
    known: tuple[Known, ...] = ()
    told_by: str = ""

    @property
    def loads(self) -> bool:
        """Whether its family would load it as it is."""
        return bool(self.family) and not self.faults

    @property
    def ambiguous(self) -> bool:
        """Whether it can be CXR-RePaiR's too, whose files are CLIP's."""
        certain = len({entry.family for entry in self.known}) == 1
        return self.family == "clip" and self.read.container != TORCHSCRIPT and not certain


def inspect_checkpoint(path: str | Path, weights: str = "") -> Inspection:
    """Read a checkpoint as its family's loader does, and compare it with what that expects.

    Raises:
        OcclusionError: The file cannot be read at all.
    """
    read = _read(Path(path).expanduser(), weights)
    what, _ = identify(read.state)
    family, known, told_by = _family(read)
    plan, faults = _planned(read, family, weights)
    if not known and plan:
        known, told_by = by_shapes(read, family, plan.variant)
    state = plan.state if plan else read.state
    faults += not_numbers(state)
    return Inspection(
        read, what, family, plan, weights_digest(state), tuple(faults), known, told_by
    )


def family_of(path: str | Path, weights: str = "") -> str:
    """The family that loads a checkpoint, as :func:`inspect_checkpoint` says it; or empty."""
    return _family(_read(Path(path).expanduser(), weights))[0]


def _family(read: Checkpoint) -> tuple[str, tuple[Known, ...], str]:
    """A checkpoint's family, and the known models that checksum or name tell, and which did."""
    family = identify(read.state)[1]
    if not family and read.path.is_dir():
        family = "open-clip" if read.config else "hf" * (read.path / "config.json").is_file()
    known, told_by = by_file(read, family)
    if len(own := {entry.family for entry in known}) == 1:
        (family,) = own
    return family, known, told_by


def _read(path: Path, weights: str) -> Checkpoint:
    """A checkpoint; all files of a directory together where a family's are published so."""
    if path.is_dir() and not weights and len(weight_candidates(path)) > 1:
        with contextlib.suppress(OcclusionError):
            whole = read_checkpoint(path, ALL)
            family = identify(whole.state)[1]
            if family and get_family(family).options.get("weights") == ALL:
                return whole
    return read_checkpoint(path, weights)


def _planned(read: Checkpoint, family: str, weights: str) -> tuple[Plan | None, list[str]]:
    """How the tensors fill their family's model, and what is wrong with that."""
    if not family:
        return None, []
    known = get_family(family)
    try:
        if known.plan:
            plan: Plan = known.plan(read, known.options)
            return plan, misfits(plan)
        # Told by its configuration, which only its library can read.
        load_encoder(family, checkpoint=read.path, device="cpu", weights=weights)
    except OcclusionError as fault:
        return None, [fault.problem.removeprefix(f"{read.weights}: ")]
    return None, []


def describe(found: Inspection) -> str:
    """An inspection as lines for a terminal, at most 100 columns apart from paths."""
    read, plan = found.read, found.plan
    family = found.family or "none that is known"
    if found.ambiguous:
        family = "clip, or cxr-repair (the file does not tell which: same format)"
    tensors = (plan.state if plan else read.state).values()
    parameters = sum(tensor.numel() for tensor in tensors if tensor.is_floating_point())
    kinds = Counter(str(tensor.dtype).removeprefix("torch.") for tensor in tensors)
    dtypes = ", ".join(f"{count} {name}" for name, count in sorted(kinds.items()))
    ignored = plan.ignored if plan else ()
    more = f" and {len(ignored) - SHOWN} more" if len(ignored) > SHOWN else ""
    told: Mapping[str, Any] = getattr(plan, "assumed", {})
    assumed = ", ".join(f"{name} = {value}" for name, value in told.items())
    lines = {
        "file": read.weights,
        "stored as": f"{read.container}, {read.size:,} bytes",
        "names": read.prefix and f"without {read.prefix!r}, with which all of them began",
        "holds": found.what,
        "family": family,
        "known as": _known_as(found),
        "beware": _wrapped(entry.mistake for entry in found.known),
        "variant": plan.variant if plan else "told by its configuration",
        "assumed": assumed and f"{assumed} (shapes do not tell)",
        "parameters": f"{parameters:,} in {len(tensors)} tensors ({dtypes})",
        "digest": found.digest,
        "ignored": ", ".join(ignored[:SHOWN]) + more,
        "faults": found.faults and f"{len(found.faults)}\n{listed(found.faults)}",
        "verdict": "loads as it is" if found.loads else "does not load as it is",
    }
    return "\n".join(printable(f"{name:<12}{said}") for name, said in lines.items() if said)


def _known_as(found: Inspection) -> str:
    names = ", ".join(entry.name for entry in found.known)
    one_of = "one of " if len(found.known) > 1 else ""
    return names and f"{one_of}{names} ({found.told_by}); `models NAME` tells more"


def _wrapped(texts: Iterable[str]) -> str:
    """Each text once, in the column beside its heading."""
    parts = (textwrap.fill(text, 88) for text in dict.fromkeys(texts) if text)
    return "\n".join(parts).replace("\n", f"\n{'':<12}")
