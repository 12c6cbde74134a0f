"""The replay buffer keeps the ends of chains."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from patchebm.training.negatives import UniformNegatives
from patchebm.training.replay_buffer import ReplayBuffer


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(n: int, g: torch.Generator) -> tuple[Tensor, Tensor]:
    return torch.zeros(n, 1, 2, 2), torch.randint(5, (n,), generator=g)


def buffer_of(size: int, restart: float, seed: int = 0) -> ReplayBuffer:
    return ReplayBuffer(size, UniformNegatives(draw, (1, 2, 2)), restart, generator(seed))


@pytest.mark.parametrize("n", [4, 30])
def test_the_buffer_gives_back_what_was_put(n: int) -> None:
    buffer = buffer_of(10, 0.0)
    _, positions, indices = buffer.sample(n, generator(1))
    assert torch.equal(positions, buffer.positions[indices])
    marks = torch.arange(n, dtype=torch.float32)[:, None, None, None].expand(n, 1, 2, 2)
    buffer.put(indices, marks)
    last = {int(index): float(mark) for index, mark in zip(indices, marks[:, 0, 0, 0], strict=True)}
    for index, mark in last.items():
        assert float(buffer.chains[index, 0, 0, 0]) == mark
    if n <= 10:
        assert len(last) == n


def test_a_share_of_the_chains_starts_over() -> None:
    buffer = buffer_of(1000, 0.05)
    buffer.chains[:] = 7.0
    before = buffer.positions.clone()
    drawn, positions, indices = buffer.sample(1000, generator(1))
    restarted = (drawn.flatten(1) != 7.0).all(1)
    # Binomial standard error 0.7 %.
    assert float(restarted.float().mean()) == pytest.approx(0.05, abs=0.021)
    # A chain that starts over gets a position of its own, the others keep theirs.
    changed = positions != before[indices]
    assert changed.any()
    assert not changed[~restarted].any()


def test_a_buffer_takes_back_its_state() -> None:
    buffer, other = buffer_of(10, 0.5), buffer_of(10, 0.5, seed=3)
    other.load_state_dict({name: tensor.clone() for name, tensor in buffer.state_dict().items()})
    for ours, theirs in zip(buffer.sample(6, generator(1)), other.sample(6, generator(1)), strict=True):
        assert torch.equal(ours, theirs)
    buffer.refill(generator(2))
    assert not torch.equal(buffer.chains, other.chains)
