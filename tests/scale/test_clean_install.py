"""The wheel with the extra `scale`, in an environment that has nothing else: both engines score."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

REPOSITORY = Path(__file__).resolve().parents[2]
CONSTRAINTS = REPOSITORY / "constraints.txt"


def run(command: Sequence[str | Path], folder: Path) -> str:
    """Runs a command of an environment, away from this repository; returns its output."""
    own = {"PYTHONPATH", "RAY_ADDRESS", "VIRTUAL_ENV"}
    environment = {key: value for key, value in os.environ.items() if key not in own}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def require_registry(folder: Path) -> None:
    """Skips the test where pip finds nothing to install."""
    wanted = ["fsspec", "-c", CONSTRAINTS, "--no-deps", "--no-cache-dir", "--retries", "1", "--dest", folder]
    pip = [sys.executable, "-m", "pip", "download", "--quiet", *wanted]
    if subprocess.run(pip, capture_output=True, check=False).returncode:
        pytest.skip("no package registry can be reached")


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Path]:
    """The folder of the programs of the environment, which is removed afterwards: it has 600 MB."""
    require_registry(tmp_path / "probe")
    # A copy: building leaves files behind.
    source = tmp_path / "source"
    unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(REPOSITORY / "src", source / "src", ignore=unwanted)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    environment = tmp_path / "environment"
    run([sys.executable, "-m", "venv", environment], tmp_path)
    try:
        pip = [environment / "bin" / "python", "-m", "pip", "--quiet", "--disable-pip-version-check"]
        run([*pip, "wheel", "--no-deps", "--wheel-dir", tmp_path / "wheels", source], tmp_path)
        (wheel,) = (tmp_path / "wheels").glob("patchebm-*.whl")
        run([*pip, "install", "-c", CONSTRAINTS, f"patchebm[scale] @ {wheel.as_uri()}"], tmp_path)
        yield environment / "bin"
    finally:
        shutil.rmtree(environment)


def test_both_engines_score(programs: Path, images: list[Path], bundle_file: Path, tmp_path: Path) -> None:
    absent = "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is not None)"
    run([programs / "python", "-c", absent], tmp_path)
    found = {}
    for engine in ("local", "ray"):
        out = tmp_path / engine
        command = [programs / "patchebm", "score", images[0].parent, "--model", bundle_file, "--out", out]
        run([*command, "--engine", engine, "--workers", "2"], tmp_path)
        found[engine] = {
            file.relative_to(out).as_posix(): file.read_bytes() for file in out.rglob("*") if file.is_file()
        }
    assert found["local"] == found["ray"]
    assert {"parts/part-000000.parquet", "summary.json"} <= set(found["ray"])
