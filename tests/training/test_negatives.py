"""Where chains start and are kept."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from patchebm.training.corruption import corrupt
from patchebm.training.negatives import CorruptedStart, InformativeStart, UniformStart
from patchebm.training.replay_buffer import ReplayBuffer


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def no_slots(n: int, g: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    del g
    return torch.zeros(n, 1, 1, 1), torch.zeros(n, dtype=torch.long)


def test_the_informative_start_has_the_mean_and_covariance_of_the_views() -> None:
    views = torch.randn(40, 1, 2, 3, generator=generator()) * torch.tensor([0.1, 0.3, 0.5]) + 0.2
    flat = views.flatten(1).double()
    expected = torch.cov(flat.T, correction=0) + 0.01 * torch.eye(6)
    draws = (
        InformativeStart(views.clone(), no_slots, floor=0.01)
        .unclamped(200_000, generator(1))
        .flatten(1)
        .double()
    )
    torch.testing.assert_close(draws.mean(0), flat.mean(0), atol=5e-3, rtol=0)
    # Standard errors of the entries are below 1e-3 at 200,000 draws.
    torch.testing.assert_close(torch.cov(draws.T), expected, atol=4e-3, rtol=0)


def test_starts_stay_in_the_box_and_carry_positions() -> None:
    views, positions = torch.randn(9, 3, 8, 8), torch.arange(9)

    def draw(n: int, g: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        which = torch.randint(9, (n,), generator=g)
        return views[which].clamp(-1, 1), positions[which]

    for start in (
        InformativeStart(views.clone(), draw),
        UniformStart((3, 8, 8), draw),
        CorruptedStart(draw),
    ):
        chains, at = start(20, generator())
        assert chains.shape == (20, 3, 8, 8)
        assert chains.abs().max() <= 1
        assert at.dtype == torch.int64
        assert set(at.tolist()) <= set(range(9))
        assert len(set(at.tolist())) > 1


def test_the_informative_start_at_128_px_is_light_and_fast() -> None:
    # Issue: 1,000 crops at 128 px under 1 GB and under 5 s; a fresh process, so that its peak is its own.
    code = """
import time, torch
from patchebm.line.measure import peak_memory_mb
from patchebm.training.negatives import InformativeStart
g = torch.Generator().manual_seed(0)
views = torch.rand(1000, 3, 128, 128, generator=g)
torch.set_num_threads(1)
# Processor time of one thread: what neighbours on a busy machine add is not ours.
began = time.process_time()
InformativeStart(views, lambda n, g: (None, None))(32, g)
seconds = time.process_time() - began
print(seconds, peak_memory_mb() / 1e3)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    seconds, gigabytes = map(float, out.split())
    assert seconds < 5
    assert gigabytes < 1


def test_corruption_changes_a_piece_of_each_view_and_nothing_else() -> None:
    views = torch.rand(64, 3, 32, 32, generator=generator()) * 2 - 1
    kept = views.clone()
    corrupted = corrupt(views, generator(1))
    assert torch.equal(views, kept)
    changed = (corrupted != views).any(1).flatten(1).float().mean(1)
    assert (changed > 0).float().mean() > 0.95
    assert changed.median() < 0.5
    assert torch.equal(corrupted, corrupt(views, generator(1)))


@pytest.mark.parametrize("n", [4, 30])
def test_the_buffer_gives_back_what_was_put(n: int) -> None:
    buffer = ReplayBuffer(10, UniformStart((1, 4, 4), no_slots), 0.0, generator())
    _, _, places = buffer.sample(n, generator(1))
    marks = torch.arange(n, dtype=torch.float32)[:, None, None, None].expand(n, 1, 4, 4)
    buffer.put(places, marks)
    last = {int(place): float(mark) for place, mark in zip(places, marks[:, 0, 0, 0], strict=True)}
    for place, mark in last.items():
        assert float(buffer.chains[place, 0, 0, 0]) == mark
    if n <= 10:
        assert len(last) == n


def test_a_share_of_the_chains_starts_anew() -> None:
    buffer = ReplayBuffer(1000, UniformStart((1, 2, 2), no_slots), 0.05, generator())
    buffer.chains[:] = 7.0
    drawn, _, _ = buffer.sample(1000, generator(1))
    again = (drawn.flatten(1) != 7.0).any(1).float().mean()
    # Binomial standard error 0.7 %.
    assert float(again) == pytest.approx(0.05, abs=0.021)
