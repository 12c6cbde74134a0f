"""How a detector tells held-out good images from the same with synthetic defects; variants are chosen by it.

No test image is needed for it, so that a variant may be chosen by it without having seen one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from patchebm.detector import EnsembleDetector
from patchebm.evaluation.evaluate import ENSEMBLE
from patchebm.evaluation.metrics import MAIN, image_metrics
from patchebm.features.resize import resize
from patchebm.images.folders import ImageFile
from patchebm.runtime.inputs import read_input
from patchebm.training.synthetic_defects import CANVAS, DefectArtist

VERSIONS = 4
"""Damaged versions of each held-out image: every other one has a global defect, the rest a local one."""


def held_out(detector: EnsembleDetector, train: tuple[ImageFile, ...]) -> dict[str, dict[str, float]]:
    """Returns the gap and the AUROC of each level, and of the ensemble, between damaged and good images.

    The gap is the difference of the mean scores, in standard deviations of the good ones. Defects are the
    same for every detector that held out the same images.

    Args:
        detector: fitted on these images, some of which were held out.
        train: good images.
    """
    canvases = np.stack([_canvas(detector, train[i]) for i in detector.held_out_.indices])
    grey = bool((canvases == canvases[:, :1]).all())
    artist = DefectArtist.learn(canvases, grey=grey)
    rng = np.random.default_rng(0)
    damaged = []
    for version in range(VERSIONS):
        for canvas in canvases:
            changed = canvas.copy()
            draw = artist.draw_global if version % 2 else artist.draw
            if draw(changed, canvases[rng.integers(len(canvases))], rng).any():
                damaged.append(changed)
    scores = [_scores(detector, images) for images in (canvases, np.stack(damaged))]
    found = {}
    for name in scores[0]:
        good, bad = (own[name] for own in scores)
        labels = np.arange(len(good) + len(bad)) >= len(good)
        found[name] = {
            "gap": float((bad.mean() - good.mean()) / max(good.std(ddof=1), 1e-12)),
            "auroc": float(image_metrics(labels, np.concatenate([good, bad]))[MAIN.name]),
        }
    return found


def _canvas(detector: EnsembleDetector, image: ImageFile) -> NDArray[np.float32]:
    """Returns an image `(3, CANVAS, CANVAS)` in [0, 1]."""
    pixels = torch.from_numpy(read_input(image.path, 0, detector.decoding_).pixels)
    resized = resize(pixels.permute(2, 0, 1)[None], (CANVAS, CANVAS))[0].clamp(0, 1)
    canvas: NDArray[np.float32] = resized.expand(3, -1, -1).contiguous().numpy()
    return canvas


def _scores(detector: EnsembleDetector, canvases: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
    """Returns the scores `(N,)` of each level, and of the ensemble where there are several."""
    images: list[Any] = [np.ascontiguousarray(canvas.transpose(1, 2, 0)) for canvas in canvases]
    predictions = list(detector.iterate(images, heat_maps=False))
    found = {
        name: np.array([one.levels[name] for one in predictions], dtype=np.float64)
        for name in predictions[0].levels
    }
    if len(found) > 1:
        found[ENSEMBLE] = np.array([one.score for one in predictions], dtype=np.float64)
    return found
