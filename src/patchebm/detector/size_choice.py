"""The size at which images are read, chosen by the smallest defect that must be found and the time allowed.

A larger image does not always show more: energies have more places at which a good part can look odd, so that
the threshold rises, too. Geometry alone cannot tell which of the two wins. Hence it is measured: synthetic
defects of the stated extent are drawn into good images, Gaussians of every position are fitted at each size
without the image, and the defects above the threshold are counted. Sizes below the one that is taken without
a smallest defect are not tried: on `screw` (1,024 px) they find as many synthetic defects, and rank real ones
worse.

What an image may take is measured, too: smaller sizes than that one are tried where it takes too long, and
never a larger one because there is time left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from patchebm.config.features import DefectsConfig, FeaturesConfig
from patchebm.detector.detector import EnsembleDetector
from patchebm.detector.speed import milliseconds
from patchebm.errors import ConfigError, DataError
from patchebm.features.backbone import Backbone
from patchebm.features.framing import SMALL, Framing
from patchebm.images.taking import MIN_IMAGES
from patchebm.training.synthetic_defects import CANVAS, LOCAL

# Further sides in pixels; defects are drawn at 512 px, so that a larger one would show no more.
FURTHER = (384, 512)
# A side that is tried where the one that images ask for takes too long.
FASTER = (SMALL,)
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
    """What was found and measured at each size.

    Attributes:
        side: in pixels that was chosen.
        false_alarm_rate: at which defects were found.
        smallest: extent in pixels of the camera's image of the smallest defect that must be found; None if
            none was named.
        found: share of the synthetic defects of about this extent that was found, by the side in pixels.
        allowed: milliseconds that an image may take; None if nothing was said.
        milliseconds: that an image takes on one thread of this machine, by the side in pixels.
    """

    side: int
    false_alarm_rate: float
    smallest: float | None = None
    found: dict[int, float] = field(default_factory=dict)
    allowed: float | None = None
    milliseconds: dict[int, float] = field(default_factory=dict)

    @classmethod
    def of(cls, smallest: float, found: dict[int, float], false_alarm_rate: float) -> SizeChoice:
        """Choose the smallest side that finds about as much as the best one."""
        enough = max(found.values()) - TOLERANCE
        side = min(side for side, share in found.items() if share >= enough)
        return cls(side, false_alarm_rate, smallest, found)

    def describe(self) -> str:
        """Say in a sentence what was chosen, why, and what it costs."""
        reasons = []
        if self.allowed is not None:
            times = ", ".join(f"{time:.0f} ms at {side} px" for side, time in self.milliseconds.items())
            reasons.append(
                f"{self.allowed:g} ms were allowed for an image, which takes about {times} on one thread of "
                "this machine"
            )
        if self.smallest is not None:
            shares = ", ".join(f"{100 * share:.0f} at {side} px" for side, share in self.found.items())
            reasons.append(
                f"of 100 synthetic defects of {self.smallest:g} to {SPAN * self.smallest:g} px, Gaussians "
                f"alone find at a false-alarm rate of {self.false_alarm_rate:g}: {shares}"
            )
        tried = self.found or self.milliseconds
        least = min(tried)
        cost = (self.side / least) ** 2
        price = "" if self.side == least else f", which takes about {cost:.2g} times the time of {least} px"
        return "; ".join([*reasons, f"{self.side} px was chosen{price if self.found else ''}"])

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def choose_size(
    config: FeaturesConfig,
    images: Sequence[NDArray[np.float32]],
    framing: Framing,
    *,
    further: Sequence[int] = FURTHER,
    faster: Sequence[int] = FASTER,
    backbone: Backbone | None = None,
    device: str | torch.device = "auto",
    roi: NDArray[np.bool_] | None = None,
) -> SizeChoice:
    """Try sizes, and choose one.

    Args:
        config: whose `features.smallest_defect` must be found, or whose `features.time_per_image` must do.
        images: `(H, W, 1 or 3)` float32 in [0, 1], some of the good images.
        framing: how they are read if neither is named.
        further: sides that are tried beside its own where a smallest defect is named and images have as many
            pixels themselves.
        faster: sides that are tried where its own takes too long.
        backbone: for the detector.
        device: where features are computed; what an image takes is measured on the CPU.
        roi: the region of interest.

    Raises:
        ConfigError: no size can show a defect as small, or is as fast.
        DataError: too few images to measure anything.
    """
    smallest, allowed = config.features.smallest_defect, config.features.time_per_image
    if len(images) < MIN_IMAGES:
        named = "a smallest defect" if smallest is not None else "a time per image"
        option = "--smallest-defect" if smallest is not None else "--time-per-image"
        raise DataError(
            f"{len(images)} good images are too few to choose a size for {named}; give at least "
            f"{MIN_IMAGES}, or leave {option} out"
        )
    own = framing.size[0]
    sides = [own]
    if smallest is not None:
        sides += [side for side in further if own < side <= framing.side]
    times: dict[int, float] = {}
    if allowed is not None:
        # From the largest on, as long as they take too long.
        for side in sorted({*sides, *(side for side in faster if side < own)}, reverse=True):
            times[side] = milliseconds(_at(config, side), images[:MIN_IMAGES], backbone, roi)
            if times[side] <= allowed and side <= own:
                break
        sides = [side for side, time in times.items() if time <= allowed]
        if not sides:
            quickest = min(times)
            raise ConfigError(
                f"features.time_per_image is {allowed:g} ms, and at {quickest} px an image takes about "
                f"{times[quickest]:.0f} ms on one thread of this machine; allow more (--time-per-image), or "
                "take the preset features-fast (--quick)"
            )
    if smallest is None:
        return SizeChoice(max(sides), config.false_alarm_rate, allowed=allowed, milliseconds=times)
    choice = _by_defects(config, images, framing, sorted(sides), smallest, backbone, device, roi)
    return replace(choice, allowed=allowed, milliseconds=times)


def _by_defects(
    config: FeaturesConfig,
    images: Sequence[NDArray[np.float32]],
    framing: Framing,
    sides: Sequence[int],
    smallest: float,
    backbone: Backbone | None,
    device: str | torch.device,
    roi: NDArray[np.bool_] | None,
) -> SizeChoice:
    """Choose among sides by how many defects of about the smallest extent are found at each."""
    inspected = framing.side
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
        # In float32, whatever is asked for: int8 rounds alike at all sizes.
        features=replace(config.features, precision="f32"),
    )
    found = {}
    for side in sides:
        detector = EnsembleDetector(_at(trial, side), backbone, device=device)
        detector.fit(images, roi=roi)
        assert detector.synthetic_defects_ is not None
        expected = detector.synthetic_defects_.at(detector.threshold_.value)
        found[side] = expected.found / expected.defects
    return SizeChoice.of(smallest, found, config.false_alarm_rate)


def _at(config: FeaturesConfig, side: int) -> FeaturesConfig:
    """Return a configuration that names its size."""
    features = replace(config.features, size=(side, side), smallest_defect=None, time_per_image=None)
    return replace(config, features=features)
