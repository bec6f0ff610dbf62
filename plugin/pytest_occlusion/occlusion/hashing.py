"""Random numbers that depend on keys alone: the same on every device, worker and batch size.

A generator with a state would tie a radiograph's mask to its place in the batch. Here every number
is a hash of (seed, occluder, radiograph key, position), in integer arithmetic that no device
rounds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch

WORD = 0xFFFFFFFF
"""Mask of an unsigned 32-bit word, kept inside an int64."""

# Odd multipliers below 2**31, so that a 32-bit word times one of them never overflows an int64.
_MULTIPLIERS = (0x7FEB352D, 0x31848BAB)


def key_words(keys: Sequence[str], *, occluder: str, seed: int) -> torch.Tensor:
    """Four 32-bit words for each radiograph key: int64 CPU tensor ``[len(keys), 4]``.

    Two occluders, or two seeds of a suite, never share their randomness.
    """
    rows = []
    for key in keys:
        message = f"{seed}\x1f{occluder}\x1f{key}".encode()
        digest = hashlib.blake2b(message, digest_size=16, person=b"occlusion-mask").digest()
        rows.append([int.from_bytes(digest[at : at + 4], "little") for at in (0, 4, 8, 12)])
    return torch.tensor(rows, dtype=torch.int64).reshape(len(keys), 4)


def mix(words: torch.Tensor) -> torch.Tensor:
    """Scramble 32-bit words held in an int64 tensor (xor-shift and multiply, twice)."""
    words = words ^ (words >> 16)
    words = (words * _MULTIPLIERS[0]) & WORD
    words = words ^ (words >> 15)
    words = (words * _MULTIPLIERS[1]) & WORD
    return words ^ (words >> 16)


def position_words(words: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """One 32-bit word, int64 ``[N, P]``, for every canvas's two and every position below 2**32."""
    first = mix(positions[None, :] ^ words[:, :1])
    return mix((first + words[:, 1:]) & WORD)
