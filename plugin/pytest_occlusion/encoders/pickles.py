"""Pickles as plain data: nothing that they name is imported, nothing that they say is run.

Trainers save metrics, settings and folders beside the weights: numpy numbers, paths, omegaconf or
``argparse`` objects. torch's weights-only reader refuses such classes; here each is an empty bag
instead, and a pickle that names anything else is still refused.

``torch.jit.load`` compiles the code of a TorchScript archive and runs its ``__setstate__`` methods.
The tensors alone need neither: the archive is a zip whose ``data.pkl`` is a tree of attribute
tables, with each storage in an uncompressed entry of its own that can be mapped from the file.
"""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_occlusion.encoders.files import damaged
from pytest_occlusion.errors import OcclusionError

if TYPE_CHECKING:
    import torch


class Bag:
    """Takes the arguments and the state of any class, and does nothing with them."""

    state: Any = None

    def __new__(cls, *_: Any) -> Bag:
        """Whatever the arguments."""
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None:
        """Keep what there is, to be looked at."""
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
    # Keys, not objects, of what Lightning before 1.5 kept of its callbacks.
    "pytorch_lightning.callbacks.model_checkpoint": "ModelCheckpoint",
    "pytorch_lightning.callbacks.early_stopping": "EarlyStopping",
    "pytorch_lightning.callbacks.lr_monitor": "LearningRateMonitor",
    "pytorch_lightning.callbacks.timer": "Timer",
    "pytorch_lightning.callbacks.finetuning": "BackboneFinetuning",
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
    known: list[Any] = [(Bag, name) for name in bags]
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
    if isinstance(value, Bag):
        bag = value.state if isinstance(value.state, dict) else {}
        return plain(bag.get("_content", bag.get("_val")), depth + 1)
    if isinstance(value, dict):
        return {str(key): plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, depth + 1) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else None


_STORAGES = {
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "DoubleStorage": "float64",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}
"""Names that a torch pickle gives to storages, with the dtype of their elements."""


def read_torchscript(path: Path) -> dict[str, torch.Tensor]:
    """All tensors of a TorchScript archive, by their dotted attribute path.

    They map the file. Beside parameters and buffers there can be plain tensor attributes, which the
    archive's pickle does not tell apart.

    Raises:
        OcclusionError: The pickle names anything but modules and tensors, or is damaged.
    """
    tensors: dict[str, torch.Tensor] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            entry = next(n for n in archive.namelist() if n.endswith("/data.pkl"))
            storage = _mapped(path, archive, entry.removesuffix(".pkl"))
            with archive.open(entry) as stream:
                _collect(_Reader(stream, storage, path).load(), "", tensors)
    except OcclusionError:
        raise
    except Exception as fault:  # a damaged pickle can raise anything
        raise damaged(path, "this TorchScript archive is damaged", fault) from fault
    return tensors


def _mapped(
    path: Path, archive: zipfile.ZipFile, folder: str
) -> Callable[[str], torch.UntypedStorage]:
    """What gives the storages of the archive, each a view of one mapping of the file."""
    import torch

    # shared=False maps copy-on-write: nothing here can write to the user's file.
    whole = torch.UntypedStorage.from_file(str(path), False, path.stat().st_size)

    def storage(key: str) -> torch.UntypedStorage:
        info = archive.getinfo(f"{folder}/{key}")
        if info.compress_type != zipfile.ZIP_STORED:
            raise OcclusionError(
                f"{path}: entry {info.filename} is compressed",
                remedy="write the archive with torch.jit.save; do not re-zip it.",
            )
        with path.open("rb") as stream:
            stream.seek(info.header_offset)
            # The local header's name and padding may differ in length from the directory's.
            name, extra = struct.unpack("<26xHH", stream.read(30))
        start = info.header_offset + 30 + name + extra
        part: torch.UntypedStorage = whole[start : start + info.file_size]
        return part

    return storage


class _Reader(pickle.Unpickler):  # the class is what makes it safe: see find_class
    """An unpickler that can build modules, lists of numbers and tensors, and call nothing else."""

    def __init__(self, stream: Any, storage: Callable[[str], Any], path: Path) -> None:
        super().__init__(stream)
        self._storage, self._path = storage, path

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("__torch__"):
            return Bag
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        lists = ("intlist", "doublelist", "boollist", "tensorlist")
        known: dict[str, Any] = {f"torch.jit._pickle.build_{kind}": list for kind in lists} | {
            "torch._utils._rebuild_tensor_v2": _tensor,
            "collections.OrderedDict": OrderedDict,
            "torch.jit._pickle.restore_type_tag": lambda value, _: value,
            "torch.device": str,
        }
        if f"{module}.{name}" not in known:
            raise OcclusionError(
                f"{self._path}: the archive's data.pkl names {module}.{name}, which is neither a "
                "module nor a tensor; it was not imported",
                remedy="do not trust this file; get it again from its authors.",
            )
        return known[f"{module}.{name}"]

    def persistent_load(self, pid: Any) -> Any:
        _, dtype, key, _, _ = pid
        return dtype, self._storage(key)


def _tensor(
    storage: tuple[str, torch.UntypedStorage], offset: int, size: Any, stride: Any, *_: Any
) -> torch.Tensor:
    import torch

    dtype: torch.dtype = getattr(torch, storage[0])
    reach = offset + 1 + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    if 0 in size:
        reach = 0
    if min((offset, *size, *stride)) < 0 or reach * dtype.itemsize > len(storage[1]):
        raise ValueError("a tensor reaches past the end of its storage")
    empty = torch.empty(0, dtype=dtype)
    view: torch.Tensor = empty.set_(storage[1], offset, tuple(size), tuple(stride))
    return view


def _collect(node: Any, name: str, tensors: dict[str, torch.Tensor]) -> None:
    import torch

    if isinstance(node, torch.Tensor):
        tensors[name] = node
    elif isinstance(node, Bag) and isinstance(node.state, dict):
        for key, value in node.state.items():
            _collect(value, f"{name}.{key}" if name else str(key), tensors)
