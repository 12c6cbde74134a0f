"""A network that tilts a base: the sum, what learns, and what the network is given."""

from __future__ import annotations

import pytest
import torch

from patchebm.config.features import MixtureConfig
from patchebm.energy import GaussianEnergy, MixtureEnergy, TiltedEnergy, WideResNetEnergy
from patchebm.energy.base import Energy
from patchebm.energy.tilted import SQUASH


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def network(channels: int = 3) -> WideResNetEnergy:
    return WideResNetEnergy(channels, norm="none", activation="silu", generator=generator())


class ChannelMean(Energy):
    """The mean of one channel, so that a test reads what the network was given."""

    def __init__(self, channel: int) -> None:
        super().__init__()
        self.channel = channel

    def rest(self, hidden: tuple[torch.Tensor, ...]) -> torch.Tensor:
        return hidden[0][:, self.channel].mean((1, 2))


def test_it_is_the_sum_and_only_the_network_learns() -> None:
    x = torch.rand((1, 20, 3, 8, 8), generator=generator())
    base, net = GaussianEnergy.fit_positions(x, floor=1e-2), network()
    tilted = TiltedEnergy(base, net, weight=0.25, offset=3.0)
    torch.testing.assert_close(tilted(x[0]), (base(x[0]) - 3) / 4 + net(x[0]))
    assert {id(p) for p in tilted.parameters()} == {id(p) for p in net.parameters()}
    assert tilted.learner is net
    # Without weight the network trains alone.
    assert torch.equal(TiltedEnergy(base, net, weight=0.0)(x[0]), net(x[0]))


def test_far_from_the_data_it_grows_quadratically() -> None:
    x = torch.rand((1, 20, 3, 8, 8), generator=generator()) * 0.1
    tilted = TiltedEnergy(GaussianEnergy.fit_positions(x, floor=1e-2), network(), 0.25)
    direction = torch.randn((1, 3, 8, 8), generator=generator())
    near, far = tilted(100 * direction), tilted(200 * direction)
    assert float((far / near).detach()) == pytest.approx(4, rel=0.05)


def test_base_and_network_are_components_of_their_own() -> None:
    x = torch.rand((3, 20, 3, 8, 8), generator=generator())
    base, net = GaussianEnergy.fit_positions(x, floor=1e-2), network()
    position = torch.tensor([2, 0, 1, 1])
    batch = x[position, 0]
    tilted = TiltedEnergy(base, net, weight=0.25, offset=2.0)
    with torch.no_grad():
        total = net(batch) + (base.energy_at(batch, position) - 2) / 4
        torch.testing.assert_close(tilted.at(position)(batch), total)
        expected = torch.stack([base.energy_at(batch, position).log(), net(batch)], dim=1)
        torch.testing.assert_close(tilted.components(batch, position), expected)
        only = TiltedEnergy(base, net, network_only=True)
        torch.testing.assert_close(only.components(batch, position), expected[:, 1:])


def test_with_gradient_scores_the_network_still_counts_by_its_energy() -> None:
    x = torch.rand((1, 20, 3, 8, 8), generator=generator())
    base, net = GaussianEnergy.fit_positions(x, floor=1e-2), network()
    with torch.no_grad():
        found = TiltedEnergy(base, net).components(x[0], gradient=True)
        assert torch.equal(found[:, :1], base.components(x[0], gradient=True))
        assert torch.equal(found[:, 1], net(x[0]))


def test_the_network_is_given_the_squashed_gradient_of_its_position() -> None:
    x = torch.rand((2, 20, 1, 4, 4), generator=generator())
    base = GaussianEnergy.fit_positions(x, floor=1e-2)
    scale = torch.tensor([0.5, 3.0]).view(2, 1, 1, 1)
    tilted = TiltedEnergy(base, ChannelMean(1), gradient_scale=scale)
    batch, position = torch.rand((3, 1, 4, 4), generator=generator(1)), torch.tensor([1, 0, 1])
    gradient = base.gradient_at(batch, position) * scale[position]
    expected = (gradient / (1 + gradient.abs() / SQUASH)).mean((1, 2, 3))
    torch.testing.assert_close(tilted.at(position).components(batch, position)[:, 1], expected)
    by_slice = tilted.components(batch[:2], slice(0, 2))
    torch.testing.assert_close(by_slice, tilted.components(batch[:2], torch.tensor([0, 1])))
    # Cross-fitted Gaussians stand behind each other, fold by fold; the scale is that of the grid position.
    crossed = TiltedEnergy(GaussianEnergy.concatenate([base, base]), ChannelMean(1), gradient_scale=scale)
    torch.testing.assert_close(crossed.components(batch, position + 2)[:, 1], expected)
    # The view itself comes first.
    plain = TiltedEnergy(base, ChannelMean(0), gradient_scale=scale).components(batch, position)[:, 1]
    torch.testing.assert_close(plain, batch.mean((1, 2, 3)))


def test_only_a_gaussian_has_a_gradient_to_give() -> None:
    rows = torch.randn((50, 6), generator=generator())
    base = MixtureEnergy.fit(rows, MixtureConfig(components=2), generator())
    with pytest.raises(ValueError, match="Gaussian"):
        TiltedEnergy(base, network(), gradient_scale=torch.ones(1, 1, 1, 1))
