"""Features of tiles are those of the whole image."""

from __future__ import annotations

import pytest
import torch

from patchebm.features import tiling
from patchebm.features.backbone import Backbone, load_backbone
from tests.features.test_backbone import LITE0, images


@pytest.fixture(scope="module")
def lite0() -> Backbone:
    return load_backbone(LITE0, [2, 4, 10])


def test_the_reach_is_what_a_pixel_can_change(lite0: Backbone) -> None:
    x = images(1, 512, 512)
    y = x.clone()
    y[:, :, 256, 256] += 0.5
    changed = (lite0(x)[-1] != lite0(y)[-1]).any(1)[0].nonzero() * lite0.strides[-1]
    assert lite0.reach == 169
    # A change within the reach, and not much less than it.
    assert 96 < int((changed - 256).abs().max()) <= lite0.reach + lite0.strides[-1]


@pytest.mark.parametrize("size", [(512, 544), (288, 800), (256, 256)])
def test_tiles_give_what_the_whole_gives(
    lite0: Backbone, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    x = images(1, *size)
    whole = lite0(x)
    assert all(torch.equal(a, b) for a, b in zip(tiling.maps_of(lite0, x), whole, strict=True))
    monkeypatch.setattr(tiling, "MAX_PIXELS", 1)
    monkeypatch.setattr(tiling, "TILE", 160)
    for a, b in zip(tiling.maps_of(lite0, x), whole, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_a_backbone_of_unknown_reach_sees_the_whole(lite0: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    x = images(1, 288, 320)
    monkeypatch.setattr(tiling, "MAX_PIXELS", 1)
    monkeypatch.setattr(lite0, "reach", None)
    assert all(torch.equal(a, b) for a, b in zip(tiling.maps_of(lite0, x), lite0(x), strict=True))
