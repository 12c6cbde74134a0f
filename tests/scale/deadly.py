"""Work at which workers die, as they do where they need more memory than there is."""

from __future__ import annotations

import importlib
import os
import signal
from dataclasses import dataclass
from typing import Any

from patchebm.scale.block import Done, Task
from patchebm.scale.fleet_plan import FleetBlock
from patchebm.scale.fleet_task import FleetTask
from patchebm.scale.plan import Block


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class DeadlyTask(Task):
    """This class kills workers at an image, or where none is named, when they start."""

    deadly: str | None = None

    def check_worker(self, where: str) -> None:
        if self.deadly is None:
            die()
        super().check_worker(where)

    def score(self, block: Block) -> Done:
        if any(row.image == self.deadly for row in block.rows):
            die()
        return super().score(block)


@dataclass(frozen=True)
class DeadlyFleetTask(FleetTask):
    """This class kills workers at the images of a product."""

    deadly: str = ""

    def score(self, block: FleetBlock) -> Done:
        if block.product == self.deadly:
            die()
        return super().score(block)


class UnreadableTask(Task):
    """This class needs what workers do not have."""

    def __reduce__(self) -> tuple[Any, ...]:
        return importlib.import_module, ("a_module_that_nobody_has",)
