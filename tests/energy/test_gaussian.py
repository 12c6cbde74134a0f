"""The Gaussian energy against closed forms and an independent implementation (scipy)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from patchebm.config.features import GaussianConfig
from patchebm.energy import GaussianEnergy
from patchebm.energy.fused import local_gradient
from patchebm.errors import ConfigError


def views(positions: int, n: int, shape: tuple[int, int, int], seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    d = int(np.prod(shape))
    mixing = torch.randn((positions, d, d), generator=generator) / d**0.5
    return (torch.randn((positions, n, d), generator=generator) @ mixing).view(positions, n, *shape)


@pytest.mark.parametrize("n", [5, 200], ids=["fewer views than pixels", "more views than pixels"])
def test_energy_and_log_normaliser_are_the_log_density(n: int) -> None:
    x = views(1, n, (2, 3, 4)).double()
    energy = GaussianEnergy.fit_positions(x, floor=1e-2)
    flat = x[0].flatten(1).numpy()
    covariance = np.cov(flat.T, bias=True) + 1e-2 * np.eye(24)
    expected = multivariate_normal(flat.mean(0), covariance).logpdf(flat)
    actual = -(energy(x[0]) + energy.log_normaliser[0])
    np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-7, atol=1e-7)


def test_fit_is_fit_positions_with_the_settings_of_the_configuration() -> None:
    x = views(1, 30, (2, 3, 4))
    config = GaussianConfig(rank=3, floor=0.1)
    energy = GaussianEnergy.fit(x[0], config, torch.Generator())
    assert torch.equal(energy(x[0]), GaussianEnergy.fit_positions(x, rank=3, floor=0.1)(x[0]))
    assert energy.axes.shape == (1, 3, 24)


def test_float32_keeps_up_with_double_where_the_floor_is_small() -> None:
    x = views(1, 30, (3, 16, 16))
    single = GaussianEnergy.fit_positions(x, floor=1e-4)(x[0] + 0.01)
    double = GaussianEnergy.fit_positions(x.double(), floor=1e-4)(x[0].double() + 0.01)
    torch.testing.assert_close(single.double(), double, rtol=1e-3, atol=0)


@pytest.mark.parametrize("positions", [1, 3])
def test_the_residual_is_no_difference_of_squares(positions: int) -> None:
    """Beside variances of 1e4 that 32 axes explain, |x|^2 - |c|^2 has nothing of a residual of 1e-4."""
    generator = torch.Generator().manual_seed(0)
    d, rank = 256, 32
    axes = torch.linalg.qr(torch.randn((d, rank), generator=generator, dtype=torch.float64))[0].T
    mean = 1000 * torch.randn(d, generator=generator, dtype=torch.float64)
    rows = mean + 100 * torch.randn((20, rank), generator=generator, dtype=torch.float64) @ axes
    rows += 1e-2 * torch.randn((20, d), generator=generator, dtype=torch.float64)
    x = rows.view(20, 1, 16, 16)
    parts = (mean[None], axes[None], torch.full((1, rank), 1e4), torch.full((1,), 1e-4))
    double = GaussianEnergy(*(part.double().expand(positions, *part.shape[1:]) for part in parts))
    single = GaussianEnergy(*(part.float().expand(positions, *part.shape[1:]) for part in parts))
    position = None if positions == 1 else torch.arange(20) % positions
    # What is given in float32 is all that both have.
    given = x.float()
    exact = double.components(given.double(), position)
    # Components are logarithms: 1e-3 is a thousandth of the energy.
    torch.testing.assert_close(single.components(given, position).double(), exact, rtol=0, atol=1e-3)
    centred = given.flatten(1) - mean.float()
    explained = centred @ axes.float().T
    squares = (centred.square().sum(1) - explained.square().sum(1)).clamp(min=0) / 2e-4
    wrong = (squares + (explained.square() / (1e4 + 1e-4)).sum(1) / 2).log()
    assert float((wrong - exact[:, 0]).abs().max()) > 0.1


def test_a_truncated_rank_keeps_the_total_variance() -> None:
    x = views(1, 400, (1, 4, 4)).double()
    full = GaussianEnergy.fit_positions(x, floor=1e-3)
    low = GaussianEnergy.fit_positions(x, rank=5, floor=1e-3)

    def total(e: GaussianEnergy) -> torch.Tensor:
        return e.variances.sum() + 16 * e.floor[0]

    assert low.axes.shape == (1, 5, 16)
    torch.testing.assert_close(total(low), total(full))


def test_each_position_has_its_own_gaussian() -> None:
    x = views(3, 12, (1, 3, 3))
    energy = GaussianEnergy.fit_positions(x, floor=1e-2)
    batch = torch.cat([x[2, :4], x[0, :4]])
    position = torch.tensor([2] * 4 + [0] * 4)
    alone = [GaussianEnergy.fit_positions(x[p : p + 1], floor=1e-2) for p in (2, 0)]
    expected = torch.cat([alone[0](x[2, :4]), alone[1](x[0, :4])])
    torch.testing.assert_close(energy.at(position)(batch), expected, rtol=1e-4, atol=1e-4)
    logs = energy.components(batch, position)[:, 0]
    torch.testing.assert_close(logs, expected.log(), rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="grid position"):
        energy(batch)
    with pytest.raises(ValueError, match="grid position"):
        energy.at(None)


def test_a_slice_of_positions_is_the_positions_in_it() -> None:
    x = views(4, 12, (1, 3, 3))
    energy = GaussianEnergy.fit_positions(x, floor=1e-2)
    batch = x[1:3, 0]
    by_number = energy.components(batch, torch.tensor([1, 2]))
    assert torch.equal(energy.components(batch, slice(1, 3)), by_number)


def test_concatenated_gaussians_count_on() -> None:
    few, many = views(2, 4, (1, 3, 3)), views(1, 12, (1, 3, 3), seed=1)
    parts = [GaussianEnergy.fit_positions(x, floor=1e-2) for x in (few, many)]
    energy = GaussianEnergy.concatenate(parts)
    assert energy.positions == 3
    # The first two have fewer axes; those that fill up count for nothing.
    torch.testing.assert_close(energy.energy_at(many[0], torch.full((12,), 2)), parts[1](many[0]))
    ones = torch.ones(4, dtype=torch.long)
    torch.testing.assert_close(energy.energy_at(few[1], ones), parts[0].energy_at(few[1], ones))
    torch.testing.assert_close(energy.log_normaliser[2:], parts[1].log_normaliser)


def test_the_gradient_is_the_precision_times_the_deviation() -> None:
    x = views(1, 50, (1, 2, 4)).double()
    energy = GaussianEnergy.fit_positions(x, floor=1e-2)
    point = views(1, 1, (1, 2, 4), seed=1)[0].double().requires_grad_(True)
    (gradient,) = torch.autograd.grad(energy(point).sum(), point)
    flat = x[0].flatten(1).numpy()
    precision = np.linalg.inv(np.cov(flat.T, bias=True) + 1e-2 * np.eye(8))
    expected = precision @ (point.detach().flatten().numpy() - flat.mean(0))
    # Components near zero are differences of large terms: their error is absolute.
    np.testing.assert_allclose(gradient.flatten().numpy(), expected, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(energy.gradient_at(point.detach(), None), gradient)


def test_the_strongest_local_gradient_is_that_of_the_gradient() -> None:
    x = views(2, 12, (3, 4, 4))
    energy = GaussianEnergy.fit_positions(x, floor=1e-2)
    position = torch.tensor([1, 0, 1])
    point = views(1, 3, (3, 4, 4), seed=1)[0].requires_grad_(True)
    (gradient,) = torch.autograd.grad(energy.at(position)(point).sum(), point)
    # 4 x 4 pixels are local as they are.
    expected = gradient.square().sum(1).flatten(1).amax(1).log()
    found = energy.components(point.detach(), position, gradient=True)
    torch.testing.assert_close(found[:, 0], expected, rtol=1e-4, atol=1e-4)


def test_the_map_of_a_whole_view_is_its_log_local_gradient() -> None:
    x = views(1, 6, (1, 20, 20))
    energy = GaussianEnergy.fit_positions(x, floor=1e-2)
    point = views(1, 2, (1, 20, 20), seed=1)[0]
    squared = energy.gradient_at(point, None).square().sum(1).numpy()
    maps = energy.localise(point).exp().numpy()
    # Means over 5 x 5 pixels, of those that there are at the border.
    np.testing.assert_allclose(maps[:, 9, 12], squared[:, 7:12, 10:15].mean((1, 2)), rtol=1e-4)
    np.testing.assert_allclose(maps[:, 0, 19], squared[:, :3, 17:].mean((1, 2)), rtol=1e-4)
    torch.testing.assert_close(local_gradient(energy.gradient_at(point, None)).log(), energy.localise(point))


def test_identical_images_give_a_finite_energy() -> None:
    x = torch.full((1, 4, 3, 8, 8), 0.3)
    energy = GaussianEnergy.fit_positions(x, floor=1e-2)
    assert torch.equal(energy(x[0]), torch.zeros(4))
    assert torch.isfinite(energy(torch.ones(1, 3, 8, 8))).all()
    assert torch.isfinite(energy.components(x[0])).all()
    assert torch.isfinite(energy.localise(x[0])).all()


def test_too_few_views_and_a_bad_floor_are_refused() -> None:
    with pytest.raises(ConfigError, match="two views"):
        GaussianEnergy.fit_positions(torch.zeros(1, 1, 1, 2, 2))
    with pytest.raises(ConfigError, match="floor 0"):
        GaussianEnergy.fit_positions(torch.zeros(1, 3, 1, 2, 2), floor=0)
