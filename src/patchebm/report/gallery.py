"""Choosing the test images worth looking at while they are scored, so that none is scored twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from patchebm.images.folders import GOOD, ImageFile
from patchebm.images.reading import read_image, read_mask
from patchebm.report.page import GalleryItem, number
from patchebm.runtime.overlay import heat_overlay, side_by_side
from patchebm.runtime.prediction import Prediction, one_in

HeatMap = NDArray[np.float32]

# A panel (image, heat or mask) has at most this many pixels a side.
PANEL = 320


@dataclass(frozen=True)
class _Candidate:
    """What is kept of a scored image: its map in the size at which it would be shown."""

    rank: float
    image: ImageFile
    prediction: Prediction
    heat: HeatMap
    low: float
    high: float


class Gallery:
    """Keeps the worst misses and false alarms, and of each defect and the good images some examples.

    Of what was judged rightly it keeps, for each defect, the clearest case and the closest call, which are
    what the detector does well and what it nearly got wrong. Memory is bounded: beyond the limits only small
    maps of candidates are held.

    Args:
        heat_range: of the detector: between which values a map is drawn.
        errors: how many misses and how many false alarms are kept.
        examples: how many clearest cases and closest calls of each defect.
        limit: images shown in all.
    """

    def __init__(
        self,
        heat_range: Callable[[HeatMap], tuple[float, float]],
        *,
        errors: int = 12,
        examples: int = 1,
        limit: int = 60,
    ) -> None:
        self._heat_range = heat_range
        self._errors = errors
        self._examples = examples
        self._limit = limit
        # Misses, false alarms, then each defect's clearest cases and closest calls.
        self._kept: dict[tuple[str, str], list[_Candidate]] = {("miss", ""): [], ("alarm", ""): []}

    def offer(self, image: ImageFile, prediction: Prediction) -> None:
        """Keep an image if it is worth showing.

        Args:
            image: whose truth is known.
            prediction: of it, with its heat map.
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
        """The images to show, errors first.

        Raises:
            ImageError: an image or mask has become unreadable.
        """
        chosen: dict[str, tuple[str, _Candidate]] = {}
        titles = {"clearest": "clearest case; ", "closest": "closest call; "}
        # Good images come last: what was found is of more interest than what was passed.
        order = sorted(self._kept, key=lambda key: (key[0] not in ("miss", "alarm"), key[1] == GOOD, key[1]))
        for kind, defect in order:
            for candidate in self._kept[kind, defect]:
                # The only image of a defect is its clearest and its closest.
                chosen.setdefault(candidate.prediction.image, (titles.get(kind, ""), candidate))
        return [_item(title, candidate) for title, candidate in list(chosen.values())[: self._limit]]

    def _keep(
        self, where: tuple[str, str], rank: float, most: int, image: ImageFile, prediction: Prediction
    ) -> None:
        kept = self._kept.setdefault(where, [])
        if most < 1 or (len(kept) == most and rank >= kept[-1].rank):
            return
        assert prediction.heat_map is not None
        low, high = self._heat_range(prediction.heat_map)
        kept.append(
            _Candidate(
                rank,
                image,
                replace(prediction, heat_map=None, level_maps={}),
                _shrunk(prediction.heat_map),
                low,
                high,
            )
        )
        kept.sort(key=lambda candidate: candidate.rank)
        del kept[most:]


def _item(title: str, candidate: _Candidate) -> GalleryItem:
    image, prediction = candidate.image, candidate.prediction
    pixels = read_image(image.path)
    mask = None
    if image.mask is not None:
        # A thin defect must not vanish: a pixel of the small mask is set if any below it is.
        mask = _shrunk(read_mask(image.mask, pixels.shape[:2]).astype(np.float32)) > 0
    small = np.stack([_shrunk(pixels[..., i]) for i in range(pixels.shape[2])], axis=2).clip(0, 1)
    overlay = heat_overlay(small, candidate.heat, low=candidate.low, high=candidate.high)
    levels = ", ".join(f"{level} {number(score)}" for level, score in prediction.levels.items())
    return GalleryItem(
        name=f"{image.defect}/{image.path.name}",
        score=prediction.score,
        anomalous=prediction.anomalous,
        truth=image.defect,
        image=side_by_side(small, overlay, mask),
        note=f"{title}as odd as {one_in(prediction)} parts; {levels}",
    )


def _shrunk(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """A plane `(H, W)` with at most `PANEL` pixels a side, each the mean of those it stands for."""
    height, width = plane.shape
    factor = min(1.0, PANEL / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    small = Image.fromarray(np.ascontiguousarray(plane)).resize(size, Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32)
