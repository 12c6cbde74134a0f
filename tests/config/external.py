"""An energy from outside the package, as a user adds one."""

from __future__ import annotations

from dataclasses import dataclass

from jsonargparse.typing import PositiveInt

from patchebm.config.features import EnergyConfig, MixtureConfig


@dataclass
class NeighboursConfig(EnergyConfig):
    """The distance to the nearest normal views.

    Args:
        neighbours: how many.
    """

    kind: str = "tests.config.external:NeighboursConfig"
    neighbours: PositiveInt = 3


@dataclass
class NamelessConfig(MixtureConfig):
    """A class that does not say its own kind."""
