"""The mixture, whitening and the residual network against closed forms and independent implementations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.mixture import GaussianMixture

from patchebm.energy import MixtureEnergy, ResidualEnergy, TiltedEnergy, Whitening
from patchebm.energy.activation import Activation
from patchebm.errors import ConfigError
from patchebm.training.samplers import PYLD


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def three_clusters(n: int = 3000, width: float = 0.3) -> tuple[torch.Tensor, torch.Tensor]:
    centres = torch.tensor([[0.0, 0.0, 0.0, 0.0], [3.0, 0.0, 0.0, 1.0], [0.0, 4.0, -2.0, 0.0]])
    which = torch.arange(n) % 3
    return centres[which] + width * torch.randn((n, 4), generator=generator(1)), centres


def test_energy_and_log_normaliser_are_the_log_density() -> None:
    x, _ = three_clusters(60)
    mixture = MixtureEnergy.fit(x, components=3, generator=generator()).double()
    expected = logsumexp(
        [
            float(weight) + multivariate_normal(centre, float(mixture.variance)).logpdf(x.numpy())
            for weight, centre in zip(mixture.log_weights, mixture.centres.numpy(), strict=True)
        ],
        axis=0,
    )
    actual = -(mixture(x.double()) + mixture.log_normaliser)
    np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-6)


def test_one_component_is_an_isotropic_gaussian() -> None:
    x = torch.randn((500, 5), generator=generator())
    mixture = MixtureEnergy.fit(x, components=1, generator=generator())
    variance = (x - x.mean(0)).square().mean()
    expected = (x - x.mean(0)).square().sum(1) / (2 * variance)
    torch.testing.assert_close(mixture(x), expected, rtol=1e-4, atol=1e-4)


def test_clusters_are_found_with_their_width_and_shares() -> None:
    x, centres = three_clusters()
    mixture = MixtureEnergy.fit(x, components=3, em_steps=20, generator=generator(3))
    distance = torch.cdist(centres, mixture.centres).amin(1)
    assert distance.max() < 0.05
    assert float(mixture.variance) == pytest.approx(0.09, rel=0.05)
    torch.testing.assert_close(mixture.log_weights.exp(), torch.full((3,), 1 / 3), rtol=0.05, atol=0)


def test_expectation_maximisation_raises_the_likelihood_to_that_of_scikit_learn() -> None:
    # One cluster holds half of the points and overlaps the next: k-means is not the likeliest mixture.
    x = torch.cat(
        [torch.randn((600, 2), generator=generator(1)), torch.randn((600, 2), generator=generator(2)) + 2]
    )

    def log_likelihood(steps: int) -> float:
        mixture = MixtureEnergy.fit(x, components=2, em_steps=steps, generator=generator())
        return float(-(mixture(x) + mixture.log_normaliser).mean())

    rising = [log_likelihood(steps) for steps in (0, 1, 5, 60)]
    assert rising == sorted(rising)
    assert rising[-1] > rising[0]
    # scikit-learn's components have widths of their own, which the data do not need.
    other = GaussianMixture(2, covariance_type="spherical", tol=1e-8, max_iter=500, random_state=0).fit(
        x.numpy()
    )
    assert rising[-1] == pytest.approx(other.score(x.numpy()), abs=0.01)


def test_identical_views_constant_channels_and_few_views_are_harmless() -> None:
    same = torch.full((50, 6), 3.0)
    mixture = MixtureEnergy.fit(same, components=8, em_steps=2, generator=generator())
    assert torch.isfinite(mixture(same)).all()
    assert mixture(same + 1).min() > mixture(same).max()
    with pytest.raises(ConfigError, match="two views"):
        MixtureEnergy.fit(same[:1], components=1, generator=generator())
    x = torch.randn((200, 3, 2, 2), generator=generator())
    x[:, 1] = 7.0
    for covariance in ("scale", "diagonal", "within"):
        whitening = Whitening.fit(x, covariance, components=4, generator=generator())  # type: ignore[arg-type]
        assert torch.isfinite(whitening(x)).all()
        assert whitening(x).shape == x.shape


def test_one_seed_gives_one_mixture() -> None:
    x = torch.randn((500, 5), generator=generator())
    first = MixtureEnergy.fit(x, components=7, generator=generator(4))
    again = MixtureEnergy.fit(x, components=7, generator=generator(4))
    other = MixtureEnergy.fit(x, components=7, generator=generator(5))
    assert torch.equal(first.centres, again.centres)
    assert not torch.equal(first.centres, other.centres)


def test_whitening_within_one_cluster_turns_the_covariance_into_the_identity() -> None:
    x = torch.randn((3000, 3), generator=generator()) @ torch.tensor([[4.0, 0, 0], [2, 4, 0], [1, 1, 2]])
    white = Whitening.fit(x[:, :, None, None], "within", components=1, generator=generator())
    covariance = torch.cov(white(x[:, :, None, None])[:, :, 0, 0].T)
    torch.testing.assert_close(covariance, torch.eye(3), rtol=0, atol=0.02)


def test_whitening_within_clusters_looks_away_from_what_parts_them() -> None:
    # Two kinds of cells, far apart along x and alike along y: along x they differ least within a kind.
    kind = (torch.arange(2000) % 2).float()
    x = torch.randn((2000, 2), generator=generator()) * torch.tensor([0.5, 1.0])
    x[:, 0] += 4 * kind

    def spread(components: int) -> torch.Tensor:
        white = Whitening.fit(x[:, :, None, None], "within", components=components, generator=generator())
        rows = white(x[:, :, None, None])[:, :, 0, 0]
        return rows[kind == 0].std(0)

    # One cluster takes the distance between kinds for variance, two do not.
    one, two = spread(1), spread(2)
    assert float(one[0] / one[1]) < 0.3
    assert 0.6 < float(two[0] / two[1]) < 1.2


@pytest.mark.parametrize("covariance", ["scale", "diagonal"])
def test_simple_whitening_gives_unit_spread(covariance: str) -> None:
    x = torch.randn((4000, 3, 2, 2), generator=generator()) * torch.tensor([1.0, 2.0, 4.0])[:, None, None] + 5
    white = Whitening.fit(x, covariance, components=1, generator=generator())(x)  # type: ignore[arg-type]
    assert float(white.mean()) == pytest.approx(0, abs=0.01)
    assert float(white.square().mean()) == pytest.approx(1, rel=0.01)
    spread = white.std(dim=(0, 2, 3))
    assert (float(spread.max() / spread.min()) < 1.01) == (covariance == "diagonal")


@pytest.mark.parametrize("activation", ["silu", "leaky_relu"])
def test_the_residual_network_starts_at_zero_and_its_first_stage_is_affine(activation: Activation) -> None:
    network = ResidualEnergy(12, 8, activation, generator=generator())
    x = torch.randn((5, 3, 2, 2), generator=generator())
    assert torch.equal(network(x), torch.zeros(5))
    a, b = network.first_stage(x)[0], network.first_stage(2 * x)[0]
    zero = network.first_stage(torch.zeros_like(x))[0]
    torch.testing.assert_close(b - zero, 2 * (a - zero), rtol=1e-5, atol=1e-5)


def test_the_residual_network_by_hand() -> None:
    network = ResidualEnergy(1, 1, "leaky_relu", generator=generator())
    weights = {"enter": (2.0, -4.0), "residual": (-1.0, 0.5), "leave": (3.0, 0.25)}
    network.load_state_dict(
        {
            f"{layer}.{name}": torch.tensor([[value]]) if name == "weight" else torch.tensor([value])
            for layer, values in weights.items()
            for name, value in zip(("weight", "bias"), values, strict=True)
        }
    )
    # x = 1: h = leaky(-2) = -.4, leaky(.4 + .5) = .9, 3 (-.4 + .9) + .25; x = 4: 4, leaky(-3.5) = -.7.
    found = network(torch.tensor([[1.0], [4.0]]))
    torch.testing.assert_close(found, torch.tensor([1.75, 10.15]))


def test_pyld_on_features_is_unbound_and_its_closed_form_is_the_loop() -> None:
    network = ResidualEnergy(6, 16, generator=generator()).double()
    with torch.no_grad():
        network.leave.weight.normal_(generator=generator())
    base = MixtureEnergy.fit(
        torch.randn((200, 6), generator=generator()), components=2, generator=generator()
    )
    energy = TiltedEnergy(base.double(), network, weight=1.0)
    x = 5 + torch.randn((10, 6), generator=generator()).double()
    closed = PYLD(3, 1, 0.1, 10.0, bound=float("inf"))(energy, x, generator())[0]
    literal = PYLD(3, 1, 0.1, 10.0, bound=float("inf"), literal=True)(energy, x, generator())[0]
    torch.testing.assert_close(closed, literal)
    assert closed.abs().max() > 1
    assert energy(closed).mean() < energy(x).mean()
