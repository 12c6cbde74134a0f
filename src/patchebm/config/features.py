"""Runs on the features of a frozen pretrained network. The defaults are the recommendation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from jsonargparse.typing import NonNegativeInt, PositiveFloat, PositiveInt

from patchebm.config.base import CalibrationConfig, LevelConfig, RunConfig
from patchebm.config.choice import Choice
from patchebm.config.numbers import GridSide, Side, Window
from patchebm.config.training import NegativesConfig, NoisedConfig, SamplerConfig, TrainingConfig


@dataclass
class ExtractorConfig:
    """Feature maps of a frozen pretrained network.

    Args:
        backbone: `efficientnet-lite0`, `-lite1`, `-lite2`, or `timm:NAME`.
        weights: a safetensors file for a timm model; null takes the weights that come with the backbone.
        blocks: numbers of the blocks whose outputs are taken, ascending.
        size: height and width to which images are resized, multiples of 32 for EfficientNet-Lite.
        grid: rows and columns of the map to which all blocks' outputs are resized; each cell is a patch.
        pool: side of the window over which features are averaged; odd, 1 for none.
    """

    backbone: str = "efficientnet-lite0"
    weights: str | None = None
    blocks: list[NonNegativeInt] = field(default_factory=lambda: [2, 4, 10])
    size: tuple[Side, Side] = (256, 256)
    grid: tuple[GridSide, GridSide] = (32, 32)
    pool: Window = 3


@dataclass
class WhiteningConfig(Choice):
    """The space in which energies of features live."""

    target: ClassVar[str] = "patchebm.energy.whitening:Whitening"


@dataclass
class ScaleConfig(WhiteningConfig):
    """All channels are divided by one number."""

    kind: str = "scale"


@dataclass
class DiagonalConfig(WhiteningConfig):
    """Each channel is divided by its own standard deviation."""

    kind: str = "diagonal"


@dataclass
class WithinConfig(WhiteningConfig):
    """The covariance within clusters becomes the identity, as in linear discriminant analysis.

    Args:
        clusters: how many; fewer where there are fewer than a hundred views for each.
    """

    kind: str = "within"
    clusters: PositiveInt = 128


@dataclass
class EnergyConfig(Choice):
    """An energy of features in closed form, the base that a network tilts."""


@dataclass
class GaussianConfig(EnergyConfig):
    """The informative Gaussian.

    Args:
        rank: principal axes kept; null keeps all.
        floor: isotropic variance added in every direction.
    """

    kind: str = "gaussian"
    rank: PositiveInt | None = 32
    floor: PositiveFloat = 0.05
    target: ClassVar[str] = "patchebm.energy.gaussian:GaussianEnergy"


@dataclass
class MixtureConfig(EnergyConfig):
    """The mixture of clusters, E(x) = -logsumexp_k f_k(x).

    Args:
        components: clusters K.
        em_steps: rounds of expectation maximisation after k-means: plain maximum likelihood.
    """

    kind: str = "mixture"
    components: PositiveInt = 128
    em_steps: NonNegativeInt = 0
    target: ClassVar[str] = "patchebm.energy.mixture:MixtureEnergy"


@dataclass
class CellNetworkConfig:
    """A small residual network that gives every cell of a feature map an energy.

    Args:
        hidden: units of both hidden layers.
        activation: after each hidden layer.
        tilt: whether the base's energy is part of the energy while the network trains; if not, the network
            trains alone, and base and network meet in the score.
        negatives: what it is trained against.
        sampler: how negatives move; null for not at all.
        training: objective and optimiser.
    """

    hidden: PositiveInt = 128
    activation: Literal["leaky_relu", "silu"] = "silu"
    tilt: bool = False
    negatives: NegativesConfig = field(default_factory=NoisedConfig)
    sampler: SamplerConfig | None = None
    training: TrainingConfig = field(default_factory=TrainingConfig)


@dataclass
class FeaturePatchConfig(LevelConfig):
    """The patch level: every cell of the extractor's grid is a patch.

    Args:
        whitening: the space of the energies; null for the features as they are.
        base: the energy in closed form; null for the network alone.
        network: the network that tilts it; null for the base alone.
        standardise_positions: whether the score subtracts and divides by what held-out normals show at each
            grid position.
        map_positions: the same for the anomaly map; false takes one mean and standard deviation for all of
            its places, so that little things do not glow where good parts never change.
        smooth: side of the Gaussian window that smooths the grid of values; odd, 1 for none.
        top: the score is the mean of so many largest values.
    """

    whitening: WhiteningConfig | None = field(default_factory=WithinConfig)
    base: EnergyConfig | None = field(default_factory=MixtureConfig)
    network: CellNetworkConfig | None = field(default_factory=CellNetworkConfig)
    standardise_positions: bool = True
    map_positions: bool = False
    smooth: Window = 3
    top: PositiveInt = 3
    target: ClassVar[str] = "patchebm.detector.feature_levels:FeaturePatchLevel"


@dataclass
class FeatureImageConfig(LevelConfig):
    """The image level: the whole map of features, pooled to a coarse grid, is one view.

    Args:
        grid: rows and columns to which the map is resized.
        whitening: the space of the energies; null for the features as they are.
        base: the energy of the whole map in closed form; null for the network alone.
        network: gives each cell of the map an energy, and the largest decide; null for the base alone.
        map_positions: whether the anomaly map subtracts and divides by what held-out normals show at each
            place; false takes one mean and standard deviation for all of its places.
    """

    grid: tuple[GridSide, GridSide] = (8, 8)
    whitening: WhiteningConfig | None = field(default_factory=lambda: WithinConfig(clusters=256))
    base: EnergyConfig | None = field(default_factory=GaussianConfig)
    network: CellNetworkConfig | None = field(
        default_factory=lambda: CellNetworkConfig(training=TrainingConfig(steps=300))
    )
    map_positions: bool = False
    target: ClassVar[str] = "patchebm.detector.feature_levels:FeatureImageLevel"


@dataclass
class FeaturesConfig(RunConfig):
    """A run on the features of a frozen pretrained network.

    Args:
        features: how features are extracted.
        patch: the patch level.
        image: the image level.
    """

    kind: str = "features"
    calibration: CalibrationConfig = field(
        default_factory=lambda: CalibrationConfig(refit=["patch"], consecutive=True)
    )
    features: ExtractorConfig = field(default_factory=ExtractorConfig)
    patch: FeaturePatchConfig = field(default_factory=FeaturePatchConfig)
    image: FeatureImageConfig = field(default_factory=FeatureImageConfig)
