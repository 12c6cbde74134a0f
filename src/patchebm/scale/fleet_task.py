"""This module scores a block of images with the model of their product, in a worker of any engine."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from patchebm._version import __version__
from patchebm.errors import PatchebmError
from patchebm.runtime.bundle_predictor import BundlePredictor
from patchebm.scale.block import Done, Task, check_worker
from patchebm.scale.fleet import FLEET
from patchebm.scale.fleet_plan import FleetBlock
from patchebm.scale.model import open_model
from patchebm.scale.storage import Store

# So many models are open in a worker: a manifest may name products in turns.
_OPEN = 2


@dataclass(frozen=True)
class ModelOf:
    """This class says with what the images of a product are scored, and where the results are kept.

    Attributes:
        model: path or URI of the bundle.
        sha256: of its file, when the run began.
        store: gets the results.
        run: what the parts belong to, as `ScoreFolder` keeps it.
    """

    model: str
    sha256: str
    store: Store
    run: dict[str, Any]


@dataclass(frozen=True)
class FleetTask:
    """This class is all that a worker needs beside the images; it can be pickled.

    Workers read the models themselves, so that hundreds of them need not fit into memory.

    Attributes:
        models: of the products, by name.
        store: of the fleet.
        maps: whether the anomaly maps of anomalous images are drawn.
        false_alarm_rate: that replaces those of the models, if any.
        provider: what computes; see `patchebm.runtime.engines.open_engine`.
        version: of the patchebm that made the task.
    """

    models: Mapping[str, ModelOf]
    store: Store
    maps: bool = False
    false_alarm_rate: float | None = None
    provider: str | None = None
    version: str = __version__
    _opened: OrderedDict[str, BundlePredictor] = field(
        default_factory=OrderedDict, init=False, repr=False, compare=False
    )

    def check_worker(self, where: str) -> None:
        """Raises PatchebmError if a worker cannot do the task; see `patchebm.scale.block.check_worker`."""
        check_worker(where, self.version, self.store, FLEET)

    def score(self, block: FleetBlock) -> Done:
        """Scores a block and writes its part, whole or not at all.

        What is wrong with one product stops that product alone: it stands in `stop`.
        """
        given = self.models[block.product]
        try:
            task = Task(self._open(block.product), given.store, given.run, self.maps, self.version)
            done = task.score(block.block)
        except PatchebmError as error:
            return Done(block.number, 0, 0, str(error))
        return Done(block.number, done.images, done.errors)

    def _open(self, product: str) -> BundlePredictor:
        if product not in self._opened:
            given = self.models[product]
            while len(self._opened) >= _OPEN:
                self._opened.popitem(last=False)
            predictor, sha256 = open_model(given.model, self.provider)
            if sha256 != given.sha256:
                raise PatchebmError(
                    f"{given.model} is another file than when scoring began; choose another --out"
                )
            if self.false_alarm_rate is not None:
                predictor = predictor.at_false_alarm_rate(self.false_alarm_rate)
            self._opened[product] = predictor
        self._opened.move_to_end(product)
        return self._opened[product]
