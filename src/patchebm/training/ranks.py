"""The processes that train one network together, and what they tell each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed, nn


@dataclass(frozen=True)
class Ranks:
    """One of the processes that train a network together; alone it exchanges nothing.

    Attributes:
        rank: of this process, from 0.
        count: of the processes.
    """

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes checkpoints, logs and images."""
        return self.rank == 0

    def seed(self, seed: int) -> int:
        """Returns the seed of this process's generator: for the first that of the run, for others another."""
        if self.is_first:
            return seed
        return int(np.random.SeedSequence([seed, self.rank]).generate_state(1)[0])

    def mean(self, values: Mapping[str, Tensor | float]) -> dict[str, Tensor | float]:
        """Returns figures averaged over the processes."""
        if self.count == 1:
            return dict(values)
        # In double precision on the CPU: a handful of numbers, which no device need wait for.
        numbers = torch.tensor([float(value) for value in values.values()], dtype=torch.float64)
        distributed.all_reduce(numbers)
        return dict(zip(values, (numbers / self.count).tolist(), strict=True))

    def average_gradients(self, module: nn.Module) -> None:
        """Replaces the gradients of a module's parameters by their means over the processes.

        `DistributedDataParallel` would do so during the backward pass of a module that is called once for
        each. The loss calls a network twice, through the energy that stands on it, and samplers
        differentiate it by its input in between.
        """
        self._average(p.grad for p in module.parameters() if p.grad is not None)

    def average_statistics(self, norms: Iterable[nn.modules.batchnorm._BatchNorm]) -> None:
        """Replaces the running statistics of batch norm by their means over the processes.

        The variance is that within the batches of the processes; how their means differ does not count.
        """
        buffers = [buffer for norm in norms for buffer in (norm.running_mean, norm.running_var)]
        self._average(buffer for buffer in buffers if buffer is not None)

    def gather(self, state: Mapping[str, Any]) -> list[Any]:
        """Returns the states of all processes, by rank, to the first; to others nothing."""
        if self.count == 1:
            return [state]
        states: list[Any] | None = [None] * self.count if self.is_first else None
        distributed.gather_object(state, states)
        return states or []

    def _average(self, tensors: Iterable[Tensor]) -> None:
        found = list(tensors)
        if self.count == 1 or not found:
            return
        # One message for all: a network has a hundred small tensors.
        together = torch.cat([tensor.flatten() for tensor in found])
        distributed.all_reduce(together)
        together /= self.count
        with torch.no_grad():
            for tensor, mean in zip(found, torch.split(together, [t.numel() for t in found]), strict=True):
                tensor.copy_(mean.view_as(tensor))
