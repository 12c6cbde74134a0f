"""Which statistics batch norm normalises negatives by, and what is left of them."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from patchebm.training.batch_statistics import batch_statistics

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
