"""Files as ``torch.save`` wrote them before PyTorch 1.6, written without PyTorch."""

import collections
import pickle
import sys
import types
from unittest import mock

import numpy as np

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
MACHINE = {"protocol_version": PROTOCOL, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}


def _named(module, name):
    function = types.FunctionType((lambda *arguments: None).__code__, {})
    function.__module__, function.__name__, function.__qualname__ = module, name, name
    return function


_REBUILD = _named("torch._utils", "_rebuild_tensor_v2")
_KINDS = {"float32": _named("torch", "FloatStorage"), "int64": _named("torch", "LongStorage")}


class Storage:
    """What a tensor's numbers lie in."""

    def __init__(self, key, array):
        self.pid = ("storage", _KINDS[array.dtype.name], key, "cpu", array.size, None)


class Tensor:
    """What the dict holds in place of an array."""

    def __init__(self, storage, offset, shape, strides):
        self.arguments = (storage, offset, shape, strides, False, collections.OrderedDict())

    def __reduce__(self):
        return _REBUILD, self.arguments


class _Pickler(pickle.Pickler):
    def persistent_id(self, value):
        return value.pid if isinstance(value, Storage) else None


def write_tensors(path, arrays, tensor=lambda storage, shape, strides: Tensor(storage, 0, shape, strides), **more):
    """Writes name → float32 or int64 array; ``tensor`` may say of one what is not so, ``more`` goes into the dict."""
    fake = {"torch": types.ModuleType("torch"), "torch._utils": types.ModuleType("torch._utils")}
    fake["torch"].FloatStorage, fake["torch"].LongStorage = _KINDS["float32"], _KINDS["int64"]
    fake["torch"]._utils, fake["torch._utils"]._rebuild_tensor_v2 = fake["torch._utils"], _REBUILD
    state, storages = collections.OrderedDict(), {}
    for number, (name, array) in enumerate(arrays.items()):
        # As in the released files, convolutions lie in another order than they are read in.
        order = (2, 3, 1, 0) if array.ndim == 4 else tuple(range(array.ndim))
        laid = np.array(np.transpose(array, order), order="C")
        strides = [0] * array.ndim
        for axis, stride in zip(order, laid.strides, strict=True):
            strides[axis] = stride // laid.itemsize
        storages[str(number)] = laid
        state[name] = tensor(Storage(str(number), array), array.shape, tuple(strides))
    with mock.patch.dict(sys.modules, fake), open(path, "wb") as file:
        for value in (MAGIC, PROTOCOL, MACHINE):
            pickle.dump(value, file, 2)
        _Pickler(file, 2).dump(collections.OrderedDict(state, **more))
        pickle.dump(sorted(storages), file, 2)
        for key in sorted(storages):
            file.write(np.int64(storages[key].size).tobytes() + storages[key].tobytes())
