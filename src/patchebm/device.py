"""Turns the name of a device, as in `--device cuda:1`, into a `torch.device`; counts devices and cores."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from patchebm.errors import ConfigError

if TYPE_CHECKING:
    import torch

    from patchebm.config.base import RunConfig


def available_threads() -> int:
    """Returns the number of cores that this process may run on."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


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


def check_devices(count: int, config: RunConfig) -> None:
    """Raises ConfigError if a run of a configuration cannot use so many devices, wherever it is made."""
    if count < 1:
        raise ConfigError(f"--devices is {count}; give at least 1")
    if count > 1 and not config.takes_devices:
        raise ConfigError(
            f"--devices is {count}, and networks of features are small and trained on one device; leave "
            "--devices out, or start from a preset of pixels, such as thesis"
        )


def require_devices(name: str | torch.device, count: int) -> None:
    """Refuses more devices than this machine has.

    Args:
        name: of the first device, as `resolve_device` takes it.
        count: how many of its kind there must be. Of the CPU there are as many as cores that this process may
            use.

    Raises:
        ConfigError: there are fewer, or the name is that of one device.
    """
    kind = resolve_device(name).type
    if count == 1:
        return
    if ":" in str(name):
        raise ConfigError(
            f"--device {name} is one device and --devices asks for {count}; use --device {kind}"
        )
    if kind == "cpu":
        there, what = available_threads(), "cores of this CPU that may be used"
    else:
        there = sum(device.startswith(f"{kind}:") for device in available_devices())
        what = f"devices of the kind {kind}"
    if kind not in ("cpu", "cuda"):
        raise ConfigError(f"--devices is {count}, and on {kind} networks train on one device; leave it out")
    if count > there:
        raise ConfigError(f"--devices is {count}, and PyTorch finds {there} {what}; give at most {there}")
