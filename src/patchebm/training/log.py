"""What a training shows while it runs: a progress bar, curves, and an image of the negatives."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from patchebm.errors import PatchebmError
from patchebm.files import as_unicode, replacing
from patchebm.progress import progress_bar

LOG_EVERY = 10
"""Steps between two points of the curves."""


class TrainingLog:
    """This class shows one bar over all steps, and keeps in a folder the curves and the image.

    Args:
        label: what is trained, in front of the bar.
        done: steps done before; a resumed run's curves are written beside those that are there.
        steps: of the whole run.
        folder: for `csv/part*/metrics.csv`, TensorBoard's events and `negatives.png`; None keeps nothing.
        shown: False for a log that says and keeps nothing, in all processes of a run but one.
    """

    def __init__(self, label: str, done: int, steps: int, folder: Path | None, *, shown: bool = True) -> None:
        folder = folder if shown else None
        self._folder = folder
        self._shown = shown
        self._csv = self._tensorboard = None
        if folder is not None:
            from lightning.fabric.loggers.csv_logs import CSVLogger
            from torch.utils.tensorboard import SummaryWriter

            # TensorBoard cannot write to a folder whose name is no Unicode; the curves are in the table, too.
            has_name = as_unicode(str(folder)) == str(folder)
            with self._writing():
                # CSVLogger would empty a table that is there.
                part = len(list((folder / "csv").glob("part*")))
                self._csv = CSVLogger(folder, "csv", f"part{part}", flush_logs_every_n_steps=1)
                if has_name:
                    self._tensorboard = SummaryWriter(folder / "tensorboard")
        self._bar = progress_bar(steps, label, "step", initial=done) if shown else tqdm(disable=True)

    def __enter__(self) -> TrainingLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # First the bar, so that an error stands on a line of its own.
        self._bar.close()
        if self._tensorboard is not None:
            with self._writing():
                self._tensorboard.close()

    def step(self, step: int, gap: float, values: Mapping[str, Tensor | float]) -> None:
        """Moves the bar on by one step, and adds the values to the curves where a point is due."""
        self._bar.set_postfix_str(f"energy gap {gap:.3g}", refresh=False)
        self._bar.update(1)
        if self._csv is not None and (step + 1) % LOG_EVERY == 0:
            numbers: dict[str, Any] = {name: float(value) for name, value in values.items()}
            with self._writing():
                self._csv.log_metrics(numbers, step)
                if self._tensorboard is not None:
                    for name, number in numbers.items():
                        self._tensorboard.add_scalar(name, number, step)

    def show(self, step: int, rows: Sequence[Tensor]) -> None:
        """Keeps the latest views `(B, C, H, W)` of each row as an image, unless they are features."""
        if self._folder is None or rows[0].shape[1] not in (1, 3):
            return
        image = view_grid(rows, columns=8)
        with replacing(self._folder / "negatives.png") as temporary:
            Image.fromarray(image.numpy()).save(temporary, format="PNG")
        if self._tensorboard is not None:
            with self._writing():
                self._tensorboard.add_image("negatives", image, step, dataformats="HWC")

    def say(self, sentence: str) -> None:
        """Prints a sentence above the bar."""
        if self._shown:
            tqdm.write(sentence, file=sys.stderr)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise PatchebmError(
                f"cannot write to {self._folder}: {error.strerror or error}; free some space"
            ) from error


def view_grid(rows: Sequence[Tensor], columns: int) -> Tensor:
    """Lays rows of views `(B, C, H, W)` in [-1, 1] out as one uint8 image `(H', W', 3)`."""
    bands = []
    for views in rows:
        shown = views[:columns].detach().cpu().expand(-1, 3, -1, -1)
        # Views of 16 px would be postage stamps: they are enlarged to at least 64 px a side, pixel by pixel.
        factor = max(1, 64 // max(shown.shape[-2:]))
        shown = shown.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
        padded = torch.nn.functional.pad(shown, (2, 2, 2, 2), value=1.0)
        bands.append(torch.cat(list(padded), dim=2))
    image = torch.cat(bands, dim=1).permute(1, 2, 0)
    return ((image.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
