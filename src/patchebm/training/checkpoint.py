"""Checkpoints that survive a kill at any moment."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from patchebm.errors import TrainingError
from patchebm.files import replacing

_NEEDED = {
    "patchebm",
    "pytorch-lightning_version",
    "state_dict",
    "optimizer_states",
    "lr_schedulers",
    "loops",
}


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside and renames; loads tensors and plain values only, never arbitrary pickles."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write the checkpoint. Raises PatchebmError where the disk is full or the folder closed."""
        del storage_options
        with replacing(path) as temporary:
            try:
                torch.save(checkpoint, temporary)
            except RuntimeError as error:
                # torch's zip writer reports a full disk as a RuntimeError.
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error

    def load_checkpoint(
        self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Read a checkpoint. Raises TrainingError, naming the file, where it cannot be read."""
        del weights_only
        try:
            loaded = torch.load(path, map_location=map_location, weights_only=True)
        except Exception as error:
            raise TrainingError(
                f"checkpoint {path} cannot be read ({type(error).__name__}); delete it to start over"
            ) from error
        if not isinstance(loaded, dict) or not loaded.keys() >= _NEEDED:
            raise TrainingError(f"{path} is no checkpoint of patchebm; delete it to train from the start")
        return loaded
