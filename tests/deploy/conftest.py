"""One small fitted detector, and its bundles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from patchebm.config import Config
from patchebm.config_parser import load_preset
from patchebm.data.folders import find_images
from patchebm.deploy.export import build_bundle
from patchebm.detector import EnsembleDetector
from tests.tiny import flanges, write_set


def small_features(preset: str = "features") -> Config:
    """A preset on features with small pictures and a few steps."""
    config = load_preset(preset)
    config.features.size, config.features.grid = (64, 64), (8, 8)
    config.calibration.folds, config.calibration.members = 3, 2
    config.image.view.size = (4, 4)
    for level in (config.patch, config.image):
        level.training.steps, level.training.batch_size = 20, 64
        level.training.warmup = 2
    return config


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("set"))


@pytest.fixture(scope="session")
def pictures(data: Path) -> list[Path]:
    return find_images([str(data / "test")])


@pytest.fixture(scope="session")
def fitted() -> EnsembleDetector:
    return EnsembleDetector(small_features()).fit(flanges(9))


@pytest.fixture(scope="session")
def levels(fitted: EnsembleDetector) -> dict[str, EnsembleDetector]:
    """The fitted ensemble, and each of its levels as a detector of its own."""
    alone = {}
    for name, level in fitted.levels_.items():
        detector = EnsembleDetector(replace(fitted.config, levels=[name]), fitted.backbone)
        detector.__dict__ |= {k: v for k, v in fitted.__dict__.items() if k != "config"}
        detector.levels_ = {name: level}
        alone[name] = detector
    return {"ensemble": fitted, **alone}


@pytest.fixture(scope="session")
def bundle_file(
    fitted: EnsembleDetector, pictures: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    file = tmp_path_factory.mktemp("bundle") / "part.patchebm"
    build_bundle(fitted, verify=pictures).write(file)
    return file
