"""Corruptions change a piece of each view."""

from __future__ import annotations

import torch

from patchebm.training.corruption import corrupt


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_corruption_changes_a_piece_of_each_view_and_nothing_else() -> None:
    views = torch.rand(64, 3, 32, 32, generator=generator()) * 2 - 1
    kept = views.clone()
    corrupted = corrupt(views, generator(1))
    assert torch.equal(views, kept)
    changed = (corrupted != views).any(1).flatten(1).float().mean(1)
    assert (changed > 0).float().mean() > 0.95
    assert changed.median() < 0.5
    assert torch.equal(corrupted, corrupt(views, generator(1)))
