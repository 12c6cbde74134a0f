"""Which images are held out where there is no room for all: parts as wholes, and never more than fit."""

from __future__ import annotations

import numpy as np

from patchebm.detector.held_out_sample import HeldOutSample


def taken(sample: HeldOutSample, groups: list[str | None]) -> list[int]:
    return [i for i, group in enumerate(groups) if sample.takes(i, group)]


def test_all_are_held_out_where_there_is_room() -> None:
    for groups in ([None] * 7, ["a"] * 7, ["a", "b", None, "a", "b", "c", None]):
        sample = HeldOutSample(7, 7, 0, groups)
        assert taken(sample, groups) == list(range(7))
        assert (sample.size, sample.whole) == (7, True)


def test_images_of_unknown_parts_are_drawn_one_by_one() -> None:
    sample = HeldOutSample(200, 50, 3)
    found = [i for i in range(200) if sample.takes(i)]
    assert found == np.flatnonzero(np.random.default_rng(3).permutation(200) < 50).tolist()
    assert (sample.size, sample.whole) == (50, True)
    # Another seed draws others.
    other = HeldOutSample(200, 50, 4)
    assert [i for i in range(200) if other.takes(i)] != found


def test_a_part_is_held_out_as_a_whole_or_not_at_all() -> None:
    groups: list[str | None] = [None if i % 10 == 0 else f"part {i % 37}" for i in range(300)]
    sample = HeldOutSample(300, 60, 0, groups)
    found = taken(sample, groups)
    assert 30 <= len(found) == sample.size <= 60
    assert sample.whole
    inside = {groups[i] for i in found} - {None}
    outside = {group for i, group in enumerate(groups) if i not in found} - {None}
    assert inside
    assert not inside & outside


def test_parts_that_are_too_large_are_not_fitted_on_beside_the_sample() -> None:
    groups: list[str | None] = [f"part {i % 3}" for i in range(300)]
    sample = HeldOutSample(300, 60, 0, groups)
    found = taken(sample, groups)
    assert len(found) == 60
    assert {groups[i] for i in found} == set(groups)
    assert not sample.whole
