"""The region of interest: what lies outside is the same in every image, so that it never alarms."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from patchebm.errors import DataError
from patchebm.features.resize import resize


def region_of(mask: NDArray[np.bool_], size: tuple[int, int]) -> Tensor:
    """The region `size` float32, 1 inside and 0 outside, of a mask of any size.

    Inside is what resizing takes from inside alone: no pixel of the background has any part in it.

    Args:
        mask: `(H, W)`, True where parts are to be inspected.
        size: height and width at which features are computed.

    Raises:
        DataError: nothing, or nearly nothing, is inside.
    """
    share = resize(torch.from_numpy(mask.astype(np.float32))[None, None], size)[0, 0]
    region = (share > 1 - 1e-4).float()
    inside = int(region.sum())
    if inside < 32 * 32:
        raise DataError(
            f"the region of interest has {inside} of {size[0]} x {size[1]} pixels, too few to inspect; draw "
            "it white on black, larger"
        )
    return region
