"""`examples/method.py`, the method on one page, is the method of the detector."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from patchebm.config.presets import load_preset
from patchebm.detector import EnsembleDetector
from patchebm_products import write_synthetic_set

PAGE = Path(__file__).parents[1] / "examples" / "method.py"


def open_page() -> Any:
    spec = importlib.util.spec_from_file_location("method", PAGE)
    assert spec is not None
    assert spec.loader is not None
    page = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(page)
    return page


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_page_is_the_detector(tmp_path: Path) -> None:
    # Fewer images would have the detector extrapolate its threshold, which the page does not.
    root = write_synthetic_set(tmp_path, "flange", train=20, test_good=4, per_defect=1)
    good = sorted((root / "train" / "good").iterdir())
    new = sorted((root / "test").rglob("*.png"))
    detector = EnsembleDetector(load_preset("features-fast", {"defects": {"local_checks": 0}})).fit(good)
    predict = open_page().fit(good)
    found = [predict(path) for path in new]
    expected = detector.predict(new, heat_maps=False)
    scores = np.array([prediction.score for prediction in expected])
    np.testing.assert_allclose([score for score, _ in found], scores, atol=2e-3, rtol=1e-3)
    assert [verdict for _, verdict in found] == [prediction.anomalous for prediction in expected]
    assert len({verdict for _, verdict in found}) == 2
