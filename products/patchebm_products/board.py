"""This module draws `board`, an assembled circuit board.

Components sit at fixed places within a placement tolerance.

A global defect leaves one component out, sets it down elsewhere or stretches and shears it; the bare board
under it carries the same traces as everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from patchebm_products.canvas import Color, Drawing, Mask, Pen, Point, Pose, field


@dataclass(frozen=True)
class _Item:
    """This class is a component: its place and half extents (w, h), how high it stands, how to draw it."""

    place: Point
    half: Point
    height: float
    paint: Callable[[Pen, _Item, float], None]


def _tone(color: Color, factor: float) -> Color:
    return (color[0] * factor, color[1] * factor, color[2] * factor)


def _chip(pen: Pen, item: _Item, tone: float) -> None:
    (x, y), (w, h) = item.place, item.half
    for k in np.linspace(-w * 0.82, w * 0.82, max(3, round(w / 0.0145))):
        pen.box(x + k - 0.006, y - h, x + k + 0.006, y + h, (0.46, 0.48, 0.45))
    pen.box(x - w, y - h + 0.018, x + w, y + h - 0.018, _tone((0.21, 0.21, 0.22), tone))
    pen.box(x - w, y - h + 0.018, x + w, y - h + 0.026, _tone((0.27, 0.27, 0.285), tone))
    pen.disc(x - w + 0.02, y + h - 0.036, 0.008, (0.30, 0.30, 0.31))
    for row in (-0.012, 0.006):
        pen.box(x - w * 0.45, y + row, x + w * 0.55, y + row + 0.006, _tone((0.36, 0.36, 0.36), tone))


def _capacitor(pen: Pen, item: _Item, tone: float) -> None:
    (x, y), (w, _) = item.place, item.half
    pen.disc(x, y, w, _tone((0.30, 0.33, 0.42), tone))
    pen.disc(x, y, w * 0.84, _tone((0.56, 0.56, 0.58), tone))
    pen.polygon(
        [(x - w * 0.8, y - w * 0.2), (x - w * 0.6, y - w * 0.55), (x - w * 0.6, y + w * 0.55)],
        (0.32, 0.33, 0.37),
    )
    pen.line((x - w * 0.5, y), (x + w * 0.5, y), 0.006, _tone((0.48, 0.48, 0.5), tone))
    pen.line((x, y - w * 0.5), (x, y + w * 0.5), 0.006, _tone((0.48, 0.48, 0.5), tone))


def _resistor(pen: Pen, item: _Item, tone: float) -> None:
    (x, y), (w, h) = item.place, item.half
    pen.box(x - w, y - h, x + w, y + h, (0.50, 0.51, 0.47))
    pen.box(x - w * 0.68, y - h, x + w * 0.68, y + h, _tone((0.24, 0.20, 0.18), tone))
    pen.box(x - w * 0.3, y - h * 0.4, x + w * 0.3, y + h * 0.4, (0.5, 0.47, 0.43))


def _screw(pen: Pen, item: _Item, tone: float) -> None:
    (x, y), (w, _) = item.place, item.half
    pen.disc(x, y, w, (0.46, 0.46, 0.33))
    pen.disc(x, y, w * 0.78, _tone((0.56, 0.56, 0.57), tone))
    angle = 9.0 * tone * tone  # a screw stops at any angle
    dx, dy = w * 0.6 * float(np.cos(angle)), w * 0.6 * float(np.sin(angle))
    pen.line((x - dx, y - dy), (x + dx, y + dy), 0.011, (0.40, 0.40, 0.40))
    pen.line((x + dy, y - dx), (x - dy, y + dx), 0.011, (0.40, 0.40, 0.40))


def _connector(pen: Pen, item: _Item, tone: float) -> None:
    (x, y), (w, h) = item.place, item.half
    pen.box(x - w, y - h, x + w, y + h, _tone((0.60, 0.59, 0.53), tone))
    pen.box(x - w + 0.012, y - h + 0.012, x + w - 0.012, y + h - 0.012, _tone((0.52, 0.50, 0.45), tone))
    for k in np.linspace(-h * 0.72, h * 0.72, 6):
        pen.box(x - 0.011, y + k - 0.009, x + 0.011, y + k + 0.009, (0.62, 0.55, 0.36))


def _label(pen: Pen, item: _Item, tone: float) -> None:
    (x, y), (w, h) = item.place, item.half
    pen.box(x - w, y - h, x + w, y + h, _tone((0.62, 0.62, 0.59), tone))
    for k, width in enumerate((2, 1, 1, 3, 1, 2, 1, 1, 2, 3, 1, 2)):
        at = x - w + 0.018 + k * (2 * w - 0.036) / 12
        pen.box(at, y - h + 0.012, at + 0.0042 * width, y + h * 0.1, (0.40, 0.40, 0.40))
    pen.box(x - w + 0.02, y + h * 0.35, x + w * 0.5, y + h * 0.6, (0.45, 0.45, 0.45))


ITEMS = (
    _Item((0.105, 0.115), (0.036, 0.036), 0.006, _screw),
    _Item((0.895, 0.115), (0.036, 0.036), 0.006, _screw),
    _Item((0.105, 0.885), (0.036, 0.036), 0.006, _screw),
    _Item((0.895, 0.885), (0.036, 0.036), 0.006, _screw),
    _Item((0.39, 0.30), (0.125, 0.105), 0.010, _chip),
    _Item((0.67, 0.70), (0.090, 0.085), 0.010, _chip),
    _Item((0.71, 0.25), (0.058, 0.058), 0.022, _capacitor),
    _Item((0.71, 0.43), (0.058, 0.058), 0.022, _capacitor),
    _Item((0.135, 0.50), (0.050, 0.160), 0.018, _connector),
    _Item((0.36, 0.80), (0.120, 0.055), 0.002, _label),
    _Item((0.33, 0.545), (0.034, 0.017), 0.004, _resistor),
    _Item((0.46, 0.545), (0.034, 0.017), 0.004, _resistor),
    _Item((0.88, 0.36), (0.017, 0.034), 0.004, _resistor),
    _Item((0.88, 0.60), (0.017, 0.034), 0.004, _resistor),
)
# The small parts are left whole: a global defect on one of them would be a local one.
_LARGE = tuple(k for k, item in enumerate(ITEMS) if max(item.half) > 0.034)
_EDGE = 0.045


def _traces(pen: Pen, tone: float) -> None:
    """Lays the copper: the same layout on every board, so drawn from a constant seed; it fills the board."""
    layout = np.random.default_rng(20)
    copper, ring = _tone((0.235, 0.425, 0.31), tone), (0.44, 0.46, 0.31)
    for _ in range(42):
        x, y = layout.uniform(_EDGE + 0.03, 1 - _EDGE - 0.03, 2)
        dx, dy = np.array([(1, 0), (0, 1), (0.7, 0.7), (0.7, -0.7)])[layout.integers(4)] * layout.uniform(
            0.1, 0.28
        )
        lo, hi = _EDGE + 0.02, 1 - _EDGE - 0.02
        start = (float(x), float(y))
        end = (float(np.clip(x + dx, lo, hi)), float(np.clip(y + dy, lo, hi)))
        pen.line(start, end, 0.009, copper)
        for at in (start, end):
            pen.disc(*at, 0.010, ring)
            pen.disc(*at, 0.0045, (0.19, 0.25, 0.20))


def _fault(fault: np.random.Generator, defect: str) -> tuple[int, Pose | None]:
    """Chooses the component that is wrong and its pose; None for a component that is not there."""
    # A screw does not bend.
    which = int(fault.choice(_LARGE[4:] if defect == "deformed" else _LARGE))
    place = ITEMS[which].place
    if defect == "missing":
        return which, None
    if defect == "misplaced":
        return which, _free(fault, which)
    big, small = fault.uniform(1.25, 1.42), fault.uniform(0.70, 0.80)
    shear = fault.choice([-1, 1]) * fault.uniform(0.14, 0.28)
    ways = ((big, shear, 0.0, small), (small, 0.0, shear, big), (1.0, 0.0, shear, 1.0))
    a, b, c, d = ways[int(fault.integers(3))]
    return which, Pose(place, (0.0, 0.0), (a, b, c, d))


def _free(fault: np.random.Generator, which: int) -> Pose:
    """Returns a shift that keeps the component on the board and off the others, turned a little."""
    (x, y), (w, h) = ITEMS[which].place, ITEMS[which].half
    best, least = (0.0, 0.0), np.inf
    for _ in range(40):
        distance, angle = fault.uniform(0.05, 0.11), fault.uniform(0, 2 * np.pi)
        dx, dy = float(distance * np.cos(angle)), float(distance * np.sin(angle))
        if not (_EDGE + w < x + dx < 1 - _EDGE - w and _EDGE + h < y + dy < 1 - _EDGE - h):
            continue
        overlap = 0.0
        for k, item in enumerate(ITEMS):
            over_x = w + item.half[0] + 0.01 - abs(x + dx - item.place[0])
            over_y = h + item.half[1] + 0.01 - abs(y + dy - item.place[1])
            if k != which and over_x > 0 and over_y > 0:
                overlap += over_x * over_y
        if overlap < least:
            best, least = (dx, dy), overlap
    return Pose.turned((x, y), best, fault.normal(0, 4.0))


def draw_board(rng: np.random.Generator, fault: np.random.Generator, n: int, defect: str) -> Drawing:
    """Draws the board on an n x n canvas. `rng` draws the part, `fault` only the global defect."""
    shift = (float(rng.normal(0, 0.010)), float(rng.normal(0, 0.010)))
    whole = Pose.turned((0.5, 0.5), shift, rng.normal(0, 0.9), float(np.exp(rng.normal(0, 0.008))))
    tones = np.exp(rng.normal(0, 0.04, len(ITEMS) + 2))
    seats = [
        Pose.turned(item.place, (float(dx), float(dy)), float(turn))
        for item, (dx, dy), turn in zip(
            ITEMS, rng.normal(0, 0.0045, (len(ITEMS), 2)), rng.normal(0, 1.2, len(ITEMS)), strict=True
        )
    ]
    light = rng.uniform(0, 2 * np.pi)
    wrong, pose = _fault(fault, defect) if defect in ("missing", "misplaced", "deformed") else (-1, None)

    bench, shade, foot = (
        Image.new("RGB", (n, n), (54, 55, 58)),
        Image.new("L", (n, n)),
        Image.new("L", (n, n)),
    )
    pen = Pen(bench, (whole,))
    pen.box(_EDGE - 0.006, _EDGE - 0.006, 1.006 - _EDGE, 1.006 - _EDGE, (0.36, 0.38, 0.27))
    pen.box(_EDGE, _EDGE, 1 - _EDGE, 1 - _EDGE, _tone((0.17, 0.345, 0.255), tones[-1]))
    _traces(pen, tones[-1])
    for k, item in enumerate(ITEMS):
        (x, y), (w, h) = item.place, item.half
        fall = Pose(shift=(item.height * float(np.cos(light)), item.height * float(np.sin(light))))
        if k == wrong:
            Pen(foot, (seats[k], whole)).box(x - w, y - h, x + w, y + h, 1.0)
            if pose is None:
                continue
            Pen(foot, (seats[k], pose, whole)).box(x - w, y - h, x + w, y + h, 1.0)
        seat = Pen(shade, (seats[k], *((pose,) if pose and k == wrong else ()), fall, whole))
        if item.paint in (_capacitor, _screw):
            seat.disc(x, y, w, 0.55)
        else:
            seat.box(x - w, y - h, x + w, y + h, 0.55)
    soft = np.asarray(shade.filter(ImageFilter.GaussianBlur(0.009 * n)), dtype=np.float32) / 255
    rgb = np.asarray(bench, dtype=np.float32) / 255 * (1 - soft[..., None])
    bench = Image.fromarray(np.rint(255 * rgb).astype(np.uint8))
    for k, item in enumerate(ITEMS):
        if k == wrong and pose is None:
            continue
        stack = (seats[k], *((pose,) if pose and k == wrong else ()), whole)
        item.paint(Pen(bench, stack), item, float(tones[k]))
    rgb = np.asarray(bench, dtype=np.float32) / 255
    rgb *= 1 + (0.035 * field(rng, n, 7) + 0.025 * rng.standard_normal((n, n), dtype=np.float32))[..., None]

    plate = Image.new("L", (n, n))
    Pen(plate, (whole,)).box(_EDGE + 0.01, _EDGE + 0.01, 0.99 - _EDGE, 0.99 - _EDGE, 1.0)
    # Local defects are of the laminate: nothing scratches a board and the top of a capacitor at one go.
    for item, seat_pose in zip(ITEMS, seats, strict=True):
        (x, y), (w, h) = item.place, item.half
        Pen(plate, (seat_pose, whole)).box(x - w - 0.006, y - h - 0.006, x + w + 0.006, y + h + 0.006, 0.0)
    support: Mask = np.asarray(foot) > 0
    return Drawing(rgb.astype(np.float32), np.asarray(plate) > 0, support)
