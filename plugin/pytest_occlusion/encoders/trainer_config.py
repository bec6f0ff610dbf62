"""Stand-ins for what trainers save beside the weights, so that it loads as plain data.

Metrics are numpy numbers, settings ``argparse.Namespace`` or omegaconf objects, folders pathlib
paths. torch's weights-only reader refuses such classes, and reading them without it would import
what the pickle names and run what it says. Here each is an empty bag instead; nothing is imported,
and a pickle that names anything else is still refused.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any


class _Bag:
    """Takes the arguments and the state of any class, and does nothing with them."""

    def __new__(cls, *_: Any) -> _Bag:
        return super().__new__(cls)

    def __init__(self, *_: Any) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _PlainDict:
    """In place of dictionaries with a factory or attributes: the items alone."""

    def __new__(cls, *_: Any) -> dict[Any, Any]:  # type: ignore[misc]
        return {}


class _PlainList:
    """In place of ``collections.deque``."""

    def __new__(cls, items: Any = (), *_: Any) -> list[Any]:  # type: ignore[misc]
        return list(items)


NUMBERS = "float16 float32 float64 int8 int16 int32 int64 uint8 bool bool_ str_"
"""numpy's scalar types, which are pickled by name where a type is meant."""

DTYPES = "Float16DType Float32DType Float64DType Int32DType Int64DType UInt8DType BoolDType"
PATHS = "Path PosixPath WindowsPath PurePath PurePosixPath PureWindowsPath"
NODES = "Any Value String Integer Float Boolean Path Enum Bytes"

BAGS = {
    "omegaconf.listconfig": "ListConfig",
    "omegaconf.dictconfig": "DictConfig",
    "omegaconf.nodes": " ".join(f"{kind}Node" for kind in NODES.split()),
    "omegaconf.base": "ContainerMetadata Metadata",
    "typing": "Any Union Optional",
    "argparse": "Namespace",
    "types": "SimpleNamespace",
    "datetime": "datetime date time timedelta timezone",
    "pathlib": PATHS,
    "pathlib._local": PATHS,  # Python 3.13
    "decimal": "Decimal",
    "fractions": "Fraction",
    "uuid": "UUID SafeUUID",
    "numpy": f"dtype ndarray {NUMBERS}",
    "numpy.core.multiarray": "scalar _reconstruct",  # numpy 1
    "numpy._core.multiarray": "scalar _reconstruct",
    "numpy.core.numeric": "_frombuffer",
    "numpy._core.numeric": "_frombuffer",
    "numpy.dtypes": f"{DTYPES} StrDType ObjectDType",
    "torch.torch_version": "TorchVersion",
    "copyreg": "_reconstructor",
    "builtins": "object slice range bytes",
}
"""Module -> names of data in it that are passed over."""

DICTIONARIES = (
    "collections.defaultdict",
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "lightning.fabric.utilities.data.AttributeDict",
)


def stand_ins() -> AbstractContextManager[Any]:
    """While this is entered, ``torch.load(weights_only=True)`` passes over plain data."""
    import torch

    bags = (f"{at}.{name}" for at, names in BAGS.items() for name in names.split())
    known: list[Any] = [(_Bag, name) for name in bags]
    known += [(_PlainDict, name) for name in DICTIONARIES]
    known += [(_PlainList, "collections.deque")]
    # As types they are only named; calling them is as harmless as it looks.
    plain_types = (int, float, complex, bool, str, dict, list, tuple, set, frozenset)
    known += [(kind, f"builtins.{kind.__name__}") for kind in plain_types]
    context: AbstractContextManager[Any] = torch.serialization.safe_globals(known)
    return context


DEEPEST = 50
"""Nesting that a real configuration does not reach; a hostile one may be endless."""


def plain(value: Any, depth: int = 0) -> Any:
    """Unpack bags: dictionaries, lists and scalars all the way down; anything else is None."""
    if depth > DEEPEST:
        return None
    if isinstance(value, _Bag):
        bag = value.state if isinstance(value.state, dict) else {}
        return plain(bag.get("_content", bag.get("_val")), depth + 1)
    if isinstance(value, dict):
        return {str(key): plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, depth + 1) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else None
