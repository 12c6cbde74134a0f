"""A configuration that trains in a second, and images to train it on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from patchebm.config.parser import load_preset
from patchebm.config.schema import Config
from patchebm_products import draw

TINY = [
    "--preset", "pixel-cpu",
    "--calibration.folds", "3", "--calibration.members", "1", "--patch.view.grid", "4",
    "--patch.training.steps", "6", "--image.training.steps", "6",
    "--patch.training.batch_size", "4", "--image.training.batch_size", "4",
    "--patch.training.checkpoint_every", "2", "--image.training.checkpoint_every", "2",
]  # fmt: skip


def tiny_config(seed: int = 0) -> Config:
    """The preset pixel-cpu with a few steps and a coarse grid."""
    config = load_preset("pixel-cpu")
    config.seed = seed
    config.calibration.folds, config.calibration.members = 3, 2
    config.patch.view.grid = 4
    for level in (config.patch, config.image):
        level.training.steps = 6
        level.training.batch_size = 4
        level.training.checkpoint_every = 2
    return config


def tiny_features(preset: str = "features", seed: int = 0) -> Config:
    """A preset on features with small images and a few steps."""
    config = load_preset(preset)
    config.seed = seed
    config.features.size, config.features.grid = (64, 64), (8, 8)
    config.calibration.folds, config.calibration.members = 3, 2
    config.image.view.size = (4, 4)
    for level in (config.patch, config.image):
        level.training.steps, level.training.batch_size = 20, 64
        level.training.warmup = 2
    return config


def flanges(n: int, defect: str = "good", split: str = "train/good") -> list[NDArray[np.float32]]:
    """n images `(64, 64, 3)` float32 in [0, 1]."""
    return [
        draw("flange", seed=0, split=split, index=i, defect=defect, size=64)[0].astype(np.float32) / 255
        for i in range(n)
    ]


def write_set(root: Path, train: int = 9, test: int = 3, product: str = "flange") -> Path:
    """A small synthetic set on disk in MVTec AD layout."""
    from patchebm_products import write_synthetic_set

    return write_synthetic_set(root, product, train=train, test_good=test, per_defect=1, size=64)
