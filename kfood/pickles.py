"""Reading pickles from outside: plain data and plain tensors only.

A pickle is a program, and loading one from outside runs whatever it names. Here it may build dicts, lists, tuples,
sets, strings, bytes, numbers and None, and in a file of PyTorch's tensors of numbers; a pickle that names anything else
is refused before that is imported.
"""

import collections
import math
import pathlib
import pickle
from typing import Any, BinaryIO, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"it names {module_name}.{global_name}, and only plain data is admitted")


def load_plain(path: str | pathlib.Path, count: int) -> list[Any]:
    """Load plain data from a file of one or several pickles, one after the other.

    Args:
        path: the file.
        count: how many pickles to load.

    Returns:
        The loaded values, in order.

    Raises:
        ValueError: if the file holds anything but plain data, fewer pickles than ``count``, or no pickle.
        OSError: if it cannot be read.
    """
    values = []
    with open(path, "rb") as file:
        for index in range(count):
            try:
                values.append(_PlainUnpickler(file, encoding="utf-8").load())
            except OSError:
                raise
            except Exception as error:  # a damaged pickle can fail in any way
                raise ValueError(
                    f"{path}: expected {count} pickles of plain data (dicts, lists, strings, numbers); "
                    f"refused pickle {index + 1}: {error or type(error).__name__}."
                ) from error
    return values


def load_tensors(path: str | pathlib.Path) -> dict[str, NDArray]:
    """The arrays of a state dict that ``torch.save`` wrote before PyTorch 1.6, without PyTorch.

    Five pickles (a magic number, the protocol, the machine, the dict, the storages' keys), then each storage: the
    number of its values as int64, and those, little-endian.

    Args:
        path: the file, e.g. a ``.pth``.

    Returns:
        Name → array, float32 or int64.

    Raises:
        ValueError: anything but tensors in a dict, or sizes that do not fit each other and the file.
        OSError: if it cannot be read.
    """
    with open(path, "rb") as file:
        try:
            return _tensors(file, pathlib.Path(path).stat().st_size)
        except OSError:
            raise
        except Exception as error:  # a damaged pickle can fail in any way
            raise ValueError(
                f"{path}: expected a state dict of tensors as torch.save wrote it before PyTorch 1.6; "
                f"refused: {error or type(error).__name__}."
            ) from error


_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_STORAGES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


class _Storage(NamedTuple):
    key: str
    dtype: np.dtype
    length: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _TensorUnpickler(pickle.Unpickler):
    """Builds an ordered dict of :class:`_Tensor`; their values come later in the file."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        if (module_name, global_name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module_name, global_name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if module_name == "torch" and global_name in _STORAGES:
            return _STORAGES[global_name]
        raise pickle.UnpicklingError(f"it names {module_name}.{global_name}, and only plain tensors are admitted")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _, count, view = pid
        if kind != "storage" or view is not None or not isinstance(dtype, np.dtype):
            raise pickle.UnpicklingError("a storage of another kind")
        return _Storage(key, dtype, count)


def _tensor(storage: _Storage, offset: int, shape: tuple, strides: tuple, *_: Any) -> _Tensor:
    if math.prod(shape) > storage.length:
        raise pickle.UnpicklingError(f"a tensor of shape {shape} in {storage.length} numbers")
    return _Tensor(storage, offset, shape, strides)


def _tensors(file: BinaryIO, size: int) -> dict[str, NDArray]:
    head = [_PlainUnpickler(file).load() for _ in range(3)]
    if head[:2] != [_MAGIC, _PROTOCOL] or head[2]["little_endian"] is not True:
        raise pickle.UnpicklingError("another format")
    tensors = _TensorUnpickler(file, encoding="utf-8").load()
    keys = _PlainUnpickler(file).load()
    storages = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
    expected = file.tell() + sum(8 + storage.length * storage.dtype.itemsize for storage in storages.values())
    if sorted(keys) != sorted(storages) or size != expected:
        raise pickle.UnpicklingError(f"{size} bytes and {len(keys)} storages, where {expected} and {len(storages)} fit")
    values = {}
    for key in keys:
        storage = storages[key]
        if int.from_bytes(file.read(8), "little") != storage.length:
            raise pickle.UnpicklingError(f"a storage of another size than {storage.length}")
        values[key] = file.read(storage.length * storage.dtype.itemsize)
    return {name: _array(tensor, values[tensor.storage.key]) for name, tensor in tensors.items()}


def _array(tensor: _Tensor, values: bytes) -> NDArray:
    width = tensor.storage.dtype.itemsize
    strides = [width * stride for stride in tensor.strides]
    # NumPy refuses what reaches beyond the values.
    view: NDArray = np.ndarray(tensor.shape, tensor.storage.dtype, values, width * tensor.offset, strides)
    return np.array(view, order="C")
