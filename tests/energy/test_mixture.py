"""The mixture against closed forms and independent implementations (scipy, scikit-learn)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.mixture import GaussianMixture

from patchebm.config.features import MixtureConfig
from patchebm.energy import MixtureEnergy
from patchebm.errors import ConfigError


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def fit(x: torch.Tensor, components: int, em_steps: int = 0, seed: int = 0) -> MixtureEnergy:
    config = MixtureConfig(components=components, em_steps=em_steps)
    return MixtureEnergy.fit(x, config, generator(seed))


def three_clusters(n: int = 3000, width: float = 0.3) -> tuple[torch.Tensor, torch.Tensor]:
    centres = torch.tensor([[0.0, 0.0, 0.0, 0.0], [3.0, 0.0, 0.0, 1.0], [0.0, 4.0, -2.0, 0.0]])
    which = torch.arange(n) % 3
    return centres[which] + width * torch.randn((n, 4), generator=generator(1)), centres


def test_energy_and_log_normaliser_are_the_log_density() -> None:
    x, _ = three_clusters(60)
    mixture = fit(x, 3).double()
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
    mixture = fit(x, 1)
    variance = (x - x.mean(0)).square().mean()
    expected = (x - x.mean(0)).square().sum(1) / (2 * variance)
    torch.testing.assert_close(mixture(x), expected, rtol=1e-4, atol=1e-4)


def test_clusters_are_found_with_their_width_and_shares() -> None:
    x, centres = three_clusters()
    mixture = fit(x, 3, em_steps=20, seed=3)
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
        mixture = fit(x, 2, em_steps=steps)
        return float(-(mixture(x) + mixture.log_normaliser).mean())

    rising = [log_likelihood(steps) for steps in (0, 1, 5, 60)]
    assert rising == sorted(rising)
    assert rising[-1] > rising[0]
    # scikit-learn's components have widths of their own, which the data do not need.
    other = GaussianMixture(2, covariance_type="spherical", tol=1e-8, max_iter=500, random_state=0).fit(
        x.numpy()
    )
    assert rising[-1] == pytest.approx(other.score(x.numpy()), abs=0.01)


def test_identical_and_few_views_are_harmless() -> None:
    same = torch.full((50, 6), 3.0)
    mixture = fit(same, 8, em_steps=2)
    assert torch.isfinite(mixture(same)).all()
    assert mixture(same + 1).min() > mixture(same).max()
    with pytest.raises(ConfigError, match="two views"):
        fit(same[:1], 1)
    # Fewer than ten views a component make fewer components.
    assert len(fit(torch.randn((50, 6), generator=generator()), 8).centres) == 5


def test_one_seed_gives_one_mixture() -> None:
    x = torch.randn((500, 5), generator=generator())
    first, again, other = (fit(x, 7, seed=seed) for seed in (4, 4, 5))
    assert torch.equal(first.centres, again.centres)
    assert not torch.equal(first.centres, other.centres)
