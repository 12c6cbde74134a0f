"""Which statistics batch norm normalises data and negatives by, and what is left of them."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from patchebm.energy import WideResNetEnergy
from patchebm.training.batch_statistics import batch_statistics, energies

X = torch.tensor([[1.0], [3.0]])
# By the running statistics, of mean 0 and variance 1, nothing changes; by its own the batch has mean 0.
OWN = torch.tensor([[-1.0], [1.0]])


def norm() -> nn.BatchNorm1d:
    return nn.BatchNorm1d(1, eps=1e-12)


def given(kind: Literal["data", "own", "shared"]) -> tuple[Tensor, nn.BatchNorm1d]:
    layer = norm()
    with batch_statistics(layer, kind):
        found = layer(X)
    assert not layer.training
    return found, layer


def test_the_running_statistics_of_the_data() -> None:
    found, layer = given("data")
    torch.testing.assert_close(found, X)
    assert float(layer.running_mean) == 0


@pytest.mark.parametrize(("kind", "mean"), [("own", 0.0), ("shared", 0.2)])
def test_statistics_of_the_negatives(kind: Literal["own", "shared"], mean: float) -> None:
    found, layer = given(kind)
    torch.testing.assert_close(found, OWN)
    # A tenth of the mean of 2 is mixed in, or nothing.
    torch.testing.assert_close(layer.running_mean, torch.tensor([mean]))


def test_data_leave_their_trace_afterwards() -> None:
    _, layer = given("own")
    layer.train()
    layer(X)
    torch.testing.assert_close(layer.running_mean, torch.tensor([0.2]))


def test_an_error_leaves_no_layer_changed() -> None:
    layer = norm()
    with pytest.raises(KeyboardInterrupt), batch_statistics(layer, "own"):
        raise KeyboardInterrupt
    assert layer.momentum == 0.1
    assert not layer.training


VIEWS = torch.rand((6, 1, 8, 8), generator=torch.Generator().manual_seed(0))


def network() -> WideResNetEnergy:
    return WideResNetEnergy(1, generator=torch.Generator().manual_seed(1), norm="batch")


@pytest.mark.parametrize("kind", ["data", "own", "shared"])
def test_negatives_that_are_the_data_have_the_energies_of_the_data(
    kind: Literal["data", "own", "shared"],
) -> None:
    """Else a loss falls by moving two modes of one network apart, and nothing is learnt of the data."""
    energy = network()
    data, negatives = energies(energy, (VIEWS, None), (VIEWS, None), kind)
    torch.testing.assert_close(data, negatives)
    assert data.requires_grad
    assert float(data.detach().std()) > 0
    assert not any(module.training for module in energy.modules())


def test_the_loss_meets_the_energy_that_scores() -> None:
    energy = network()
    data, negatives = energies(energy, (VIEWS[:4], None), (VIEWS[2:], None), "data")
    with torch.no_grad():
        torch.testing.assert_close(energy(VIEWS[:4]), data)
        torch.testing.assert_close(energy(VIEWS[2:]), negatives)


def test_the_data_are_mixed_into_the_running_statistics_once_and_the_negatives_never() -> None:
    layer = network()
    stem = layer.stem(VIEWS[:4]).detach().mean((0, 2, 3))
    energies(layer, (VIEWS[:4], None), (VIEWS[4:], None), "data")
    first = layer.blocks[0].before[0]
    torch.testing.assert_close(first.running_mean, 0.1 * stem)
