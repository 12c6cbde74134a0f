"""The Gaussian energy against closed forms and an independent implementation (scipy)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from patchebm.energy import GaussianEnergy
from patchebm.errors import ConfigError


def views(positions: int, n: int, shape: tuple[int, int, int], seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    d = int(np.prod(shape))
    mixing = torch.randn((positions, d, d), generator=generator) / d**0.5
    return (torch.randn((positions, n, d), generator=generator) @ mixing).view(positions, n, *shape)


@pytest.mark.parametrize("n", [5, 200], ids=["fewer views than pixels", "more views than pixels"])
def test_energy_and_log_normaliser_are_the_log_density(n: int) -> None:
    x = views(1, n, (2, 3, 4)).double()
    energy = GaussianEnergy.fit(x, floor=1e-2)
    flat = x[0].flatten(1).numpy()
    covariance = np.cov(flat.T, bias=True) + 1e-2 * np.eye(24)
    expected = multivariate_normal(flat.mean(0), covariance).logpdf(flat)
    actual = -(energy(x[0]) + energy.log_normaliser[0])
    np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-7, atol=1e-7)


def test_float32_keeps_up_with_double_where_the_floor_is_small() -> None:
    x = views(1, 30, (3, 16, 16))
    single = GaussianEnergy.fit(x, floor=1e-4)(x[0] + 0.01)
    double = GaussianEnergy.fit(x.double(), floor=1e-4)(x[0].double() + 0.01)
    torch.testing.assert_close(single.double(), double, rtol=1e-3, atol=0)


def test_a_truncated_rank_keeps_the_total_variance() -> None:
    x = views(1, 400, (1, 4, 4)).double()
    full = GaussianEnergy.fit(x, floor=1e-3)
    low = GaussianEnergy.fit(x, rank=5, floor=1e-3)

    def total(e: GaussianEnergy) -> torch.Tensor:
        return e.variances.sum() + 16 * e.floor[0]

    assert low.axes.shape == (1, 5, 16)
    torch.testing.assert_close(total(low), total(full))


def test_each_position_has_its_own_gaussian() -> None:
    x = views(3, 12, (1, 3, 3))
    energy = GaussianEnergy.fit(x, floor=1e-2)
    batch = torch.cat([x[2, :4], x[0, :4]])
    position = torch.tensor([2] * 4 + [0] * 4)
    alone = [GaussianEnergy.fit(x[p : p + 1], floor=1e-2) for p in (2, 0)]
    expected = torch.cat([alone[0](x[2, :4]), alone[1](x[0, :4])])
    torch.testing.assert_close(energy.at(position)(batch), expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="grid position"):
        energy(batch)


def test_the_gradient_is_the_precision_times_the_deviation() -> None:
    x = views(1, 50, (1, 2, 4)).double()
    energy = GaussianEnergy.fit(x, floor=1e-2)
    point = views(1, 1, (1, 2, 4), seed=1)[0].double().requires_grad_(True)
    (gradient,) = torch.autograd.grad(energy(point).sum(), point)
    flat = x[0].flatten(1).numpy()
    precision = np.linalg.inv(np.cov(flat.T, bias=True) + 1e-2 * np.eye(8))
    expected = precision @ (point.detach().flatten().numpy() - flat.mean(0))
    # Components near zero are differences of large terms: their error is absolute.
    np.testing.assert_allclose(gradient.flatten().numpy(), expected, rtol=1e-6, atol=1e-7)


def test_identical_images_give_a_finite_energy() -> None:
    x = torch.full((1, 4, 3, 8, 8), 0.3)
    energy = GaussianEnergy.fit(x, floor=1e-2)
    assert torch.equal(energy(x[0]), torch.zeros(4))
    assert torch.isfinite(energy(torch.ones(1, 3, 8, 8))).all()


def test_too_few_views_and_a_bad_floor_are_refused() -> None:
    with pytest.raises(ConfigError, match="two views"):
        GaussianEnergy.fit(torch.zeros(1, 1, 1, 2, 2))
    with pytest.raises(ConfigError, match="floor 0"):
        GaussianEnergy.fit(torch.zeros(1, 3, 1, 2, 2), floor=0)
