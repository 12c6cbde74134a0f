"""What a run is made of, as plain dataclasses; presets are YAML files of the same keys.

No torch here: the command line reads configurations before it imports anything heavy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

PRESETS = Path(__file__).parent / "presets"
DEFAULT_PRESET = "pixel-cpu"

Level = Literal["patch", "image"]


@dataclass
class NetworkConfig:
    """The wide residual network WRN-depth-width.

    Args:
        depth: 6n + 4: 10, 16, 22, 28.
        width: widening factor k.
        norm: normalisation layers.
        activation: activation function.
        pooling: how the last features become one energy: their mean goes through the linear head, or each
            pixel does and the log-mean-exp of the pixels' energies counts, which the oddest pixels decide.
    """

    depth: int = 10
    width: int = 1
    norm: Literal["batch", "group", "none"] = "none"
    activation: Literal["leaky_relu", "silu"] = "silu"
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
class EnergyConfig:
    """What E(x) is.

    Args:
        kind: the network alone, the Gaussian alone, or the network as a tilt of the Gaussian.
        tilt: whether the Gaussian's energy is part of a tilted energy while the network trains; if not, the
            network trains alone, and Gaussian and network meet in the score.
        sees_gradient: whether the network of a tilted energy sees, beside the view, the gradient of the
            Gaussian's energy: what the Gaussian finds odd, and where.
        network: the network.
        gaussian: the Gaussian.
    """

    kind: Literal["network", "gaussian", "tilted"] = "tilted"
    tilt: bool = True
    sees_gradient: bool = True
    network: NetworkConfig = field(default_factory=NetworkConfig)
    gaussian: GaussianConfig = field(default_factory=GaussianConfig)


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
        start: informative Gaussian, corrupted normals, or uniform noise.
        buffer_size: chains in the replay buffer; 0 starts every chain anew.
        restart: share of the chains drawn from the buffer that start anew.
    """

    sampler: Literal["pyld", "sgld"] = "pyld"
    steps: int = 10
    inner: int = 5
    lr: float = 0.2
    eps: float = 1.0
    noise: float = 0.0
    start: Literal["informative", "corrupted", "uniform"] = "informative"
    buffer_size: int = 1000
    restart: float = 0.05


@dataclass
class TrainingConfig:
    """How the network is fitted.

    Args:
        steps: optimiser steps; if null, `epochs` passes over the training pictures.
        epochs: passes over the training pictures, one view of each a pass; read if `steps` is null.
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
        kind: of the Gaussian, and of a network alone: the energy itself, or the largest local mean of its
            squared input gradient (Genc et al. 2021). The tilt of a Gaussian counts by its energy.
        components: of a tilted energy: the sum of Gaussian and network, each standardised on held-out
            normals, or the network alone, which has seen the Gaussian's gradient.
        standardise_positions: subtract and divide by what held-out normals show at each grid position.
        top: the score is the mean of so many largest view scores; 1, the maximum, is the thesis.
    """

    kind: Literal["energy", "gradient"] = "energy"
    components: Literal["sum", "network"] = "sum"
    standardise_positions: bool = True
    top: int = 1


@dataclass
class PatchViewConfig:
    """Which patches are cut, and where.

    Args:
        train_size: height and width to which pictures are resized for training; if null, `train_scale`.
        train_scale: factor by which pictures are resized for training; read if `train_size` is null.
        test_size: height and width to which pictures are resized for scoring.
        patch: side of a patch in resized pixels.
        grid: n of the n x n test grid; patches overlap where n * patch exceeds the size.
        spread: standard deviations (x, y) of the training patches' positions around the centre, in
            pixels of the original picture; or the name of an MVTec AD category, for the thesis' values;
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
    """How the whole picture is seen.

    Args:
        size: height and width to which pictures are resized.
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
    """Which normal pictures are kept out of fitting, to calibrate on.

    Args:
        folds: the good pictures are split in so many folds, by group where groups are known.
        members: how many of the folds are left out once each, with one energy fitted on the others; the
            score is the mean over these members. 1 is a plain hold-out; equal to `folds`, every good
            picture serves both to fit and to calibrate.
    """

    folds: int = 5
    members: int = 1


@dataclass
class Config:
    """One run.

    Args:
        seed: decides everything random.
        levels: which levels are fitted; both make the ensemble.
        false_alarm_rate: share of good parts that may be called anomalous.
        calibration: hold-out or cross-fitting.
        patch: the patch level.
        image: the image level.
    """

    seed: int = 0
    levels: list[Level] = field(default_factory=lambda: ["patch", "image"])
    false_alarm_rate: float = 0.05
    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)
    patch: PatchConfig = field(default_factory=PatchConfig)
    image: ImageConfig = field(default_factory=ImageConfig)
