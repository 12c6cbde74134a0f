"""The one place that turns the name of a device, as in `--device cuda:1`, into a `torch.device`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from patchebm.errors import ConfigError

if TYPE_CHECKING:
    import torch


def available_devices() -> list[str]:
    """Returns the names of the devices that PyTorch finds on this machine, the fastest kind first."""
    import torch

    # Builds of PyTorch for one kind of GPU may lack the module of another.
    gpus = [
        f"{kind}:{index}"
        for kind in ("cuda", "xpu")
        if hasattr(torch, kind)
        for index in range(getattr(torch, kind).device_count())
    ]
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return [*gpus, *mps, "cpu"]


def resolve_device(name: str | torch.device = "auto") -> torch.device:
    """Returns the device of a name.

    Args:
        name: `auto` (the first of `available_devices`), `cpu`, `cuda`, `xpu`, `mps`, or one of several GPUs
            such as `cuda:1`; a `torch.device` is returned as it is.

    Raises:
        ConfigError: the name is none of these, or PyTorch finds no such device.
    """
    import torch

    if isinstance(name, torch.device):
        return name
    kind, colon, index = name.partition(":")
    if kind not in ("auto", "cpu", "cuda", "xpu", "mps") or (
        colon and (kind not in ("cuda", "xpu") or not index.isdecimal())
    ):
        raise ConfigError(
            f"device {name} is none that patchebm knows; use auto, cpu, cuda, cuda:N, xpu, xpu:N or mps"
        )
    available = available_devices()
    for device in available:
        if name in ("auto", device, device.partition(":")[0]):
            return torch.device(device)
    raise ConfigError(
        f"device {name} is not there: PyTorch {torch.__version__} finds {', '.join(available)} on this "
        "machine; choose one of these, or auto"
    )
