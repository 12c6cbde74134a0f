"""How much each of several scores counts, found on good images and on synthetic defects."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Weights grow with the square of how far a score tells damaged images from good ones. With equal weights a
# component that finds little (a Gaussian per position where parts lie anywhere) would hide one that finds
# much; with higher powers the best would count alone, and what another one finds beside it would be lost.
POWER = 2


def detection_weights(good: NDArray[np.float64], damaged: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weigh scores by how well each tells damaged images from good ones: `w ∝ max(AUROC - 1/2, 0)^2`.

    A part that learned from synthetic defects of other images counts only as far as it finds those of images
    that it never saw. Without damaged images, or where no part finds any, all count alike.

    Args:
        good: `(N, K)` scores of good images that no part was fitted on, higher = more anomalous.
        damaged: `(D, K)` scores of images with synthetic defects, held out alike.

    Returns:
        `(K,)` weights that sum to 1.
    """
    parts = good.shape[1]
    if not len(damaged):
        return np.full(parts, 1 / parts)
    found = np.array([separation(good[:, k], damaged[:, k]) for k in range(parts)])
    weights = np.maximum(found - 0.5, 0) ** POWER
    return weights / weights.sum() if weights.sum() > 1e-12 else np.full(parts, 1 / parts)


def separation(good: NDArray[np.float64], damaged: NDArray[np.float64]) -> float:
    """Return the AUROC of scores of good images `(N,)` and damaged ones `(D,)`."""
    # Imported here, so that scoring does not take the time.
    from sklearn.metrics import roc_auc_score

    labels = np.repeat([0, 1], [len(good), len(damaged)])
    return float(roc_auc_score(labels, np.concatenate([good, damaged])))
