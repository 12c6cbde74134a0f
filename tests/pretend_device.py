"""A second device without a GPU: code that mixes tensors of two devices fails, and results can be compared.

PyTorch's `FakeTensorMode` refuses such code too. But it computes no values, so that nothing which asks for
one (such as whether a loss is finite) can run; and in builds without CUDA it cannot differentiate on
`cuda`: PyTorch 2.13 aborts the process. Here tensors "on" the device `lazy`, which every build of PyTorch
knows and nothing of ours uses, hold a tensor on the CPU, and operators compute with what they hold.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only

DEVICE = torch.device("lazy")


class _DeviceTensor(Tensor):
    """A tensor that says that it lies on `DEVICE`, and holds its values in `cpu_tensor`."""

    cpu_tensor: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> _DeviceTensor:
        tensor: _DeviceTensor = Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=DEVICE,
        )
        tensor.cpu_tensor = held
        return tensor

    def __reduce_ex__(self, protocol: Any) -> Any:
        # Files hold values alone.
        return self.cpu_tensor.__reduce_ex__(protocol)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{func} outside of PretendDevice")


class PretendDevice(TorchDispatchMode):
    """While this mode is entered, `DEVICE` is a device like a GPU.

    Raises:
        RuntimeError: an operator gets tensors of both devices (a single number on the CPU aside, as PyTorch
            allows), or draws on the device from a generator of the CPU.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        leaves = tree_leaves((args, kwargs))
        here = [x for x in leaves if isinstance(x, Tensor) and not isinstance(x, _DeviceTensor)]
        there = any(isinstance(x, _DeviceTensor) for x in leaves)
        target = kwargs.get("device")
        copies = func in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
        if there and not copies and any(x.ndim for x in here):
            raise RuntimeError(f"{func} gets tensors of two devices")
        if func is torch.ops.aten.copy_.default:
            on_device = isinstance(args[0], _DeviceTensor)
        else:
            on_device = there if target is None else torch.device(target) == DEVICE
        if on_device and any(isinstance(x, torch.Generator) for x in leaves):
            raise RuntimeError(f"{func} draws on the device from a generator of the CPU")
        if target is not None:
            kwargs["device"] = torch.device("cpu")
        held_args, held_kwargs = tree_map_only(_DeviceTensor, lambda x: x.cpu_tensor, (args, kwargs))
        result = func(*held_args, **held_kwargs)
        if not on_device:
            return result
        moved = tree_map_only(Tensor, _DeviceTensor, result)
        return return_and_correct_aliasing(func, args, kwargs, moved)
