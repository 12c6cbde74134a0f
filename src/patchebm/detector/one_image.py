"""What stands for the scores of good parts where a single good image is all that there is.

Versions of one image say how an image scores, and not how parts differ. What new good parts score above them
is taken from other products: on eight image sets, a model of one good image scored other good images of the
same product, and the quantiles over all of these are `SCORES`. That is a guess, and is called one.
`python -m benchmarks.few.one_image` measures them, and `python -m benchmarks.few` how the guess holds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

# The 19 quantiles from 5 % to 95 % of the scores of good images, in standard deviations of the versions above
# their mean; and the same of the hottest pixel of a map, the median.
SCORES: tuple[float, ...] = (
    3.7, 4.0, 4.3, 4.6, 5.0, 5.6, 6.2, 6.7, 7.0, 7.3, 7.5, 7.7, 8.0, 8.5, 8.9, 9.9, 12.8, 15.3, 15.8,
)  # fmt: skip
HEAT = 9.1


def guessed_scores(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what good parts are taken to score.

    Args:
        scores: `(V,)` of the versions of one image, each by energies that were not fitted on it.
    """
    guessed: NDArray[np.float64] = scores.mean() + scores.std(ddof=1) * np.array(SCORES)
    return guessed


def guessed_heat(heat: Tensor) -> Tensor:
    """Return what a good part is taken to show.

    Args:
        heat: `(V, P)` the maps of the versions, the image itself first.
    """
    return heat[:1] + HEAT
