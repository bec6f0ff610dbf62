"""Say what a checkpoint file holds, without needing to know its family beforehand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pytest_occlusion.encoders.checkpoints import Checkpoint, read_checkpoint
from pytest_occlusion.encoders.signatures import identify
from pytest_occlusion.encoders.weights import Plan, misfits, not_numbers, weights_digest
from pytest_occlusion.errors import SHOWN, OcclusionError, listed


@dataclass(frozen=True)
class Inspection:
    """What was found.

    Attributes:
        path: The weights file.
        size: Its bytes.
        container: How the tensors are stored.
        what: The state_dict in words.
        family: The family that loads it; empty when none is known.
        variant: Its architecture; empty when it could not be told.
        parameters: Floating-point values that are loaded.
        tensors: Tensors that are loaded.
        dtypes: How many of them are stored in each dtype.
        digest: The weights digest, as encoders, snapshots and reports show it.
        ignored: Entries of the file that carry no weights.
        faults: Missing, unexpected, misshapen and non-finite tensors, one line each.
    """

    path: Path
    size: int
    container: str
    what: str
    family: str
    variant: str
    parameters: int
    tensors: int
    dtypes: dict[str, int]
    digest: str
    ignored: tuple[str, ...]
    faults: tuple[str, ...]

    @property
    def loads(self) -> bool:
        """Whether its family would load it as it is."""
        return bool(self.family) and not self.faults


def inspect_checkpoint(path: str | Path) -> Inspection:
    """Read a checkpoint and compare it with what its family expects.

    Args:
        path: A weights file, or a directory with one.

    Raises:
        OcclusionError: The file cannot be read at all.
    """
    read = read_checkpoint(path)
    what, family = identify(read.state)
    plan, faults = _planned(read, family)
    state = plan.state if plan else read.state
    if plan:
        faults = misfits(plan)
    faults += not_numbers(state)
    floats = [tensor for tensor in state.values() if tensor.is_floating_point()]
    return Inspection(
        path=read.weights,
        size=read.weights.stat().st_size,
        container=read.container,
        what=what,
        family=family,
        variant=plan.variant if plan else "",
        parameters=sum(tensor.numel() for tensor in floats),
        tensors=len(state),
        dtypes=dict(Counter(str(t.dtype).removeprefix("torch.") for t in state.values())),
        digest=weights_digest(state),
        ignored=plan.ignored if plan else (),
        faults=tuple(faults),
    )


def _planned(read: Checkpoint, family: str) -> tuple[Plan | None, list[str]]:
    """The plan of the families whose architecture is told from the tensors."""
    from pytest_occlusion.encoders.clip_model import clip_plan
    from pytest_occlusion.encoders.cxr_clip import cxr_clip_plan
    from pytest_occlusion.encoders.medclip import medclip_plan

    planners: dict[str, Callable[[Checkpoint], Plan]] = {
        "clip": clip_plan,
        "medclip": medclip_plan,
        "cxr-clip": cxr_clip_plan,
    }
    if family not in planners:
        return None, []
    try:
        return planners[family](read), []
    except OcclusionError as fault:
        return None, [fault.problem.removeprefix(f"{read.weights}: ")]


def describe(found: Inspection) -> str:
    """An inspection as lines for a terminal, at most 100 columns apart from paths."""
    family = found.family or "none that is known"
    if found.family == "clip":
        family = "clip, or cxr-repair (the file does not tell which: same format)"
    dtypes = ", ".join(f"{count} {name}" for name, count in sorted(found.dtypes.items()))
    lines = [
        f"file        {found.path}",
        f"stored as   {found.container}, {found.size:,} bytes",
        f"holds       {found.what}",
        f"family      {family}",
        f"variant     {found.variant or 'told by its configuration'}",
        f"parameters  {found.parameters:,} in {found.tensors} tensors ({dtypes})",
        f"digest      {found.digest}",
    ]
    if found.ignored:
        shown = ", ".join(found.ignored[:SHOWN])
        more = f" and {len(found.ignored) - SHOWN} more" if len(found.ignored) > SHOWN else ""
        lines.append(f"ignored     {shown}{more}")
    if found.faults:
        lines.append(f"faults      {len(found.faults)}\n{listed(found.faults)}")
    lines.append(f"verdict     {'loads as it is' if found.loads else 'does not load as it is'}")
    return "\n".join(lines)
