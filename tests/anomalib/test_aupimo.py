"""AUPIMO against anomalib's own; `make test-anomalib` runs this in its environment."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip(
    "anomalib", reason="anomalib is not installed (make test-anomalib installs it)", exc_type=ImportError
)

from anomalib.metrics.pimo.functional import aupimo_scores

from patchebm.evaluation.image_recall import image_recall_areas


@pytest.mark.parametrize("low", [1e-5, 1e-3])
def test_it_is_that_of_anomalib(low: float) -> None:
    """Theirs takes thresholds evenly over the values of good images: the more, the nearer it comes."""
    rng = np.random.default_rng(0)
    shape = (400, 500)
    # Uniform values, so that even thresholds are even in the rate, too.
    good = [rng.random(shape, dtype=np.float32) for _ in range(4)]
    bad, masks = [], []
    for strength in (0.0, 0.999, 1.0, 0.9):
        heat = rng.random(shape, dtype=np.float32)
        mask = np.zeros(shape, dtype=bool)
        mask[50:90, 100:160] = True
        # Most of a defect beyond what is usual, at its own rates.
        heat[mask] = strength + (1.00002 - strength) * heat[mask] ** 0.2
        bad.append(heat.astype(np.float32))
        masks.append(mask)
    maps = [*good, *bad]
    truth = [np.zeros(shape, dtype=bool)] * len(good) + masks
    found = image_recall_areas(maps, truth, low, 10 * low)
    theirs = aupimo_scores(
        torch.from_numpy(np.stack(maps)),
        torch.from_numpy(np.stack(truth)),
        num_thresholds=300_000,
        fpr_bounds=(low, 10 * low),
        # They want more points between the rates than so few pixels have.
        force=True,
    )[4][len(good) :].numpy()
    assert found == pytest.approx(theirs, abs=0.02)
    assert len(np.unique(found.round(2))) >= 3
    assert found.min() < 0.2
    assert found.max() > 0.8
