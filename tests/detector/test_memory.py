"""A fit takes no more memory for many images than for some."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import numpy as np
import torch
from patchebm.config.presets import load_preset
from patchebm.detector import EnsembleDetector, kept_maps
from patchebm.detector.kept_maps import KeptMaps
from patchebm.detector.level import KeptViews, TrainingSet
from patchebm.line.measure import peak_memory_mb

# As if a set were much larger than what needs no file.
kept_maps.IN_MEMORY = 2**20
config = load_preset("features-fast", {"position": {"zones": 4, "folds": 5}})
detector = EnsembleDetector(config)
inputs = detector.build_inputs()
generator = torch.Generator().manual_seed(0)

def fit(count):
    level = detector.build_level("position", inputs)
    maps = KeptMaps()
    for _ in range(count):
        maps.append(torch.randn(inputs.channels, *inputs.grid, generator=generator).half())
    empty = [[] for _ in range(count)]
    kept = KeptViews([None] * count, maps, empty, empty)
    training = TrainingSet.of(kept, [str(i) for i in range(count)], np.arange(count) % 5)
    level.fit(training, members=5, refit=False, folder=None, device=torch.device("cpu"))

fit(90)
some = peak_memory_mb()
fit(250)
print(some, peak_memory_mb())
"""


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="the largest resident memory is read from /proc"
)
def test_a_fit_takes_no_more_memory_for_many_images() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    some, many = map(int, done.stdout.split())
    # The maps of 160 images more would take 58 MB in half precision.
    assert many - some < 30
