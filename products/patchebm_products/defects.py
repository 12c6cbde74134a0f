"""This module lays local defects over any part: scratch, crack, stain, hole; subtle to moderate."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from patchebm_products.canvas import Drawing, Mask, Plane, cover, field, grid

Path = NDArray[np.float64]
# Rust, oil, dust.
_TINTS = np.array([(0.45, 0.32, 0.16), (0.15, 0.13, 0.12), (0.80, 0.79, 0.74)], dtype=np.float32)


def _spot(rng: np.random.Generator, part: Mask) -> tuple[float, float]:
    """Chooses a point (x, y) of the part, a little off the image's rim.

    Looked up on a fixed 64 x 64 raster, so that an image's size moves the point by less than a raster cell.
    """
    n = part.shape[0]
    at = ((np.arange(64) + 0.5) / 64 * n).astype(int)
    raster = part[np.ix_(at, at)].copy()
    raster[:5] = raster[-5:] = raster[:, :5] = raster[:, -5:] = False
    places = np.argwhere(raster)
    row, column = places[int(rng.random() * len(places))]
    return (float(column) + 0.5) / 64, (float(row) + 0.5) / 64


def _distances(path: Path, n: int) -> tuple[Plane, Plane]:
    """Returns the distance to a polyline (k, 2) and the signed one to its nearest segment, (n, n) each."""
    x, y = grid(n)
    nearest = np.full((n, n), 9.0, dtype=np.float32)
    signed = np.zeros((n, n), dtype=np.float32)
    reach = 0.04
    low = np.clip(((path.min(axis=0) - reach) * n).astype(int), 0, n)
    high = np.clip(((path.max(axis=0) + reach) * n).astype(int) + 1, 0, n)
    box = (slice(low[1], high[1]), slice(low[0], high[0]))
    px, py = x[:, box[1]], y[box[0]]
    for a, b in itertools.pairwise(path):
        d = b - a
        t = np.clip(((px - a[0]) * d[0] + (py - a[1]) * d[1]) / max(float(d @ d), 1e-12), 0, 1)
        gap_x, gap_y = px - a[0] - t * d[0], py - a[1] - t * d[1]
        distance = np.hypot(gap_x, gap_y)
        closer = distance < nearest[box]
        nearest[box] = np.where(closer, distance, nearest[box])
        side = np.where(gap_x * d[1] - gap_y * d[0] > 0, distance, -distance)
        signed[box] = np.where(closer, side, signed[box])
    return nearest, signed


def _scratch(rng: np.random.Generator, drawing: Drawing) -> tuple[Plane, Mask]:
    """Draws a thin bright groove with a dark flank, nearly straight."""
    n = drawing.rgb.shape[0]
    middle, angle = np.array(_spot(rng, drawing.part)), rng.uniform(0, np.pi)
    length, bend, width = rng.uniform(0.14, 0.30), rng.normal(0, 0.12), rng.uniform(0.004, 0.0065)
    contrast = rng.uniform(0.18, 0.36)
    t = np.linspace(-0.5, 0.5, 9)[:, None]
    along, side = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    path = middle + length * (t * along + bend * (t**2) * side)
    near, signed = _distances(path, n)
    near[~drawing.part] = signed[~drawing.part] = 9.0
    bright = cover(near - width, n, width)
    dark = cover(np.abs(signed - 2 * width) - width, n, width) * (near < 4 * width)
    rgb = drawing.rgb + (contrast * bright - 0.5 * contrast * dark)[..., None]
    return rgb, (bright > 0.1) | (dark > 0.1)


def _crack(rng: np.random.Generator, drawing: Drawing) -> tuple[Plane, Mask]:
    """Draws a jagged dark line with a branch that gets thinner towards its ends."""
    n = drawing.rgb.shape[0]
    middle, angle = np.array(_spot(rng, drawing.part)), rng.uniform(0, 2 * np.pi)
    length, width, depth = rng.uniform(0.13, 0.24), rng.uniform(0.0055, 0.008), rng.uniform(0.5, 0.75)
    turns = angle + rng.normal(0, 0.55, 10)
    steps = length / 10 * np.stack([np.cos(turns), np.sin(turns)], axis=1)
    path = np.concatenate([np.zeros((1, 2)), np.cumsum(steps, axis=0)])
    path += middle - path[5]
    fork = angle + rng.choice([-1, 1]) * rng.uniform(0.6, 1.0) + rng.normal(0, 0.4, 4)
    branch = path[6] + np.concatenate(
        [np.zeros((1, 2)), np.cumsum(length / 12 * np.stack([np.cos(fork), np.sin(fork)], axis=1), axis=0)]
    )
    alpha = np.zeros((n, n), dtype=np.float32)
    for line, start, thick in ((path, path[5], width), (branch, path[6], 0.7 * width)):
        near, _ = _distances(line, n)
        x, y = grid(n)
        taper = thick * np.clip(1.15 - np.hypot(x - start[0], y - start[1]) / (0.6 * length), 0.25, 1)
        alpha = np.maximum(alpha, cover((near - taper).astype(np.float32), n, 0.003))
    alpha[~drawing.part] = 0
    return drawing.rgb * (1 - depth * alpha[..., None]), alpha > 0.1


def _stain(rng: np.random.Generator, drawing: Drawing) -> tuple[Plane, Mask]:
    """Draws a soft, uneven blotch of oil, rust or dust: it tints what lies under it."""
    n = drawing.rgb.shape[0]
    x, y = grid(n)
    cx, cy = _spot(rng, drawing.part)
    size, stretch, angle = rng.uniform(0.028, 0.05), rng.uniform(0.7, 1.0), rng.uniform(0, np.pi)
    strength = rng.uniform(0.42, 0.7)
    row, column = int(cy * n), int(cx * n)
    under = drawing.rgb[row - n // 64 : row + n // 64, column - n // 64 : column + n // 64].mean(axis=(0, 1))
    # Dark oil on a dark chip would be a defect that nobody can see.
    tints = [tint for tint in _TINTS if np.abs(tint - under).max() > 0.22]
    tint = tints[int(rng.integers(len(tints)))]
    waves, phases = rng.normal(0, 0.09, 4), rng.uniform(0, 2 * np.pi, 4)
    a = np.cos(angle) * (x - cx) + np.sin(angle) * (y - cy)
    b = (np.cos(angle) * (y - cy) - np.sin(angle) * (x - cx)) / stretch
    theta = np.arctan2(b, a)
    rim = size * (
        1 + sum(w * np.cos((k + 2) * theta + p) for k, (w, p) in enumerate(zip(waves, phases, strict=True)))
    )
    gap = (np.hypot(a, b) - rim).astype(np.float32)
    alpha = cover(gap, n, 0.012)
    # What dries leaves more at the rim than in the middle.
    middle = np.clip(-gap / size, 0, 1)
    alpha *= np.clip(1.1 - 0.55 * middle + 0.25 * field(rng, n, 40), 0.2, 1.4)
    alpha[~drawing.part] = 0
    layer = (strength * alpha)[..., None]
    return (drawing.rgb * (1 - layer) + layer * tint).astype(np.float32), alpha > 0.08


def _hole(rng: np.random.Generator, drawing: Drawing) -> tuple[Plane, Mask]:
    """Draws a small dark pit or puncture with a raised, lit rim."""
    n = drawing.rgb.shape[0]
    x, y = grid(n)
    cx, cy = _spot(rng, drawing.part)
    size, stretch, angle = rng.uniform(0.019, 0.034), rng.uniform(0.65, 1.0), rng.uniform(0, np.pi)
    depth, light = rng.uniform(0.55, 0.85), rng.uniform(0, 2 * np.pi)
    a = np.cos(angle) * (x - cx) + np.sin(angle) * (y - cy)
    b = (np.cos(angle) * (y - cy) - np.sin(angle) * (x - cx)) / stretch
    theta = np.arctan2(b, a)
    edge = np.hypot(a, b) - size * (1 + 0.10 * np.cos(3 * theta + light) + 0.07 * np.cos(5 * theta - light))
    inside = cover(edge.astype(np.float32), n, 0.006)
    rim = cover((np.abs(edge - 0.005) - 0.004).astype(np.float32), n, 0.005) * np.cos(theta + angle - light)
    for layer in (inside, rim):
        layer[~drawing.part] = 0
    # The rim is raised: it shines on dark ground too.
    rgb = (drawing.rgb + 0.13 * rim[..., None]) * (1 - depth * inside[..., None])
    return rgb.astype(np.float32), (inside > 0.1) | (np.abs(rim) > 0.1)


LOCAL: dict[str, Callable[[np.random.Generator, Drawing], tuple[Plane, Mask]]] = {
    "scratch": _scratch,
    "crack": _crack,
    "stain": _stain,
    "hole": _hole,
}
