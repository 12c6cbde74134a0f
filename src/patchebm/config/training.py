"""How a network is trained: what it is trained against, how chains move, and the optimiser."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from jsonargparse.typing import (
    ClosedUnitInterval,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
)

from patchebm.config.choice import Choice
from patchebm.config.numbers import BatchSize, BufferSize, Decay


@dataclass
class NegativesConfig(Choice):
    """What the network's energy is pushed up on; chains start there, where a sampler moves them."""


@dataclass
class NoisedConfig(NegativesConfig):
    """Normal views plus Gaussian noise.

    Args:
        kind: `noised`.
        scale: smallest and largest standard deviation of the noise, in units of the (whitened) view; each
            negative has its own, drawn log-uniformly.
    """

    kind: str = "noised"
    scale: tuple[PositiveFloat, PositiveFloat] = (0.2, 1.0)
    target: ClassVar[str] = "patchebm.training.negatives:NoisedNegatives"


@dataclass
class SyntheticConfig(NegativesConfig):
    """Views of synthetic defects, and normal views plus Gaussian noise; of the position level only.

    Args:
        noised: share of the negatives that are noised normal views. They make the energy rise in every
            direction; with defects alone a network learns to tell drawing from photograph.
        scale: as of `noised`.
    """

    kind: str = "synthetic"
    noised: ClosedUnitInterval = 0.5
    scale: tuple[PositiveFloat, PositiveFloat] = (0.3, 1.5)
    target: ClassVar[str] = "patchebm.training.negatives:SyntheticNegatives"


@dataclass
class InformativeConfig(NegativesConfig):
    """Samples of the informative Gaussian, N(mean, Cov + 1e-4 I) of the training views, as in JEM++."""

    kind: str = "informative"
    target: ClassVar[str] = "patchebm.training.negatives:InformativeNegatives"


@dataclass
class CorruptedConfig(NegativesConfig):
    """Normal views with a piece pasted, shifted, noised or tinted; of pixels only."""

    kind: str = "corrupted"
    target: ClassVar[str] = "patchebm.training.negatives:CorruptedNegatives"


@dataclass
class UniformConfig(NegativesConfig):
    """Uniform noise in [-1, 1] for every pixel, as in JEM; of pixels only."""

    kind: str = "uniform"
    target: ClassVar[str] = "patchebm.training.negatives:UniformNegatives"


@dataclass
class SamplerConfig(Choice):
    """How chains move.

    Args:
        kind: which sampler.
        lr: step size.
        noise: standard deviation of the noise added after each (outer) step.
        buffer_size: chains in the replay buffer; 0 starts every chain over.
        restart: share of the chains drawn from the buffer that start over.
    """

    lr: NonNegativeFloat = 0.2
    noise: NonNegativeFloat = 0.0
    buffer_size: BufferSize = 10_000
    restart: ClosedUnitInterval = 0.05


@dataclass
class PYLDConfig(SamplerConfig):
    """PYLD-M-N (Yang and Ji 2021, arXiv 2109.09032).

    Args:
        outer: full gradients M.
        inner: steps N with one co-state.
        eps: proximal bound on each pixel's gradient.
    """

    kind: str = "pyld"
    outer: PositiveInt = 10
    inner: PositiveInt = 5
    eps: PositiveFloat = 1.0
    target: ClassVar[str] = "patchebm.training.samplers:PYLD"


@dataclass
class SGLDConfig(SamplerConfig):
    """Stochastic gradient Langevin dynamics as in JEM (Grathwohl et al. 2020, arXiv 1912.03263).

    Args:
        steps: full gradients.
    """

    kind: str = "sgld"
    steps: PositiveInt = 20
    target: ClassVar[str] = "patchebm.training.samplers:SGLD"


@dataclass
class ShellConfig(SamplerConfig):
    """Langevin dynamics on a shell around the good view that a negative was made of.

    As in GLASS (Chen et al. 2024, arXiv 2407.09359); for negatives of kind noised or synthetic, without a
    replay buffer.

    A chain has a radius: how far from its good view it starts. The centre of a synthetic defect is the mean
    of good views at its position.

    Args:
        lr: length of a step down the energy, as a share of the radius.
        noise: length of the noise of a step, as a share of the radius.
        buffer_size: 0: every chain starts over, from a negative that is drawn for it.
        steps: full gradients.
        shell: smallest and largest distance from the centre, as shares of the radius.
    """

    kind: str = "shell"
    lr: NonNegativeFloat = 0.1
    noise: NonNegativeFloat = 0.02
    buffer_size: BufferSize = 0
    steps: PositiveInt = 5
    shell: tuple[PositiveFloat, PositiveFloat] = (1.0, 1.5)
    target: ClassVar[str] = "patchebm.training.shell:ShellLangevin"


@dataclass
class TrainingConfig:
    """How the network is fitted.

    Args:
        steps: optimiser steps; if null, `epochs` passes over the training images.
        epochs: passes over the training images, one view of each a pass; read if `steps` is null.
        objective: contrastive (difference of mean energies) or logistic (the same, bounded: noise contrast).
        batch_size: data views, and negatives, a step.
        lr: Adam's learning rate.
        weight_decay: Adam's L2 penalty.
        warmup: steps over which the learning rate rises linearly.
        decay_from: share of the steps after which the learning rate falls linearly to 2 %; 1 for never.
        data_noise: standard deviation of Gaussian noise added to data views and, so that noise tells nothing,
            to negatives that are changed data views.
        energy_penalty: alpha of the objective.
        negatives_statistics: what batch norm normalises data and negatives by in the loss: `data`, both by
            the running statistics of the data, as chains and scores are; `own`, each by those of their batch,
            of which only the data's are mixed into the running ones; or `shared`, the same with both mixed
            into them, as the loss of the published code of JEM++ does. Chains always move by the running ones
            and leave no trace in them; in that code they move by those of their batch, and every pass of a
            chain is mixed in, too, which no value of this setting does.
        gradient_clip: largest norm of the parameters' gradient; 0 for no clipping.
        averaging: decay of the weights' exponential moving average, which is what scores; 0 for none.
        checkpoint_every: steps between checkpoints, at most; resuming starts at the last one.
    """

    steps: NonNegativeInt | None = 400
    epochs: PositiveInt = 200
    objective: Literal["contrastive", "logistic"] = "logistic"
    batch_size: BatchSize = 512
    lr: PositiveFloat = 3e-3
    weight_decay: NonNegativeFloat = 0.0
    warmup: NonNegativeInt = 40
    decay_from: ClosedUnitInterval = 0.4
    data_noise: NonNegativeFloat = 0.0
    energy_penalty: NonNegativeFloat = 1e-3
    negatives_statistics: Literal["data", "own", "shared"] = "data"
    gradient_clip: NonNegativeFloat = 0.0
    averaging: Decay = 0.0
    checkpoint_every: PositiveInt = 200
