"""A detector of pixels whose networks two processes train."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from patchebm.detector import EnsembleDetector
from patchebm.device import available_threads
from tests.tiny import flanges, tiny_config


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(available_threads() < 2, reason="needs two cores")
def test_both_levels_train_and_score(tmp_path: Path) -> None:
    config = tiny_config()
    config.calibration.members = 1
    two = EnsembleDetector(config, device="cpu", devices=2).fit(flanges(9), folder=tmp_path)
    scores = two.score(flanges(3, split="test/good"))
    assert np.isfinite(scores).all()
    one = EnsembleDetector(config, device="cpu").fit(flanges(9))
    assert not np.allclose(one.score(flanges(3, split="test/good")), scores)
    # Each network was trained by both.
    kept = [torch.load(file, weights_only=True) for file in tmp_path.rglob("last.ckpt")]
    assert len(kept) == 2
    assert all(len(one["others"]) == 1 for one in kept)
