"""A run with a third level from outside the package: a second patch level with another base."""

from __future__ import annotations

from dataclasses import dataclass, field

from patchebm.config.features import (
    CellNetworkConfig,
    EnergyConfig,
    FeaturePatchConfig,
    FeaturesConfig,
    GaussianConfig,
)


@dataclass
class TextureConfig(FeaturePatchConfig):
    """The texture level: a Gaussian of all cells, without a network; the ten largest values decide."""

    base: EnergyConfig | None = field(default_factory=GaussianConfig)
    network: CellNetworkConfig | None = None
    top: int = 10


@dataclass
class ThreeLevelsConfig(FeaturesConfig):
    """A run on features with three levels.

    Args:
        texture: the third level.
    """

    kind: str = "tests.three_levels:ThreeLevelsConfig"
    levels: list[str] = field(default_factory=lambda: ["position", "image", "texture"])
    texture: TextureConfig = field(default_factory=TextureConfig)
