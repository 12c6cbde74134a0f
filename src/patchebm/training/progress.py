"""What a training run shows while it runs: one bar with the energy gap and the time left, and chains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from tqdm import tqdm

from patchebm.files import replacing
from patchebm.progress import progress_bar


class TrainingBar(Callback):
    """One bar over all steps of a run, resumed ones included.

    Args:
        label: what is trained, in front of the bar.
        total: steps of the whole run.
    """

    def __init__(self, label: str, total: int) -> None:
        super().__init__()
        self._label = label
        self._total = total
        self._bar: tqdm[Any] | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the bar where the run stands."""
        self._bar = progress_bar(self._total, self._label, "step", initial=trainer.global_step)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Advance by one step."""
        assert self._bar is not None
        gap = trainer.callback_metrics.get("energy/gap")
        if gap is not None:
            self._bar.set_postfix_str(f"energy gap {float(gap):.3g}", refresh=False)
        self._bar.update(1)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the bar."""
        self._close()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Close the bar, so that the error stands on a line of its own."""
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class ChainImages(Callback):
    """Saves data, starts and ends of chains beside each other, as a PNG and for TensorBoard.

    Args:
        folder: where `chains.png`, always the latest, is kept.
        columns: how many chains are shown.
    """

    def __init__(self, folder: Path, columns: int = 8) -> None:
        self._folder = folder
        self._columns = columns

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw the last step's views: rows are data, chain starts, chain ends."""
        views = getattr(pl_module, "last_views", None)
        # A feature vector is no image.
        if views is None or views[0].shape[1] not in (1, 3):
            return
        image = chain_grid(views, self._columns)
        from PIL import Image

        with replacing(self._folder / "chains.png") as temporary:
            Image.fromarray(image.numpy()).save(temporary, format="PNG")
        for logger in trainer.loggers:
            if isinstance(logger, pl.loggers.TensorBoardLogger):
                logger.experiment.add_image("chains", image, trainer.global_step, dataformats="HWC")


def chain_grid(rows: tuple[Tensor, ...], columns: int) -> Tensor:
    """Lay rows of views `(B, C, H, W)` in [-1, 1] out as one uint8 image `(H', W', 3)`."""
    bands = []
    for views in rows:
        shown = views[:columns].cpu().expand(-1, 3, -1, -1)
        # Views of 16 px would be postage stamps: enlarge to at least 64 px a side, pixel by pixel.
        factor = max(1, 64 // max(shown.shape[-2:]))
        shown = shown.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
        padded = torch.nn.functional.pad(shown, (2, 2, 2, 2), value=1.0)
        bands.append(torch.cat(list(padded), dim=2))
    image = torch.cat(bands, dim=1).permute(1, 2, 0)
    return ((image.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
