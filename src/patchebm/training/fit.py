"""The training loop: data down, negatives up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from patchebm.config.training import SamplerConfig, TrainingConfig
from patchebm.energy.base import Energy
from patchebm.errors import DivergedError
from patchebm.training.batch_statistics import energies
from patchebm.training.checkpoint import Checkpoint
from patchebm.training.guard import DivergenceGuard, Stateful
from patchebm.training.log import TrainingLog
from patchebm.training.losses import LOSSES
from patchebm.training.negatives import Draw, Negatives
from patchebm.training.replay_buffer import ReplayBuffer
from patchebm.training.samplers import build_sampler, gaussian_noise
from patchebm.training.shell import CentredNegatives, ShellLangevin

CHECKPOINT = "last.ckpt"


def fit_network(
    energy: Energy,
    draw: Draw,
    negatives: Negatives,
    *,
    training: TrainingConfig,
    sampler: SamplerConfig | None,
    images: int,
    bound: float,
    seed: int,
    label: str,
    folder: Path | None,
    device: torch.device,
) -> None:
    """Trains an energy's network, going on from the folder's checkpoint if there is one.

    All randomness flows through one generator on the CPU. Checkpoints hold its state and all else that
    decides the rest of the run: one killed anywhere and resumed ends bit for bit like one that is not.

    Args:
        energy: its `learner` is trained. It is moved to the device and stays there, in evaluation mode and
            with the averaged weights in place if there are any.
        draw: draws data views and their positions.
        negatives: draws negatives and their positions.
        training: optimiser and loss. With 0 steps nothing is trained.
        sampler: moves the negatives; None leaves them as they are drawn.
        images: number of training images, which an epoch counts.
        bound: largest absolute value of a chain: 1 for pixels, infinity for features.
        seed: of the generator.
        label: name in the progress bar.
        folder: for `last.ckpt` and the logs (see `TrainingLog`); None keeps nothing.
        device: where the energy is trained.

    Raises:
        DivergedError: the energy diverged for good.
        TrainingError: the checkpoint cannot be used.
        PatchebmError: the folder cannot be written or the disk is full.
        KeyboardInterrupt: Ctrl-C; the last checkpoint stays.
    """
    steps = training.steps
    if steps is None:
        steps = training.epochs * max(1, images // training.batch_size)
    energy.to(device).eval()
    if steps == 0:
        return

    # Imported here, so that scoring does not import it.
    from lightning.fabric import Fabric
    from lightning.fabric.strategies.single_device import SingleDeviceStrategy

    # The strategy's device decides. Fabric has no accelerator for all of them, and this one does nothing.
    fabric = Fabric(accelerator="cpu", strategy=SingleDeviceStrategy(device))
    generator = torch.Generator().manual_seed(seed)
    learner = energy.learner
    optimizer: Any = fabric.setup_optimizers(
        # Adam with an L2 penalty, as in JEM++ and the thesis.
        torch.optim.Adam(learner.parameters(), lr=training.lr, weight_decay=training.weight_decay)
    )
    parts: dict[str, Stateful] = {"learner": learner, "optimizer": optimizer}
    averaged: AveragedModel | None = None
    if training.averaging:
        # Batch statistics are moving averages already: the averaged model takes the latest ones.
        average = get_ema_multi_avg_fn(training.averaging)  # type: ignore[no-untyped-call]
        averaged = parts["averaged"] = AveragedModel(learner, multi_avg_fn=average)
    guard = DivergenceGuard(parts.copy())
    move = None if sampler is None else build_sampler(sampler, bound)
    buffer: ReplayBuffer | None = None
    if sampler is not None and sampler.buffer_size:
        buffer = parts["buffer"] = ReplayBuffer(sampler.buffer_size, negatives, sampler.restart, generator)
    parts["guard"] = guard
    checkpoint = None if folder is None else Checkpoint(folder / CHECKPOINT, seed, generator, parts)
    done = 0 if checkpoint is None else checkpoint.load()

    def noisy(views: Tensor) -> Tensor:
        noise: float = training.data_noise
        return views + noise * gaussian_noise(views, generator) if noise else views

    with TrainingLog(label, done, steps, folder) as log:
        for step in range(done, steps):
            for group in optimizer.param_groups:
                group["lr"] = training.lr * guard.learning_rate_factor * schedule(step, steps, training)

            data, data_position = draw(training.batch_size, generator)
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
                energy, (data, data_position), (moved, position), training.negatives_statistics
            )

            loss = LOSSES[training.objective](data_energy, negative_energy, training.energy_penalty)
            gap = float(negative_energy.detach().mean() - data_energy.detach().mean())
            trouble = guard.check(step, float(loss.detach()), gap)
            if trouble is None:
                optimizer.zero_grad()
                fabric.backward(loss)
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

            values: dict[str, Tensor | float] = {
                "loss": loss.detach(),
                "energy/data": data_energy.detach().mean(),
                "energy/negatives": negative_energy.detach().mean(),
                "energy/gap": gap,
            }
            if walk is not None:
                values |= {
                    "chains/distance": chains.distance,
                    "chains/gradient_norm": chains.gradient_norm,
                    "chains/descent": chains.energy_start - chains.energy_end,
                }
            log.step(step, gap, values)
            if checkpoint is not None and ((step + 1) % training.checkpoint_every == 0 or step + 1 == steps):
                checkpoint.save(step + 1)
                log.show(step, (data, init) if move is None else (data, init, moved))

    if averaged is not None:
        learner.load_state_dict(averaged.module.state_dict())
    energy.eval()
    if not all(torch.isfinite(tensor).all() for tensor in energy.state_dict().values()):
        raise DivergedError("the energy diverged at the last step; lower training.lr")


def schedule(step: int, steps: int, training: TrainingConfig) -> float:
    """Returns the factor of the learning rate at a step: a linear rise, then 1, then a linear fall to 2 %."""
    rise: float = min(1.0, (step + 1) / (training.warmup + 1))
    left: float = (steps - step) / max(1.0, steps * (1 - training.decay_from))
    return rise * min(1.0, max(0.02, left))
