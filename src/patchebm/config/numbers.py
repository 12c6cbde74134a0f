"""Numbers with bounds beyond those that jsonargparse names.

The docstring of each type completes the sentence "it must be ..." in error messages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jsonargparse.typing import restricted_number_type

if TYPE_CHECKING:
    AtLeastTwo = int
    BatchSize = int
    BufferSize = int
    GridSide = int
    Side = int
    Width = int
    Window = int
    Decay = float
    PixelRate = float
else:

    def _whole(name: str, low: int, high: int) -> type[int]:
        """Returns the type of whole numbers from `low` to `high`."""
        words = f"a whole number from {low} to {high}"
        return restricted_number_type(name, int, [(">=", low), ("<=", high)], docstring=words)

    AtLeastTwo = restricted_number_type(
        "AtLeastTwo", int, (">=", 2), docstring="a whole number of at least 2"
    )
    # The upper bounds are far beyond what is sensible, and what no machine has the memory for is refused.
    BatchSize = _whole("BatchSize", 2, 100_000)
    BufferSize = _whole("BufferSize", 0, 10_000_000)
    GridSide = _whole("GridSide", 2, 1024)
    Side = _whole("Side", 4, 4096)
    Width = _whole("Width", 1, 100)
    Window = _whole("Window", 1, 101)
    # As `runtime.pixel_threshold` knows thresholds for.
    PixelRate = restricted_number_type(
        "PixelRate", float, [(">=", 1e-5), ("<=", 0.1)], docstring="a number from 0.00001 to 0.1"
    )
    Decay = restricted_number_type(
        "Decay", float, [(">=", 0), ("<", 1)], docstring="a number of at least 0 and below 1"
    )
