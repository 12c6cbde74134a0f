"""Configurations that train in a second, and images to train them on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from patchebm.config.features import FeaturesConfig
from patchebm.config.pixels import PixelsConfig
from patchebm.config.presets import load_preset
from patchebm_products import draw

TINY = [
    "--preset", "pixel-cpu",
    "--calibration.folds", "3", "--calibration.members", "1", "--patch.view.grid", "4",
    "--patch.network.training.steps", "6", "--image.network.training.steps", "6",
    "--patch.network.training.batch-size", "4", "--image.network.training.batch-size", "4",
    "--patch.network.training.checkpoint-every", "2", "--image.network.training.checkpoint-every", "2",
]  # fmt: skip


def tiny_config(seed: int = 0) -> PixelsConfig:
    """Returns the preset pixel-cpu with a few steps and a coarse grid."""
    training = {"steps": 6, "batch_size": 4, "checkpoint_every": 2}
    changes = {
        "seed": seed,
        "calibration": {"folds": 3, "members": 2},
        "patch": {"view": {"grid": 4}, "network": {"training": training}},
        "image": {"network": {"training": training}},
    }
    config = load_preset("pixel-cpu", changes)
    assert isinstance(config, PixelsConfig)
    return config


def tiny_features(preset: str = "features", seed: int = 0) -> FeaturesConfig:
    """Returns a preset on features with small images and a few steps."""
    network = {"training": {"steps": 20, "batch_size": 64, "warmup": 2}}
    changes = {
        "seed": seed,
        "features": {"size": [64, 64], "grid": [8, 8]},
        # Two levels, so that what is done with several is done.
        "levels": ["position", "image"],
        "defects": {"learn": 6, "local_checks": 5, "global_checks": 3},
        "calibration": {"folds": 3, "members": 2},
        "position": {"network": network},
        "patch": {"network": network},
        "image": {"grid": [4, 4]},
    }
    config = load_preset(preset, changes)
    assert isinstance(config, FeaturesConfig)
    return config


def flanges(n: int, defect: str = "good", split: str = "train/good") -> list[NDArray[np.float32]]:
    """Returns n images `(64, 64, 3)` float32 in [0, 1]."""
    return [
        draw("flange", seed=0, split=split, index=i, defect=defect, size=64)[0].astype(np.float32) / 255
        for i in range(n)
    ]


def write_good(folder: Path, n: int, split: str = "another day") -> Path:
    """Writes n images of good parts that no set of `write_set` has, and returns their folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(flanges(n, split=split)):
        Image.fromarray(np.rint(255 * image).astype(np.uint8)).save(folder / f"{i:03d}.png")
    return folder


def write_set(root: Path, train: int = 9, test: int = 3, product: str = "flange") -> Path:
    """Writes a small synthetic set in MVTec AD layout, and returns its folder."""
    from patchebm_products import write_synthetic_set

    return write_synthetic_set(root, product, train=train, test_good=test, per_defect=1, size=64)
