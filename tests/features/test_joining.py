"""Two products of matrices do what resizes, local means and smoothing do."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import avg_pool2d, conv2d, interpolate, pad

from patchebm.energy.fused import Affine
from patchebm.features.framing import Framing
from patchebm.features.joining import LinearMaps, build_join, smoother


def maps(sizes: list[tuple[int, int]]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [5 * torch.randn((2, 3, *size), generator=generator) for size in sizes]


@pytest.mark.parametrize("pool", [1, 3, 5])
@pytest.mark.parametrize(
    "grid", [(16, 24), (8, 12), (4, 6), (6, 9)], ids=["finer", "equal", "coarser", "uneven"]
)
def test_blocks_meet_on_the_grid(grid: tuple[int, int], pool: int) -> None:
    """Blocks at strides 4, 8 and 16 of 64 x 96 pixels: finer than, equal to, and coarser than the grids."""
    framing = Framing((64, 96), grid)
    blocks = maps([(16, 24), (8, 12), (4, 6)])
    found = build_join([4, 8, 16], framing, pool, grid)(blocks)
    resized = []
    for block in blocks:
        shrinks = block.shape[2] > grid[0]
        one = interpolate(block, size=grid, mode="bilinear", antialias=shrinks, align_corners=False)
        resized.append(one)
    expected = torch.cat(resized, dim=1)
    if pool > 1:
        expected = avg_pool2d(expected, pool, 1, pool // 2)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("target", [(8, 12), (4, 6), (3, 5)])
def test_a_coarser_level_gets_the_resized_join(target: tuple[int, int]) -> None:
    framing = Framing((64, 96), (8, 12))
    blocks = maps([(16, 24), (8, 12), (4, 6)])
    joined = build_join([4, 8, 16], framing, 3, (8, 12))(blocks)
    expected = interpolate(joined, size=target, mode="bilinear", antialias=True, align_corners=False)
    found = build_join([4, 8, 16], framing, 3, target)(blocks)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("side", [3, 5, 9])
@pytest.mark.parametrize("grid", [(8, 8), (5, 13), (2, 3)])
def test_smoothing_is_a_convolution_with_a_border_of_the_outermost_cells(
    side: int, grid: tuple[int, int]
) -> None:
    offsets = torch.arange(side) - side // 2
    window = torch.exp(-0.5 * (offsets / (side / 3)) ** 2)
    kernel = (window[:, None] * window / window.sum() ** 2)[None, None]
    (x,) = maps([grid])
    x = x[:, :1]
    half = side // 2
    # Replicated cell by cell: torch refuses a border that is wider than the map.
    padded = x
    for _ in range(half):
        padded = pad(padded, (1, 1, 1, 1), mode="replicate")
    torch.testing.assert_close(smoother(grid, side)(x), conv2d(padded, kernel), rtol=1e-5, atol=1e-5)


def test_linear_functions_of_every_cell() -> None:
    generator = torch.Generator().manual_seed(0)
    functions = [
        Affine(*(torch.randn(shape, generator=generator).double() for shape in ((rows, 3), (rows,))))
        for rows in (4, 2)
    ]
    (x,) = maps([(5, 7)])
    for one, found in zip(functions, LinearMaps(functions)(x), strict=True):
        expected = torch.einsum("rc,bchw->brhw", one.matrix, x.double()) + one.shift[:, None, None]
        torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)


def test_what_is_folded_is_not_saved() -> None:
    """It is made again from the energies, which are."""
    framing = Framing((64, 96), (8, 12))
    assert not build_join([4], framing, 3, (8, 12)).state_dict()
    assert not smoother((8, 8), 3).state_dict()
    assert not LinearMaps([Affine.identity(3)]).state_dict()
