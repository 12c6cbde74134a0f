"""Trains a network on several devices of this machine, by a process for each."""

from __future__ import annotations

import json
import logging
import os
import pickle
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

import torch
from lightning.fabric import Fabric
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.strategies.ddp import DDPStrategy
from torch import distributed
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from patchebm import errors
from patchebm.errors import ConfigError, DivergedError, PatchebmError, TrainingError
from patchebm.training.loop import NetworkFit, train

# Gradients go from device to device, and what is logged and kept of chains by way of the CPU.
_BACKENDS = {"cpu": "gloo", "cuda": "cpu:gloo,cuda:nccl"}
_LOOPBACK = {"linux": "lo", "darwin": "lo0"}
# Files of the folder by which the processes and their parent exchange what is large.
_FIT, _LEARNER, _ERROR = "fit", "learner", "error.json"


def train_on_several(fit: NetworkFit, kind: str, devices: int) -> None:
    """Trains the network of an energy on several devices, and puts the result into the energy.

    The processes begin with nothing of this one (`spawn`), so a script that gets here must guard its main
    part with `if __name__ == "__main__"`. They end with this one.

    Args:
        fit: decides the training; it is pickled.
        kind: of the devices, `cpu` or `cuda`.
        devices: how many of them.

    Raises:
        TrainingError: a process died.
        PatchebmError: what a process raises, or there is no room for what they are given.
    """
    with TemporaryDirectory(prefix="patchebm-") as name, _no_port_left():
        folder = Path(name)
        _save(fit, folder / _FIT)
        strategy = _Strategy(process_group_backend=_BACKENDS[kind], start_method="spawn")
        # Not what a cluster's scheduler left in the environment: all processes are on this machine.
        fabric = Fabric(
            accelerator=kind, devices=devices, strategy=strategy, plugins=[LightningEnvironment()]
        )
        # It would tell which processes it ends when one has failed.
        logging.getLogger("torch.multiprocessing.spawn").setLevel(logging.ERROR)
        try:
            fabric.launch(partial(_train_one, folder=folder))
        except (ProcessRaisedException, ProcessExitedException) as error:
            raise _reason(folder, devices, error) from error
        learner = torch.load(folder / _LEARNER, map_location="cpu", weights_only=True)
    fit.energy.learner.load_state_dict(learner)


class _Strategy(DDPStrategy):
    """Fabric's strategy, which says nothing of its own workings and stays on this machine."""

    def setup_environment(self) -> None:
        """Meet the other processes."""
        for logger in ("lightning.fabric", "lightning.pytorch"):
            logging.getLogger(logger).setLevel(logging.WARNING)
        if (loopback := _LOOPBACK.get(sys.platform)) is not None:
            # gloo would ask for the address of the host's name, which containers may not know.
            os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback)
        super().setup_environment()


def _train_one(fabric: Fabric, *, folder: Path) -> None:
    """Does the part of one process."""
    try:
        # A file of this very run, in a folder of this user alone. It is mapped: the images of all processes
        # are in memory once, and what a process changes is its own.
        fit = torch.load(folder / _FIT, map_location="cpu", mmap=True, weights_only=False)
        # All have it: the file goes now, so that a run which is killed leaves nothing large behind. Windows
        # deletes no file that is mapped.
        distributed.all_reduce(torch.zeros(1))
        if fabric.is_global_zero and os.name == "posix":
            (folder / _FIT).unlink()
        train(fit, fabric)
        if fabric.is_global_zero:
            _save(fit.energy.learner.state_dict(), folder / _LEARNER)
    except PatchebmError as error:
        facts: dict[str, Any] = {"kind": type(error).__name__, "sentence": str(error)}
        if isinstance(error, DivergedError):
            facts["given"] = {"rollbacks": error.rollbacks}
        (folder / _ERROR).write_text(json.dumps(facts), encoding="utf-8")
        raise
    except KeyboardInterrupt as error:
        # With status 0 the parent would wait for a result.
        raise SystemExit(130) from error
    distributed.destroy_process_group()


def _save(what: object, file: Path) -> None:
    try:
        torch.save(what, file)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"what a network is trained on cannot be given to other processes ({error}); leave --devices out"
        ) from error
    except (OSError, RuntimeError) as error:
        # torch's zip writer reports a full disk as a RuntimeError.
        raise PatchebmError(
            f"what several devices are given to train on does not fit into {gettempdir()}; free some space, "
            "or set TMPDIR to a folder with more"
        ) from error


def _reason(
    folder: Path, devices: int, error: ProcessRaisedException | ProcessExitedException
) -> PatchebmError:
    """Returns what to raise for a process that failed."""
    if (folder / _ERROR).exists():
        facts = json.loads((folder / _ERROR).read_text(encoding="utf-8"))
        kind: type[PatchebmError] = getattr(errors, facts["kind"], PatchebmError)
        return kind(facts["sentence"], **facts.get("given", {}))
    *_, last = error.msg.strip().splitlines()
    return TrainingError(
        f"a process of the training on {devices} devices failed, for instance for want of memory ({last}); "
        "start again to go on from the last checkpoint"
    )


@contextmanager
def _no_port_left() -> Iterator[None]:
    """Takes back the port that Fabric leaves in the environment, which the next training would use, too."""
    before = os.environ.get("MASTER_PORT")
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("MASTER_PORT", None)
