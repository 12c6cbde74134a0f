"""This module chooses the test images worth showing while they are scored, so that none is scored twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from patchebm.images.decoding import STANDARD, Decoding
from patchebm.images.folders import GOOD, ImageFile
from patchebm.images.reading import read_image, read_masks
from patchebm.runtime.overlay import heat_overlay, side_by_side
from patchebm.runtime.prediction import Prediction, one_in

AnomalyMap = NDArray[np.float32]

PANEL = 320
"""A panel (image, map or mask) has at most this many pixels a side."""


@dataclass(frozen=True)
class GalleryItem:
    """This class is one test image to be shown.

    Attributes:
        name: what it is called.
        truth: "good", the name of the defect, or "" where it is unknown.
        prediction: of it.
        image: the image, the map over it and, where there is one, the mask, side by side.
        role: "clearest" or "closest" for an example of its defect, else "".
    """

    name: str
    truth: str
    prediction: Prediction
    image: Image.Image
    role: str = ""

    @property
    def is_wrong(self) -> bool:
        """Returns whether the verdict contradicts the truth."""
        return self.truth != "" and self.prediction.anomalous != (self.truth != GOOD)

    @property
    def one_in(self) -> str:
        """Returns how odd the image is among good parts."""
        return one_in(self.prediction)


class _Candidate(NamedTuple):
    """This class is what is kept of a scored image: its map has the size at which it would be shown."""

    rank: float
    image: ImageFile
    prediction: Prediction


class Gallery:
    """Keeps the worst misses and false alarms, and of each defect and the good images some examples.

    Of right verdicts it keeps, for each defect, the clearest case and the closest call, which are what the
    detector does well and what it nearly got wrong. Memory is bounded: beyond the limits only small maps of
    candidates are held.

    Args:
        heat_range: of the detector: between which values a map is drawn.
        decoding: of the detector: what the numbers of image files mean.
        errors: how many misses and how many false alarms are kept.
        examples: how many clearest cases and closest calls of each defect.
        limit: images shown in all.
    """

    def __init__(
        self,
        heat_range: Callable[[AnomalyMap], tuple[float, float]],
        decoding: Decoding = STANDARD,
        *,
        errors: int = 12,
        examples: int = 1,
        limit: int = 60,
    ) -> None:
        self._heat_range = heat_range
        self._decoding = decoding
        self._errors = errors
        self._examples = examples
        self._limit = limit
        # Misses, false alarms, then each defect's clearest cases and closest calls.
        self._kept: dict[tuple[str, str], list[_Candidate]] = {("miss", ""): [], ("alarm", ""): []}

    @property
    def held(self) -> int:
        """Returns how many images are held, each with its small map."""
        return sum(map(len, self._kept.values()))

    def offer(self, image: ImageFile, prediction: Prediction) -> None:
        """Keeps an image if it is worth showing.

        Args:
            image: whose truth is known.
            prediction: of it, with its anomaly map.
        """
        score = prediction.score
        if image.anomalous and not prediction.anomalous:
            self._keep(("miss", ""), score, self._errors, image, prediction)
        elif prediction.anomalous and not image.anomalous:
            self._keep(("alarm", ""), -score, self._errors, image, prediction)
        else:
            # The nearer to the threshold from its own side, the closer the call.
            beyond = score if image.anomalous else -score
            self._keep(("clearest", image.defect), -beyond, self._examples, image, prediction)
            self._keep(("closest", image.defect), beyond, self._examples, image, prediction)

    def items(self) -> list[GalleryItem]:
        """Returns the images to show, errors first.

        Raises:
            ImageError: an image or mask has become unreadable.
        """
        chosen: dict[str, tuple[str, _Candidate]] = {}
        # Good images come last: what was found is of more interest than what was passed.
        order = sorted(self._kept, key=lambda key: (key[0] not in ("miss", "alarm"), key[1] == GOOD, key[1]))
        for kind, defect in order:
            for candidate in self._kept[kind, defect]:
                # The only image of a defect is its clearest and its closest.
                chosen.setdefault(candidate.prediction.image, (kind if defect else "", candidate))
        return [self._item(*pair) for pair in list(chosen.values())[: self._limit]]

    def _keep(
        self, group: tuple[str, str], rank: float, limit: int, image: ImageFile, prediction: Prediction
    ) -> None:
        kept = self._kept.setdefault(group, [])
        if limit < 1 or (len(kept) == limit and rank >= kept[-1].rank):
            return
        assert prediction.heat_map is not None
        regions = prediction.mask
        small = replace(
            prediction,
            heat_map=shrunk(prediction.heat_map),
            level_maps={},
            mask=None if regions is None else _shrunk_mask(regions),
        )
        kept.append(_Candidate(rank, image, small))
        kept.sort(key=lambda candidate: candidate.rank)
        del kept[limit:]

    def _item(self, role: str, candidate: _Candidate) -> GalleryItem:
        _, image, prediction = candidate
        pixels = read_image(image.path, self._decoding)
        mask = None
        if image.masks:
            mask = _shrunk_mask(read_masks(image.masks, pixels.shape[:2]).pixels)
        small = np.stack([shrunk(pixels[..., i]) for i in range(pixels.shape[2])], axis=2).clip(0, 1)
        assert prediction.heat_map is not None
        low, high = self._heat_range(prediction.heat_map)
        overlay = heat_overlay(small, prediction.heat_map, low=low, high=high, mask=prediction.mask)
        shown = side_by_side(small, overlay, mask)
        return GalleryItem(f"{image.defect}/{image.path.name}", image.defect, prediction, shown, role)


def shrunk(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns a plane `(H, W)` with at most `PANEL` pixels a side, each the mean of those it stands for."""
    height, width = plane.shape
    factor = min(1.0, PANEL / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    small = Image.fromarray(np.ascontiguousarray(plane)).resize(size, Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32)


def _shrunk_mask(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Returns a mask as `shrunk` does; a pixel is set if any below it is, so that nothing thin vanishes."""
    return shrunk(mask.astype(np.float32)) > 0
