"""One score from the scores of both levels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


def combine(levels: Values) -> Values:
    """Combine comparable level scores `(N, L)` into one `(N,)`.

    Placeholder rule: the mean.
    """
    return levels.mean(axis=1)
