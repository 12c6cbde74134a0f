"""Run the training of one energy: Lightning's loop, checkpoints, logs, resume."""

from __future__ import annotations

import contextlib
import logging
import signal
import warnings
from collections.abc import Iterator
from pathlib import Path

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch.utils.data import DataLoader

from patchebm.errors import PatchebmError, TrainingError
from patchebm.training.checkpoint import AtomicCheckpointIO
from patchebm.training.module import EnergyModule
from patchebm.training.progress import ChainImages, TrainingBar

CHECKPOINT = "last.ckpt"


def train(
    module: EnergyModule,
    *,
    checkpoint_every: int,
    gradient_clip: float,
    label: str,
    folder: Path | None,
) -> None:
    """Train to the module's number of steps, going on from `folder`'s checkpoint if there is one.

    Leaves the fitted energy in `module.energy`. Checkpoints lie at fixed steps and hold all that decides
    the rest of the run, so that a run killed anywhere and resumed ends bit for bit like one that was not.

    Args:
        module: what is trained.
        checkpoint_every: steps between checkpoints.
        gradient_clip: largest norm of the parameters' gradient; 0 for no clipping.
        label: name in the progress bar.
        folder: for `last.ckpt`, `chains.png`, TensorBoard events and `metrics.csv`; None keeps nothing.

    Raises:
        TrainingError: the energy diverged for good, or the checkpoint cannot be read.
        KeyboardInterrupt: Ctrl-C; the last checkpoint stays.
    """
    steps = module.steps
    interval = max(1, min(checkpoint_every, steps))
    callbacks: list[pl.Callback] = [TrainingBar(label, steps)]
    loggers: list[pl.loggers.Logger] = []
    checkpoint: Path | None = None
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        checkpoint = folder / CHECKPOINT
        callbacks += [
            ChainImages(folder),
            ModelCheckpoint(
                dirpath=folder,
                filename=CHECKPOINT.removesuffix(".ckpt"),
                every_n_train_steps=interval,
                save_top_k=1,
                enable_version_counter=False,
            ),
        ]
        # A resumed run writes a table of its own: the logger would empty the one that is there.
        part = len(list((folder / "csv").glob("part*")))
        loggers = [
            TensorBoardLogger(folder, name="", version="tensorboard"),
            CSVLogger(folder, name="csv", version=f"part{part}"),
        ]
    # An "epoch" is the stretch between two checkpoints; its batches are step numbers, because the module
    # draws its own views from the one generator that checkpoints carry.
    stretch: DataLoader[int] = DataLoader(range(interval), batch_size=None)  # type: ignore[arg-type]
    with _quiet():
        trainer = pl.Trainer(
            max_steps=steps,
            max_epochs=-1,
            accelerator="auto",
            devices=1,
            logger=loggers or False,
            callbacks=callbacks,
            enable_checkpointing=folder is not None,
            enable_model_summary=False,
            enable_progress_bar=False,
            gradient_clip_val=gradient_clip or None,
            log_every_n_steps=10,
            plugins=[AtomicCheckpointIO()],
        )
        resume = str(checkpoint) if checkpoint is not None and checkpoint.exists() else None
        handler = signal.getsignal(signal.SIGINT)
        try:
            trainer.fit(module, stretch, ckpt_path=resume)
        except OSError as error:
            # A logger's file; checkpoints have a sentence of their own.
            raise PatchebmError(
                f"cannot write to {folder}: {error.strerror or error}; free some space"
            ) from error
        except SystemExit as stop:
            # Lightning turns Ctrl-C into exit(1) and leaves further ones ignored.
            signal.signal(signal.SIGINT, handler)
            raise KeyboardInterrupt from stop
    if trainer.global_step < steps:
        raise TrainingError(
            f"training stopped at step {trainer.global_step} of {steps}; run it again to go on"
        )
    module.cpu()
    module.finish()
    if not all(torch.isfinite(tensor).all() for tensor in module.energy.state_dict().values()):
        raise TrainingError("the energy diverged at the last step; lower training.lr")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's hints about workers and devices out of the user's terminal."""
    names = ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero")
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", message=".*num_workers.*")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
