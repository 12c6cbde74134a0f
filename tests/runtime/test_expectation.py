"""What a model can be expected to find, told from scores of synthetic defects."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from patchebm.runtime.expectation import MOST, SyntheticDefects


def large_ones_score_high(count: int = 100) -> SyntheticDefects:
    """Defects of 1 to so many pixels, each of which scores as many."""
    pixels = np.arange(1.0, count + 1)
    mixed = np.random.default_rng(0).permutation(count)
    return SyntheticDefects(pixels[mixed], pixels[mixed])


def test_the_share_above_the_threshold_is_found() -> None:
    found = large_ones_score_high().at(60.0)
    assert (found.found, found.defects) == (40, 100)


def test_from_the_smallest_size_on_four_fifths_are_found() -> None:
    # The 40 above 60 px are found: of those of at least 51 px, 50, they are four fifths.
    assert large_ones_score_high().at(60.0).smallest == 51
    assert large_ones_score_high().at(60.0).describe(0.05) == (
        "at a false-alarm rate of 0.05 this model finds about 40 in 100 of the synthetic defects drawn into "
        "images that it was not fitted on; those of about 51 px and more are found reliably"
    )


@pytest.mark.parametrize(
    ("threshold", "count"),
    [
        # Of fifteen large ones, less than four fifths.
        (89.0, 100),
        # All are found, and they are too few to tell a size.
        (0.0, 14),
    ],
)
def test_too_few_large_ones_tell_no_size(threshold: float, count: int) -> None:
    found = large_ones_score_high(count).at(threshold)
    assert found.smallest is None
    assert "not even large ones are found reliably" in found.describe(0.1)


def test_a_model_keeps_what_was_found() -> None:
    known = large_ones_score_high()
    again = SyntheticDefects.from_dict(known.to_dict())
    assert again is not None
    assert again.at(60.0) == known.at(60.0)
    assert SyntheticDefects.from_dict(None) is None


def test_a_model_keeps_a_sample_of_very_many() -> None:
    scores = np.random.default_rng(1).normal(size=50_000)
    many = SyntheticDefects(scores, np.full(len(scores), 9.0))
    kept = SyntheticDefects.from_dict(many.to_dict())
    assert kept is not None
    assert len(kept.scores) == MOST
    share = many.at(0.5).found / len(scores)
    # Three standard errors of a share of 0.31 of 1,000.
    assert kept.at(0.5).found / MOST == pytest.approx(share, abs=0.045)


@pytest.mark.parametrize(
    "values",
    [
        {"scores": [1.0], "extents": []},
        {"scores": [], "extents": []},
        {"scores": [[1.0]], "extents": [[2.0]]},
        {"scores": ["high"], "extents": [2.0]},
        {"scores": [1.0]},
        {"found": 3, "defects": 5, "smallest": None},
    ],
)
def test_what_is_no_such_sample_is_refused(values: Any) -> None:
    with pytest.raises((KeyError, ValueError)):
        SyntheticDefects.from_dict(values)
