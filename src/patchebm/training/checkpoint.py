"""The checkpoint of a run: all that decides the rest of it, so that it goes on bit for bit after a kill."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path

import torch

from patchebm.errors import TrainingError
from patchebm.files import replacing
from patchebm.training.guard import Stateful
from patchebm.training.ranks import Ranks


class Checkpoint:
    """This class writes the state of a run to a file and reads it back.

    Args:
        path: the file.
        seed: of the run; a checkpoint of another seed belongs to another run.
        generator: of the process, on the CPU.
        parts: everything else that changes from step to step and is the same in all processes of the run.
        own: what changes and is the process's own.
        ranks: the processes. The first writes the file, in which the others' own state is under `others`;
            all of them read it.
    """

    def __init__(
        self,
        path: Path,
        seed: int,
        generator: torch.Generator,
        parts: Mapping[str, Stateful],
        own: Mapping[str, Stateful] | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        self._path = path
        self._seed = seed
        self._generator = generator
        self._parts = parts
        self._own = own or {}
        self._ranks = ranks or Ranks()

    def save(self, steps: int) -> None:
        """Writes the state after so many steps, atomically. All processes of the run must call it.

        Raises:
            PatchebmError: the disk is full or the folder cannot be written.
        """
        own = {name: part.state_dict() for name, part in self._own.items()}
        own["generator"] = self._generator.get_state()
        first, *others = self._ranks.gather(own) or [own]
        if not self._ranks.is_first:
            return
        state = {name: part.state_dict() for name, part in self._parts.items()} | first
        run: dict[str, object] = {"seed": self._seed, "steps": steps}
        if others:
            run["others"] = others
        with replacing(self._path) as temporary:
            try:
                torch.save(state | run, temporary)
            except RuntimeError as error:
                # torch's zip writer reports a full disk as a RuntimeError.
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error

    def load(self) -> int:
        """Brings the state back and returns the number of steps done; 0 if there is no checkpoint.

        Raises:
            TrainingError: the file cannot be read, is none of a run like this one, or has another seed.
        """
        if not self._path.exists():
            return 0
        try:
            # Tensors and plain values only: a checkpoint can never run code.
            state = torch.load(self._path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise TrainingError(
                f"checkpoint {self._path} cannot be read ({type(error).__name__}); delete it to start over"
            ) from error
        needed = {"seed", "steps", "generator", *self._parts, *self._own}
        others = state.pop("others", []) if isinstance(state, dict) else []
        if not isinstance(state, dict) or state.keys() != needed or state["seed"] != self._seed:
            raise TrainingError(f"checkpoint {self._path} is of another run; delete it to start over")
        devices = len(others) + 1
        if devices != self._ranks.count:
            what = f"{devices} device{'s' if devices > 1 else ''}"
            raise TrainingError(
                f"checkpoint {self._path} is of a training on {what}; go on "
                f"with --devices {devices}, or delete it to start over"
            )
        own = state if self._ranks.is_first else others[self._ranks.rank - 1]
        try:
            for name, part in self._parts.items():
                part.load_state_dict(state[name])
            for name, part in self._own.items():
                part.load_state_dict(own[name])
        except (KeyError, RuntimeError, ValueError) as error:
            # Names or shapes of tensors do not fit.
            raise TrainingError(
                f"checkpoint {self._path} is of another network; delete it to start over"
            ) from error
        self._generator.set_state(own["generator"])
        return int(state["steps"])
