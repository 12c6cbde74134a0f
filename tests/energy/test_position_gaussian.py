"""The Gaussian of every position: equal to its definition, to sums of sums, and to what is kept of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from patchebm.energy.moments import Moments
from patchebm.energy.position_gaussian import FLOOR, POOLED, PositionGaussian, zones_for

SHIFT = torch.tensor([0.5, -0.25, 0.0])


def maps(n: int, seed: int = 0, grid: tuple[int, int] = (4, 6)) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(1, 3, *grid, generator=generator)
    return base + torch.randn(n, 3, *grid, generator=generator) * torch.tensor([1.0, 2.0, 0.5])[:, None, None]


def plain(x: np.ndarray, zones: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Means `(C, h, w)` and covariances of zones, written as the docstring says, with loops."""
    _, c, height, width = x.shape
    first, second = np.zeros((c, height, width)), np.zeros((height, width, c, c))
    for i in range(height):
        for j in range(width):
            cells = x[:, :, max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2].transpose(0, 2, 3, 1).reshape(-1, c)
            first[:, i, j] = cells.mean(0)
            second[i, j] = cells.T @ cells / len(cells)
    h, w = height // zones[0], width // zones[1]
    covariance = np.zeros((zones[0] * zones[1], c, c))
    for r in range(len(covariance)):
        for i in range(r // zones[1] * h, (r // zones[1] + 1) * h):
            for j in range(r % zones[1] * w, (r % zones[1] + 1) * w):
                own = second[i, j] - np.outer(first[:, i, j], first[:, i, j])
                covariance[r] += own / (h * w)
    pooled = covariance.mean(0)
    floor = FLOOR * np.diag(pooled).mean()
    return first, (1 - POOLED) * covariance + POOLED * pooled + floor * np.eye(c)


@pytest.mark.parametrize("zones", [(1, 1), (2, 3), (4, 6)])
def test_it_is_the_mahalanobis_distance_of_pooled_neighbours(zones: tuple[int, int]) -> None:
    x, new = maps(30), maps(2, seed=1)
    gaussian = PositionGaussian.from_moments(Moments.of(x, SHIFT, zones))
    mean, covariance = plain(x.double().numpy(), zones)
    expected = np.zeros((2, 4, 6))
    for i in range(4):
        for j in range(6):
            zone = i // (4 // zones[0]) * zones[1] + j // (6 // zones[1])
            d = new[:, :, i, j].double().numpy() - mean[:, i, j]
            expected[:, i, j] = np.einsum("nc,cd,nd->n", d, np.linalg.inv(covariance[zone]), d)
    # Half precision of what is kept is what is left of the difference.
    squared = gaussian.on_grid(gaussian.residuals(new)).square().sum(1)
    np.testing.assert_allclose(squared, expected, rtol=0.02, atol=0.02)
    np.testing.assert_allclose(gaussian(new), expected.sum((1, 2)) / 2, rtol=0.01)
    np.testing.assert_allclose(gaussian.localise(new), np.log(expected / 3), atol=0.05)


def test_moments_add_up_and_a_fold_can_be_taken_out_again() -> None:
    first, second = maps(8), maps(5, seed=3)
    both = Moments.of(torch.cat([first, second]), SHIFT, (2, 3))
    added = Moments.of(first, SHIFT, (2, 3)) + Moments.of(second, SHIFT, (2, 3))
    assert added.count == both.count == 13
    # Products are formed in single precision.
    torch.testing.assert_close(added.second, both.second, rtol=1e-4, atol=1e-3)
    alone = PositionGaussian.from_moments(Moments.of(first, SHIFT, (2, 3)))
    taken_out = PositionGaussian.from_moments(both - Moments.of(second, SHIFT, (2, 3)))
    torch.testing.assert_close(taken_out.residuals(second), alone.residuals(second), rtol=1e-2, atol=1e-2)


def test_the_shift_changes_nothing() -> None:
    x, new = maps(9), maps(1, seed=2)
    zero = PositionGaussian.from_moments(Moments.of(x, torch.zeros(3), (2, 2)))
    moved = PositionGaussian.from_moments(Moments.of(x, torch.full((3,), 4.0), (2, 2)))
    torch.testing.assert_close(zero.residuals(new), moved.residuals(new), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("channels", [2, 7, 16])
def test_the_blocks_of_the_factors_whiten_as_the_whole_triangles(channels: int) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, channels, 4, 6, generator=generator)
    mean = torch.randn(channels, 4, 6, generator=generator).half().float()
    whole = torch.randn(6, channels, channels, generator=generator).tril().half().float()
    gaussian = PositionGaussian(mean, whole, torch.tensor([2, 3]))
    assert torch.equal(gaussian.whitening, whole)
    expected = torch.empty_like(x)
    for i in range(4):
        for j in range(6):
            expected[:, :, i, j] = (x - mean)[:, :, i, j] @ whole[i // 2 * 3 + j // 2].T
    torch.testing.assert_close(gaussian.on_grid(gaussian.residuals(x)), expected)


def test_what_is_kept_gives_the_same_energies_and_is_small() -> None:
    gaussian = PositionGaussian.from_moments(Moments.of(maps(9), SHIFT, (2, 3)))
    packed = gaussian.packed()
    assert packed["triangles"].shape == (6, 6)
    assert {tensor.dtype for name, tensor in packed.items() if name != "zones"} == {torch.float16}
    again = PositionGaussian.unpacked(packed)
    assert torch.equal(again.residuals(maps(2)), gaussian.residuals(maps(2)))
    with pytest.raises(ValueError, match="6 covariances"):
        PositionGaussian.unpacked(packed | {"zones": torch.tensor([4, 6])})


def test_one_image_and_identical_images_give_finite_energies() -> None:
    for x in (maps(1), maps(1).repeat(5, 1, 1, 1), torch.zeros(3, 3, 4, 6)):
        gaussian = PositionGaussian.from_moments(Moments.of(x, torch.zeros(3), (2, 2)))
        assert torch.isfinite(gaussian.localise(x)).all()
        assert (gaussian(x + 1) > gaussian(x)).all()


def test_regions_divide_the_grid() -> None:
    assert zones_for((48, 48), 16) == (16, 16)
    assert zones_for((32, 32), 16) == (16, 16)
    assert zones_for((36, 34), 16) == (12, 2)
    assert zones_for((7, 40), 16) == (7, 10)
