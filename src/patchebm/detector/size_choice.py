"""The size at which images are read, chosen by the smallest defect that must be found.

A larger image does not always show more: energies have more places at which a good part can look odd, so that
the threshold rises, too. Geometry alone cannot tell which of the two wins. Hence it is measured: synthetic
defects of the stated extent are drawn into good images, Gaussians of every position are fitted at each size
without the image, and the defects above the threshold are counted. Sizes below the one that is taken without
a smallest defect are not tried: on `screw` (1,024 px) they find as many synthetic defects, and rank real ones
worse.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from patchebm.config.features import DefectsConfig, FeaturesConfig
from patchebm.detector.detector import EnsembleDetector
from patchebm.errors import ConfigError, DataError
from patchebm.features.backbone import Backbone
from patchebm.features.framing import Framing
from patchebm.images.taking import MIN_IMAGES
from patchebm.training.synthetic_defects import CANVAS, LOCAL

# Further sides in pixels; defects are drawn at 512 px, so that a larger one would show no more.
FURTHER = (384, 512)
# Defects that are drawn for each size: the standard error of a share is at most .045.
CHECKS = 120
# They are up to so many times as large as the smallest.
SPAN = 1.5
# A size that finds a share of .05 less than the best one, about a standard error, is as good, and costs less.
TOLERANCE = 0.05
# A defect of fewer pixels than this at 512 px is a matter of luck.
LEAST = 3.0


@dataclass(frozen=True)
class SizeChoice:
    """What was found at each size.

    Attributes:
        smallest: extent in pixels of the camera's image of the smallest defect that must be found.
        found: share of the synthetic defects of about this extent that was found, by the side in pixels.
        side: that was chosen.
        false_alarm_rate: at which they were found.
    """

    smallest: float
    found: dict[int, float]
    side: int
    false_alarm_rate: float

    @classmethod
    def of(cls, smallest: float, found: dict[int, float], false_alarm_rate: float) -> SizeChoice:
        """Choose the smallest side that finds about as much as the best one."""
        enough = max(found.values()) - TOLERANCE
        side = min(side for side, share in found.items() if share >= enough)
        return cls(smallest, found, side, false_alarm_rate)

    def describe(self) -> str:
        """Say in a sentence what was chosen, why, and what it costs."""
        shares = ", ".join(f"{100 * share:.0f} at {side} px" for side, share in self.found.items())
        least = min(self.found)
        cost = (self.side / least) ** 2
        price = "" if self.side == least else f", which takes about {cost:.2g} times the time of {least} px"
        return (
            f"of 100 synthetic defects of {self.smallest:g} to {SPAN * self.smallest:g} px, Gaussians alone "
            f"find at a false-alarm rate of {self.false_alarm_rate:g}: {shares}; {self.side} px was chosen"
            f"{price}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def choose_size(
    config: FeaturesConfig,
    images: Sequence[NDArray[np.float32]],
    framing: Framing,
    *,
    further: Sequence[int] = FURTHER,
    backbone: Backbone | None = None,
    device: str | torch.device = "auto",
    roi: NDArray[np.bool_] | None = None,
) -> SizeChoice:
    """Try sizes, and choose one.

    Args:
        config: whose `features.smallest_defect` must be found.
        images: `(H, W, 1 or 3)` float32 in [0, 1], some of the good images.
        framing: how they are read without a smallest defect.
        further: sides that are tried beside its own, where images have as many pixels themselves.
        backbone: for the detector.
        device: where features are computed.
        roi: the region of interest.

    Raises:
        ConfigError: no size can show a defect as small.
        DataError: too few images to measure anything.
    """
    smallest = config.features.smallest_defect
    assert smallest is not None
    if len(images) < MIN_IMAGES:
        raise DataError(
            f"{len(images)} good images are too few to choose a size for a smallest defect; give at least "
            f"{MIN_IMAGES}, or leave --smallest-defect out"
        )
    inspected, own = framing.side, framing.size[0]
    extent = smallest / inspected * CANVAS
    if extent < LEAST:
        raise ConfigError(
            f"features.smallest_defect is {smallest:g} px, of {inspected:.0f} px that are inspected: at "
            f"{CANVAS} px, the largest size, little would be left of it; name at least "
            f"{np.ceil(LEAST * inspected / CANVAS):.0f} px, or inspect a smaller part of the image at a time"
        )
    extent = min(extent, LOCAL[1])
    trial = replace(
        config,
        levels=["position"],
        position=replace(config.position, network=None),
        defects=DefectsConfig(learn=0, local_checks=CHECKS, global_checks=0, extents=(extent, SPAN * extent)),
    )
    found = {}
    for side in (own, *(side for side in further if own < side <= inspected)):
        # In float32, whatever is asked for: int8 rounds alike at all sizes.
        features = replace(config.features, size=(side, side), smallest_defect=None, precision="f32")
        detector = EnsembleDetector(replace(trial, features=features), backbone, device=device)
        detector.fit(images, roi=roi)
        assert detector.synthetic_defects_ is not None
        expected = detector.synthetic_defects_.at(detector.threshold_.value)
        found[side] = expected.found / expected.defects
    return SizeChoice.of(smallest, found, config.false_alarm_rate)
