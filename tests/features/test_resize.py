"""The resize is torch's, whether its size is known before or while a graph runs."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import interpolate

from patchebm.features.resize import resize


@pytest.mark.parametrize("size", [(8, 8), (64, 96), (17, 5), (40, 100), (1, 1)])
def test_it_is_that_of_torch(size: tuple[int, int]) -> None:
    x = torch.rand((2, 3, 40, 50), generator=torch.Generator().manual_seed(0))
    expected = interpolate(x, size=size, mode="bilinear", antialias=True, align_corners=False)
    torch.testing.assert_close(resize(x, size), expected, rtol=0, atol=0)
    torch.testing.assert_close(resize(x, torch.tensor(size)), expected, rtol=0, atol=0)


def test_an_image_of_the_right_size_stays_as_it_is() -> None:
    x = torch.rand(2, 3, 40, 50)
    assert resize(x, (40, 50)) is x


def test_it_keeps_the_mean_of_fine_texture() -> None:
    y, x = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    checkerboard = ((x + y) % 2 * 2 - 1).float()[None, None]
    assert resize(checkerboard, (8, 8)).abs().max() < 0.1
