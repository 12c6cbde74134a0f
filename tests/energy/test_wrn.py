"""The wide residual network."""

from __future__ import annotations

import pytest
import torch

from patchebm.energy import WideResNetEnergy
from patchebm.errors import ConfigError


def network(
    depth: int = 10, width: int = 1, norm: str = "none", seed: int = 0, channels: int = 3
) -> WideResNetEnergy:
    return WideResNetEnergy(
        channels,
        depth,
        width,
        norm,
        "silu",
        generator=torch.Generator().manual_seed(seed),  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("norm", ["batch", "group", "none"])
@pytest.mark.parametrize("size", [(8, 8), (17, 30)])
def test_any_input_size_gives_one_energy_a_view(norm: str, size: tuple[int, int]) -> None:
    x = torch.rand(4, 3, *size)
    energy = network(norm=norm).eval()(x)
    assert energy.shape == (4,)
    assert torch.isfinite(energy).all()


def test_wrn_28_10_has_the_size_of_the_paper() -> None:
    # Zagoruyko and Komodakis report 36.5 million parameters for WRN-28-10 (10 classes: 6,410 in the head).
    energy = network(28, 10, "batch")
    assert sum(p.numel() for p in energy.parameters()) == pytest.approx(36.5e6, rel=2e-3)


def test_one_seed_gives_one_network() -> None:
    x = torch.rand(2, 3, 8, 8)
    assert torch.equal(network(seed=3)(x), network(seed=3)(x))
    assert not torch.equal(network(seed=3)(x), network(seed=4)(x))


@pytest.mark.parametrize(("depth", "width"), [(12, 1), (4, 1), (10, 0)])
def test_impossible_shapes_are_refused(depth: int, width: int) -> None:
    with pytest.raises(ConfigError, match="use"):
        network(depth, width)


def test_the_declared_affine_first_stage_is_affine() -> None:
    energy = network()
    a, b = torch.rand(2, 1, 3, 8, 8)
    (mixed,), (left,), (right,) = (
        energy.first_stage(0.3 * a + 0.7 * b),
        energy.first_stage(a),
        energy.first_stage(b),
    )
    torch.testing.assert_close(mixed, 0.3 * left + 0.7 * right)


def test_log_mean_exp_pooling_follows_the_oddest_pixel() -> None:
    generator = torch.Generator().manual_seed(0)
    mean, odd = (WideResNetEnergy(1, pooling=p, generator=generator) for p in ("mean", "logsumexp"))
    odd.load_state_dict(mean.state_dict())
    x = torch.rand((3, 1, 8, 8), generator=generator)
    # The log-mean-exp is at least the mean, and equal where all pixels are.
    assert (odd(x) > mean(x)).all()
    with torch.no_grad():
        odd.head.weight.zero_()
        odd.head.bias.fill_(0.7)
    torch.testing.assert_close(odd(x), torch.full((3,), 0.7))
