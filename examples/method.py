"""The default method from top to bottom, without patchebm's own classes: images to verdicts.

    python examples/method.py GOOD_FOLDER NEW_IMAGE...

Only the frozen network comes from the package. `tests/test_method.py` holds this page equal to the detector:
the same random numbers are drawn in the same order. Images are taken to be in order, and of unknown parts.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.cluster import KMeans
from torch import nn
from torch.nn.functional import avg_pool2d, interpolate, pad, softplus

from patchebm.features import load_backbone

SIZE, GRID, COARSE, FOLDS, RATE = 256, 32, 8, 4, 0.05
BACKBONE = load_backbone("efficientnet-lite0", [2, 4, 10])


def resize(x, size):
    return interpolate(x, size=(size, size), mode="bilinear", antialias=True, align_corners=False)


def features(path):
    """One map `(176, 32, 32)`: three blocks on one grid, each cell averaged with its neighbours."""
    pixels = np.asarray(Image.open(path).convert("RGB"), dtype=np.float32) / np.float32(255)
    with torch.inference_mode():
        image = torch.from_numpy(pixels).permute(2, 0, 1)[None] * 2 - 1
        maps = []
        for block in BACKBONE(resize(image, SIZE)):
            # A map that grows needs no antialiasing.
            shrinks = block.shape[-1] > GRID
            same = block.shape[-1] == GRID
            grown = interpolate(
                block, size=(GRID, GRID), mode="bilinear", antialias=shrinks, align_corners=False
            )
            maps.append(block if same else grown)
        return avg_pool2d(torch.cat(maps, 1), 3, stride=1, padding=1)[0].clone()


def clusters(x, k, generator):
    """Centres, shares and the common variance of k-means clusters of rows `(n, d)`."""
    if len(x) > 60_000:
        x = x[torch.randperm(len(x), generator=generator)[:60_000]]
    k = max(1, min(k, len(x) // 10))
    seed = int(torch.randint(2**31 - 1, (1,), generator=generator))
    labels = KMeans(k, init="random", n_init=1, max_iter=8, random_state=seed).fit(x.numpy()).labels_
    labels = torch.from_numpy(labels).long()
    count = torch.bincount(labels, minlength=k).float()
    kept = count > 0
    sums = torch.zeros(k, x.shape[1]).index_add_(0, labels, x)
    centres = sums[kept] / count[kept, None]
    within = (x - centres[(kept.cumsum(0) - 1)[labels]]).square().mean()
    least = 1e-3 * (x - x.mean(0)).square().mean() + 1e-12
    return centres, (count[kept] / len(x)).log(), torch.maximum(within, least)


def whitening(x, k, generator):
    """Mean and matrix that turn the covariance of rows within clusters into the identity."""
    mean, variance = x.mean(0), x.var(0, unbiased=False)
    scale = (variance + 1e-3 * variance.mean() + 1e-12).rsqrt()
    scaled = (x - mean) * scale
    centres, _, _ = clusters(scaled, max(1, min(k, len(x) // 100)), generator)
    within = torch.zeros(len(mean), len(mean), dtype=torch.float64)
    for chunk in torch.split(scaled, 8192):
        difference = (chunk - centres[torch.cdist(chunk, centres).argmin(1)]).double()
        within += difference.T @ difference
    # Five percent of the total covariance, since that within clusters alone rests on few directions.
    blend = 0.95 * within / len(x) + 0.05 * (scaled.T @ scaled).double() / len(x)
    blend += 1e-3 * blend.diagonal().mean() * torch.eye(len(mean))
    values, vectors = torch.linalg.eigh(blend)
    root = (vectors * values.clamp(min=1e-12).rsqrt()) @ vectors.T
    return mean, scale[:, None] * root.float()


class Network(nn.Module):
    """The energy of a whitened cell, trained to tell normal cells from noised ones."""

    def __init__(self, size, generator):
        super().__init__()
        self.fc1, self.fc2, self.head = nn.Linear(size, 128), nn.Linear(128, 128), nn.Linear(128, 1)
        for layer, gain in ((self.fc1, 1.0), (self.fc2, 1.0), (self.head, 0.0)):
            nn.init.normal_(layer.weight, 0.0, gain * layer.in_features**-0.5, generator=generator)
            nn.init.zeros_(layer.bias)

    def forward(self, x):
        h = nn.functional.silu(self.fc1(x))
        return self.head(h + nn.functional.silu(self.fc2(h))).squeeze(-1)

    def fit(self, x, steps, seed):
        """Noise contrast: the energy goes down on cells, and up on cells plus noise at scales of .2 to 1."""
        generator = torch.Generator().manual_seed(seed)
        adam = torch.optim.Adam(self.parameters(), lr=3e-3)
        low, high = math.log(0.2), math.log(1.0)
        for step in range(steps):
            fall = min(1.0, max(0.02, (steps - step) / (0.6 * steps)))
            adam.param_groups[0]["lr"] = 3e-3 * min(1.0, (step + 1) / 41) * fall
            data = x[torch.randint(len(x), (512,), generator=generator)]
            start = x[torch.randint(len(x), (512,), generator=generator)]
            width = (low + (high - low) * torch.rand(512, 1, generator=generator)).exp()
            noised = self(start + width * torch.randn(start.shape, generator=generator))
            data = self(data)
            loss = softplus(data).mean() + softplus(-noised).mean()
            loss = loss + 1e-3 * (data.square().mean() + noised.square().mean())
            adam.zero_grad()
            loss.backward()
            adam.step()
        return self.eval().requires_grad_(False)


def seed_of(fold, positions):
    return int(np.random.SeedSequence([0, fold, positions]).generate_state(1)[0])


def fit_patch(cells, fold, steps):
    """What maps a joined map to the energies `(2, 1024)` of its cells: of a mixture and of a network."""
    seed = seed_of(fold, GRID * GRID)
    generator = torch.Generator().manual_seed(seed)
    mean, matrix = whitening(cells, 128, generator)
    white = torch.cat([(chunk - mean) @ matrix for chunk in torch.split(cells, 8192)])
    centres, shares, variance = clusters(white, 128, generator)
    network = Network(cells.shape[1], generator).fit(white, steps, seed)

    def energies(joined):
        y = (joined.flatten(1).T - mean) @ matrix
        squared = y.square().sum(1, keepdim=True) + centres.square().sum(1) - 2 * (y @ centres.T)
        mixture = -torch.logsumexp(shares - squared.clamp(min=0) / (2 * variance), dim=1)
        found = torch.stack([mixture, network(y)]).view(2, 1, GRID, GRID)
        # Smoothed by a Gaussian whose width is one cell.
        weights = torch.exp(-0.5 * torch.tensor([-1.0, 0.0, 1.0]).square())
        weights = weights / weights.sum()
        found = pad(found, (1, 1, 1, 1), mode="replicate")
        return nn.functional.conv2d(found, torch.outer(weights, weights)[None, None])[:, 0].flatten(1)

    return energies


def fit_image(views, fold, steps):
    """What maps a coarse map to the energies of the whole, `(2, 1)`: of a Gaussian and of a network."""
    seed = seed_of(fold, 1)
    generator = torch.Generator().manual_seed(seed)
    mean, matrix = whitening(views.movedim(1, -1).flatten(0, -2), 256, generator)
    white = (views.movedim(1, -1) - mean) @ matrix
    x = white.movedim(-1, 1).flatten(1)
    centre = x.mean(0)
    wide = (x - centre).double()
    values, vectors = torch.linalg.eigh(wide @ wide.T / len(x))
    values, vectors = values.flip(0), vectors.flip(1)
    kept = values > values[0].clamp(min=1e-30) * 1e-10
    values, vectors = values[kept][:32], vectors[:, kept][:, :32]
    axes = ((vectors.T @ wide) / (values * len(x)).sqrt()[:, None]).float()
    values = values.float()
    rest = ((x - centre).square().mean(0).sum() - values.sum()).clamp(min=0) / (x.shape[1] - len(values))
    floor = rest + 0.05
    values = (values - rest).clamp(min=0)
    network = Network(matrix.shape[1], generator).fit(white.flatten(0, -2), steps, seed)

    def energies(view):
        y = (view.movedim(0, -1) - mean) @ matrix
        z = y.movedim(-1, 0).flatten() - centre
        along = axes @ z
        gaussian = 0.5 * (
            (along.square() / (values + floor)).sum() + (z - along @ axes).square().sum() / floor
        )
        cells = network(y.flatten(0, 1))
        odd = torch.logsumexp(cells, 0) - math.log(len(cells))
        return torch.stack([gaussian.clamp(min=1e-12).log(), odd])[:, None]

    return energies


class Standardiser:
    """Mean and deviation of energies `(N, P)` at each position; a fifth of the variance is pooled."""

    def __init__(self, values):
        self.values = values
        self.mean, self.std = self.statistics(len(values), values.sum(0), (values**2).sum(0))

    def statistics(self, n, total, squares):
        mean = total / n
        variance = np.maximum(squares / n - mean**2, 0)
        variance = 0.8 * variance + 0.2 * variance.mean(-1, keepdims=True)
        return mean, np.maximum(np.sqrt(variance), 1e-6 * np.maximum(1.0, np.abs(mean)))

    def __call__(self, values):
        return (values - self.mean) / self.std

    def left_out(self):
        """Each image by the statistics of the others, so that it does not look more normal than a new one."""
        v = self.values
        mean, std = self.statistics(len(v) - 1, v.sum(0) - v, (v**2).sum(0) - v**2)
        return (v - mean) / std


class Level:
    """Energies of held-out images, and what turns those of a new one into a score."""

    def __init__(self, held_out, energies, top):
        self.energies, self.top = energies, top
        held_out = held_out.astype(np.float64)
        self.standardisers = [Standardiser(held_out[:, k]) for k in range(held_out.shape[1])]
        scores = self.largest(sum(s.left_out() for s in self.standardisers) / len(self.standardisers) ** 0.5)
        self.mean, self.std = scores.mean(), scores.std(ddof=1)
        self.held_out_scores = (scores - self.mean) / self.std

    def largest(self, values):
        return np.sort(values, axis=-1)[..., -self.top :].mean(-1)

    def score(self, view):
        found = torch.stack([energies(view) for energies in self.energies]).mean(0).double().numpy()
        values = sum(s(f) for s, f in zip(self.standardisers, found, strict=True)) / len(found) ** 0.5
        return (self.largest(values) - self.mean) / self.std


def deal(n):
    """The fold of each image: neighbours in order are held out together, in runs of a twentieth of all."""
    run = max(1, n // 20)
    parts = [list(range(i, min(i + run, n))) for i in range(0, n, run)]
    order = [parts[i] for i in np.random.default_rng(0).permutation(len(parts))]
    order.sort(key=lambda part: -len(part))
    sizes, folds = np.zeros(FOLDS, dtype=int), np.zeros(n, dtype=int)
    for part in order:
        smallest = int(np.argmin(sizes))
        folds[part] = smallest
        sizes[smallest] += len(part)
    return folds


def fit(paths, patch_steps=400, image_steps=300):
    """What says of a path its score and its verdict, learned from good images alone."""
    generator = torch.Generator().manual_seed(0)
    cells, coarse, joined = [], [], []
    for path in paths:
        x = features(path)
        rows = x.flatten(1).T
        most = max(1, 200_000 // len(paths))
        if most < len(rows):
            rows = rows[torch.randperm(len(rows), generator=generator)[:most]]
        cells.append(rows.half())
        coarse.append(resize(x[None], COARSE))
        joined.append(x.half())
    folds = deal(len(paths))
    patch_held_out, image_held_out, image_energies = [None] * len(paths), [None] * len(paths), []
    for fold in range(FOLDS):
        others = np.flatnonzero(folds != fold)
        patch = fit_patch(torch.cat([cells[i] for i in others]).float(), fold, patch_steps)
        image = fit_image(torch.cat([coarse[i] for i in others]), fold, image_steps)
        image_energies.append(image)
        for i in np.flatnonzero(folds == fold):
            patch_held_out[i] = patch(joined[i].float()).numpy()
            image_held_out[i] = image(coarse[i][0]).numpy()
    # Patches are scored by one more energy of all images, the whole by the mean over the four.
    everything = fit_patch(torch.cat(cells).float(), FOLDS, patch_steps)
    levels = [
        Level(np.stack(patch_held_out), [everything], top=3),
        Level(np.stack(image_held_out), image_energies, top=1),
    ]
    normal = np.logaddexp(*(level.held_out_scores for level in levels))
    mean, std = normal.mean(), normal.std(ddof=1)
    # Conformal: of n good parts and a new one, each is as likely to be among the oddest as any other.
    allowed = math.floor(RATE * (len(paths) + 1) + 1e-9)
    threshold = np.sort((normal - mean) / std)[::-1][allowed - 1] if allowed else math.inf

    def predict(path):
        x = features(path)
        scores = levels[0].score(x), levels[1].score(resize(x[None], COARSE)[0])
        score = (np.logaddexp(*scores) - mean) / std
        return score, score > threshold

    return predict


if __name__ == "__main__":
    predict = fit(sorted(path for path in Path(sys.argv[1]).iterdir() if path.suffix in (".png", ".jpg")))
    for name in sys.argv[2:]:
        score, anomalous = predict(name)
        print(f"{name}: {score:.3f} {'ANOMALOUS' if anomalous else 'normal'}")
