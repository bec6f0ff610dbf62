"""Stand-ins for the omegaconf objects in CXR-CLIP's files, so that they load as plain data.

Upstream's trainer saves its configuration with lists left as ``ListConfig``, each of which drags
its parents along. torch's weights-only reader refuses such classes, and reading them without it
would need omegaconf and would run what the pickle says. Here each class is an empty bag instead.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any


class _Bag:
    """Takes the state of any class and does nothing with it."""

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _ListConfig(_Bag):
    pass


class _DictConfig(_Bag):
    pass


class _Node(_Bag):
    pass


class _Metadata(_Bag):
    pass


class _Any(_Bag):
    pass


def _plain_dict(*_: Any) -> dict[Any, Any]:
    """In place of ``collections.defaultdict``, whose factory would be called later."""
    return {}


_STAND_INS: list[Any] = [
    (_ListConfig, "omegaconf.listconfig.ListConfig"),
    (_DictConfig, "omegaconf.dictconfig.DictConfig"),
    (_Node, "omegaconf.nodes.AnyNode"),
    (_Node, "omegaconf.nodes.ValueNode"),
    (_Node, "omegaconf.nodes.StringNode"),
    (_Node, "omegaconf.nodes.IntegerNode"),
    (_Node, "omegaconf.nodes.FloatNode"),
    (_Node, "omegaconf.nodes.BooleanNode"),
    (_Metadata, "omegaconf.base.ContainerMetadata"),
    (_Metadata, "omegaconf.base.Metadata"),
    (_Any, "typing.Any"),
    (_plain_dict, "collections.defaultdict"),
    # Only named as element types; calling them is as harmless as it looks.
    (int, "builtins.int"),
    (dict, "builtins.dict"),
    (list, "builtins.list"),
]


def stand_ins() -> AbstractContextManager[Any]:
    """While this is entered, ``torch.load(weights_only=True)`` reads omegaconf as empty bags."""
    import torch

    context: AbstractContextManager[Any] = torch.serialization.safe_globals(_STAND_INS)
    return context


DEEPEST = 50
"""Nesting that a real configuration does not reach; a hostile one may be endless."""


def plain(value: Any, depth: int = 0) -> Any:
    """Unpack bags: dictionaries, lists and scalars all the way down; anything else is None."""
    if depth > DEEPEST:
        return None
    if isinstance(value, _Bag):
        state = getattr(value, "state", None)
        bag = state if isinstance(state, dict) else {}
        return plain(bag.get("_content", bag.get("_val")), depth + 1)
    if isinstance(value, dict):
        return {str(key): plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, depth + 1) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else None
