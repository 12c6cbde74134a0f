"""The space that energies of features live in."""

from __future__ import annotations

import pytest
import torch

from patchebm.config.features import DiagonalConfig, ScaleConfig, WhiteningConfig, WithinConfig
from patchebm.energy import MixtureEnergy, WhitenedEnergy, Whitening


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_whitening_within_one_cluster_turns_the_covariance_into_the_identity() -> None:
    x = torch.randn((3000, 3), generator=generator()) @ torch.tensor([[4.0, 0, 0], [2, 4, 0], [1, 1, 2]])
    white = Whitening.fit(x[:, :, None, None], WithinConfig(clusters=1), generator())
    covariance = torch.cov(white(x[:, :, None, None])[:, :, 0, 0].T)
    torch.testing.assert_close(covariance, torch.eye(3), rtol=0, atol=0.02)


def test_whitening_within_clusters_looks_away_from_what_parts_them() -> None:
    # Two kinds of cells, far apart along x and alike along y: along x they differ least within a kind.
    kind = (torch.arange(2000) % 2).float()
    x = torch.randn((2000, 2), generator=generator()) * torch.tensor([0.5, 1.0])
    x[:, 0] += 4 * kind

    def deviation(clusters: int) -> torch.Tensor:
        white = Whitening.fit(x[:, :, None, None], WithinConfig(clusters=clusters), generator())
        rows = white(x[:, :, None, None])[:, :, 0, 0]
        return rows[kind == 0].std(0)

    # One cluster takes the distance between kinds for variance, two do not.
    one, two = deviation(1), deviation(2)
    assert float(one[0] / one[1]) < 0.3
    assert 0.6 < float(two[0] / two[1]) < 1.2


@pytest.mark.parametrize("config", [ScaleConfig(), DiagonalConfig()], ids=lambda config: config.kind)
def test_simple_whitening_gives_unit_variance(config: WhiteningConfig) -> None:
    x = torch.randn((4000, 3, 2, 2), generator=generator()) * torch.tensor([1.0, 2.0, 4.0])[:, None, None] + 5
    white = Whitening.fit(x, config, generator())(x)
    assert float(white.mean()) == pytest.approx(0, abs=0.01)
    assert float(white.square().mean()) == pytest.approx(1, rel=0.01)
    deviation = white.std(dim=(0, 2, 3))
    assert (float(deviation.max() / deviation.min()) < 1.01) == (config.kind == "diagonal")


@pytest.mark.parametrize("config", [ScaleConfig(), DiagonalConfig(), WithinConfig(clusters=4)])
def test_constant_channels_are_harmless(config: WhiteningConfig) -> None:
    x = torch.randn((200, 3, 2, 2), generator=generator())
    x[:, 1] = 7.0
    white = Whitening.fit(x, config, generator())(x)
    assert torch.isfinite(white).all()
    assert white.shape == x.shape


def test_the_affine_form_is_the_function() -> None:
    x = torch.randn((500, 4, 1, 1), generator=generator()) * 3 + 1
    whitening = Whitening.fit(x, WithinConfig(clusters=2), generator())
    affine = whitening.affine()
    expected = x[:, :, 0, 0].double() @ affine.matrix.T + affine.shift
    torch.testing.assert_close(whitening(x)[:, :, 0, 0].double(), expected, rtol=1e-5, atol=1e-5)


def test_a_whitened_energy_is_the_energy_of_whitened_views() -> None:
    x = torch.randn((500, 4, 1, 1), generator=generator()) * 3 + 1
    whitening = Whitening.fit(x, DiagonalConfig(), generator())
    base = MixtureEnergy(torch.randn((3, 4), generator=generator()), torch.zeros(3) - 1, torch.tensor(0.5))
    energy = WhitenedEnergy(base, whitening)
    assert torch.equal(energy(x), base(whitening(x)))
    assert torch.equal(energy.components(x), base.components(whitening(x)))
    assert torch.equal(WhitenedEnergy(base, None)(x), base(x))
