"""This module holds all that the metrics of anomaly maps are computed from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from patchebm.evaluation.image_recall import image_recall_areas
from patchebm.evaluation.pixel_curve import PixelCurve


@dataclass
class MaskCounts:
    """This class counts the pixels of masks that a detector made, at a threshold set without the truth.

    Attributes:
        found: pixels that are marked and lie in a defect.
        false: pixels that are marked and do not.
        missed: pixels of defects that are not marked.
        good: pixels of good images.
        good_marked: those of them that are marked.
    """

    found: int = 0
    false: int = 0
    missed: int = 0
    good: int = 0
    good_marked: int = 0

    def add(self, marked: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_], *, good: bool) -> None:
        """Adds an image: its mask and the true one, (H, W) bool, and whether it is a good one."""
        found = int(np.count_nonzero(marked & truth))
        self.found += found
        self.false += int(np.count_nonzero(marked)) - found
        self.missed += int(np.count_nonzero(truth)) - found
        if good:
            self.good += marked.size
            self.good_marked += int(np.count_nonzero(marked))

    @property
    def f1(self) -> float:
        """Returns the harmonic mean of the pixels' precision and recall, over all images together."""
        return 2 * self.found / max(2 * self.found + self.false + self.missed, 1)


@dataclass(frozen=True, eq=False)
class Pixels:
    """This class is what is known of the pixels of scored test images.

    Attributes:
        curve: what each threshold finds.
        image_recalls: (A,) `image_recall_areas` of the images with a defect; empty where no image is without.
        counts: of the detector's own masks, or None where there are none: of one level alone, say.
    """

    curve: PixelCurve
    image_recalls: npt.NDArray[np.float64]
    counts: MaskCounts | None = None

    @classmethod
    def of(
        cls,
        maps: Sequence[npt.NDArray[np.float32]],
        masks: Sequence[npt.NDArray[np.bool_]],
        counts: MaskCounts | None = None,
    ) -> Pixels:
        """Computes everything from maps and true masks; arguments and errors are those of `PixelCurve.of`."""
        curve = PixelCurve.of(maps, masks)
        return cls(curve, image_recall_areas(maps, masks), counts)
