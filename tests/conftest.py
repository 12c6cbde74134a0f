"""What several tests share: where the real image sets are, and small real pictures."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the real image sets; skips the test where they are absent."""
    root = Path(os.environ.get("PATCHEBM_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (root / "bottle").is_dir():
        pytest.skip(f"no real image sets in {root} (set PATCHEBM_DATA)")
    return root
