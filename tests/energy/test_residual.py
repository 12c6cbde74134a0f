"""The residual network on feature vectors, and the energy of whole maps that is made of it."""

from __future__ import annotations

import pytest
import torch

from patchebm.config.features import CellNetworkConfig, MixtureConfig
from patchebm.energy import CellsEnergy, MixtureEnergy, ResidualEnergy, TiltedEnergy
from patchebm.energy.activation import Activation
from patchebm.training.samplers import PYLD


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("activation", ["silu", "leaky_relu"])
def test_it_starts_at_zero_and_its_first_stage_is_affine(activation: Activation) -> None:
    network = ResidualEnergy(12, 8, activation, generator=generator())
    x = torch.randn((5, 3, 2, 2), generator=generator())
    assert torch.equal(network(x), torch.zeros(5))
    a, b = network.first_stage(x)[0], network.first_stage(2 * x)[0]
    zero = network.first_stage(torch.zeros_like(x))[0]
    torch.testing.assert_close(b - zero, 2 * (a - zero), rtol=1e-5, atol=1e-5)


def by_hand() -> ResidualEnergy:
    network = ResidualEnergy(1, 1, "leaky_relu", generator=generator())
    weights = {"fc1": (2.0, -4.0), "fc2": (-1.0, 0.5), "head": (3.0, 0.25)}
    network.load_state_dict(
        {
            f"{layer}.{name}": torch.tensor([[value]]) if name == "weight" else torch.tensor([value])
            for layer, values in weights.items()
            for name, value in zip(("weight", "bias"), values, strict=True)
        }
    )
    return network


def test_the_network_by_hand() -> None:
    # x = 1: h = leaky(-2) = -.4, leaky(.4 + .5) = .9, 3 (-.4 + .9) + .25; x = 4: 4, leaky(-3.5) = -.7.
    found = by_hand()(torch.tensor([[1.0], [4.0]]))
    torch.testing.assert_close(found, torch.tensor([1.75, 10.15]))


def test_the_energy_of_a_map_by_hand() -> None:
    maps = torch.tensor([[1.0, 4.0, 4.0, 1.0], [4.0, 4.0, 4.0, 4.0]]).view(2, 1, 2, 2)
    energies = torch.tensor([[1.75, 10.15, 10.15, 1.75], [10.15] * 4])
    expected = (energies.exp().sum(1) / 4).log()
    torch.testing.assert_close(CellsEnergy(by_hand())(maps), expected)


@pytest.mark.parametrize("activation", ["silu", "leaky_relu"])
def test_it_is_restored_from_its_tensors(activation: Activation) -> None:
    network = ResidualEnergy(6, 8, activation, generator=generator())
    torch.nn.init.normal_(network.head.weight, generator=generator(1))
    again = ResidualEnergy.restore(CellNetworkConfig(activation=activation), network.state_dict())
    x = torch.randn((5, 6, 1, 1), generator=generator())
    assert torch.equal(again(x), network(x))


def test_pyld_on_features_is_unbound_and_its_closed_form_is_the_loop() -> None:
    network = ResidualEnergy(6, 16, generator=generator()).double()
    with torch.no_grad():
        network.head.weight.normal_(generator=generator())
    base = MixtureEnergy.fit(
        torch.randn((200, 6), generator=generator()), MixtureConfig(components=2), generator()
    )
    energy = TiltedEnergy(base.double(), network, weight=1.0)
    x = 5 + torch.randn((10, 6), generator=generator()).double()
    closed = PYLD(3, 1, 0.1, 10.0, bound=float("inf"))(energy, x, generator())[0]
    literal = PYLD(3, 1, 0.1, 10.0, bound=float("inf"), literal=True)(energy, x, generator())[0]
    torch.testing.assert_close(closed, literal)
    assert closed.abs().max() > 1
    assert energy(closed).mean() < energy(x).mean()
