"""Which images are kept to be held out, where all would take too much room."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np


class HeldOutSample:
    """Decides image by image whether it is held out: all are, or a random sample of them.

    Images of one known part are held out together or not at all, so that energies which are fitted on all
    other images do not know the part. Where few parts have most of the images that cannot be: then images
    are drawn one by one, and the others must not be fitted on.

    Args:
        images: how many there are, at most.
        most: how many may be held out.
        seed: draws the sample.
        groups: the part that each shows, as far as it is known; None if none is.

    Attributes:
        size: how many are held out, at most.
        whole: whether parts are held out as wholes, so that the other images can be fitted on.
    """

    def __init__(self, images: int, most: int, seed: int, groups: Sequence[str | None] | None = None) -> None:
        # What is drawn together: parts by their names, and images of unknown part by their numbers.
        known = [None] * images if groups is None else groups
        names = (i if group is None else group for i, group in enumerate(known))
        self.whole = True
        self._draw(Counter(names), most, seed)
        if self.size < min(most, images) / 2:
            self.whole = False
            self._draw(Counter(range(images)), most, seed)

    def _draw(self, counts: Mapping[str | int, int], most: int, seed: int) -> None:
        names = list(counts)
        self._chosen: set[str | int] = set()
        self.size = 0
        for rank in np.random.default_rng(seed).permutation(len(names)).argsort():
            name = names[rank]
            if self.size + counts[name] <= most:
                self._chosen.add(name)
                self.size += counts[name]

    def takes(self, index: int, group: str | None = None) -> bool:
        """Say whether an image is held out, by its number and its part, if that is known."""
        return (index if group is None or not self.whole else group) in self._chosen
