"""Runs on the features of a frozen pretrained network. The defaults are the recommendation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from jsonargparse.typing import (
    ClosedUnitInterval,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
)

from patchebm.config.base import CalibrationConfig, LevelConfig, RunConfig
from patchebm.config.choice import Choice
from patchebm.config.numbers import AtLeastTwo, GridSide, Side, Window
from patchebm.config.training import (
    NegativesConfig,
    NoisedConfig,
    SamplerConfig,
    SyntheticConfig,
    TrainingConfig,
)


@dataclass
class ExtractorConfig:
    """Feature maps of a frozen pretrained network.

    Args:
        backbone: `efficientnet-lite0`, `-lite1`, `-lite2`, or `timm:NAME`.
        weights: a safetensors file for a timm model; null takes the weights that come with the backbone.
        blocks: numbers of the blocks whose outputs are taken, ascending.
        size: height and width to which images are resized, multiples of 32 for EfficientNet-Lite; null
            chooses 384 where good images have as many pixels themselves, and 256 where they have fewer.
        grid: rows and columns of the map to which all blocks' outputs are resized; each cell is a patch. Null
            makes cells of 8 pixels.
        smallest_defect: extent in pixels of the images of the smallest defect that must be found: a larger
            size is taken where it finds clearly more synthetic defects of about this extent. Null for none.
        time_per_image: milliseconds that an image may take on one thread of the machine that trains, decoding
            left out: a smaller size is taken where the chosen one takes longer. Null for any.
        pool: side of the window over which features are averaged; odd, 1 for none.
        crop: whether only the box in which good images have structure is inspected, if it leaves out a
            quarter of the image or more.
        precision: in which the backbone computes, in training and on the line alike: f32, or int8, which
            ONNX Runtime computes on the CPU, faster where the processor has instructions for it.
        surround: whether what lies around that box is compared with good images, too, coarsely; false where
            hands, tools or other parts may be there.
    """

    backbone: str = "efficientnet-lite0"
    weights: str | None = None
    blocks: list[NonNegativeInt] = field(default_factory=lambda: [2, 4, 10])
    size: tuple[Side, Side] | None = None
    grid: tuple[GridSide, GridSide] | None = None
    smallest_defect: PositiveFloat | None = None
    time_per_image: PositiveFloat | None = None
    pool: Window = 3
    crop: bool = True
    precision: Literal["f32", "int8"] = "f32"
    surround: bool = True


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
class FeaturePositionConfig(LevelConfig):
    """The position level: each position of the grid has a Gaussian, whose covariance its zone shares.

    Args:
        folds: the Gaussians are fitted without each of so many folds, by group where groups are known; the
            more, the nearer a held-out image's energy is to that of a new one.
        zones: the grid has so many rows and columns of zones, at most, whose positions share a
            covariance.
        network: is trained on the Gaussians' residuals against synthetic defects; null for the Gaussians
            alone.
        smooth: standard deviation in cells of the Gaussian window that smooths the grid of values; 0 for
            none.
        top: the score is the mean of so many largest values.
        background: times the mean of all values is subtracted from it: what all of an image has in common,
            such as its light, is less of a defect than what a place has for itself; 0 for none.
    """

    folds: AtLeastTwo = 40
    zones: PositiveInt = 16
    network: CellNetworkConfig | None = field(
        default_factory=lambda: CellNetworkConfig(
            hidden=256, negatives=SyntheticConfig(), training=TrainingConfig(steps=300, lr=2e-3)
        )
    )
    smooth: NonNegativeFloat = 0.7
    top: PositiveInt = 3
    background: ClosedUnitInterval = 0.5
    target: ClassVar[str] = "patchebm.detector.position_level:PositionLevel"
    takes_few: ClassVar[bool] = True


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
    network: CellNetworkConfig | None = None
    map_positions: bool = False
    target: ClassVar[str] = "patchebm.detector.feature_levels:FeatureImageLevel"


@dataclass
class DefectsConfig:
    """Synthetic defects, which are drawn into good images; never a test image.

    Args:
        learn: images that networks learn from, each with three local defects; spread over all good images.
        local_checks: further images with one local defect each. The more of them a level, or a part of one,
            tells from good images that it was not fitted on, the more it counts.
        global_checks: the same with one global defect each: a piece missing, moved, turned, doubled or
            discoloured; by which levels are weighed, too, where there are several.
        extents: smallest and largest extent of a local defect, in 512ths of the side of what is inspected.
    """

    learn: NonNegativeInt = 300
    local_checks: NonNegativeInt = 150
    global_checks: NonNegativeInt = 50
    extents: tuple[PositiveFloat, PositiveFloat] = (8.0, 90.0)


@dataclass
class FeaturesConfig(RunConfig):
    """A run on the features of a frozen pretrained network.

    Args:
        features: how features are extracted.
        defects: synthetic defects.
        position: the position level.
        patch: the patch level.
        image: the image level.
    """

    kind: str = "features"
    levels: list[str] = field(default_factory=lambda: ["position"])
    calibration: CalibrationConfig = field(
        default_factory=lambda: CalibrationConfig(
            folds=5, members=5, refit=["patch", "image"], consecutive=None
        )
    )
    features: ExtractorConfig = field(default_factory=ExtractorConfig)
    defects: DefectsConfig = field(default_factory=DefectsConfig)
    position: FeaturePositionConfig = field(default_factory=FeaturePositionConfig)
    patch: FeaturePatchConfig = field(default_factory=FeaturePatchConfig)
    image: FeatureImageConfig = field(default_factory=FeatureImageConfig)
