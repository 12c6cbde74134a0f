"""Synthetic defects in good images, as levels are given them; imported only where a model is fitted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from patchebm.config.features import DefectsConfig
from patchebm.detector.level import Damaged
from patchebm.detector.survey import Survey
from patchebm.features.extractor import FeatureExtractor
from patchebm.features.resize import resize
from patchebm.training.synthetic_defects import CANVAS, PLACE, DefectArtist

# Good images that defects are learned from, and from which pieces are pasted: 3 MB each.
SURVEYED_CANVASES = 40
# Local defects in an image that networks learn from; more would leave too little of it undamaged.
DEFECTS = 3


class DefectSource:
    """Draws synthetic defects into good images and computes the features of the result.

    Args:
        inputs: on the device where features are computed.
        survey: some good images, from which is learned where defects can be.
        config: how many defects are drawn.
        learn: whether networks learn from some.
        weigh: whether there are several levels to be weighed.
        seed: decides every defect, image by image.
    """

    def __init__(
        self,
        inputs: FeatureExtractor,
        survey: Survey,
        config: DefectsConfig,
        *,
        learn: bool,
        weigh: bool,
        seed: int,
    ) -> None:
        self._inputs = inputs
        spread = config.global_checks if weigh else 0
        self._counts = (config.learn if learn else 0, config.local_checks, spread)
        self._seed = seed
        device = inputs.device
        canvases = [
            self._canvas(torch.from_numpy(image)[None].to(device)) for image in survey.some(SURVEYED_CANVASES)
        ]
        self._others = np.stack(canvases)
        region = inputs.region
        inside = None
        if region is not None:
            side = CANVAS // PLACE
            inside = adaptive_avg_pool2d(region[None, None], (side, side))[0, 0].cpu().numpy()
        self._artist = DefectArtist.learn(
            self._others, grey=survey.grey, region=inside, extents=config.extents
        )

    def damaged(self, pixels: Tensor, number: int, images: int) -> Iterator[Damaged]:
        """Yield damaged versions of an image.

        Args:
            pixels: `(1, H, W, 1 or 3)` in [0, 1].
            number: of the image among those that are damaged.
            images: how many these are, at most; the versions are spread evenly over them.

        Yields:
            Each with its joined map `(C, h, w)` for a view, on the CPU.
        """
        rng = np.random.default_rng([self._seed, number])
        canvas = self._canvas(pixels)
        prepared = self._inputs.prepare(pixels)
        learn, local, spread = ((n * (number + 1)) // images - (n * number) // images for n in self._counts)
        kinds: list[tuple[Literal["learn", "local", "global"], int]]
        kinds = [("learn", learn), ("local", local), ("global", spread)]
        for kind, versions in kinds:
            for _ in range(versions):
                changed = canvas.copy()
                mask = np.zeros(canvas.shape[1:], np.float32)
                for _ in range(DEFECTS if kind == "learn" else 1):
                    other = self._others[rng.integers(len(self._others))]
                    draw = self._artist.draw_global if kind == "global" else self._artist.draw
                    mask = np.maximum(mask, draw(changed, other, rng))
                if not mask.any():
                    continue
                # Only what has changed is resized a second time: everywhere else the image stays what it is.
                change = torch.from_numpy(changed - canvas)[None].to(prepared.device)
                x = (prepared + 2 * resize(change, self._inputs.size)).clamp(-1, 1)
                share = adaptive_avg_pool2d(torch.from_numpy(mask)[None, None], self._inputs.grid)[0, 0]
                with torch.no_grad():
                    view = self._inputs.join(self._inputs(x))[0].cpu()
                yield Damaged(view, share.half(), _extent(mask), kind)

    def _canvas(self, pixels: Tensor) -> NDArray[np.float32]:
        """Bring an image to the square on which defects are drawn, `(3, CANVAS, CANVAS)`."""
        canvas: NDArray[np.float32] = (
            self._inputs.framed(pixels, (CANVAS, CANVAS))[0].expand(3, -1, -1).cpu().numpy()
        )
        return canvas


def _extent(mask: NDArray[np.float32]) -> float:
    """Return the longer side of the box around what is damaged, as a share of the canvas."""
    sides = [np.flatnonzero(mask.max(axis) > 0.5) for axis in (0, 1)]
    return max((float(s[-1] - s[0] + 1) for s in sides if len(s)), default=1.0) / CANVAS
