"""Whether images are enough for a rate is said by the rule of the threshold itself."""

from __future__ import annotations

import re

import numpy as np
import pytest

from patchebm.check.rate import folds_finding, rate_finding
from patchebm.runtime.tail import Tail, part_shares
from patchebm.runtime.threshold import parts_needed, rate_shown_by


@pytest.mark.parametrize("rate", [0.5, 0.2, 0.1, 0.05, 0.03, 0.02, 0.01, 0.007, 0.005])
def test_what_is_said_is_what_the_threshold_does(rate: float) -> None:
    needed = parts_needed(rate)
    for parts in {2, max(2, needed - 1), needed, needed + 1, 3 * needed}:
        threshold = Tail(np.random.default_rng(parts).normal(size=parts)).threshold(rate)
        found = rate_finding([None] * parts, rate)
        assert (found.weight == "warning") == threshold.extrapolated == (parts < needed)
        assert found.sentence.startswith(f"{parts} images can show a false-alarm rate of ")
        assert threshold.supported_rate == rate_shown_by(parts)
        if found.weight == "warning":
            assert f"give at least {needed} good parts" in found.fix
            # The rate that is proposed can be had with these images.
            proposed = float(re.findall(r"--false-alarm-rate (\S+)", found.fix)[0])
            assert rate < proposed < 1.1 * rate_shown_by(parts)
            assert not Tail(np.random.default_rng(parts).normal(size=parts)).threshold(proposed).extrapolated


def test_images_of_one_part_count_as_one() -> None:
    groups = [str(i // 5) for i in range(100)] + [None] * 2
    found = rate_finding(groups, 0.01)
    assert found.sentence.startswith("102 images of 22 parts can show a false-alarm rate of 4.3 % at best")
    assert Tail(np.arange(102.0), part_shares(groups)).parts == 22


def test_too_few_parts_are_refused_as_training_does() -> None:
    too_few = folds_finding(["a"] * 9 + ["b"], 5, 0, takes_few=False)
    assert too_few is not None
    assert too_few.weight == "error"
    assert "10 good images of 2 parts are too few" in too_few.sentence
    assert folds_finding([None] * 6, 5, 0, takes_few=False) is None
