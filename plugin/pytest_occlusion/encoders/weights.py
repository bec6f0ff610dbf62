"""Tensors on their way into a model: do they fit, are they numbers, which ones are they."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_occlusion.errors import OcclusionError, listed

if TYPE_CHECKING:
    from pathlib import Path

    import torch


def weights_digest(state: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 over the sorted names, shapes, dtypes and little-endian bytes of the tensors.

    The same weights in another container, order or memory layout give the same digest. Tensors
    are hashed one at a time and without a copy when they are contiguous.

    Args:
        state: Name -> tensor on the CPU.

    Returns:
        64 hexadecimal digits.
    """
    import torch

    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach()
        kind = str(tensor.dtype).removeprefix("torch.")
        # The header gives the length of the bytes that follow, so no two states share a stream.
        digest.update(json.dumps([name, kind, list(tensor.shape)]).encode() + b"\n")
        raw = tensor.contiguous().reshape(-1).view(torch.uint8).numpy()
        if sys.byteorder == "big":
            raw = raw.reshape(-1, tensor.element_size())[:, ::-1].copy()
        digest.update(raw.data)
    return digest.hexdigest()


@dataclass(frozen=True)
class Plan:
    """How a state_dict fills a model of its family.

    Attributes:
        what: The model in words, e.g. ``"MedCLIP Swin"``.
        variant: Its architecture, short: ``"ViT-B/32"``, ``"Swin-T"``, ``"ResNet50"``.
        state: The tensors that are loaded, by their published names.
        wanted: Name -> shape of every tensor that the model has.
        ignored: Names of the file's other entries, which carry no weights.
        sizes: The family's own record of sizes.
    """

    what: str
    variant: str
    state: Mapping[str, torch.Tensor]
    wanted: Mapping[str, tuple[int, ...]]
    ignored: tuple[str, ...]
    sizes: Any


def misfits(plan: Plan) -> list[str]:
    """One line for each tensor that is missing, unexpected or misshapen."""
    state, wanted = plan.state, plan.wanted
    faults = [f"{n}: missing, shape {_shape(s)}" for n, s in wanted.items() if n not in state]
    faults += [
        f"{n}: unexpected, shape {_shape(t.shape)}" for n, t in state.items() if n not in wanted
    ]
    faults += [
        f"{name}: shape {_shape(tensor.shape)}, expected {_shape(wanted[name])}"
        for name, tensor in state.items()
        if name in wanted and tuple(tensor.shape) != tuple(wanted[name])
    ]
    return faults


def not_numbers(state: Mapping[str, torch.Tensor]) -> list[str]:
    """One line for each tensor with NaN or infinite values."""
    import torch

    faults = []
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            count = int((~torch.isfinite(tensor)).sum())
            faults.append(f"{name}: {count} of {tensor.numel()} values are NaN or infinite")
    return faults


def check_plan(plan: Plan, path: Path) -> None:
    """Refuse weights that do not fill their model exactly, or that are not finite.

    Raises:
        OcclusionError: Lists up to 20 missing, unexpected, misshapen or non-finite tensors.
    """
    if faults := misfits(plan):
        raise OcclusionError(
            f"{path}: {len(faults)} of its tensors do not fit {plan.what} {plan.variant}:\n"
            f"{listed(faults)}",
            remedy="give the file as its authors publish it, and the family that it belongs to; "
            "`python -m pytest_occlusion inspect FILE` shows what it holds.",
        )
    if faults := not_numbers(plan.state):
        raise OcclusionError(
            f"{path}: {len(faults)} tensors hold values that are not numbers:\n{listed(faults)}",
            remedy="the training run diverged or the file is damaged; use an earlier checkpoint.",
        )


def _shape(size: tuple[int, ...]) -> str:
    return "[" + ", ".join(map(str, size)) + "]"


def place(state: Mapping[str, torch.Tensor], device: torch.device) -> dict[str, torch.Tensor]:
    """Copy checked weights to ``device``, once each; floating ones become float32.

    The file's mapping is let go, so that a later change of the file cannot reach a loaded model.
    """
    import torch

    return {
        name: tensor.detach().to(
            device, torch.float32 if tensor.is_floating_point() else None, copy=True
        )
        for name, tensor in state.items()
    }


def grey_stem(state: Mapping[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    """The same weights for pictures of one grey channel instead of three equal ones.

    Convolving three equal channels is convolving one with the sum of their kernels, in a third of
    the multiplications: the patches of a ViT-B/32 take a quarter of the time. Features move by some
    1e-7 of their size.

    Args:
        state: Name -> tensor.
        name: Of the first convolution's kernel, ``[O, 3, H, W]``; ``[O, 1, H, W]`` in the result.
    """
    kernel = state[name]
    summed = kernel.cpu().double().sum(1, keepdim=True).float()  # not every device has doubles
    return {**state, name: summed.to(kernel.device)}


def fill(
    model: torch.nn.Module, state: Mapping[str, torch.Tensor], device: torch.device
) -> torch.nn.Module:
    """Put checked weights into a model that was built on the meta device.

    Args:
        model: Built under ``torch.device("meta")``; every tensor in ``state_dict()`` is replaced.
            Non-persistent buffers stay on meta and are the caller's to rebuild.
        state: Exactly the model's names and shapes.
        device: Where the model is to run.

    Returns:
        The same model in evaluation mode, without gradients.
    """
    model.load_state_dict(place(state, device), strict=True, assign=True)
    return model.eval().requires_grad_(False)


def shape_of(
    state: Mapping[str, torch.Tensor], name: str, axes: int, path: Path
) -> tuple[int, ...]:
    """Shape of a tensor that decides a size of the architecture.

    Raises:
        OcclusionError: It is missing or has another number of axes.
    """
    if name in state and state[name].dim() == axes:
        return tuple(state[name].shape)
    found = f"has {state[name].dim()} axes, not {axes}" if name in state else "is missing"
    raise OcclusionError(
        f"{path}: {name} {found}, so the architecture cannot be told",
        remedy="give the state_dict as its authors publish it.",
    )


def block_count(state: Mapping[str, torch.Tensor], prefix: str) -> int:
    """How many different numbers follow ``prefix`` in the names."""
    found = {name[len(prefix) :].partition(".")[0] for name in state if name.startswith(prefix)}
    return sum(number.isdigit() for number in found)


def under(state: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """The tensors under a prefix, by the rest of their names."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in state.items()
        if name.startswith(prefix)
    }
