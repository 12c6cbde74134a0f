"""Numbers with bounds beyond those that jsonargparse names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jsonargparse.typing import restricted_number_type

if TYPE_CHECKING:
    AtLeastTwo = int
    AtLeastFour = int
    Decay = float
else:
    AtLeastTwo = restricted_number_type(
        "AtLeastTwo", int, (">=", 2), docstring="a whole number of at least 2"
    )
    AtLeastFour = restricted_number_type(
        "AtLeastFour", int, (">=", 4), docstring="a whole number of at least 4"
    )
    Decay = restricted_number_type(
        "Decay", float, [(">=", 0), ("<", 1)], docstring="a number of at least 0 and below 1"
    )
