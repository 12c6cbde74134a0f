"""This module draws `flange`, a turned steel ring with bolt holes, keyway and mark on a conveyor belt."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from patchebm_products.canvas import Drawing, Mask, Plane, blend, cover, field, grid

OUTER, BORE, CIRCLE, HOLE = 0.40, 0.135, 0.275, 0.043
_BELT = (0.30, 0.315, 0.31)
_STEEL = np.array([0.58, 0.59, 0.60])
_DARK = (0.235, 0.24, 0.24)


@dataclass
class _Plan:
    """This class places what is on the ring: holes as (angle, radius), and the mark's angle, in radians."""

    holes: list[tuple[float, float]]
    mark: float


def _changed(fault: np.random.Generator, defect: str, plan: _Plan) -> list[tuple[float, float, float]]:
    """Changes the plan in place; returns the discs (angle, radius, size) that this touches."""
    if defect == "missing":
        if fault.random() < 0.2:
            spot = (plan.mark, CIRCLE + 0.015, 0.075)
            plan.mark = np.nan
            return [spot]
        angle, radius = plan.holes.pop(int(fault.integers(len(plan.holes))))
        return [(angle, radius, HOLE + 0.014)]
    if defect == "misplaced":
        which = int(fault.integers(len(plan.holes)))
        angle, radius = plan.holes[which]
        # The two holes beside the mark move away from it: a hole through the mark would be a local novelty.
        way = {1: -1.0, 2: 1.0}.get(which, fault.choice([-1.0, 1.0]))
        moved = (angle + way * fault.uniform(0.24, 0.42), radius + fault.uniform(-0.01, 0.01))
        plan.holes[which] = moved
        return [(angle, radius, HOLE + 0.014), (*moved, HOLE + 0.014)]
    return []


def draw_flange(rng: np.random.Generator, fault: np.random.Generator, n: int, defect: str) -> Drawing:
    """Draws the ring on an n x n canvas. `rng` draws the part, `fault` only the global defect."""
    x, y = grid(n)
    cx, cy = (0.5 + rng.normal(0, 0.012, 2)).tolist()
    turn, scale = float(rng.normal(0, np.radians(2.0))), float(np.exp(rng.normal(0, 0.009)))
    light = rng.uniform(0, 2 * np.pi)
    plan = _Plan([(k * np.pi / 3 + rng.normal(0, 0.01), CIRCLE) for k in range(6)], np.pi / 2)
    touched = _changed(fault, defect, plan)

    px, py = (x - cx) / scale, (y - cy) / scale
    radius = np.hypot(px, py).astype(np.float32)
    theta = (np.arctan2(py, px) - turn).astype(np.float32)
    support: Mask = np.zeros((n, n), dtype=np.bool_)
    true_radius = radius
    if defect == "deformed":
        radius = _dented(fault, radius, theta)
        support = (np.abs(radius - true_radius) > 0.0005) & (np.minimum(radius, true_radius) < OUTER + 0.03)
    cos, sin = np.cos(theta), np.sin(theta)
    qx, qy = radius * cos, radius * sin
    lit = math.cos(light - turn), math.sin(light - turn)
    facing = lit[0] * cos + lit[1] * sin
    for angle, at, size in touched:
        support |= np.hypot(qx - at * math.cos(angle), qy - at * math.sin(angle)) < size

    # Belt: rubber with a woven ridge along the way it moves, and the ring's soft shadow.
    rgb = np.empty((n, n, 3), dtype=np.float32)
    ridge = np.sin(2 * math.pi * (rng.uniform(17, 19) * y + rng.uniform()))
    tone = 1 + 0.07 * ridge + 0.08 * field(rng, n, 6) + 0.05 * field(rng, n, 64)
    rgb[:] = tone[..., None] * (np.array(_BELT) * np.exp(rng.normal(0, 0.06))).astype(np.float32)
    fall = (0.012 * math.cos(light), 0.012 * math.sin(light))
    ring = np.maximum(radius - OUTER, BORE - radius)
    shadow = np.maximum(np.hypot(qx - fall[0], qy - fall[1]) - OUTER, BORE - radius - 0.004)
    rgb *= 1 - 0.35 * cover(shadow.astype(np.float32), n, 0.035)[..., None]

    metal = _machined(rng, n, radius, facing)
    alpha = cover(ring, n, 0.010)
    edge = cover(np.abs(radius - OUTER + 0.007) - 0.005, n, 0.006)
    edge += cover(np.abs(radius - BORE - 0.007) - 0.005, n, 0.006)
    metal *= (1 + 0.16 * edge * facing)[..., None]
    # Keyway in the bore, opposite to the mark.
    key = np.maximum(np.abs(qx) - 0.024, np.abs(qy + BORE) - 0.03)
    alpha *= 1 - cover(key.astype(np.float32), n)
    part = alpha > 0.999
    if np.isfinite(plan.mark):
        _engrave(metal, n, radius, theta - plan.mark)
    blend(rgb, metal, alpha)
    for angle, at in plan.holes:
        # A window is enough; its margin covers what a dent can shift.
        hx, hy = qx - at * math.cos(angle), qy - at * math.sin(angle)
        rows, columns = _window((np.abs(hx) < HOLE + 0.02) & (np.abs(hy) < HOLE + 0.02))
        hx, hy, inner = hx[rows, columns], hy[rows, columns], rgb[rows, columns]
        distance = np.hypot(hx, hy)
        sheen = (lit[0] * hx + lit[1] * hy) / np.maximum(distance, 1e-6)
        rim = cover(np.abs(distance - HOLE) - 0.004, n, 0.006)
        inner *= 1 - 0.14 * (rim * sheen)[..., None]
        blend(inner, _DARK, cover(distance - HOLE, n, 0.012))
        # The far wall of the drilled hole catches some light.
        wall = cover(np.abs(distance - HOLE + 0.006) - 0.005, n, 0.006) * np.clip(-sheen, 0, 1)
        blend(inner, (0.40, 0.40, 0.41), 0.5 * wall)
        part[rows, columns] &= distance > HOLE + 0.012
    return Drawing(rgb, part, support)


def _window(region: Mask) -> tuple[slice, slice]:
    """Returns the rows and columns that hold all of `region`; empty slices for an empty region."""
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    if not len(rows):
        return slice(0), slice(0)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _dented(fault: np.random.Generator, radius: Plane, theta: Plane) -> Plane:
    """Returns radii of a ring that was pressed in over a wide arc: the rim moves most, the bore stays."""
    middle, half = fault.uniform(0, 2 * np.pi), fault.uniform(0.8, 1.1)
    away = (theta - middle + np.pi) % (2 * np.pi) - np.pi
    arc = np.clip(1 - (away / half) ** 2, 0, 1) ** 2
    depth = fault.uniform(0.045, 0.07) * fault.choice([1.0, 1.0, -0.8])
    lever = np.clip((radius - BORE) / (OUTER - BORE), 0, 1.2)
    return np.asarray(radius + depth * arc * lever, dtype=np.float32)


def _machined(rng: np.random.Generator, n: int, radius: Plane, facing: Plane) -> Plane:
    """Returns (n, n, 3) turned steel: fine concentric grooves under the bow-tie sheen of a lathe's finish."""
    grooves = rng.standard_normal(600).astype(np.float32)
    grooves = np.convolve(grooves, np.hanning(7) / 2.0, mode="same").astype(np.float32)
    groove = np.interp(radius, np.linspace(0, 1, 600), grooves).astype(np.float32)
    sheen = (2 * facing**2 - 1) * rng.uniform(0.03, 0.07)
    step = 0.05 * cover(radius - 0.205, n, 0.006)
    steel = (_STEEL * np.exp(rng.normal(0, 0.02))).astype(np.float32)
    # The grain comes last: how many numbers it takes depends on n.
    tone = 1 + sheen + 0.025 * groove - step + 0.03 * field(rng, n, 10)
    tone += 0.025 * rng.standard_normal((n, n), dtype=np.float32)
    return np.asarray(tone[..., None] * steel, dtype=np.float32)


def _engrave(metal: Plane, n: int, radius: Plane, away: Plane) -> None:
    """Cuts a row of code bars over a line into the face, between two bolt holes."""
    away = (away + np.pi) % (2 * np.pi) - np.pi
    rows, columns = _window((np.abs(away) < 0.22) & (np.abs(radius - 0.31) < 0.05))
    metal, radius, away = metal[rows, columns], radius[rows, columns], away[rows, columns]
    for at, length in (
        (-0.16, 0.020),
        (-0.10, 0.012),
        (-0.05, 0.020),
        (0.02, 0.020),
        (0.07, 0.012),
        (0.14, 0.020),
    ):
        bar = np.maximum(np.abs(away - at) * radius - 0.0045, np.abs(radius - 0.30) - length)
        metal *= 1 - 0.28 * cover(bar.astype(np.float32), n, 0.005)[..., None]
    line = np.maximum(np.abs(away) - 0.19, np.abs(radius - 0.345) - 0.0035)
    metal *= 1 - 0.24 * cover(line.astype(np.float32), n, 0.005)[..., None]
