"""Runs side by side: which pairs are tested, and how many tests that makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from patchebm.evaluation.comparison import compare_runs, run_names
from patchebm.evaluation.paired import holm


def results(scores: np.ndarray, images: str = "the same") -> dict[str, Any]:
    """What `evaluate` leaves, as far as pairs need it: 20 good images, 20 with a scratch."""
    records = [
        {"defect": "scratch" if i >= 20 else "good", "score": float(score)} for i, score in enumerate(scores)
    ]
    return {"made_by": {"data_sha256": images}, "image_auroc": 0.5, "predictions": records}


def test_every_pair_of_runs_on_the_same_images_is_tested_and_corrected_for_their_number() -> None:
    rng = np.random.default_rng(0)
    noise, defective = rng.normal(size=(3, 40)), np.arange(40) >= 20
    runs = {
        name: results(row + gain * defective) for name, row, gain in zip("abc", noise, (0, 1, 2), strict=True)
    }
    runs["d"] = results(noise[0], "others")
    (facts,) = compare_runs({"part": runs})
    tested = [pair for pair in facts["pairs"] if "p_value" in pair]
    assert [(pair["first"], pair["second"]) for pair in tested] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert [pair["p_holm"] for pair in tested] == pytest.approx(holm([pair["p_value"] for pair in tested]))
    assert any(pair["p_holm"] > pair["p_value"] for pair in tested)
    assert sum("different images" in pair.get("not_compared", "") for pair in facts["pairs"]) == 3


def test_runs_are_called_by_the_shortest_ends_that_tell_them_apart() -> None:
    assert run_names([Path("/a/one"), Path("/b/two")]) == ["one", "two"]
    assert run_names([Path("/a/x/run"), Path("/b/x/run")]) == ["a/x/run", "b/x/run"]
