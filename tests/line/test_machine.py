"""What the doctor says of machines, real and written down."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from patchebm.line.machine import RUNTIMES, advice, hardware, runtimes

SERVER = """processor\t: 0
model name\t: Some Server CPU
flags\t\t: fpu avx2 fma avx512f avx512_vnni avx512_bf16 amx_tile amx_bf16 amx_int8
processor\t: 1
model name\t: Another
flags\t\t: fpu
"""


def machine(root: Path, **files: str) -> dict[str, Any]:
    """The facts of a machine whose `proc` and `sys` hold these files."""
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_DOT_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return hardware(root)


def test_this_machine() -> None:
    facts = hardware()
    assert 0 < facts["cores"] <= facts["machine_cores"]
    assert facts["memory_mb"] is None or facts["memory_mb"] > facts["free_memory_mb"] > 0
    found = runtimes()
    assert set(found) == set(RUNTIMES)
    assert found["torch"]["version"] is not None


def test_asking_does_not_import_torch() -> None:
    code = "import sys, patchebm.line.machine as m; m.runtimes(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_server_in_a_container(tmp_path: Path) -> None:
    facts = machine(
        tmp_path,
        proc__cpuinfo=SERVER,
        proc__meminfo="MemTotal:  8000000 kB\nMemFree: 1 kB\nMemAvailable: 4096000 kB\n",
        sys__fs__cgroup__cpu_DOT_max="50000 100000\n",
        sys__fs__cgroup__memory_DOT_max="1073741824\n",
    )
    assert facts["processor"] == "Some Server CPU"
    assert facts["flags"][-3:] == ["amx_tile", "amx_bf16", "amx_int8"]
    assert facts["cores"] == 0.5
    assert (facts["memory_mb"], facts["free_memory_mb"]) == (1024, 1024)
    assert any("0.5 of" in s and "--threads 1" in s for s in advice(facts, runtimes()))


@pytest.mark.parametrize("quota", ["max 100000\n", "rubbish", ""])
def test_no_quota(tmp_path: Path, quota: str) -> None:
    facts = machine(tmp_path, sys__fs__cgroup__cpu_DOT_max=quota, sys__fs__cgroup__memory_DOT_max="max\n")
    assert facts["cores"] == len(os.sched_getaffinity(0))
    assert facts["memory_mb"] is None


def test_advice_says_what_to_do() -> None:
    facts = hardware() | {"architecture": "x86_64", "flags": [], "free_memory_mb": 100}
    nothing: dict[str, dict[str, Any]] = {name: {"version": None} for name in RUNTIMES}
    sentences = " ".join(advice(facts, nothing))
    for words in ("pip install patchebm", "no AVX2", "only 100 MB"):
        assert words in sentences
    broken = {name: {"version": "1"} for name in RUNTIMES} | {
        "openvino": {"version": "1", "problem": "cannot be imported: no libtbb"}
    }
    assert "no libtbb; install it again: pip install 'patchebm[openvino]'" in " ".join(advice(facts, broken))
    fine = {name: {"version": "1"} for name in RUNTIMES}
    good = facts | {"flags": ["avx2"], "free_memory_mb": 8000, "cores": 2, "machine_cores": 2}
    assert advice(good, fine) == []
