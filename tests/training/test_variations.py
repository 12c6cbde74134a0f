"""Changed versions of few images: what they may change, and whether parts lie turned."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from patchebm.training.variations import ENOUGH, LIGHT, SHIFT, Variations, lie_turned
from tests.tiny import flanges


def bars(angles: list[float]) -> list[NDArray[np.float32]]:
    """A bar with a head on a plain ground, turned by each angle, with a camera's noise."""
    rng = np.random.default_rng(0)
    plain = np.full((96, 128), 40, np.uint8)
    plain[44:52, 30:98] = 200
    plain[38:58, 30:42] = 240
    out = []
    for angle in angles:
        turned = Image.fromarray(plain).rotate(angle, Image.Resampling.BILINEAR, fillcolor=40)
        noisy = np.asarray(turned, np.float32) / 255 + 0.02 * rng.standard_normal((96, 128))
        out.append(noisy[:, :, None].clip(0, 1).astype(np.float32))
    return out


def test_parts_that_lie_turned_are_told_from_those_that_do_not() -> None:
    assert lie_turned(bars([0, 100]))
    assert lie_turned(bars([10, 75, 160, 290, 235]))
    # A hand lays them nearly alike; nothing can be told of one; identical ones are not turned.
    assert not lie_turned(bars([0, 2, -1, 1]))
    assert not lie_turned(bars([30]))
    assert not lie_turned(bars([30])[:1] * 3)
    assert not lie_turned(flanges(4))
    assert not lie_turned([np.full((64, 64, 1), 0.5, np.float32)] * 2)


@pytest.mark.parametrize("turned", [False, True])
def test_versions_move_and_brighten_and_turn_no_further_than_they_may(turned: bool) -> None:
    # A spot in the middle of a grey ramp says where a version was moved to.
    pixels = torch.full((1, 100, 100, 1), 0.4)
    pixels[0, 49:51, 60:62] = 0.9
    versions = list(Variations(12, turned).draw(pixels, np.random.default_rng(0)))
    assert len(versions) == 12
    spots = []
    for version in versions:
        assert version.shape == pixels.shape
        assert version.dtype == torch.float32
        assert abs(float(version.median()) / 0.4 - 1) <= LIGHT + 1e-5
        spots.append(divmod(int(version.argmax()), 100))
    assert len(set(spots)) > 6
    away = np.array(spots) - (49.5, 60.5)
    # A turn by any angle moves the spot around the centre, 11 pixels away.
    reach = 100 * SHIFT + 1 + (22 if turned else 0)
    assert np.abs(away).max() <= reach
    assert (np.abs(away).max() > 100 * SHIFT + 2) == turned


def test_versions_are_the_same_for_the_same_seed_and_stay_in_range() -> None:
    pixels = torch.from_numpy(flanges(1)[0])[None]
    drawn = [
        torch.cat(list(Variations(4, True).draw(pixels, np.random.default_rng(seed)))) for seed in (0, 0, 1)
    ]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert float(drawn[0].min()) >= 0
    assert float(drawn[0].max()) <= 1


def test_enough_images_need_none() -> None:
    images = flanges(4)
    assert Variations.of(images, ENOUGH) is None
    assert Variations.of([], 0) is None
    found = [Variations.of(images, n) for n in (1, 4, ENOUGH - 1)]
    assert [one.each for one in found if one is not None] == [32, 8, 2]
    assert "turned" not in found[0].describe()  # type: ignore[union-attr]
    assert "turned" in Variations(2, True).describe()
