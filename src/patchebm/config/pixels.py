"""Runs on pixels, as in the thesis. The defaults are those of the preset `pixel-cpu`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from jsonargparse.typing import PositiveFloat, PositiveInt

from patchebm.config.base import LevelConfig, RunConfig
from patchebm.config.choice import Choice
from patchebm.config.numbers import GridSide, Side, Width
from patchebm.config.training import CorruptedConfig, NegativesConfig, SamplerConfig, TrainingConfig


@dataclass
class PixelEnergyConfig(Choice):
    """An energy of pixels in closed form, the base that a network tilts."""


@dataclass
class PixelGaussianConfig(PixelEnergyConfig):
    """The informative Gaussian of pixels.

    Args:
        rank: principal axes kept; null keeps all.
        floor: isotropic variance added in every direction ([-1, 1] pixel scale).
        per_position: one Gaussian per grid position instead of one for all patches; training patches then
            lie on the test grid.
    """

    kind: str = "gaussian"
    rank: PositiveInt | None = None
    floor: PositiveFloat = 1e-3
    per_position: bool = False
    target: ClassVar[str] = "patchebm.energy.gaussian:GaussianEnergy"


def _training(steps: int, batch_size: int) -> TrainingConfig:
    """What trains a small network on two cores within minutes."""
    return TrainingConfig(
        steps=steps,
        batch_size=batch_size,
        lr=2e-3,
        warmup=20,
        decay_from=0.5,
        data_noise=0.01,
        gradient_clip=1.0,
        averaging=0.97,
        checkpoint_every=50,
    )


@dataclass
class WideResNetConfig:
    """The network, WRN-depth-width.

    Args:
        depth: 6n + 4: 10, 16, 22, 28.
        width: widening factor k.
        norm: normalisation layers.
        activation: after each block.
        pooling: how the last features become one energy: their mean goes through the linear head, or each
            pixel does and the log-mean-exp of the pixels' energies counts, which the oddest pixels decide.
        tilt: whether the base's energy is part of the energy while the network trains; if not, the network
            trains alone, and base and network meet in the score. Needs a base.
        gradient_input: whether the network has, beside the view, the gradient of the base's energy for its
            input: what the Gaussian finds odd, and where. Needs a base.
        negatives: what it is trained against.
        sampler: how negatives move; null for not at all.
        training: objective and optimiser.
    """

    depth: PositiveInt = 10
    width: Width = 1
    norm: Literal["batch", "group", "none"] = "none"
    activation: Literal["leaky_relu", "silu"] = "silu"
    pooling: Literal["mean", "logsumexp"] = "logsumexp"
    tilt: bool = False
    gradient_input: bool = True
    negatives: NegativesConfig = field(default_factory=CorruptedConfig)
    sampler: SamplerConfig | None = None
    training: TrainingConfig = field(default_factory=lambda: _training(150, 48))


@dataclass
class PixelScoreConfig:
    """How energies of views become a score.

    Args:
        kind: of a base, and of a network alone: the energy itself, or the largest local mean of its squared
            input gradient (Genc et al. 2021). The tilt of a base counts by its energy.
        components: of a tilted energy: the sum of base and network, each standardised on held-out normals,
            or the network alone.
        standardise_positions: subtract and divide by what held-out normals show at each grid position.
        map_positions: the same for the anomaly map; false takes one mean and standard deviation for all of
            its places.
        top: the score is the mean of so many largest view scores; 1, the maximum, is the thesis.
    """

    kind: Literal["energy", "gradient"] = "energy"
    components: Literal["sum", "network"] = "sum"
    standardise_positions: bool = True
    map_positions: bool = True
    top: PositiveInt = 1


@dataclass
class PatchViewConfig:
    """Which patches are cut, and where.

    Args:
        train_size: height and width to which images are resized for training; if null, `train_scale`.
        train_scale: factor by which images are resized for training; read if `train_size` is null.
        test_size: height and width to which images are resized for scoring.
        patch: side of a patch in resized pixels.
        grid: n of the n x n test grid; patches overlap where n * patch exceeds the size.
        position_std: standard deviations (x, y) of the training patches' positions around the centre, in
            pixels of the original image; or the name of an MVTec AD category, for the thesis' values;
            or null for positions drawn uniformly.
    """

    train_size: tuple[Side, Side] | None = (64, 64)
    train_scale: PositiveFloat = 1.0
    test_size: tuple[Side, Side] = (64, 64)
    patch: Side = 16
    grid: GridSide = 13
    position_std: tuple[PositiveFloat, PositiveFloat] | str | None = None


@dataclass
class PixelPatchConfig(LevelConfig):
    """The patch level: an n x n grid of patches; the largest energies decide.

    Args:
        view: which patches are cut.
        base: the energy in closed form; null for the network alone.
        network: the network that tilts it; null for the base alone.
        score: how the energies of patches become a score.
    """

    view: PatchViewConfig = field(default_factory=PatchViewConfig)
    base: PixelEnergyConfig | None = field(
        default_factory=lambda: PixelGaussianConfig(rank=64, per_position=True)
    )
    network: WideResNetConfig | None = field(default_factory=WideResNetConfig)
    score: PixelScoreConfig = field(default_factory=lambda: PixelScoreConfig(components="network", top=3))
    target: ClassVar[str] = "patchebm.detector.pixel_levels:PixelPatchLevel"


@dataclass
class ImageViewConfig:
    """How the whole image becomes one view.

    Args:
        size: height and width to which images are resized, at least 8 pixels.
    """

    size: tuple[Side, Side] = (32, 32)


@dataclass
class PixelImageConfig(LevelConfig):
    """The image level: the whole image is one view.

    Args:
        view: how the image is resized.
        base: the energy in closed form; null for the network alone.
        network: the network that tilts it; null for the base alone.
        score: how the energy becomes a score.
    """

    view: ImageViewConfig = field(default_factory=ImageViewConfig)
    base: PixelEnergyConfig | None = field(default_factory=PixelGaussianConfig)
    network: WideResNetConfig | None = field(
        default_factory=lambda: WideResNetConfig(training=_training(100, 24))
    )
    score: PixelScoreConfig = field(default_factory=lambda: PixelScoreConfig(kind="gradient"))
    target: ClassVar[str] = "patchebm.detector.pixel_levels:PixelImageLevel"


@dataclass
class PixelsConfig(RunConfig):
    """A run on pixels.

    Args:
        patch: the patch level.
        image: the image level.
    """

    kind: str = "pixels"
    takes_devices: ClassVar[bool] = True
    patch: PixelPatchConfig = field(default_factory=PixelPatchConfig)
    image: PixelImageConfig = field(default_factory=PixelImageConfig)
