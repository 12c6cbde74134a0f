"""The cheap form of every energy equals its plain one, on energies of realistic size and scale.

Sizes are those of the preset `features`: 176 channels, 128 clusters at patch level and whitening by 256 at
image level, maps of 8 x 8 cells there, 32 principal axes, networks of 128 units. Scales are those of a model
of photographs of bottles: features of up to 9 with standard deviations from .02 to 2, and weights of trained
networks. What is compared is float32, and the tolerance is a thousandth of the standard deviation of what
normal cells show: that far may scores differ, and no threshold moves.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from torch import Tensor
from torch.nn.functional import conv2d

from patchebm.config.features import GaussianConfig, MixtureConfig, WhiteningConfig, WithinConfig
from patchebm.energy import (
    CellsEnergy,
    Energy,
    GaussianEnergy,
    MixtureEnergy,
    ResidualEnergy,
    TiltedEnergy,
    WhitenedEnergy,
    Whitening,
)
from patchebm.energy.activation import Activation
from patchebm.energy.fused import (
    Affine,
    Evidence,
    cells_of,
    channel_max,
    channel_sum,
    linear,
    log_sum_exp,
    positive_log,
)

CHANNELS = 176
TOLERANCE = 1e-3


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal_maps(n: int, side: int, seed: int) -> Tensor:
    """Feature maps `(n, C, side, side)` of 200 kinds of cells, correlated and of scales of their own."""
    fixed = generator(1)
    mixing = torch.randn((CHANNELS, CHANNELS), generator=fixed) / CHANNELS**0.5
    scale = torch.logspace(-1.7, 0.3, CHANNELS)
    mean = 3 * torch.randn(CHANNELS, generator=fixed)
    kinds = 2 * torch.randn((200, CHANNELS), generator=fixed)
    own = generator(seed)
    kind = torch.randint(200, (n, side, side), generator=own)
    noise = torch.randn((n, side, side, CHANNELS), generator=own) @ mixing
    return (mean + scale * (kinds[kind] + noise)).movedim(-1, 1)


def trained(activation: Activation, seed: int) -> ResidualEnergy:
    """A network with weights of the size that trained ones have."""
    own = generator(seed)
    network = ResidualEnergy(CHANNELS, 128, activation, generator=own)
    with torch.no_grad():
        for layer, weight, bias in (
            (network.fc1, 0.1, 0.2),
            (network.fc2, 0.12, 0.2),
            (network.head, 0.07, 0.3),
        ):
            layer.weight.normal_(0, weight, generator=own)
            layer.bias.normal_(0, bias, generator=own)
    return network


@pytest.fixture(scope="module")
def cells() -> Tensor:
    """What energies of cells are fitted on, `(n, C, 1, 1)`."""
    return cells_of(normal_maps(13, 32, seed=2))


@pytest.fixture(scope="module")
def whitening(cells: Tensor) -> Whitening:
    return Whitening.fit(cells, WithinConfig(clusters=128), generator())


@pytest.fixture(scope="module", params=[128, 256])
def mixture(request: pytest.FixtureRequest, cells: Tensor, whitening: Whitening) -> MixtureEnergy:
    return MixtureEnergy.fit(whitening(cells), MixtureConfig(components=request.param), generator())


@pytest.fixture(scope="module")
def gaussian(whitening: Whitening) -> GaussianEnergy:
    return GaussianEnergy.fit(whitening(normal_maps(45, 8, seed=3)), GaussianConfig(), generator())


@pytest.fixture(scope="module")
def strange() -> Tensor:
    """Maps that no normal image gives: three times as much noise, and one cell that is far away."""
    maps = normal_maps(4, 8, seed=5)
    maps = maps + 3 * (maps - maps.mean((0, 2, 3), keepdim=True)).flip(0)
    maps[0, :, 3, 4] += 20
    return maps


def evaluate(energy: Energy, maps: Tensor, *, whole: bool) -> Evidence:
    fused = energy.fused(Affine.identity(CHANNELS), whole=whole)
    values = [linear(maps, one.matrix.float(), one.shift.float()) for one in fused.linear]
    with torch.no_grad():
        found: Evidence = fused.rest(values)
    return found


def plain(energy: Energy, maps: Tensor, *, whole: bool) -> Tensor:
    """Components `(B, K, h, w)` by the energy itself, view by view."""
    with torch.no_grad():
        if whole:
            return energy.components(maps)[:, :, None, None]
        found = energy.components(cells_of(maps))
    return found.view(len(maps), *maps.shape[2:], -1).permute(0, 3, 1, 2)


def assert_equal(energy: Energy, normal: Tensor, strange: Tensor, *, whole: bool) -> Evidence:
    """Compare with the plain form in float32 and, so that both are right, in float64."""
    exact = copy.deepcopy(energy).double()
    deviation = plain(exact, normal.double(), whole=whole).movedim(1, 0).flatten(1).std(1)[:, None, None]
    assert (deviation > 1e-3).all(), "an energy that says the same of everything shows nothing"
    for maps in (normal, strange):
        found = evaluate(energy, maps, whole=whole).components
        for expected in (plain(energy, maps, whole=whole), plain(exact, maps.double(), whole=whole)):
            # What lies a thousand deviations away has seven digits, as everything else.
            far = (expected.abs() / deviation / 1e3).clamp(min=1)
            assert float(((found - expected).abs() / deviation / far).max()) < TOLERANCE
    return evaluate(energy, normal, whole=whole)


@pytest.mark.parametrize("with_whitening", [True, False])
@pytest.mark.parametrize("activation", ["silu", "leaky_relu"])
def test_energies_of_cells(
    activation: Activation,
    with_whitening: bool,
    mixture: MixtureEnergy,
    whitening: Whitening,
    strange: Tensor,
) -> None:
    network = trained(activation, 4)
    normal = normal_maps(4, 8, seed=4)
    if not with_whitening:
        normal, strange = whitening(normal), whitening(strange)
    for energy in (mixture, network, TiltedEnergy(mixture, network, 0.0)):
        own = WhitenedEnergy(energy, whitening if with_whitening else None)
        found = assert_equal(own, normal, strange, whole=False)
        # A cell's map says what its score says; of a tilt, what the network says.
        assert found.cells is not None
        assert torch.equal(found.cells, found.components[:, -1:])


@pytest.mark.parametrize("which", ["gaussian", "network", "tilted", "mixture"])
def test_energies_of_whole_maps(
    which: str, gaussian: GaussianEnergy, whitening: Whitening, strange: Tensor
) -> None:
    network = CellsEnergy(trained("silu", 6))
    normal = normal_maps(16, 8, seed=7)
    energies: dict[str, Energy] = {
        "gaussian": gaussian,
        "network": network,
        "tilted": TiltedEnergy(gaussian, network, 0.0),
        "mixture": MixtureEnergy.fit(whitening(normal_maps(45, 8, seed=3)), MixtureConfig(4), generator()),
    }
    found = assert_equal(WhitenedEnergy(energies[which], whitening), normal, strange, whole=True)
    with torch.no_grad():
        map_of = network if which in ("network", "tilted") else energies[which]
        expected = map_of.localise(whitening(normal))
    assert found.cells is not None
    error = (found.cells[:, 0] - expected).abs().max() / expected.std()
    assert float(error) < TOLERANCE


def test_folding_is_done_in_double_precision(whitening: Whitening) -> None:
    """The products of matrices are rounded once, not twice: in float32 they would cost a digit."""
    network = trained("silu", 4)
    (first,) = WhitenedEnergy(network, whitening).fused(Affine.identity(CHANNELS), whole=False).linear
    assert first.matrix.dtype == first.shift.dtype == torch.float64
    expected = network.fc1.weight.double() @ whitening.matrix.double().T
    torch.testing.assert_close(first.matrix, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("whole", [False, True])
def test_an_energy_without_a_cheap_form_is_called(whole: bool, whitening: Whitening) -> None:
    class Norm(Energy):
        """|x|, of the view."""

        def rest(self, hidden: tuple[Tensor, ...]) -> Tensor:
            return hidden[0].flatten(1).norm(dim=1)

    normal = normal_maps(3, 8, seed=4)
    found = assert_equal(WhitenedEnergy(Norm(), whitening), normal, normal * 3, whole=whole)
    assert found.cells is not None
    assert found.cells.shape == (3, 1, 8, 8)
    if not whole:
        assert torch.equal(found.cells, found.components)


@pytest.mark.parametrize("channels", [1, 2, 3, 127, 128, 129])
def test_operations_that_runtimes_do_fast_are_those_of_torch(channels: int) -> None:
    x = 30 * torch.randn((2, channels, 5, 7), generator=generator())
    torch.testing.assert_close(channel_sum(x), x.sum(1, keepdim=True), rtol=1e-5, atol=1e-4)
    assert torch.equal(channel_max(x), x.amax(1, keepdim=True))
    axes: Sequence[tuple[int, ...]] = [(1,), (2, 3), (1, 2, 3)]
    for own in axes:
        expected = logsumexp(x.double().numpy(), axis=own, keepdims=True)
        np.testing.assert_allclose(log_sum_exp(x, own).numpy(), expected, rtol=1e-5)
    weight = torch.randn((3, channels), generator=generator())
    expected_map = torch.einsum("rc,bchw->brhw", weight, x) + 2
    found = linear(x, weight, torch.full((3,), 2.0))
    torch.testing.assert_close(found, expected_map, rtol=1e-4, atol=1e-3)
    assert torch.equal(found, conv2d(x, weight[:, :, None, None], torch.full((3,), 2.0)))


def test_no_exponential_overflows() -> None:
    far = torch.tensor([1e4, -1e4, 1e4 - 1])[None, :, None, None]
    assert float(log_sum_exp(far, (1,))) == pytest.approx(1e4 + np.log(1 + np.exp(-1)))
    assert float(positive_log(torch.zeros(()))) == pytest.approx(np.log(1e-12))


def test_cells_come_map_by_map_and_row_by_row() -> None:
    x = torch.arange(24.0).view(2, 2, 2, 3)
    assert cells_of(x)[:, :, 0, 0].tolist()[:4] == [[0, 6], [1, 7], [2, 8], [3, 9]]
    assert cells_of(x)[6, :, 0, 0].tolist() == [12, 18]


def test_affine_functions_follow_each_other() -> None:
    a, b = (torch.randn((4, 4), generator=generator(seed)) for seed in (0, 1))
    shift, x = torch.randn(4, generator=generator(2)), torch.randn(4, generator=generator(3)).double()
    both = Affine.identity(4).then(a, shift).then(b, -shift)
    expected = b.double() @ (a.double() @ x + shift.double()) - shift.double()
    torch.testing.assert_close(both.matrix @ x + both.shift, expected)


def test_every_whitening_can_be_folded(cells: Tensor) -> None:
    from patchebm.config.features import DiagonalConfig, ScaleConfig

    configs: list[WhiteningConfig] = [ScaleConfig(), DiagonalConfig()]
    normal = normal_maps(3, 8, seed=4)
    for config in configs:
        own = Whitening.fit(cells[:2000], config, generator())
        energy = WhitenedEnergy(trained("silu", 4), own)
        assert_equal(energy, normal, normal * 1.5, whole=False)
