"""The default method from top to bottom, without patchebm's own classes: images to verdicts.

    python examples/method.py GOOD_FOLDER NEW_IMAGE...

It is the preset `features-fast`, the Gaussian of every position. `features` is the same at up to 384 pixels,
with a network of the residuals below beside it (patchebm/detector/position_level.py). Only the frozen network
and what decides which box of an image is inspected come from the package; what lies around that box is left
out here (patchebm/detector/surround.py). `tests/test_method.py` holds this page equal to the detector. Images
are taken to be at least twenty, of distinct parts.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import avg_pool2d, conv2d, interpolate, pad

from patchebm.config.features import ExtractorConfig
from patchebm.features import load_backbone
from patchebm.features.framing import Framing, cut

SIZE, GRID, ZONES, FOLDS, RATE = 256, 32, 16, 40, 0.05
POOLED, FLOOR, SMOOTH, TOP, BACKGROUND = 0.2, 0.1, 0.7, 3, 0.5
BACKBONE = load_backbone("efficientnet-lite0", [2, 4, 10])


def read(path):
    """An image `(H, W, 3)` in [0, 1]."""
    return np.asarray(Image.open(path).convert("RGB"), dtype=np.float32) / np.float32(255)


def features(pixels, box):
    """One map `(176, 32, 32)`: three blocks on one grid, each cell averaged with its neighbours."""
    with torch.inference_mode():
        image = cut(torch.from_numpy(pixels).permute(2, 0, 1)[None], box)
        image = interpolate(image, (SIZE, SIZE), mode="bilinear", antialias=True) * 2 - 1
        maps = [
            # A map that grows needs no antialiasing.
            interpolate(m, (GRID, GRID), mode="bilinear", antialias=m.shape[-1] > GRID)
            for m in BACKBONE(image)
        ]
        return avg_pool2d(torch.cat(maps, 1), 3, stride=1, padding=1)[0].clone()


def neighbours(x):
    """The mean over the 3 x 3 neighbours that exist, of `(C, h, w)`."""
    return avg_pool2d(x[None], 3, stride=1, padding=1, count_include_pad=False)[0]


def fit_gaussians(maps):
    """A mean for every position, and a whitening for each of 16 x 16 zones, of maps `(n, C, h, w)`."""
    n, channels, height, width = maps.shape
    shift = maps.mean((0, 2, 3))
    rows = (maps - shift[:, None, None]).flatten(2).permute(2, 0, 1)
    mean = neighbours(rows.mean(1).T.reshape(channels, height, width))
    # E[x x'] of every position, pooled over neighbours, less the square of the pooled mean.
    second = (rows.transpose(1, 2) @ rows / n).permute(1, 2, 0).reshape(-1, height, width)
    flat = mean.flatten(1).T
    covariance = neighbours(second).reshape(channels, channels, -1).permute(2, 0, 1)
    covariance = covariance - flat[:, :, None] * flat[:, None, :]
    side = height // ZONES
    by_zone = covariance.reshape(ZONES, side, ZONES, side, channels, channels).mean((1, 3))
    by_zone = by_zone.reshape(-1, channels, channels)
    pooled = by_zone.mean(0)
    shrunk = (1 - POOLED) * by_zone + POOLED * pooled
    shrunk = shrunk + FLOOR * pooled.diagonal().mean() * torch.eye(channels)
    whitening = torch.linalg.inv(torch.linalg.cholesky(shrunk))
    # For every position that of its zone; the detector keeps both in half precision.
    zone = torch.arange(height)[:, None] // side * ZONES + torch.arange(width)[None] // side
    return (mean + shift[:, None, None]).half().float(), whitening.half().float()[zone]


def energies(maps, gaussians):
    """The log of the mean squared residual at every position, `(h, w)`, of a map `(C, h, w)`."""
    mean, whitening = gaussians
    residual = whitening @ (maps - mean).permute(1, 2, 0)[..., None]
    return residual.square().mean((2, 3)).clamp(min=1e-12).log()


def score(energy):
    """The mean of the largest three of the smoothed energies, less half of the mean of all."""
    window = torch.exp(-0.5 * ((torch.arange(5) - 2) / SMOOTH).square())
    window = window / window.sum()
    padded = pad(energy[None, None], (2, 2, 2, 2), mode="replicate")
    smoothed = conv2d(conv2d(padded, window.view(1, 1, 1, 5)), window.view(1, 1, 5, 1))
    return float(smoothed.flatten().topk(TOP).values.mean() - BACKGROUND * smoothed.mean())


def folds_of(n, seed=0):
    """A fold for each image, of so many that little is left out with it."""
    order = np.random.default_rng(seed).permutation(n)
    assigned = np.zeros(n, dtype=int)
    assigned[order] = np.arange(n) % min(FOLDS, n)
    return assigned


def fit(paths):
    """Learn from good images; returns a function from a path to a score and a verdict."""
    pixels = [read(path) for path in paths]
    box = Framing.learn(pixels, ExtractorConfig(size=(SIZE, SIZE)), crop=True).box
    # The detector keeps the maps that it fits on in half precision.
    maps = torch.stack([features(image, box) for image in pixels]).half().float()
    # Scores of good images, each by Gaussians that were fitted without its fold.
    held_out, folds = np.zeros(len(maps)), folds_of(len(maps))
    for fold in range(folds.max() + 1):
        gaussians = fit_gaussians(maps[torch.from_numpy(folds != fold)])
        for i in np.flatnonzero(folds == fold):
            held_out[i] = score(energies(maps[i], gaussians))
    mean, std = held_out.mean(), held_out.std(ddof=1)
    # Conformal: with n parts and a new one, all exchangeable, the k-th largest of n is exceeded by k of n +
    # 1.
    threshold = np.sort((held_out - mean) / std)[-max(int(RATE * (len(held_out) + 1)), 1)]
    gaussians = fit_gaussians(maps)

    def predict(path):
        value = (score(energies(features(read(path), box), gaussians)) - mean) / std
        return value, value > threshold

    return predict


def main():
    folder, *images = sys.argv[1:]
    predict = fit(sorted(path for path in Path(folder).iterdir() if path.is_file()))
    for image in images:
        value, anomalous = predict(image)
        print(f"{image}: {value:.2f} {'anomalous' if anomalous else 'good'}")


if __name__ == "__main__":
    main()
