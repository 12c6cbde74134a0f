"""This module finds what a machine has for scoring: processor, memory, runtimes and their precisions."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from patchebm.runtime.onnx_engine import onnx_providers
from patchebm.runtime.openvino_engine import offers_bf16, openvino_devices, require_openvino

# What of a processor's many flags decides about speed, x86 and ARM, by the names that Linux has for them.
FLAGS = (
    "avx2",
    "fma",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "amx_tile",
    "amx_bf16",
    "amx_int8",
    "asimd",
    "asimddp",
    "bf16",
    "i8mm",
)
# Flags any of which makes a precision fast.
HELPS = {
    "bf16": {"avx512_bf16", "amx_bf16", "bf16"},
    "int8": {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"},
}
RUNTIMES: Mapping[str, str] = {
    "onnxruntime": "pip install patchebm",
    "openvino": "pip install 'patchebm[openvino]'",
    "torch": "pip install 'patchebm[train]'",
}
"""Packages that score, and how each is installed."""


def hardware(root: Path = Path("/")) -> dict[str, Any]:
    """Returns facts about processor and memory.

    Args:
        root: the folder that holds `proc` and `sys` of Linux.

    Returns:
        `processor`, `architecture`, `cores` that this process may use (a container may have fewer than the
        machine), `machine_cores`, `flags` of `FLAGS` that are there, `memory_mb` and `free_memory_mb` (None
        where they are not known).
    """
    name, flags = _processor(root)
    memory = _fields(root / "proc/meminfo")
    total, free = (_kilobytes(memory.get(key)) for key in ("MemTotal", "MemAvailable"))
    limit = _number(root / "sys/fs/cgroup/memory.max")
    if limit is not None:
        limit //= 2**20
        total = limit if total is None else min(total, limit)
        free = total if free is None else min(total, free)
    return {
        "processor": name or platform.processor() or "unknown",
        "architecture": platform.machine(),
        "cores": _cores(root),
        "machine_cores": os.cpu_count() or 1,
        "flags": [flag for flag in FLAGS if flag in flags],
        "memory_mb": total,
        "free_memory_mb": free,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def runtimes() -> dict[str, dict[str, Any]]:
    """Returns facts about each runtime: `version`, None if it is not installed, and what it can use.

    torch is not imported. Others are, and say their `providers`, as `--provider` takes them, and which of a
    bundle's `precisions` they compute in.
    """
    found: dict[str, dict[str, Any]] = {}
    for name in RUNTIMES:
        try:
            # A package that is there and has no version is a broken install.
            found[name] = {"version": metadata.version(name) if find_spec(name) else None}
        except metadata.PackageNotFoundError:
            found[name] = {"version": None}
    asks = {"onnxruntime": _ask_onnxruntime, "openvino": _ask_openvino}
    for name, ask in asks.items():
        if found[name]["version"] is not None:
            try:
                found[name] |= ask()
            # A runtime that is built for another processor or lacks a library fails in ways of its own.
            except Exception as error:
                found[name]["problem"] = f"cannot be imported: {error}"
    return found


def advice(facts: Mapping[str, Any], found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Returns sentences that say what to do, if anything."""
    sentences = []
    for name, how in RUNTIMES.items():
        if "problem" in found[name]:
            sentences.append(f"{name} {found[name]['problem']}; install it again: {how}")
    if found["onnxruntime"]["version"] is None:
        sentences.append(f"onnxruntime is not installed, which scores bundles; {RUNTIMES['onnxruntime']}")
    if found["openvino"]["version"] is None and facts["architecture"] in ("x86_64", "AMD64"):
        sentences.append(f"OpenVINO may be faster on this processor; to try it: {RUNTIMES['openvino']}")
    if facts["architecture"] in ("x86_64", "AMD64") and "avx2" not in facts["flags"]:
        sentences.append("this processor has no AVX2 and will be slow; use one from 2013 or later")
    if facts["cores"] < facts["machine_cores"]:
        sentences.append(
            f"this process may use {facts['cores']:g} of {facts['machine_cores']} cores; "
            f"score with --threads {max(1, int(facts['cores']))}, and give its container or service more if "
            "images wait"
        )
    if facts["free_memory_mb"] is not None and facts["free_memory_mb"] < 500:
        sentences.append(
            f"only {facts['free_memory_mb']} MB of memory are free, and a model needs some 350; "
            "end something else"
        )
    return sentences


def _ask_onnxruntime() -> dict[str, Any]:
    return {"providers": list(onnx_providers()), "precisions": ["f32", "int8"]}


def _ask_openvino() -> dict[str, Any]:
    core = require_openvino().Core()
    return {
        "providers": openvino_devices(core),
        "precisions": ["f32", "bf16", "int8"] if offers_bf16(core) else ["f32", "int8"],
    }


def _processor(root: Path) -> tuple[str, set[str]]:
    """Returns name and flags of the first processor."""
    fields = _fields(root / "proc/cpuinfo")
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    return fields.get("model name") or fields.get("Model") or "", flags


def _cores(root: Path) -> float:
    """Returns the cores that this process may use: by affinity, and by the quota of its container."""
    try:
        cores: float = len(os.sched_getaffinity(0))
    except AttributeError:
        cores = os.cpu_count() or 1
    try:
        quota, period = (root / "sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return min(cores, round(int(quota) / int(period), 2))
    except (OSError, ValueError):
        # No container, no quota ("max 100000"), or no Linux.
        return cores


def _fields(path: Path) -> dict[str, str]:
    """Returns the first value of each key of a file of `key: value` lines; nothing if there is no file."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    found: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(":")
        found.setdefault(key.strip(), value.strip())
    return found


def _kilobytes(value: str | None) -> int | None:
    """Returns the megabytes of a value such as `24579492 kB`."""
    return None if value is None else int(value.split()[0]) // 1024


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
