"""The README's tables are the committed ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_the_readme_holds_the_committed_tables() -> None:
    check = subprocess.run([sys.executable, str(ROOT / "benchmarks" / "readme.py"), "--check"], check=False)
    assert check.returncode == 0, "run python benchmarks/readme.py"
