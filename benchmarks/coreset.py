"""A bank of features for nearest-neighbour methods: the greedy coreset of PatchCore on a random sample.

PatchCore (Roth et al. 2022, arXiv 2106.08265) picks each next feature as the farthest from those so far. On
all features of 700 images that takes hours here, so the rule is run on 30,000 of them projected to 64
dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor

BANK = 8192
SAMPLE = 30_000
PROJECTED = 64


def coreset(rows: Tensor, generator: torch.Generator) -> Tensor:
    """At most `BANK` of the rows `(N, C)`, float32, chosen greedily from at most `SAMPLE` of them."""
    chosen = torch.randperm(len(rows), generator=generator)[:SAMPLE]
    sample = rows[chosen].float()
    return sample[_greedy(sample, min(BANK, len(sample)), generator)]


def _greedy(rows: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Indices of a k-centre coreset: each next one is the farthest from those so far."""
    projection = torch.randn((rows.shape[1], PROJECTED), generator=generator) / PROJECTED**0.5
    projected = rows @ projection
    chosen = torch.empty(size, dtype=torch.long)
    chosen[0] = int(torch.randint(len(rows), (1,), generator=generator))
    distance = torch.full((len(rows),), float("inf"))
    for i in range(1, size):
        newest = projected[chosen[i - 1]]
        torch.minimum(distance, (projected - newest).square().sum(1), out=distance)
        chosen[i] = distance.argmax()
    return chosen
