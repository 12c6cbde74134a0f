"""What a run is made of, as plain dataclasses; presets are YAML files of the same keys.

No torch here: the command line reads configurations before it imports anything heavy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

PRESETS = Path(__file__).parent / "presets_old"
DEFAULT_PRESET = "features"

Level = Literal["patch", "image"]


@dataclass
class FeaturesConfig:
    """What levels look at: feature maps of a frozen pretrained network instead of pixels.

    Args:
        backbone: null for pixels; `efficientnet-lite0`, `-lite1`, `-lite2`, or `timm:NAME`.
        weights: a safetensors file for a timm model; null takes the weights that come with the backbone.
        blocks: numbers of the blocks whose outputs are taken, ascending.
        size: height and width to which images are resized, multiples of 32 for EfficientNet-Lite.
        grid: rows and columns of the map to which all blocks' outputs are resized; each cell is a patch.
        pool: side of the window over which features are averaged; odd, 1 for none.
    """

    backbone: str | None = None
    weights: str | None = None
    blocks: list[int] = field(default_factory=lambda: [2, 4, 10])
    size: tuple[int, int] = (256, 256)
    grid: tuple[int, int] = (32, 32)
    pool: int = 3


@dataclass
class NetworkConfig:
    """The network: WRN-depth-width on pixels, a small residual network of `hidden` units on features.

    Args:
        kind: wrn for pixels; for features an mlp of the whole view, or one that judges each cell of the
            view, the oddest of which decide.
        hidden: units of both hidden layers on features.
        activation: after each hidden layer, or each block; the other arguments are those of a wrn.
        depth: 6n + 4: 10, 16, 22, 28.
        width: widening factor k.
        norm: normalisation layers.
        pooling: how the last features become one energy: their mean goes through the linear head, or each
            pixel does and the log-mean-exp of the pixels' energies counts, which the oddest pixels decide.
    """

    kind: Literal["wrn", "mlp", "cells"] = "wrn"
    hidden: int = 256
    activation: Literal["leaky_relu", "silu"] = "silu"
    depth: int = 10
    width: int = 1
    norm: Literal["batch", "group", "none"] = "none"
    pooling: Literal["mean", "logsumexp"] = "mean"


@dataclass
class GaussianConfig:
    """The informative Gaussian.

    Args:
        rank: principal axes kept; null keeps all.
        floor: isotropic variance added in every direction ([-1, 1] pixel scale).
        per_position: one Gaussian per grid position instead of one for all patches; training patches then
            lie on the test grid.
    """

    rank: int | None = None
    floor: float = 1e-2
    per_position: bool = False


@dataclass
class MixtureConfig:
    """The mixture of clusters, E(x) = -logsumexp_k f_k(x).

    Args:
        components: clusters K.
        em_steps: rounds of expectation maximisation after k-means: plain maximum likelihood.
    """

    components: int = 256
    em_steps: int = 0


@dataclass
class EnergyConfig:
    """What E(x) is.

    Args:
        kind: the network alone, the Gaussian or the mixture alone, or the network as a tilt of a base.
        base: what a tilted energy's network tilts.
        whitening: of features, in which space everything else happens: none; one scale for all channels; a
            scale for each; or the covariance within clusters turned into the identity.
        tilt: whether the base's energy is part of a tilted energy while the network trains; if not, the
            network trains alone, and base and network meet in the score.
        sees_gradient: whether the network of a tilted energy sees, beside the view, the gradient of the
            Gaussian's energy: what the Gaussian finds odd, and where.
        network: the network.
        gaussian: the Gaussian.
    """

    kind: Literal["network", "gaussian", "mixture", "tilted"] = "tilted"
    base: Literal["gaussian", "mixture"] = "gaussian"
    whitening: Literal["none", "scale", "diagonal", "within"] = "none"
    tilt: bool = True
    sees_gradient: bool = True
    network: NetworkConfig = field(default_factory=NetworkConfig)
    gaussian: GaussianConfig = field(default_factory=GaussianConfig)
    mixture: MixtureConfig = field(default_factory=MixtureConfig)


@dataclass
class ChainsConfig:
    """Where chains start, are kept and how they move.

    Args:
        sampler: PYLD-M-N (`steps` outer, `inner` inner steps) or SGLD (`steps` steps).
        steps: full gradients a call: M of PYLD-M-N.
        inner: N of PYLD-M-N; SGLD takes no notice of it.
        lr: step size.
        eps: proximal bound of PYLD on each pixel's gradient.
        noise: standard deviation of the noise added after each (outer) step.
        start: informative Gaussian, corrupted normals (pixels only), uniform noise (pixels only), or normals
            plus Gaussian noise.
        noise_scale: smallest and largest standard deviation of that noise, in units of the (whitened) view.
        buffer_size: chains in the replay buffer; 0 starts every chain again.
        restart: share of the chains drawn from the buffer that start over.
    """

    sampler: Literal["pyld", "sgld"] = "pyld"
    steps: int = 10
    inner: int = 5
    lr: float = 0.2
    eps: float = 1.0
    noise: float = 0.0
    start: Literal["informative", "corrupted", "uniform", "noised"] = "informative"
    noise_scale: tuple[float, float] = (0.1, 1.0)
    buffer_size: int = 1000
    restart: float = 0.05


@dataclass
class TrainingConfig:
    """How the network is fitted.

    Args:
        steps: optimiser steps; if null, `epochs` passes over the training images.
        epochs: passes over the training images, one view of each a pass; read if `steps` is null.
        objective: contrastive (difference of mean energies) or logistic (the same, bounded: noise contrast).
        batch_size: data views, and chains, a step.
        lr: Adam's learning rate.
        weight_decay: Adam's L2 penalty.
        warmup: steps over which the learning rate rises linearly.
        decay_from: share of the steps after which the learning rate falls linearly to 2 %; 1 for never.
        data_noise: standard deviation of Gaussian noise added to data views and, so that noise tells nothing,
            to corrupted ones.
        energy_penalty: alpha of the objective.
        gradient_clip: largest norm of the parameters' gradient; 0 for no clipping.
        averaging: decay of the weights' exponential moving average, which is what scores; 0 for none.
        checkpoint_every: steps between checkpoints, at most; resuming starts at the last one.
    """

    steps: int | None = 300
    epochs: int = 200
    objective: Literal["contrastive", "logistic"] = "contrastive"
    batch_size: int = 32
    lr: float = 3e-4
    weight_decay: float = 0.0
    warmup: int = 0
    decay_from: float = 1.0
    data_noise: float = 0.03
    energy_penalty: float = 1e-3
    gradient_clip: float = 1.0
    averaging: float = 0.99
    checkpoint_every: int = 100


@dataclass
class ScoreConfig:
    """How energies of views become a score.

    Args:
        kind: of a base, and of a network alone: the energy itself, or the largest local mean of its squared
            input gradient (Genc et al. 2021). The tilt of a base counts by its energy.
        components: of a tilted energy: the sum of base and network, each standardised on held-out normals,
            or the network alone.
        standardise_positions: subtract and divide by what held-out normals show at each grid position.
        map_positions: the same for the heat map; false takes one mean and spread for all of its places, so
            that where good parts never change little things do not glow.
        smooth: side of the Gaussian window that smooths the grid of values; odd, 1 for none.
        top: the score is the mean of so many largest view scores; 1, the maximum, is the thesis.
    """

    kind: Literal["energy", "gradient"] = "energy"
    components: Literal["sum", "network"] = "sum"
    standardise_positions: bool = True
    map_positions: bool = True
    smooth: int = 1
    top: int = 1


@dataclass
class PatchViewConfig:
    """Which patches are cut, and where; on features every cell of `features.grid` is a patch instead.

    Args:
        train_size: height and width to which images are resized for training; if null, `train_scale`.
        train_scale: factor by which images are resized for training; read if `train_size` is null.
        test_size: height and width to which images are resized for scoring.
        patch: side of a patch in resized pixels.
        grid: n of the n x n test grid; patches overlap where n * patch exceeds the size.
        spread: standard deviations (x, y) of the training patches' positions around the centre, in
            pixels of the original image; or the name of an MVTec AD category, for the thesis' values;
            or null for positions drawn uniformly.
    """

    train_size: tuple[int, int] | None = (64, 64)
    train_scale: float = 1.0
    test_size: tuple[int, int] = (64, 64)
    patch: int = 16
    grid: int = 13
    spread: tuple[float, float] | str | None = None


@dataclass
class ImageViewConfig:
    """How the whole image is seen.

    Args:
        size: height and width to which images, or maps of features, are resized.
    """

    size: tuple[int, int] = (32, 32)


@dataclass
class PatchConfig:
    """The patch level."""

    view: PatchViewConfig = field(default_factory=PatchViewConfig)
    energy: EnergyConfig = field(default_factory=EnergyConfig)
    chains: ChainsConfig = field(default_factory=ChainsConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    score: ScoreConfig = field(default_factory=ScoreConfig)


@dataclass
class ImageConfig:
    """The image level."""

    view: ImageViewConfig = field(default_factory=ImageViewConfig)
    energy: EnergyConfig = field(default_factory=EnergyConfig)
    chains: ChainsConfig = field(default_factory=ChainsConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    score: ScoreConfig = field(default_factory=ScoreConfig)


@dataclass
class CalibrationConfig:
    """Which normal images are kept out of fitting, to calibrate on.

    Args:
        folds: the good images are split in so many folds, by group where groups are known.
        members: how many of the folds are left out once each, with one energy fitted on the others. 1 is a
            plain hold-out; equal to `folds`, every good image serves both to fit and to calibrate.
        refit: the levels that score new images by one more energy, fitted on all good images, while the
            members calibrate only; else the score is the mean over the members, at that many times the cost.
        consecutive: where groups are not known, hold out images that follow each other (in order of their
            file names) together: they often show the same part, or were taken under the same light.
    """

    folds: int = 5
    members: int = 1
    refit: list[Level] = field(default_factory=list)
    consecutive: bool = False


@dataclass
class Config:
    """One run.

    Args:
        seed: decides everything random.
        levels: which levels are fitted; both make the ensemble.
        false_alarm_rate: share of good parts that may be called anomalous.
        features: pixels, or which features.
        calibration: hold-out or cross-fitting.
        patch: the patch level.
        image: the image level.
    """

    seed: int = 0
    levels: list[Level] = field(default_factory=lambda: ["patch", "image"])
    false_alarm_rate: float = 0.05
    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)
    patch: PatchConfig = field(default_factory=PatchConfig)
    image: ImageConfig = field(default_factory=ImageConfig)
