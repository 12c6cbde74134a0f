"""What trains the network of an energy, on one device or on several."""

from __future__ import annotations

from pathlib import Path

import torch

from patchebm.config.training import SamplerConfig, TrainingConfig
from patchebm.energy.base import Energy
from patchebm.errors import DivergedError
from patchebm.training.loop import NetworkFit, train
from patchebm.training.negatives import Draw, Negatives


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
    devices: int = 1,
) -> None:
    """Trains an energy's network, going on from the folder's checkpoint if there is one.

    All randomness flows through one generator on the CPU. Checkpoints hold its state and all else that
    decides the rest of the run: one killed anywhere and resumed ends bit for bit like one that is not.

    On several devices each has a process with a generator, chains and a replay buffer of its own, and a batch
    of its own: a step is that of one device with so many times the batch. Gradients are averaged. Batch norm
    normalises by the statistics of the device's own batch, and its running statistics are averaged.

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
        devices: how many of the device's kind train it; with several, all of the above must be picklable.

    Raises:
        DivergedError: the energy diverged for good.
        TrainingError: the checkpoint cannot be used, or a process of several died.
        PatchebmError: the folder cannot be written or the disk is full.
        KeyboardInterrupt: Ctrl-C; the last checkpoint stays.
    """
    steps = training.steps
    if steps is None:
        steps = training.epochs * max(1, images // (training.batch_size * devices))
    energy.to(device).eval()
    if steps == 0:
        return
    fit = NetworkFit(energy, draw, negatives, training, sampler, steps, bound, seed, label, folder)
    # Imported here, so that scoring does not import it.
    if devices > 1:
        from patchebm.training.several import train_on_several

        train_on_several(fit, device.type, devices)
    else:
        from lightning.fabric import Fabric
        from lightning.fabric.strategies.single_device import SingleDeviceStrategy

        # The strategy's device decides. Fabric has no accelerator for all of them, and this one does nothing.
        train(fit, Fabric(accelerator="cpu", strategy=SingleDeviceStrategy(device)))
    energy.eval()
    if not all(torch.isfinite(tensor).all() for tensor in energy.state_dict().values()):
        raise DivergedError("the energy diverged at the last step; lower training.lr")
