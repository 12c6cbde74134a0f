"""Chains on a shell: where they may go, which way they walk, what they end up as, and training with them."""

from __future__ import annotations

import math

import pytest
import torch

from patchebm.config.training import NoisedConfig, ShellConfig, SyntheticConfig, TrainingConfig
from patchebm.energy import Energy
from patchebm.training.fit import fit_network
from patchebm.training.negatives import NoisedNegatives, SyntheticNegatives, build_negatives
from patchebm.training.samplers import build_sampler
from patchebm.training.shell import CentredNegatives, ShellLangevin


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Slope(Energy):
    """E(x) = slope * x_0: down is the same direction everywhere."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = torch.nn.Parameter(torch.tensor(slope))

    def rest(self, hidden: tuple[torch.Tensor, ...]) -> torch.Tensor:
        return self.slope * hidden[0].flatten(1)[:, 0]


def radii(x: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    return (x - centres).flatten(1).norm(dim=1)


def starts(n: int, dimensions: int, radius: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Centres far from the origin, and chains at a distance from them."""
    centres = 5 * torch.randn(n, dimensions, 1, 1, generator=generator(3))
    offset = torch.randn(n, dimensions, 1, 1, generator=generator(4))
    return centres, centres + radius * offset / offset.flatten(1).norm(dim=1)[:, None, None, None]


def test_a_step_down_a_slope_is_projected_in_closed_form() -> None:
    # From (0, 2) a step of half the radius down x_0 leads to (-1, 2), 5^.5 from the centre: outside 1.1 * 2.
    x = torch.tensor([0.0, 2.0]).view(1, 2, 1, 1)
    walk = ShellLangevin(steps=1, lr=0.5, noise=0.0, shell=(1.0, 1.1), bound=math.inf)
    moved, log = walk(Slope(3.0), x, generator())
    expected = torch.tensor([-1.0, 2.0]) / 5**0.5 * 2.2
    torch.testing.assert_close(moved.flatten(), expected)
    assert log.gradient_norm == pytest.approx(3.0)
    assert log.energy_start == 0
    # On the other side of the centre the same step would come nearer: it is moved out to the radius.
    x = torch.tensor([2.0, 0.0]).view(1, 2, 1, 1)
    moved, _ = walk(Slope(3.0), x, generator())
    torch.testing.assert_close(moved, x)


def test_the_way_does_not_depend_on_the_scale_of_the_energy_or_of_the_radius() -> None:
    walk = ShellLangevin(steps=4, noise=0.05, bound=math.inf)
    centres, x = starts(20, 6, 1.0)
    moved, _ = walk.around(centres)(Slope(1.0), x, generator())
    steep, _ = walk.around(centres)(Slope(50.0), x, generator())
    torch.testing.assert_close(moved, steep)
    far, _ = walk.around(centres)(Slope(1.0), centres + 10 * (x - centres), generator())
    torch.testing.assert_close((far - centres) / 10, moved - centres, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_chains_stay_in_the_shell_go_down_and_leave_the_energy_alone(noise: float) -> None:
    centres, x = starts(200, 30, 4.0)
    energy = Slope(2.0)
    moved, log = ShellLangevin(20, 0.1, noise, (0.7, 1.2), math.inf).around(centres)(energy, x, generator())
    assert not moved.requires_grad
    assert energy.slope.grad is None
    distance = radii(moved, centres)
    assert float(distance.min()) >= 4 * 0.7 - 1e-4
    assert float(distance.max()) <= 4 * 1.2 + 1e-4
    assert float(energy(moved).detach().mean()) < log.energy_start - 1
    assert log.distance == pytest.approx(float((moved - x).square().mean().sqrt()))


class Bowl(Energy):
    """E(x) = |x - middle|: its gradient points away from one point."""

    def __init__(self, middle: torch.Tensor) -> None:
        super().__init__()
        self.middle = middle

    def rest(self, hidden: tuple[torch.Tensor, ...]) -> torch.Tensor:
        return (hidden[0] - self.middle).flatten(1).norm(dim=1)


def test_a_good_view_attracts_chains_that_do_not_reach_it() -> None:
    # Fifty steps of .02 radii would be enough to end at the centres, where the energy is lowest.
    centres, x = starts(100, 5, 3.0)
    free, _ = ShellLangevin(50, 0.02, 0.0, (1e-3, 2.0), math.inf).around(centres)(
        Bowl(centres), x, generator()
    )
    kept, _ = ShellLangevin(50, 0.02, 0.0, (0.9, 2.0), math.inf).around(centres)(
        Bowl(centres), x, generator()
    )
    assert float(radii(free, centres).max()) < 0.1
    torch.testing.assert_close(kept, centres + 0.9 * (x - centres), atol=1e-3, rtol=1e-3)


def test_without_a_gradient_the_noise_spreads_chains_evenly_over_a_sphere() -> None:
    # All start at one point of the unit sphere; the uniform distribution on it has mean 0, covariance I / d.
    x = torch.zeros(6000, 3, 1, 1)
    x[:, 0] = 1
    walk = ShellLangevin(steps=60, lr=0.1, noise=0.4, shell=(1.0, 1.0), bound=math.inf)
    moved, _ = walk(Slope(0.0), x, generator())
    flat = moved.flatten(1)
    torch.testing.assert_close(flat.mean(0), torch.zeros(3), atol=0.04, rtol=0)
    torch.testing.assert_close(torch.cov(flat.T), torch.eye(3) / 3, atol=0.02, rtol=0)


def test_negatives_say_what_they_lie_around() -> None:
    good = torch.arange(40.0).view(10, 4, 1, 1)

    def draw(n: int, own: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        which = torch.randint(len(good), (n,), generator=own)
        return good[which], torch.zeros(n, dtype=torch.long)

    damaged = torch.full((3, 4, 1, 1), 1e3)
    noised = NoisedNegatives(draw, (0.01, 0.01))
    mixed = SyntheticNegatives(draw, damaged, 0.25, (0.01, 0.01))
    for negatives, of_good in ((noised, 8), (mixed, 2)):
        assert isinstance(negatives, CentredNegatives)
        views, positions, centres = negatives.with_centres(8, generator())
        again, _ = negatives(8, generator())
        assert torch.equal(views, again)
        assert positions.shape == (8,)
        assert float((views - centres)[:of_good].abs().max()) < 0.1
        assert all(any(torch.equal(centre, one) for one in good) for centre in centres[:of_good])
        assert torch.equal(views[of_good:], torch.full((8 - of_good, 4, 1, 1), 1e3))
        assert torch.equal(centres[of_good:], torch.zeros(8 - of_good, 4, 1, 1))


def test_a_sampler_has_the_settings_of_its_configuration() -> None:
    config = ShellConfig(steps=3, lr=0.2, noise=0.1, shell=(0.5, 2.0))
    assert build_sampler(config, math.inf) == ShellLangevin(3, 0.2, 0.1, (0.5, 2.0), math.inf)


@pytest.mark.parametrize("negatives", [NoisedConfig(scale=(1.0, 1.0)), SyntheticConfig(scale=(1.0, 1.0))])
def test_training_moves_negatives_around_their_good_views(negatives: NoisedConfig | SyntheticConfig) -> None:
    # Good views lie far from the origin: a chain of another centre would be pulled away from them.
    class Watched(Slope):
        """An energy that keeps the views that it is asked for in the loss."""

        def __init__(self) -> None:
            super().__init__(1.0)
            self.seen: list[torch.Tensor] = []

        def rest(self, hidden: tuple[torch.Tensor, ...]) -> torch.Tensor:
            if not hidden[0].requires_grad:
                self.seen.append(hidden[0].clone())
            return super().rest(hidden)

    good = torch.zeros(2, 50, 1, 1)
    good[0, 0], good[1, 0] = 40.0, -40.0

    def draw(n: int, own: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        return good[torch.randint(2, (n,), generator=own)], torch.zeros(n, dtype=torch.long)

    energy = Watched()
    fit_network(
        energy,
        draw,
        build_negatives(
            negatives, draw, shape=(50, 1, 1), sample=lambda: torch.zeros(0, 50, 1, 1), bound=math.inf
        ),
        training=TrainingConfig(steps=2, batch_size=64),
        sampler=ShellConfig(steps=10, lr=0.2, noise=0.0, shell=(1.0, 1.0)),
        images=2,
        bound=math.inf,
        seed=0,
        label="test",
        folder=None,
        device=torch.device("cpu"),
    )
    moved = torch.cat([views for views in energy.seen if float(views[:, 1:].abs().max()) > 0])
    # Noise of 1 in 50 dimensions is 7 long, and all of it ends up along the slope.
    offset = moved[:, 0].flatten() - 40 * moved[:, 0].flatten().sign()
    assert 5 < float(-offset.mean()) < 8.5
    assert float(moved[:, 1:].flatten(1).norm(dim=1).mean()) < 4
