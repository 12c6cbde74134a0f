"""What several tests share: where the real image sets are, and small real pictures."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported model that loads and scores fast."""
    from patchebm.data.synthetic import write_synthetic_set
    from patchebm.deploy.export import build_bundle
    from patchebm.detector import EnsembleDetector
    from tests.tiny import tiny_features

    root = tmp_path_factory.mktemp("bundle")
    counts = {"train": 9, "test_good": 3, "per_defect": 1}
    pictures = sorted(write_synthetic_set(root, "flange", size=64, **counts).rglob("good/*.png"))
    detector = EnsembleDetector(tiny_features()).fit([path for path in pictures if "train" in path.parts])
    build_bundle(detector, verify=pictures).write(root / "tiny.patchebm")
    return root / "tiny.patchebm"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the real image sets; skips the test where they are absent."""
    root = Path(os.environ.get("PATCHEBM_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (root / "bottle").is_dir():
        pytest.skip(f"no real image sets in {root} (set PATCHEBM_DATA)")
    return root
