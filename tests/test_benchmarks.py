"""Every benchmark can be started, each in a process of its own: modules that import each other in a circle
work or fail by which of them comes first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = sorted(file.parent.name for file in (ROOT / "benchmarks").glob("*/__main__.py"))

# What a benchmark needs beyond `make install`; `make test-scale` has it.
EXTRAS = {"scale": "pyarrow"}


@pytest.mark.slow
@pytest.mark.parametrize("name", BENCHMARKS)
def test_it_starts(name: str) -> None:
    if name in EXTRAS:
        pytest.importorskip(EXTRAS[name], reason=f"benchmarks.{name} needs the extra `{name}`")
    command = [sys.executable, "-m", f"benchmarks.{name}", "--help"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert f"python -m benchmarks.{name}" in ended.stdout
