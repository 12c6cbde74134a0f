"""This module scores all images of a source into a folder, on whichever engine."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from patchebm.errors import PatchebmError
from patchebm.runtime.bundle_predictor import BundlePredictor
from patchebm.scale.block import Task
from patchebm.scale.engine import Engine
from patchebm.scale.folder import ScoreFolder, run_facts
from patchebm.scale.plan import Plan, blocks_of, plan_of
from patchebm.scale.source import Source
from patchebm.scale.storage import Store
from patchebm.scale.summary import Summary, summarise

# A run goes on when a block of it is given up, but not at so many: others would be, too, each after its time.
_MANY = 3


@dataclass(frozen=True)
class Begun:
    """This class is a run that has its folder and knows what is left to do.

    Attributes:
        task: for workers.
        plan: of the source.
        done: the numbers of the blocks whose results are there already.
        source: the images.
        resumed: whether an interrupted run goes on.
    """

    task: Task
    plan: Plan
    done: frozenset[int]
    source: Source
    resumed: bool

    @property
    def images_left(self) -> int:
        """Returns how many images are still to be scored."""
        return self.plan.images - sum(len(self.plan.expected(number)) for number in self.done)


def begin(
    source: Source, predictor: BundlePredictor, model_sha256: str, out: str, *, maps: bool = False
) -> Begun:
    """Takes the folder of the results for a run, or goes on with one that was interrupted.

    Args:
        source: the images.
        predictor: scores them.
        model_sha256: of the bundle's file.
        out: folder or URI.
        maps: whether the anomaly maps of anomalous images are drawn.

    Raises:
        DataError: the source has no images; or `out` holds something else, such as scores of another model.
        PatchebmError: a store cannot be reached, or may not be read or written.
    """
    plan = plan_of(source)
    store = Store(out)
    folder = ScoreFolder(store)
    run = run_facts(plan, model_sha256, predictor.threshold_.value, maps=maps)
    resumed = folder.claim(source.name, plan, run)
    task = Task(predictor, store, run, maps)
    return Begun(task, plan, frozenset(folder.done(plan)), source, resumed)


def score(begun: Begun, engine: Engine, tick: Callable[[int], object] = lambda images: None) -> Summary:
    """Scores what is left of a run, and writes the summary of all of it.

    Args:
        begun: the run.
        engine: distributes the work.
        tick: is called with the number of images of each block that is done.

    Raises:
        PatchebmError: the run stopped; what was scored stays, and the same run goes on.
    """
    blocks = blocks_of(begun.source, begun.plan, begun.done)
    given_up: list[str] = []
    if begun.images_left:
        with closing(engine.score(begun.task, blocks)) as finished:
            for done in finished:
                tick(done.images)
                if done.stop is not None:
                    given_up.append(done.stop)
                if len(given_up) == _MANY:
                    break
    if given_up:
        raise PatchebmError("; ".join(given_up))
    task = begun.task
    summary = summarise(task.store, task.predictor.calibration_, begun.plan, task.run)
    ScoreFolder(task.store).write_summary(summary.to_dict())
    return summary
