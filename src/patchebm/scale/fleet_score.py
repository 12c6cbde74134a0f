"""This module scores the images of many products, each with the model of its product, on whichever engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from patchebm.errors import DataError, ModelFileError, PatchebmError
from patchebm.runtime.calibration import Calibration
from patchebm.scale.engine import Engine
from patchebm.scale.fleet import claim
from patchebm.scale.fleet_models import FleetModels
from patchebm.scale.fleet_plan import fleet_blocks, plans_of
from patchebm.scale.fleet_source import FleetSource
from patchebm.scale.fleet_task import FleetTask, ModelOf
from patchebm.scale.folder import ScoreFolder, run_facts
from patchebm.scale.model import read_model
from patchebm.scale.plan import Plan
from patchebm.scale.product import WARNINGS, Columns, warned_of
from patchebm.scale.storage import Store
from patchebm.scale.summary import Summary, summarise

SCORED: Columns = {
    "product": str,
    "images": int,
    "scored": int,
    "errors": int,
    "anomalous": int,
    "share_anomalous": float,
    "false_alarm_rate": float,
    "threshold": float,
    "drifted": bool,
    "drift_p_value": float,
    **WARNINGS,
    "error": str,
}
"""What is said of each product."""

Line = dict[str, Any]


@dataclass(frozen=True)
class FleetBegun:
    """This class is a run that has its folders and knows what is left to do.

    Attributes:
        task: for workers.
        source: the images.
        plans: of all products.
        calibrations: of the products that can be scored.
        left: the numbers of their blocks that are still to be scored.
        refused: the lines of the other products.
    """

    task: FleetTask
    source: FleetSource
    plans: Mapping[str, Plan]
    calibrations: Mapping[str, Calibration]
    left: Mapping[str, frozenset[int]]
    refused: Mapping[str, Line]

    @property
    def images(self) -> int:
        """Returns how many images can be scored."""
        return sum(self.plans[product].images for product in self.left)

    @property
    def images_left(self) -> int:
        """Returns how many of them are still to be scored."""
        return sum(
            len(self.plans[product].expected(number))
            for product, numbers in self.left.items()
            for number in numbers
        )


def begin_fleet(
    source: FleetSource,
    models: FleetModels,
    out: str,
    *,
    maps: bool = False,
    false_alarm_rate: float | None = None,
    provider: str | None = None,
) -> FleetBegun:
    """Takes the folders of all products' results, or goes on with those of a run that was interrupted.

    The results of a product are kept in a folder of its name, as those of an archive are; see `ScoreFolder`.

    Args:
        source: the images.
        models: of the products.
        out: folder or URI.
        maps: whether the anomaly maps of anomalous images are drawn.
        false_alarm_rate: instead of those of the models.
        provider: what computes.

    Raises:
        DataError: the source has no images, or `out` holds something else.
        ConfigError: a rate outside (0, 1).
        PatchebmError: a store cannot be reached, or may not be read.
    """
    plans = plans_of(source)
    found: dict[str, tuple[str, str, Calibration]] = {}
    refused: dict[str, Line] = {}
    for product, plan in plans.items():
        try:
            model = models.find(product)
            found[product] = (model, *_read_calibration(model, false_alarm_rate))
        except (DataError, ModelFileError) as error:
            refused[product] = _failed(product, plan, str(error))
    store = Store(out)
    rate = [] if false_alarm_rate is None else ["--false-alarm-rate", str(false_alarm_rate)]
    claim(store, "score", [*rate, *(["--maps"] if maps else [])])
    given: dict[str, ModelOf] = {}
    left: dict[str, frozenset[int]] = {}
    for product, (model, sha256, calibration) in found.items():
        plan = plans[product]
        # A product that has a model has the name of a folder, whatever a manifest says.
        folder = ScoreFolder(Store(f"{store.place}/{product}"))
        run = run_facts(plan, sha256, calibration.threshold.value, maps=maps)
        try:
            folder.claim(source.name, plan, run)
            left[product] = frozenset(range(plan.parts)) - folder.done(plan)
        except DataError as error:
            refused[product] = _failed(product, plan, str(error))
        else:
            given[product] = ModelOf(model, sha256, folder.store, run)
    calibrations = {product: found[product][2] for product in given}
    task = FleetTask(given, store, maps, false_alarm_rate, provider)
    return FleetBegun(task, source, plans, calibrations, left, refused)


def score_fleet(
    begun: FleetBegun,
    engine: Engine,
    report: Callable[[Sequence[Line]], object] = lambda lines: None,
    tick: Callable[[int], object] = lambda images: None,
) -> list[Line]:
    """Scores what is left, and writes the summary of each product; returns the lines of all.

    Args:
        begun: the run.
        engine: distributes the work.
        report: is called with all lines so far, at the beginning and whenever there is a new one.
        tick: is called with the number of images of each block that is done.

    Raises:
        PatchebmError: the run stopped; what was scored stays, and the same run goes on.
    """
    lines = dict(begun.refused)

    def finish(product: str) -> None:
        lines[product] = _line(begun, product)

    def ordered() -> list[Line]:
        return [lines[product] for product in begun.plans if product in lines]

    left = {product: set(numbers) for product, numbers in begun.left.items()}
    for product in [product for product, numbers in left.items() if not numbers]:
        del left[product]
        finish(product)
    report(ordered())
    if not left:
        return ordered()
    # What is asked for is taken from `left` when it is done.
    asked: dict[int, tuple[str, int]] = {}

    def blocks() -> Any:
        for block in fleet_blocks(begun.source, begun.plans, left):
            asked[block.number] = (block.product, block.block.number)
            yield block

    with closing(engine.score(begun.task, blocks())) as finished:
        for done in finished:
            product, number = asked.pop(done.number)
            tick(done.images)
            if product not in left:
                continue
            if done.stop is not None:
                lines[product] = _failed(product, begun.plans[product], done.stop)
                del left[product]
            else:
                left[product].remove(number)
                if not left[product]:
                    del left[product]
                    finish(product)
            if product in lines:
                report(ordered())
    return ordered()


def _read_calibration(model: str, false_alarm_rate: float | None) -> tuple[str, Calibration]:
    """Returns the hash of a bundle, and its calibration at a rate."""
    bundle, sha256 = read_model(model)
    try:
        calibration = Calibration.from_dict(bundle.card)
    except ValueError as error:
        raise ModelFileError(
            f"{model}: its card lacks what scoring needs ({error}); export it again"
        ) from error
    if false_alarm_rate is not None:
        calibration = calibration.at_false_alarm_rate(false_alarm_rate)
    return sha256, calibration


def _line(begun: FleetBegun, product: str) -> Line:
    """Writes the summary of a product whose parts are all there, and returns its line."""
    given, plan = begun.task.models[product], begun.plans[product]
    try:
        summary = summarise(given.store, begun.calibrations[product], plan, given.run)
        ScoreFolder(given.store).write_summary(summary.to_dict())
    except PatchebmError as error:
        return _failed(product, plan, str(error))
    return _figures(product, summary)


def _figures(product: str, summary: Summary) -> Line:
    facts, drift = summary.to_dict(), summary.drift
    found = {name: facts[name] for name in SCORED if name in facts}
    return (
        dict.fromkeys(SCORED)
        | found
        | {
            "product": product,
            "drifted": drift.drifted if drift else None,
            "drift_p_value": drift.p_value if drift else None,
            **warned_of(summary.notices),
        }
    )


def _failed(product: str, plan: Plan, error: str) -> Line:
    return dict.fromkeys(SCORED) | {"product": product, "images": plan.images, "error": error}
