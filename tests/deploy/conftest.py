"""A trained run that scores fast."""

from __future__ import annotations

from pathlib import Path

import pytest

from patchebm.detector import EnsembleDetector
from tests.tiny import flanges, tiny_config


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    config = tiny_config()
    config.calibration.members = 1
    EnsembleDetector(config).fit(flanges(9)).save(folder)
    return folder
