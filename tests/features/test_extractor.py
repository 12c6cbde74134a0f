"""From images to features: what is resized, what is left out, and how blocks are joined."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from patchebm.config.features import ExtractorConfig
from patchebm.errors import ConfigError, ImageError
from patchebm.features import tiling
from patchebm.features.backbone import Backbone, load_backbone
from patchebm.features.extractor import FeatureExtractor
from patchebm.features.module_backbone import ModuleBackbone
from patchebm.features.resize import resize

CONFIG = ExtractorConfig(size=(64, 64), grid=(8, 8), pool=1)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone("efficientnet-lite0", CONFIG.blocks)


def images(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def test_maps_join_blocks_on_one_grid(backbone: Backbone) -> None:
    x = images(1, 3, 64, 64) * 2 - 1
    extractor = FeatureExtractor(backbone, CONFIG)
    joined = extractor.join(extractor(x))
    assert joined.shape == (1, 176, 8, 8)
    maps = backbone(x)
    # Stride 8 lies on the grid as it is.
    assert torch.equal(joined[:, 24:64], maps[1])
    # A local mean, with zeros beyond the border.
    pooled = FeatureExtractor(backbone, replace(CONFIG, pool=3)).join(maps)
    torch.testing.assert_close(pooled[..., 4, 4], joined[..., 3:6, 3:6].mean((2, 3)))
    torch.testing.assert_close(pooled[..., 0, 0], joined[..., :2, :2].sum((2, 3)) / 9)


@pytest.mark.parametrize("pool", [1, 3])
@pytest.mark.parametrize("grid", [(16, 16), (8, 8), (4, 4), (5, 7)])
def test_the_cheap_join_is_the_join(grid: tuple[int, int], pool: int, backbone: Backbone) -> None:
    extractor = FeatureExtractor(backbone, replace(CONFIG, grid=grid, pool=pool))
    maps = extractor(images(2, 3, 64, 64) * 2 - 1)
    joined = extractor.join(maps)
    torch.testing.assert_close(extractor.fused_join(grid)(maps), joined, rtol=1e-5, atol=1e-5)
    # A level on a coarser grid.
    coarse = interpolate(joined, size=(2, 2), mode="bilinear", antialias=True, align_corners=False)
    torch.testing.assert_close(extractor.fused_join((2, 2))(maps), coarse, rtol=1e-5, atol=1e-5)


def test_images_are_prepared_for_the_backbone(backbone: Backbone) -> None:
    extractor = FeatureExtractor(backbone, CONFIG)
    colour = images(2, 90, 50, 3)
    expected = resize(colour.permute(0, 3, 1, 2), (64, 64)) * 2 - 1
    torch.testing.assert_close(extractor.prepare(colour), expected)
    grey = images(2, 90, 50, 1)
    assert torch.equal(extractor.prepare(grey), extractor.prepare(grey.expand(-1, -1, -1, 3)))


def test_outside_the_region_images_are_grey(backbone: Backbone) -> None:
    extractor = FeatureExtractor(backbone, CONFIG)
    x = images(1, 3, 64, 64) * 2 - 1
    whole = extractor(x)
    extractor.region = torch.zeros(64, 64)
    extractor.region[:, :32] = 1
    other = x.clone()
    other[..., 32:] = 0.9
    for one, same, before in zip(extractor(x), extractor(other), whole, strict=True):
        assert torch.equal(one, same)
        assert not torch.equal(one, before)
    other[..., :32] = 0.9
    assert not torch.equal(extractor(other)[0], extractor(x)[0])


def test_large_images_go_through_in_tiles(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(CONFIG, size=(64, 320), grid=(8, 40))
    extractor = FeatureExtractor(backbone, config)
    x = images(1, 3, 64, 320) * 2 - 1
    whole = extractor(x)
    monkeypatch.setattr(tiling, "MAX_PIXELS", 1)
    monkeypatch.setattr(tiling, "TILE", 64)
    widths = []
    hook = backbone.register_forward_pre_hook(lambda _, inputs: widths.append(inputs[0].shape[3]))
    for one, tiles in zip(whole, extractor(x), strict=True):
        torch.testing.assert_close(tiles, one, rtol=1e-4, atol=1e-4)
    hook.remove()
    assert len(widths) == 5


def test_features_that_are_not_finite_are_refused() -> None:
    class Poisoned(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, :, ::4, ::4] / (x.amax() < 2)

    extractor = FeatureExtractor(ModuleBackbone(nn.Sequential(Poisoned()), ["0"], "poisoned", 4), CONFIG)
    extractor.join(extractor(images(1, 3, 64, 64)))
    with pytest.raises(ImageError, match="poisoned gives features that are not finite"):
        extractor.join(extractor(images(1, 3, 64, 64) * 9))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"grid": (32, 32)}, r"features.grid \[32, 32\] is finer than the finest features, \[16, 16\]"),
        ({"size": (60, 64)}, r"features.size \[60, 64\]: efficientnet-lite0 takes multiples of 32"),
    ],
)
def test_sizes_that_do_not_fit_the_backbone_are_refused(
    change: dict[str, tuple[int, int]], words: str, backbone: Backbone
) -> None:
    with pytest.raises(ConfigError, match=words):
        FeatureExtractor(backbone, replace(CONFIG, **change))  # type: ignore[arg-type]
