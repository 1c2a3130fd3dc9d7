"""Tensors from PyTorch's pickled files (.ckpt, .pth, .pt, .bin) without executing any code in them.

A pickle is a program. This reader lets it call nothing but its own tensor rebuilders: any global outside the table
below raises an error that names it, before the file can do anything. `torch.load` is not used, because its
`weights_only` was found to be unsafe in PyTorch before 2.6."""

import mmap
import pickle
import struct
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

TRAINING_STATE = ("pytorch_lightning", "lightning", "omegaconf", "numpy", "typing", "argparse", "pathlib", "functools")
_MAX_PROGRAM = 256 << 20  # bytes of the pickle without the tensors; big public checkpoints have about one megabyte
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # PyTorch before 1.6: four pickles in a row, the keys, then the storages
_DTYPES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_DAMAGE = (
    pickle.UnpicklingError, zipfile.BadZipFile, EOFError, KeyError, IndexError, AttributeError, TypeError,
    OverflowError, MemoryError, RuntimeError, UnicodeDecodeError, OSError, struct.error, zlib.error,
)  # fmt: skip
_Store = Callable[..., Tensor]  # (dtype, key, location, elements, ...) -> all elements of a storage (N,)


def load_pickled(path: str | Path, inert: Sequence[str] = ()) -> Any:
    """Load what `torch.save` wrote to `path`: tensors (on the CPU) in dicts, lists and tuples of plain values.

    path: the file to read.
    inert: packages whose objects become empty `Inert` placeholders instead of an error, such as `TRAINING_STATE` for
        the callbacks and settings in Lightning checkpoints; their code is neither imported nor executed.

    Tensors may be views of a private memory map of the file. FileNotFoundError; ValueError for a damaged file, one that
    contains code, and anything that is not a PyTorch file."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file at {path}")
    if path.stat().st_size < 16:
        raise ValueError(f"{path} has only {path.stat().st_size} bytes: it is no PyTorch file; download it again")
    with path.open("rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    try:
        if content[:4] == b"PK\3\4":
            return _load_zip(path, content, tuple(inert))
        if content[:1] == b"\x80":
            return _load_legacy(content, tuple(inert))
    except _DAMAGE as error:
        raise ValueError(f"{path} is damaged or no PyTorch file ({error!r}); download it again") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    raise ValueError(f"{path} is no PyTorch file; give a .safetensors, .ckpt, .pth, .pt or .bin with weights")


class Inert:
    """The stand-in for an object of a library that is not needed here; its content is dropped, and calling it does
    nothing."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __call__(self, *args: object, **kwargs: object) -> "Inert":
        return self

    def __setstate__(self, state: object) -> None:
        pass

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def append(self, value: object) -> None:
        pass

    def extend(self, values: object) -> None:
        pass


class _Unpickler(pickle.Unpickler):
    """The standard unpickler with a closed table of globals, none of which affects anything outside memory.

    file: the pickle; inert: as in `load_pickled`; store: store(dtype, key, location, count) -> the elements (count,) of
        a storage."""

    def __init__(self, file: Any, inert: tuple[str, ...], store: _Store) -> None:
        super().__init__(file, encoding="latin-1")
        self.inert, self.store = inert, store

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _GLOBALS:
            return _GLOBALS[module, name]
        if module in ("torch", "torch.storage") and name in _DTYPES:
            return _DTYPES[name]
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        if module.split(".")[0] in self.inert:
            return Inert
        raise ValueError(
            f"the file asks for {module}.{name}, which is code and no weight; nothing of it was run. "
            "Get the weights as .safetensors"
        )

    def persistent_load(self, saved: Any) -> Tensor:
        kind, dtype, key, location, count, *rest = saved
        if kind != "storage" or not isinstance(dtype, torch.dtype) or not isinstance(count, int) or count < 0:
            raise ValueError(f"the file holds an impossible storage {saved!r}"[:200])
        return self.store(dtype, key, location, count, *rest)


def _rebuild(store: Tensor, offset: int, size: Sequence[int], stride: Sequence[int], *unused: object) -> Tensor:
    """Rebuild a tensor as torch._utils._rebuild_tensor(_v2) does; ValueError where it exceeds its storage.

    store: (n,) the elements of the storage; offset: index of the tensor's first element; size, stride: of the tensor,
        in elements; unused: the rest of torch's arguments."""
    size, stride = tuple(size), tuple(stride)
    if len(size) != len(stride) or any(type(n) is not int or n < 0 for n in (offset, *size, *stride)):
        raise ValueError(f"a tensor of the file has an impossible shape {size}, strides {stride}, offset {offset}")
    end = offset if 0 in size else offset + 1 + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    if end > len(store):
        raise ValueError(f"a tensor of shape {size} leaves its storage of {len(store)} elements: the file is damaged")
    return store.as_strided(size, stride, offset)


def _data(data: Tensor, *unused: object) -> Tensor:
    return data


_GLOBALS = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch", "Size"): tuple,
    ("torch._utils", "_rebuild_tensor"): _rebuild,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild,
    ("torch._utils", "_rebuild_parameter"): _data,
    ("torch.nn.parameter", "Parameter"): _data,
    # settings that trainers store beside the weights: plain containers, and what numpy numbers are written with
    **{(module, kind.__name__): kind for module in ("builtins", "__builtin__") for kind in (dict, int, list, set)},
    ("__builtin__", "long"): int,
    ("collections", "defaultdict"): lambda *unused: {},
    ("_codecs", "encode"): Inert,
}


def _load_zip(path: Path, content: mmap.mmap, inert: tuple[str, ...]) -> Any:
    """Load a file of PyTorch 1.6 and later: NAME/data.pkl and NAME/data/KEY in an uncompressed zip file.

    path: the file, whose zip directory is read; content: its memory map; inert: as in `load_pickled`."""
    with zipfile.ZipFile(path) as archive:
        entries = {info.filename: info for info in archive.infolist()}
        programs = [name for name in entries if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(programs) != 1:
            raise ValueError("it is a zip file without weights of PyTorch")
        folder, info = programs[0].split("/")[0], entries[programs[0]]
        if info.file_size > _MAX_PROGRAM:
            raise ValueError(f"its pickle has {info.file_size} bytes, more than any set of weights needs")
        if f"{folder}/byteorder" in entries and archive.read(f"{folder}/byteorder") != b"little":
            raise ValueError("it was written on a big-endian machine; save it again on a common one")
        program = archive.read(info)
    stores: dict[tuple[str, torch.dtype], Tensor] = {}

    def store(dtype: torch.dtype, key: str, location: str, count: int) -> Tensor:
        if (key, dtype) not in stores:
            entry = entries[f"{folder}/data/{key}"]
            if entry.compress_type != zipfile.ZIP_STORED or entry.file_size < count * dtype.itemsize:
                raise ValueError(f"storage {key} of its tensors is compressed or incomplete")
            name, extra = struct.unpack_from("<HH", content, entry.header_offset + 26)
            stores[key, dtype] = _view(content, entry.header_offset + 30 + name + extra, dtype, count)
        return stores[key, dtype]

    return _Unpickler(BytesIO(program), inert, store).load()


def _view(content: mmap.mmap, start: int, dtype: torch.dtype, count: int) -> Tensor:
    """Return `count` elements of the file from byte `start`, without a copy where they are aligned."""
    end = start + count * dtype.itemsize
    if end > len(content):
        raise ValueError("the file ends in the middle of a tensor; download it again")
    if not count:
        return torch.empty(0, dtype=dtype)
    if start % dtype.itemsize:
        return torch.frombuffer(bytearray(content[start:end]), dtype=dtype)
    return torch.frombuffer(content, dtype=dtype, count=count, offset=start)


def _load_legacy(content: mmap.mmap, inert: tuple[str, ...]) -> Any:
    """Load a file of PyTorch before 1.6: magic number, protocol, system, object, keys, then size and bytes of each
    storage."""
    stores: dict[str, Tensor] = {}

    def store(dtype: torch.dtype, key: str, location: str, count: int, view: tuple | None = None) -> Tensor:
        if key not in stores:
            if count * dtype.itemsize + sum(s.nbytes for s in stores.values()) > len(content):
                raise ValueError("its tensors are larger than the file; download it again")
            stores[key] = torch.zeros(count, dtype=dtype)
        if view is None:
            return stores[key]
        _, first, length = view
        return _rebuild(stores[key], first, (length,), (1,))

    def read() -> Any:
        return _Unpickler(content, inert, store).load()

    if read() != _LEGACY_MAGIC or read() != 1001:
        raise ValueError("it is a pickle, but no set of weights of PyTorch")
    if not read().get("little_endian", True):
        raise ValueError("it was written on a big-endian machine; save it again on a common one")
    result = read()
    for key in read():
        (count,) = struct.unpack("<q", content.read(8))
        if count != len(stores[key]):
            raise ValueError(f"storage {key} has {count} elements where {len(stores[key])} were announced")
        start = content.tell()
        stores[key].copy_(_view(content, start, stores[key].dtype, count))
        content.seek(start + stores[key].nbytes)
    return result
