"""What negatives are drawn."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from patchebm.training.negatives import (
    CorruptedNegatives,
    InformativeNegatives,
    NoisedNegatives,
    UniformNegatives,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw_zeros(n: int, g: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    del g
    return torch.zeros(n, 2000, 1, 1), torch.zeros(n, dtype=torch.long)


def test_informative_negatives_have_the_mean_and_covariance_of_the_views() -> None:
    views = torch.randn(40, 1, 2, 3, generator=generator()) * torch.tensor([0.1, 0.3, 0.5]) + 0.2
    flat = views.flatten(1).double()
    expected = torch.cov(flat.T, correction=0) + 0.01 * torch.eye(6)
    draws = (
        InformativeNegatives(draw_zeros, views.clone(), floor=0.01)
        .unclamped(200_000, generator(1))
        .flatten(1)
        .double()
    )
    torch.testing.assert_close(draws.mean(0), flat.mean(0), atol=5e-3, rtol=0)
    # Standard errors of the entries are below 1e-3 at 200,000 draws.
    torch.testing.assert_close(torch.cov(draws.T), expected, atol=4e-3, rtol=0)


def test_negatives_of_pixels_stay_in_the_box_and_have_positions() -> None:
    views, positions = torch.randn(9, 3, 8, 8, generator=generator(2)), torch.arange(9)

    def draw(n: int, g: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        which = torch.randint(9, (n,), generator=g)
        return views[which].clamp(-1, 1), positions[which]

    for negatives in (
        InformativeNegatives(draw, views.clone()),
        UniformNegatives(draw, (3, 8, 8)),
        CorruptedNegatives(draw),
    ):
        drawn, position = negatives(20, generator())
        assert drawn.shape == (20, 3, 8, 8)
        assert drawn.abs().max() <= 1
        assert position.dtype == torch.int64
        assert set(position.tolist()) <= set(range(9))
        assert len(set(position.tolist())) > 1


def test_noised_negatives_have_scales_log_uniform_in_their_range() -> None:
    noise, positions = NoisedNegatives(draw_zeros, (0.1, 10.0))(4000, generator())
    assert positions.shape == (4000,)
    scale = noise.flatten(1).std(1).log10()
    assert -1.1 < float(scale.min()) < -0.95
    assert 0.95 < float(scale.max()) < 1.1
    assert float(scale.mean()) == pytest.approx(0, abs=0.03)
    # Uniform on [-1, 1]: standard deviation 1 / sqrt(3).
    assert float(scale.std()) == pytest.approx(3**-0.5, rel=0.05)


def test_informative_negatives_at_128_px_are_light_and_fast() -> None:
    # 1,000 crops at 128 px in under 1 GB and under 5 s; in a fresh process, so that its peak is its own.
    code = """
import time, torch
from patchebm.line.measure import peak_memory_mb
from patchebm.training.negatives import InformativeNegatives
g = torch.Generator().manual_seed(0)
views = torch.rand(1000, 3, 128, 128, generator=g)
torch.set_num_threads(1)
# Processor time of one thread: what neighbours on a busy machine add is not ours.
began = time.process_time()
InformativeNegatives(lambda n, g: (None, None), views)(32, g)
seconds = time.process_time() - began
print(seconds, peak_memory_mb() / 1e3)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    seconds, gigabytes = map(float, out.split())
    assert seconds < 5
    assert gigabytes < 1
