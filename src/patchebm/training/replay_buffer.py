"""The replay buffer: chains go on where they stopped, and a few start over."""

from __future__ import annotations

import torch
from torch import Tensor

from patchebm.training.negatives import Start


class ReplayBuffer:
    """Keeps the ends of chains for the next time (Du and Mordatch 2019, arXiv 1903.08689).

    Args:
        size: how many chains are kept; 100 in the thesis, 10,000 in JEM++.
        start: draws new chains, to fill the buffer and to restart chains.
        restart: probability that a drawn chain starts over; 0.05 in JEM++ and in the thesis.
        generator: draws the first filling.
    """

    def __init__(self, size: int, start: Start, restart: float, generator: torch.Generator) -> None:
        self._start = start
        self._restart = restart
        self._size = size
        self.refill(generator)

    def refill(self, generator: torch.Generator) -> None:
        """Start all chains again."""
        self.chains, self.positions = self._start(self._size, generator)

    def sample(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Draw n chains.

        Returns:
            Chains `(n, C, H, W)`, their slots `(n,)`, and their places in the buffer `(n,)`, the
            last for `put`. Places are distinct where the buffer is large enough, so that no end is lost.
        """
        if n <= self._size:
            places = torch.randperm(self._size, generator=generator)[:n]
        else:
            places = torch.randint(self._size, (n,), generator=generator)
        again = torch.rand(n, generator=generator) < self._restart
        if again.any():
            self.chains[places[again]], self.positions[places[again]] = self._start(
                int(again.sum()), generator
            )
        return self.chains[places], self.positions[places], places

    def put(self, places: Tensor, chains: Tensor) -> None:
        """Keep the ends `(n, C, H, W)` of chains drawn from the given places."""
        self.chains[places] = chains.detach().to(self.chains)
