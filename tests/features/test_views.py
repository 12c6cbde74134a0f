"""Views: where patches lie, and what a map says of pixels."""

from __future__ import annotations

import pytest
import torch

from patchebm.config.pixels import ImageViewConfig, PatchViewConfig
from patchebm.errors import ConfigError, ImageError
from patchebm.features.views import ImageViews, PatchViews, thesis_position_std


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def coordinates(height: int, width: int) -> torch.Tensor:
    """An image `(2, H, W)` whose pixels say where they are."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([y, x]).float()


def test_the_grid_is_the_thesis_7_by_7_without_overlap() -> None:
    views = PatchViews(PatchViewConfig(None, 0.5, (896, 896), 128, 7, (300, 300)))
    grid = views.grid(coordinates(896, 896))
    assert grid.shape == (49, 2, 128, 128)
    corners = grid[:, :, 0, 0].long()
    expected = torch.tensor([[128 * i, 128 * j] for i in range(7) for j in range(7)])
    assert torch.equal(corners, expected)


def test_overlapping_patches_reach_both_ends() -> None:
    views = PatchViews(PatchViewConfig((64, 48), 1.0, (64, 48), 16, 13, None))
    grid = views.grid(coordinates(64, 48))
    assert grid[0, :, 0, 0].tolist() == [0, 0]
    assert grid[-1, :, -1, -1].tolist() == [63, 47]


def test_training_patches_are_gaussian_around_the_centre_with_a_spread_per_axis() -> None:
    # The original is twice as large: a spread of 80 x 20 px there is one of 40 x 10 px here.
    views = PatchViews(PatchViewConfig(None, 0.5, (400, 400), 16, 5, (80.0, 20.0)))
    image = views.for_training(torch.nn.functional.interpolate(coordinates(800, 800)[None], size=800)[0])
    assert image.pixels.shape == (2, 400, 400)
    image = image._replace(pixels=coordinates(400, 400))
    corners = views.draw([image], 4000, generator()).views[:, :, 0, 0]
    y, x = corners.T
    assert float(x.mean()) == pytest.approx(192, abs=2)
    assert float(y.mean()) == pytest.approx(192, abs=0.6)
    assert float(x.std()) == pytest.approx(40, rel=0.04)
    assert float(y.std()) == pytest.approx(10, rel=0.04)


def test_a_wide_spread_is_truncated_rather_than_piled_up_at_the_border() -> None:
    views = PatchViews(PatchViewConfig((64, 64), 1.0, (64, 64), 16, 5, (1e6, 1e6)))
    image = views.for_training(coordinates(64, 64))
    rows = views.draw([image], 5000, generator()).views[:, 0, 0, 0]
    counts = torch.bincount(rows.long(), minlength=49)
    assert counts.sum() == 5000
    assert len(counts) == 49
    assert counts.max() < 1.6 * 5000 / 49


def test_patches_on_the_grid_are_test_patches() -> None:
    views = PatchViews(PatchViewConfig((64, 64), 1.0, (64, 64), 16, 7, None), on_grid=True)
    image = views.for_training(coordinates(64, 64))
    drawn = views.draw([image], 50, generator())
    assert torch.equal(drawn.views, views.grid(image.pixels)[drawn.cell])


def test_a_map_averages_the_patches_over_each_pixel() -> None:
    views = PatchViews(PatchViewConfig((6, 6), 1.0, (6, 6), 4, 2, None))
    maps = views.map_of(torch.tensor([[[0.0, 2.0], [4.0, 6.0]], [[1.0, 1.0], [1.0, 1.0]]]))
    assert maps.shape == (2, 6, 6)
    result = maps[0]
    assert result[0, 0] == 0
    assert result[0, 5] == 2
    assert result[0, 3] == 1
    assert result[3, 3] == 3
    assert result[5, 5] == 6
    assert torch.equal(maps[1], torch.ones(6, 6))


def test_between_the_patches_of_a_sparse_grid_a_map_is_as_low_as_anywhere() -> None:
    views = PatchViews(PatchViewConfig((20, 20), 1.0, (20, 20), 4, 2, None))
    result = views.map_of(torch.tensor([[[5.0, 2.0], [4.0, 3.0]]]))[0]
    assert result[10, 10] == 2
    assert result[0, 0] == 5


def test_whole_images_are_one_view() -> None:
    views = ImageViews(ImageViewConfig((16, 24)))
    image = views.for_training(torch.rand(3, 50, 60))
    assert views.grid(image.pixels).shape == (1, 3, 16, 24)
    drawn = views.draw([image], 5, generator())
    assert drawn.views.shape == (5, 3, 16, 24)
    assert drawn.cell.tolist() == [0] * 5
    values = torch.rand(2, 16, 24)
    assert torch.equal(views.map_of(values), values)


def test_thesis_position_std_come_as_data() -> None:
    assert thesis_position_std("capsule") == (260, 50)
    assert thesis_position_std("zipper") == (300, 300)
    with pytest.raises(ConfigError, match="no MVTec AD category"):
        thesis_position_std("spoon")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (PatchViewConfig((8, 8), 1.0, (64, 64), 16, 3, None), "larger than patch.view.train_size"),
        (PatchViewConfig((64, 64), 1.0, (8, 8), 16, 3, None), "larger than patch.view.test_size"),
        (PatchViewConfig((64, 64), 1.0, (64, 64), 16, 3, "spoon"), "spoon"),
    ],
)
def test_impossible_views_are_refused(config: PatchViewConfig, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        PatchViews(config)


def test_positions_of_their_own_need_one_size_for_training_and_scoring() -> None:
    with pytest.raises(ConfigError, match=r"per_position needs patch.view.train_size equal to test_size"):
        PatchViews(PatchViewConfig((24, 24), 1.0, (64, 64), 16, 3, None), on_grid=True)


def test_whole_images_below_eight_pixels_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"image.view.size \[4, 32\] is below 8"):
        ImageViews(ImageViewConfig((4, 32)))


def test_an_image_smaller_than_a_patch_is_refused() -> None:
    views = PatchViews(PatchViewConfig(None, 0.5, (64, 64), 16, 3, None))
    with pytest.raises(ImageError, match="20 x 30 px is smaller than a patch"):
        views.for_training(torch.zeros(3, 30, 20))
