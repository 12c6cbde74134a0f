"""This module decides which good images are kept out of which fit."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from patchebm.errors import DataError


def assign_folds(
    groups: Sequence[Hashable], folds: int, generator: np.random.Generator, *, single: bool = False
) -> NDArray[np.int64]:
    """Assign each image to a fold; images of one physical object stay together.

    Groups are dealt out in random order, the largest first, each to the smallest fold so far, so that
    folds are as even as groups allow.

    Args:
        groups: `(N,)` group of each image; distinct values where nothing is known.
        folds: number of folds; at most as many as there are groups are used.
        generator: decides the order.
        single: whether a fold may hold a single image. Where the spread of one fold is wanted it takes two.

    Returns:
        `(N,)` fold of each image, 0 to folds - 1.

    Raises:
        DataError: fewer than two groups, or than two images for each of two folds: nothing can be held out.
    """
    members: dict[Hashable, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    if len(groups) < (2 if single else 4) or len(members) < 2:
        raise DataError(f"{len(groups)} good images of {len(members)} parts are too few to hold some out")
    folds = max(2, min(folds, len(members), len(groups) if single else len(groups) // 2))
    order = [list(members)[i] for i in generator.permutation(len(members))]
    order.sort(key=lambda group: -len(members[group]))
    sizes = np.zeros(folds, dtype=np.int64)
    assigned = np.zeros(len(groups), dtype=np.int64)
    for group in order:
        smallest = int(np.argmin(sizes))
        assigned[members[group]] = smallest
        sizes[smallest] += len(members[group])
    return assigned


# Runs into which images are cut where nothing is known of what they show: long enough to keep neighbours
# together, and several to a fold, so that a fold is not one end of the series.
RUNS = 20


def parts_of(groups: Sequence[Hashable | None], *, consecutive: bool) -> list[str]:
    """The physical part that each image shows, made up where it is not known.

    Args:
        groups: `(N,)` known parts, or None.
        consecutive: whether images of unknown part that follow each other make one, in runs of a
            twentieth of all; else each is a part of its own.
    """
    run = max(1, len(groups) // RUNS) if consecutive else 1
    return [
        str(group) if group is not None else f"images {i // run * run} to {i // run * run + run - 1}"
        for i, group in enumerate(groups)
    ]


def outer_folds(
    groups: Sequence[Hashable], folds: int, seed: int, *, takes_few: bool = False
) -> NDArray[np.int64]:
    """The folds of a detector, each of which leaves enough images to be cross-fitted once more.

    Args:
        groups: `(N,)` group of each image.
        folds: number of folds, at most.
        seed: decides the order.
        takes_few: whether the levels do with fewer images: then two parts are enough, and a single image is a
            fold.

    Raises:
        DataError: too few images or parts; says how many are needed.
    """
    parts = len(set(groups))
    known = f"{len(groups)} good images of {parts} part{'s' if parts != 1 else ''}"
    too_few = DataError(
        f"{known} are too few to hold some out for calibration; "
        "give at least 6 images of at least 3 parts, none of which has most of the images"
    )
    if takes_few and parts < 2:
        raise DataError(
            f"{known} are too few to hold some out for calibration; give images of at least two parts, or "
            "one image alone"
        )
    try:
        assigned = assign_folds(groups, folds, np.random.default_rng(seed))
    except DataError as error:
        if not takes_few:
            raise too_few from error
        return assign_folds(groups, folds, np.random.default_rng(seed), single=True)
    for fold in range(int(assigned.max()) + 1):
        kept = [group for group, own in zip(groups, assigned, strict=True) if own != fold]
        if len(kept) < 4 or len(set(kept)) < 2:
            if not takes_few:
                raise too_few
            return assign_folds(groups, folds, np.random.default_rng(seed), single=True)
    return assigned
