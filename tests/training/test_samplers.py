"""SGLD and PYLD: the identity, a known target distribution, the clamps, the log."""

from __future__ import annotations

import math

import pytest
import torch

from patchebm.config.training import PYLDConfig, SGLDConfig
from patchebm.energy import Energy, GaussianEnergy, TiltedEnergy, WideResNetEnergy
from patchebm.training.samplers import PYLD, SGLD, build_sampler


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def network(channels: int = 3) -> WideResNetEnergy:
    return WideResNetEnergy(channels, 10, 1, "batch", "leaky_relu", generator=generator()).eval()


def steep(energy: Energy) -> Energy:
    """Scale the head up, so that chains really move and the clamps bind."""
    with torch.no_grad():
        energy.head.weight.mul_(2000)  # type: ignore[union-attr, operator]
    return energy


@pytest.mark.parametrize(("outer", "inner"), [(10, 5), (20, 10)])
@pytest.mark.parametrize("tilted", [False, True])
def test_the_closed_form_equals_the_literal_loop(outer: int, inner: int, tilted: bool) -> None:
    # Chaotic dynamics doubles a rounding error at every step: hence double precision for the identity.
    energy: Energy = steep(network()).double()
    if tilted:
        views = (torch.rand(1, 30, 3, 16, 16, generator=generator()) * 2 - 1).double()
        energy = TiltedEnergy(GaussianEnergy.fit_positions(views, floor=1e-2), energy, 0.05)
    x = (torch.rand(4, 3, 16, 16, generator=generator(1)) * 2 - 1).double()
    closed, log = PYLD(outer, inner)(energy, x, generator())
    loop, loop_log = PYLD(outer, inner, literal=True)(energy, x, generator())
    assert log.distance > 0.1, "a chain that does not move proves nothing"
    torch.testing.assert_close(closed, loop, rtol=0, atol=1e-9)
    assert log.gradient_norm == pytest.approx(loop_log.gradient_norm, rel=1e-9)


class TwoStage(Energy):
    """An energy whose first stage is not affine."""

    def first_stage(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (x.square(),)

    def rest(self, hidden: tuple[torch.Tensor, ...]) -> torch.Tensor:
        return hidden[0].flatten(1).sum(1)


def test_a_first_stage_that_is_not_affine_takes_the_loop() -> None:
    # E = |x|^2 has dE/dh = 1 and J_first = 2x, so that each inner step is x <- x (1 - 2 lr).
    x = torch.full((1, 1, 2, 2), 0.5)
    moved, _ = PYLD(outer=2, inner=3, lr=0.1, eps=10.0)(TwoStage(), x, generator())
    torch.testing.assert_close(moved, x * (1 - 2 * 0.1) ** 6)


def test_the_proximal_clamp_bounds_a_step() -> None:
    x = torch.full((1, 1, 2, 2), 0.9)
    moved, _ = PYLD(outer=1, inner=1, lr=0.1, eps=0.5)(TwoStage(), x, generator())
    torch.testing.assert_close(moved, x - 0.1 * 0.5)


def test_sgld_samples_a_gaussian() -> None:
    # With noise sqrt(2 lr) Langevin dynamics samples exp(-E): unit variance scaled to stay within [-1, 1].
    views = torch.randn(1, 5000, 1, 1, 2, generator=generator()) * torch.tensor([0.1, 0.2]) + 0.1
    energy = GaussianEnergy.fit_positions(views, floor=1e-6)
    lr = 5e-4
    chains = torch.zeros(4000, 1, 1, 2)
    chains, _ = SGLD(steps=400, lr=lr, noise=(2 * lr) ** 0.5)(energy, chains, generator(1))
    torch.testing.assert_close(chains.mean(0).flatten(), torch.tensor([0.1, 0.1]), atol=0.015, rtol=0)
    torch.testing.assert_close(chains.std(0).flatten(), torch.tensor([0.1, 0.2]), rtol=0.06, atol=0)


@pytest.mark.parametrize("sampler", [SGLD(steps=3), PYLD(3, 2), PYLD(3, 2, noise=0.1)], ids=str)
def test_chains_descend_stay_in_the_box_and_leave_the_network_alone(sampler: SGLD | PYLD) -> None:
    energy = steep(network())
    before = {name: tensor.clone() for name, tensor in energy.state_dict().items()}
    x = torch.rand(4, 3, 16, 16, generator=generator(1)) * 2 - 1
    moved, log = sampler(energy, x, generator())
    assert not moved.requires_grad
    assert moved.abs().max() <= 1
    assert energy(moved).mean().item() < log.energy_start
    assert log.distance == pytest.approx(float((moved - x).square().mean().sqrt()))
    for name, tensor in energy.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert all(parameter.grad is None for parameter in energy.parameters())


def test_one_seed_gives_one_chain() -> None:
    x = torch.zeros(2, 3, 8, 8)
    first, second, other = (SGLD(5)(network(), x, generator(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_a_sampler_has_the_settings_of_its_configuration() -> None:
    pyld = build_sampler(PYLDConfig(outer=3, inner=2, lr=0.3, eps=0.5, noise=0.1), math.inf)
    assert pyld == PYLD(3, 2, 0.3, 0.5, 0.1, math.inf)
    assert build_sampler(SGLDConfig(steps=4, lr=0.5, noise=0.02), 1.0) == SGLD(4, 0.5, 0.02, 1.0)
