"""This module draws `fabric`, a checked cloth in 2/2 twill.

Phase, scale, angle, bow, thread colour and thickness vary.

A band is a run of threads of another colour, as in the loom. A global defect concerns bands or the whole
weave: a band missing, a band in the wrong place, the cloth pulled out of shape. Each patch is proper cloth.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from patchebm_products.canvas import Drawing, Mask, Plane, field, grid

# (centre, width) of the bands across x (warp threads) and across y (weft threads), in units of the side.
BANDS = (((0.27, 0.13), (0.71, 0.13)), ((0.31, 0.13), (0.72, 0.13)))
THREADS = 25.0
_GROUND = np.array([0.62, 0.60, 0.53])
_BAND = (np.array([0.37, 0.42, 0.50]), np.array([0.50, 0.34, 0.30]))


def _threads(
    rng: np.random.Generator, axis: int, centres: list[float], phase: float, dye: NDArray[np.float64]
) -> tuple[Plane, Plane]:
    """Returns the colours (96, 3) and the cross offsets (96,) of one axis' threads; index 32 lies at 0."""
    at = (np.arange(96) - 32 + 0.5 - phase) / THREADS
    colors = np.repeat(_GROUND[None], 96, axis=0) * dye[0]
    for centre, (_, width) in zip(centres, BANDS[axis], strict=True):
        colors[np.abs(at - centre) < width / 2] = _BAND[axis] * dye[1 + axis]
    colors = colors * np.exp(rng.normal(0, 0.035, (96, 1)))
    return colors.astype(np.float32), rng.normal(0, 0.05, 96).astype(np.float32)


def draw_fabric(rng: np.random.Generator, fault: np.random.Generator, n: int, defect: str) -> Drawing:
    """Draws the cloth on an n x n canvas. `rng` draws the part, `fault` only the global defect."""
    x, y = grid(n)
    turn, scale = float(rng.normal(0, np.radians(0.8))), float(np.exp(rng.normal(0, 0.015)))
    right, down = (0.5 + rng.uniform(-0.025, 0.025, 2)).tolist()
    phases = rng.uniform(0, 1, 2).tolist()
    dye = np.exp(rng.normal(0, 0.05, (3, 1))) * np.exp(rng.normal(0, 0.015, (3, 3)))
    centres = [[c + rng.normal(0, 0.005) for c, _ in bands] for bands in BANDS]
    px, py, cos, sin = x - 0.5, y - 0.5, scale * math.cos(turn), scale * math.sin(turn)
    u = cos * px + sin * py + right + 0.004 * field(rng, n, 4)
    v = cos * py - sin * px + down + 0.004 * field(rng, n, 4)

    support: Mask = np.zeros((n, n), dtype=np.bool_)
    if defect == "deformed":
        u, v, support = _pulled(fault, n, u, v)
    elif defect in ("missing", "misplaced"):
        axis, which = int(fault.integers(2)), int(fault.integers(2))
        along, width = (u, v)[axis], BANDS[axis][which][1] + 1 / THREADS
        support |= np.abs(along - centres[axis][which]) < width / 2
        # Towards the other band there is room on the cloth; towards the rim there is less.
        way = (1 if which == 0 else -1) if fault.random() < 0.7 else (-1 if which == 0 else 1)
        centres[axis][which] += way * fault.uniform(0.075, 0.12) if defect == "misplaced" else 9.0
        support |= np.abs(along - centres[axis][which]) < width / 2

    threads = [_threads(rng, axis, centres[axis], phases[axis], dye) for axis in (0, 1)]
    color, bend = (np.concatenate(table) for table in zip(*threads, strict=True))
    tu, tv = u * THREADS + phases[0], v * THREADS + phases[1]
    i, j = np.floor(tu), np.floor(tv)
    fu, fv = tu - i, tv - j
    k = (i + j) % 4
    over = k < 2
    # Rows 0 to 95 of the tables are warp threads, 96 to 191 weft threads.
    thread = np.where(over, np.clip(i + 32, 0, 95), np.clip(j + 128, 96, 191)).astype(np.intp)
    across = 2 * (np.where(over, fu, fv) + bend[thread]) - 1
    run = np.where(over, k + fv, k - 2 + fu) - 1
    slant = rng.normal(0, 0.05, 2).astype(np.float32)
    relief = 1.06 - 0.34 * across**2 - 0.20 * run**2 + across * np.where(over, slant[0], slant[1])
    relief += 0.03 * field(rng, n, 12) + 0.03 * rng.standard_normal((n, n), dtype=np.float32)
    rgb = color[thread] * relief[..., None]
    return Drawing(rgb.astype(np.float32), np.ones((n, n), dtype=np.bool_), support)


def _pulled(fault: np.random.Generator, n: int, u: Plane, v: Plane) -> tuple[Plane, Plane, Mask]:
    """Displaces the cloth smoothly over a wide round region: it was pulled and has not come back."""
    x, y = grid(n)
    cx, cy = fault.uniform(0.3, 0.7, 2).tolist()
    radius, angle = fault.uniform(0.32, 0.40), fault.uniform(0, 2 * math.pi)
    bump = np.clip(1 - ((x - cx) ** 2 + (y - cy) ** 2) / radius**2, 0, 1) ** 2
    pull = fault.uniform(0.055, 0.08) * bump
    return u + math.cos(angle) * pull, v + math.sin(angle) * pull, pull > 0.0005
