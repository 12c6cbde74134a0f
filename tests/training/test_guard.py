"""The divergence guard, on a network of one weight."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from patchebm.errors import DivergedError
from patchebm.training.guard import DivergenceGuard


class Weight(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def set(self, value: float) -> None:
        with torch.no_grad():
            self.weight.fill_(value)


def test_a_bad_step_goes_back_and_halves_the_learning_rate_until_the_guard_gives_up() -> None:
    network = Weight()
    guard = DivergenceGuard({"network": network}, max_rollbacks=2)
    network.set(5)
    trouble = guard.check(1, float("nan"), 0.0)
    assert trouble is not None
    assert "step 1: loss nan" in trouble
    assert "last good state" in trouble
    assert network.weight.item() == 1
    assert guard.learning_rate_factor == 0.5
    # What trains on must not train the copy.
    network.set(6)
    assert guard.check(2, 1.0, -1e9)
    assert network.weight.item() == 1
    assert guard.learning_rate_factor == 0.25
    with pytest.raises(DivergedError, match="diverged 3 times") as caught:
        guard.check(3, float("inf"), 0.0)
    assert caught.value.rollbacks == 2


def test_only_a_state_with_good_steps_before_it_becomes_the_good_one() -> None:
    network = Weight()
    guard = DivergenceGuard({"network": network}, every=3)
    for step in range(1, 6):
        network.set(step)
        assert guard.check(step, 0.1, 0.1) is None
    assert guard.check(6, float("nan"), 0.0)
    assert network.weight.item() == 3
