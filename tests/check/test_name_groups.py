"""Names suggest parts only where the looks of images bear it out."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

from patchebm.check.name_groups import groups_in_names

PARTS = np.repeat(np.arange(20), 3)


def looks(parts: np.ndarray, spread: float = 0.1, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(parts.max() + 1, 12))[parts] + spread * rng.normal(size=(len(parts), 12))


@pytest.mark.parametrize(
    "name",
    [
        lambda part, view: f"part{part:02d}_{view}.png",
        lambda part, view: f"{part}-{'abc'[view]}.tif",
        lambda part, view: f"cam{view}_part{part}.jpg",
        lambda part, view: f"part{part:02d}{'abc'[view]}.png",
        lambda part, view: f"line 1_{part:03d}_{view}.png",
    ],
)
def test_views_of_parts_are_seen_and_the_pattern_gives_them(name: Callable[[int, int], str]) -> None:
    names = [name(int(part), i % 3) for i, part in enumerate(PARTS)]
    found = groups_in_names(names, looks(PARTS))
    assert found is not None
    assert found.parts == 20
    assert found.alike > 50 > 10 > found.expected
    keys = [re.search(found.pattern, one)[1] for one in names]  # type: ignore[index]
    assert [keys.index(key) for key in keys] == [3 * int(part) for part in PARTS]


@pytest.mark.parametrize(
    ("name", "seed"),
    [
        (lambda i: f"{i:03d}.png", 0),
        (lambda i: f"good_{i:03d}.png", 0),
        # Two cameras with thirty images each, and a name for each image.
        (lambda i: f"cam{i % 2}_{i:03d}.png", 0),
        (lambda i: f"input_{20230210130107 + i}.jpg", 0),
    ],
)
def test_names_that_say_nothing_suggest_nothing(name: Callable[[int], str], seed: int) -> None:
    assert groups_in_names([name(i) for i in range(60)], looks(PARTS, seed=seed)) is None


def test_names_alone_suggest_nothing_where_images_do_not_look_alike() -> None:
    names = [f"part{part:02d}_{i % 3}.png" for i, part in enumerate(PARTS)]
    chance = [groups_in_names(names, looks(np.arange(60), seed=seed)) for seed in range(30)]
    assert not any(chance)


def test_one_name_that_does_not_fit_or_too_few_images() -> None:
    names = [f"part{part:02d}_{i % 3}.png" for i, part in enumerate(PARTS)]
    assert groups_in_names([*names[:-1], "plain.png"], looks(PARTS)) is None
    assert groups_in_names(names[:6], looks(PARTS)[:6]) is None
    assert groups_in_names([], np.zeros((0, 12))) is None
