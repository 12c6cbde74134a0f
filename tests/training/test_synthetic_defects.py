"""Synthetic defects: seen, where the mask says, and only there."""

from __future__ import annotations

import numpy as np
import pytest

from patchebm.training.synthetic_defects import CANVAS, GLOBAL, PLACE, DefectArtist


@pytest.fixture(scope="module")
def canvases() -> np.ndarray:
    """Good images with a textured disc in the middle of a plain ground."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:CANVAS, :CANVAS] - CANVAS / 2
    disc = np.hypot(y, x) < 150
    out = np.full((4, 3, CANVAS, CANVAS), 0.4, np.float32)
    out[:, :, disc] = rng.random((4, 3, int(disc.sum())), dtype=np.float32)
    return out


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("kind", ["draw", "draw_global"])
def test_only_what_the_mask_covers_changes_and_enough_to_be_seen(
    canvases: np.ndarray, grey: bool, kind: str
) -> None:
    images = canvases.mean(1, keepdims=True).repeat(3, 1) if grey else canvases
    artist = DefectArtist.learn(images, grey=grey)
    rng = np.random.default_rng(1)
    shares, drawn = [], 0
    for _ in range(120):
        image = images[0].copy()
        mask = getattr(artist, kind)(image, images[1], rng)
        assert mask.shape == (CANVAS, CANVAS)
        assert image.min() >= 0
        assert image.max() <= 1
        changed = np.abs(image - images[0]).max(0)
        assert not changed[mask == 0].any()
        if grey:
            assert np.allclose(image, image[:1], atol=1e-6)
        if mask.any():
            drawn += 1
            shares.append((mask > 0.5).mean() ** 0.5 * CANVAS)
    assert drawn >= 115
    low, high = np.quantile(shares, [0.02, 0.98])
    # Sides of squares of the same area: from two pixels (a scratch) to the largest extent.
    assert (low > 1 and high < 90) if kind == "draw" else (low > 25 and high < 220)


def test_defects_lie_where_parts_have_structure(canvases: np.ndarray) -> None:
    artist = DefectArtist.learn(canvases, grey=False)
    assert artist.places.sum() == pytest.approx(1)
    y, x = np.mgrid[:64, :64] * PLACE + PLACE / 2 - CANVAS / 2
    inside = np.hypot(y, x) < 150
    assert artist.places[inside].mean() > 5 * artist.places[~inside].mean()
    region = np.zeros((64, 64), np.float32)
    region[:32] = 1
    upper = DefectArtist.learn(canvases, grey=False, region=region)
    assert upper.places[:32].sum() > 0.999


def test_a_seed_draws_the_same_again(canvases: np.ndarray) -> None:
    artist = DefectArtist.learn(canvases, grey=False)
    out = []
    for seed in (3, 3, 4):
        image, rng = canvases[0].copy(), np.random.default_rng(seed)
        for _ in range(10):
            artist.draw(image, canvases[1], rng)
            artist.draw_global(image, canvases[2], rng)
        out.append(image)
    assert np.array_equal(out[0], out[1])
    assert not np.array_equal(out[0], out[2])


def test_plain_images_can_be_damaged_too() -> None:
    plain = np.full((2, 3, CANVAS, CANVAS), 0.5, np.float32)
    artist = DefectArtist.learn(plain, grey=True)
    rng = np.random.default_rng(0)
    assert sum(artist.draw(plain[0].copy(), plain[1], rng).any() for _ in range(40)) >= 20


def test_a_piece_that_has_moved_leaves_the_ground_and_is_found_elsewhere(canvases: np.ndarray) -> None:
    """Both places are in the mask. No other defect reaches so far."""
    plain = np.full((3, CANVAS, CANVAS), 0.4, np.float32)
    plain[:, 50:450, 50:250], plain[:, 50:450, 250:450] = 0.9, 0.1
    artist = DefectArtist.learn(plain[None], grey=True)
    rng = np.random.default_rng(0)
    moved = 0
    for _ in range(200):
        image = plain.copy()
        mask = artist.draw_global(image, plain, rng) > 0.99
        if not mask.any():
            continue
        columns = np.flatnonzero(mask.any(0))
        if np.ptp(columns) > GLOBAL[1] + 3:
            moved += 1
            assert (np.abs(image[0][mask] - 0.4) < 0.01).any()
    assert moved >= 5
