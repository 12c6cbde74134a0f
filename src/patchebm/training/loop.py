"""The training loop: data down, negatives up, by one process or by several together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from patchebm.config.training import SamplerConfig, TrainingConfig
from patchebm.energy.base import Energy
from patchebm.training.batch_statistics import energies
from patchebm.training.checkpoint import Checkpoint
from patchebm.training.guard import DivergenceGuard, Stateful
from patchebm.training.log import TrainingLog
from patchebm.training.losses import LOSSES
from patchebm.training.negatives import Draw, Negatives
from patchebm.training.ranks import Ranks
from patchebm.training.replay_buffer import ReplayBuffer
from patchebm.training.samplers import build_sampler, gaussian_noise
from patchebm.training.shell import CentredNegatives, ShellLangevin

if TYPE_CHECKING:
    from lightning.fabric import Fabric

CHECKPOINT = "last.ckpt"


@dataclass(frozen=True)
class NetworkFit:
    """What decides the training of a network; see `fit_network`.

    Attributes:
        energy: its `learner` is trained.
        draw: draws data views and their positions.
        negatives: draws negatives and their positions.
        training: optimiser and loss.
        sampler: moves the negatives; None leaves them as they are drawn.
        steps: of the optimiser.
        bound: largest absolute value of a chain.
        seed: of the generator.
        label: name in the progress bar.
        folder: for the checkpoint and the logs; None keeps nothing.
    """

    energy: Energy
    draw: Draw
    negatives: Negatives
    training: TrainingConfig
    sampler: SamplerConfig | None
    steps: int
    bound: float
    seed: int
    label: str
    folder: Path | None


def train(fit: NetworkFit, fabric: Fabric) -> None:
    """Trains the network of an energy, in each of the processes that train it.

    Every process draws its own views and negatives and moves its own chains. Gradients and figures are
    averaged over the processes, so that all of them take the same steps.

    Args:
        fit: decides the training. The energy is moved to the device of the process.
        fabric: knows the device, and which of the processes this is.

    Raises:
        DivergedError: the energy diverged for good.
        TrainingError: the checkpoint cannot be used.
        PatchebmError: the folder cannot be written or the disk is full.
    """
    energy, negatives, training, steps = fit.energy, fit.negatives, fit.training, fit.steps
    device, ranks = fabric.device, Ranks(fabric.global_rank, fabric.world_size)
    energy.to(device).eval()
    generator = torch.Generator().manual_seed(ranks.seed(fit.seed))
    learner = energy.learner
    optimizer: Any = fabric.setup_optimizers(
        # Adam with an L2 penalty, as in the thesis. JEM++ has SGD with momentum, a warm-up and a decay.
        torch.optim.Adam(learner.parameters(), lr=training.lr, weight_decay=training.weight_decay)
    )
    parts: dict[str, Stateful] = {"learner": learner, "optimizer": optimizer}
    averaged: AveragedModel | None = None
    if training.averaging:
        # Batch statistics are moving averages already: the averaged model takes the latest ones.
        average = get_ema_multi_avg_fn(training.averaging)  # type: ignore[no-untyped-call]
        averaged = parts["averaged"] = AveragedModel(learner, multi_avg_fn=average)
    guard = DivergenceGuard(parts.copy())
    move = None if fit.sampler is None else build_sampler(fit.sampler, fit.bound)
    own: dict[str, Stateful] = {}
    buffer: ReplayBuffer | None = None
    if fit.sampler is not None and fit.sampler.buffer_size:
        buffer = own["buffer"] = ReplayBuffer(
            fit.sampler.buffer_size, negatives, fit.sampler.restart, generator
        )
    parts["guard"] = guard
    checkpoint: Checkpoint | None = None
    if fit.folder is not None:
        checkpoint = Checkpoint(fit.folder / CHECKPOINT, fit.seed, generator, parts, own, ranks)
    done = 0 if checkpoint is None else checkpoint.load()

    def noisy(views: Tensor) -> Tensor:
        noise: float = training.data_noise
        return views + noise * gaussian_noise(views, generator) if noise else views

    with TrainingLog(fit.label, done, steps, fit.folder, shown=ranks.is_first) as log:
        for step in range(done, steps):
            for group in optimizer.param_groups:
                group["lr"] = training.lr * guard.learning_rate_factor * schedule(step, steps, training)

            data, data_position = fit.draw(training.batch_size, generator)
            data, data_position = noisy(data.to(device)), data_position.to(device)

            walk = move
            if buffer is not None:
                init, position, indices = buffer.sample(training.batch_size, generator)
            elif isinstance(move, ShellLangevin) and isinstance(negatives, CentredNegatives):
                init, position, centres = negatives.with_centres(training.batch_size, generator)
                walk = move.around(centres.to(device))
            else:
                init, position = negatives(training.batch_size, generator)
            init, position = init.to(device), position.to(device)
            # Evaluation mode: chains meet the running batch statistics and leave no trace in them.
            energy.eval()
            moved = init
            if walk is not None:
                moved, chains = walk(energy.at(position), init, generator)
            if negatives.from_data:
                # With noise on the data alone, nothing but the noise would be learnt.
                moved = noisy(moved)
            data_energy, negative_energy = energies(
                energy,
                (data, data_position),
                (moved, position),
                training.negatives_statistics,
                updated=ranks.average_statistics,
            )

            loss = LOSSES[training.objective](data_energy, negative_energy, training.energy_penalty)
            values: dict[str, Tensor | float] = {
                "loss": loss.detach(),
                "energy/data": data_energy.detach().mean(),
                "energy/negatives": negative_energy.detach().mean(),
                "energy/gap": float(negative_energy.detach().mean() - data_energy.detach().mean()),
            }
            if walk is not None:
                values |= {
                    "chains/distance": chains.distance,
                    "chains/gradient_norm": chains.gradient_norm,
                    "chains/descent": chains.energy_start - chains.energy_end,
                }
            # The same in all processes, so that all of them go back or none does.
            values = ranks.mean(values)
            gap = float(values["energy/gap"])
            trouble = guard.check(step, float(values["loss"]), gap)
            if trouble is None:
                optimizer.zero_grad()
                fabric.backward(loss)
                ranks.average_gradients(learner)
                if training.gradient_clip:
                    fabric.clip_gradients(
                        learner, optimizer, max_norm=training.gradient_clip, error_if_nonfinite=False
                    )
                optimizer.step()
                if buffer is not None:
                    buffer.put(indices, moved)
            else:
                log.say(trouble)
                if buffer is not None:
                    # Chains of an energy that diverged lead nowhere.
                    buffer.refill(generator)
            if averaged is not None:
                averaged.update_parameters(learner)

            log.step(step, gap, values)
            if checkpoint is not None and ((step + 1) % training.checkpoint_every == 0 or step + 1 == steps):
                checkpoint.save(step + 1)
                log.show(step, (data, init) if move is None else (data, init, moved))

    if averaged is not None:
        learner.load_state_dict(averaged.module.state_dict())
    energy.eval()


def schedule(step: int, steps: int, training: TrainingConfig) -> float:
    """Returns the factor of the learning rate at a step: a linear rise, then 1, then a linear fall to 2 %."""
    rise: float = min(1.0, (step + 1) / (training.warmup + 1))
    left: float = (steps - step) / max(1.0, steps * (1 - training.decay_from))
    return rise * min(1.0, max(0.02, left))
