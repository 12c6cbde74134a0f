"""The replay buffer: chains go on from where they stopped, and a few start over."""

from __future__ import annotations

import torch
from torch import Tensor

from patchebm.training.negatives import Negatives


class ReplayBuffer:
    """This class keeps the ends of chains for the next step (Du and Mordatch 2019, arXiv 1903.08689).

    Everything in it lies on the CPU.

    Args:
        size: how many chains are kept; 100 in the thesis, 10,000 in JEM++.
        negatives: draws the init of chains, to fill the buffer and to restart chains.
        restart: probability that a drawn chain starts over; 0.05 in JEM++ and in the thesis.
        generator: draws the first filling.
    """

    def __init__(self, size: int, negatives: Negatives, restart: float, generator: torch.Generator) -> None:
        self._size = size
        self._negatives = negatives
        self._restart = restart
        self.refill(generator)

    def refill(self, generator: torch.Generator) -> None:
        """Starts all chains over."""
        self.chains, self.positions = self._negatives(self._size, generator)

    def sample(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Draws n chains.

        Returns:
            Chains `(n, C, H, W)`, their positions `(n,)`, and their indices in the buffer `(n,)`, the last
            for `put`. Indices are distinct if the buffer is large enough, so that no end is lost.
        """
        if n <= self._size:
            indices = torch.randperm(self._size, generator=generator)[:n]
        else:
            indices = torch.randint(self._size, (n,), generator=generator)
        restarted = indices[torch.rand(n, generator=generator) < self._restart]
        if len(restarted):
            self.chains[restarted], self.positions[restarted] = self._negatives(len(restarted), generator)
        return self.chains[indices], self.positions[indices], indices

    def put(self, indices: Tensor, chains: Tensor) -> None:
        """Keeps the ends `(n, C, H, W)` of the chains with these indices."""
        self.chains[indices] = chains.to(self.chains)

    def state_dict(self) -> dict[str, Tensor]:
        """Returns what a checkpoint holds of the buffer."""
        return {"chains": self.chains, "positions": self.positions}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Takes back what `state_dict` gave."""
        self.chains, self.positions = state["chains"], state["positions"]
