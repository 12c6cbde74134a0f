"""This module fits presets with several seeds on several image sets, and measures each combination once.

What is finished stands in a log, one line a run. A run that is in the log with the same configuration and
the same images is not repeated; one whose configuration or images have changed since is measured again,
and the old line does not count.
"""

from __future__ import annotations

import hashlib
import json
import time
import traceback
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from patchebm.config.base import RunConfig
from patchebm.config.nearest import nearest
from patchebm.errors import DataError, PatchebmError
from patchebm.evaluation.runlog import RunLog
from patchebm.images.checking import check_images
from patchebm.images.folders import ImageSet, open_image_set
from patchebm.images.listing import folders_in
from patchebm.images.names import means_good
from patchebm.provenance import data_hash, versions


@dataclass(frozen=True)
class OpenedSet:
    """This class is an image set with the SHA-256 over all its images, masks and lists."""

    image_set: ImageSet
    sha256: str

    @property
    def size(self) -> int:
        """Returns how many images are fitted on or scored in a run."""
        return len(self.image_set.train) + sum(p.anomalous is not None for p in self.image_set.test)


@dataclass(frozen=True)
class Job:
    """This class is one combination to be measured.

    Attributes:
        set: name of the set's folder.
        preset: name of the preset.
        seed: also in the configuration.
        config: what is fitted.
        key: what a line of the log must say to be this run.
    """

    set: str
    preset: str
    seed: int
    config: RunConfig
    key: Mapping[str, Any]


Outcome = dict[str, Any] | str
"""What the log keeps of a run beside its key; or a sentence that says why it could not be measured."""


class JobEngine(Protocol):
    """This class measures several jobs at a time."""

    def measure(self, jobs: Sequence[tuple[Job, ImageSet]]) -> Generator[tuple[Job, Outcome], None, None]:
        """Measures jobs, and yields each with its outcome as it is finished."""


@dataclass
class Benchmark:
    """This class knows what is to be measured and how far that has come.

    Attributes:
        root: folder of the sets.
        configs: configuration by preset, whatever seed it has.
        seeds: of all runs.
        log: the finished runs, perhaps also of other benchmarks.
        measure: fits and evaluates one job, see `fit_and_evaluate`.
        sets: those that could be opened, by name; see `open_set`.
        errors: what could not be measured: `set`, `preset` and `seed` (null where the set itself is bad) and
            `error`, a sentence.
    """

    root: Path
    configs: Mapping[str, RunConfig]
    seeds: Sequence[int]
    log: RunLog
    measure: Callable[[Job, ImageSet, Callable[[int], object]], dict[str, Any]]
    sets: dict[str, OpenedSet] = field(default_factory=dict)
    errors: list[dict[str, Any]] = field(default_factory=list)

    def open_set(self, name: str, *, good: Collection[str] = ()) -> None:
        """Lists a set and hashes its images; a set that is bad stands in `errors` instead of in `sets`.

        Args:
            name: of its folder.
            good: names of folders of good parts, as for `open_image_set`.
        """
        with self._errors_kept(name):
            images = open_image_set(self.root / name, good=good)
            if not any(image.anomalous is not None for image in images.test):
                raise DataError(
                    f"{images.root} has no test images of known truth; "
                    "put them in test/good and test/<defect>"
                )
            self.sets[name] = OpenedSet(images, _hash(images))

    def jobs(self) -> list[Job]:
        """Returns all combinations, seed by seed: what a stopped one has measured is comparable."""
        found = []
        for seed in self.seeds:
            for name, opened in self.sets.items():
                for preset, base in self.configs.items():
                    config = replace(base, seed=seed)
                    text = json.dumps(asdict(config), sort_keys=True)
                    key = {
                        "set": name,
                        "preset": preset,
                        "seed": seed,
                        "config_sha256": hashlib.sha256(text.encode()).hexdigest(),
                        "data_sha256": opened.sha256,
                    }
                    found.append(Job(name, preset, seed, config, key))
        return found

    def rows(self) -> list[dict[str, Any]]:
        """Returns the finished runs that belong to this benchmark, in the order of its jobs."""
        return [row for job in self.jobs() if (row := self._row(job)) is not None]

    def pending(self) -> list[Job]:
        """Returns the jobs that are not in the log."""
        return [job for job in self.jobs() if self._row(job) is None]

    def changed(self, job: Job) -> bool:
        """Returns whether the log has a pending job with another configuration or other images."""
        return any(
            all(row.get(key) == job.key[key] for key in ("set", "preset", "seed")) for row in self.log.rows
        )

    def run(self, tick: Callable[[int], object] = lambda images: None) -> Iterator[Job]:
        """Measures what is pending; yields each job when its run is in the log or its error in `errors`.

        Args:
            tick: called with the number of images that were just fitted on or scored.

        Raises:
            PatchebmError: the log cannot be written.
        """
        usable: dict[str, bool] = {}
        for job in self.pending():
            row = None
            if self._is_usable(job.set, usable):
                with self._errors_kept(job.set, job.preset, job.seed):
                    row = dict(job.key) | self.measure(job, self.sets[job.set].image_set, tick)
            if row is not None:
                self.log.keep(row)
            yield job

    def run_on(self, engine: JobEngine) -> Iterator[Job]:
        """Does the same as `run`, with several runs at a time; the log has them as they are finished.

        Args:
            engine: measures them, in place of `measure`.

        Raises:
            PatchebmError: the log cannot be written, or the engine cannot start.
        """
        usable: dict[str, bool] = {}
        jobs = []
        for job in self.pending():
            if self._is_usable(job.set, usable):
                jobs.append((job, self.sets[job.set].image_set))
            else:
                yield job
        if not jobs:
            return
        with closing(engine.measure(jobs)) as finished:
            for job, outcome in finished:
                if isinstance(outcome, str):
                    facts = {"set": job.set, "preset": job.preset, "seed": job.seed}
                    self.errors.append(facts | {"error": outcome})
                else:
                    self.log.keep(dict(job.key) | outcome)
                yield job

    def _is_usable(self, name: str, known: dict[str, bool]) -> bool:
        """Returns whether all images of a set can be read; what is wrong stands in `errors`."""
        if name not in known:
            known[name] = False
            images = self.sets[name].image_set
            # A bad image is named before its set is trained on for an hour, not after.
            with self._errors_kept(name):
                check_images([*images.train, *images.test])
                known[name] = True
        return known[name]

    def _row(self, job: Job) -> dict[str, Any] | None:
        matches = (row for row in self.log.rows if all(row.get(k) == v for k, v in job.key.items()))
        return next(matches, None)

    @contextmanager
    def _errors_kept(self, name: str, preset: str | None = None, seed: int | None = None) -> Iterator[None]:
        """Keeps what is wrong with one set or run, so that it does not cost the others."""
        facts = {"set": name, "preset": preset, "seed": seed}
        try:
            yield
        except PatchebmError as error:
            self.errors.append(facts | {"error": str(error)})
        except Exception as error:
            # Not a sentence that anybody thought of, so the traceback is wanted, too.
            traceback.print_exc()
            self.errors.append(facts | {"error": f"{type(error).__name__}: {error}"})


def find_sets(root: str | Path, names: Sequence[str] = (), *, good: Collection[str] = ()) -> list[str]:
    """Returns the names of the image sets in a folder, sorted.

    Args:
        root: the folder; of its folders, those count that hold a folder `train`, `test` or `good`.
        names: take these alone, in this order.
        good: names of folders of good parts, as for `open_image_set`.

    Raises:
        DataError: there is no such folder, it holds no sets or is a set itself, or a name is not that of a
            folder in it; says which, with the nearest name.
    """
    root = Path(root)
    try:
        folders = sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    except OSError as error:
        raise DataError(
            f"folder {root} cannot be read: {error.strerror}; name the folder that holds the image sets"
        ) from error
    for name in names:
        if name not in folders:
            raise DataError(
                f"{root} holds no image set '{name}'{nearest(name, folders)}; it holds {', '.join(folders)}"
            )
    if names:
        return list(dict.fromkeys(names))
    if any(_is_mark(name, good) for name in folders):
        raise DataError(
            f"{root} is itself an image set; name the folder that holds it: {root.resolve().parent}"
        )
    sets = [name for name in folders if any(_is_mark(inner.name, good) for inner in folders_in(root / name))]
    if not sets:
        raise DataError(
            f"{root} holds no image sets; give each a folder of its own in it, with train/good and test"
        )
    return sets


def _is_mark(name: str, good: Collection[str]) -> bool:
    """Says whether a folder that holds one of this name is a set, perhaps a broken one."""
    return name.casefold() in ("train", "test") or means_good(name, good)


def fit_and_evaluate(
    job: Job, images: ImageSet, tick: Callable[[int], object], *, device: str = "auto"
) -> dict[str, Any]:
    """Fits a detector and evaluates it once; returns what the log keeps of the run.

    Raises:
        PatchebmError: the set does not suit the configuration, or training diverged.
    """
    import torch

    from patchebm.detector import EnsembleDetector
    from patchebm.evaluation.evaluate import evaluate
    from patchebm.evaluation.metrics import MAIN, METRICS

    detector = EnsembleDetector(job.config, device=device)
    began = time.perf_counter()
    detector.fit([p.path for p in images.train], [p.group for p in images.train])
    seconds = time.perf_counter() - began
    tick(len(images.train))
    figures = evaluate(detector, images, tick=lambda: tick(1))
    names = [metric.name for metric in METRICS]
    return {
        "train_count": len(images.train),
        **{key: value for key, value in figures.items() if key in names or key.endswith("_count")},
        "levels": {name: level[MAIN.name] for name, level in figures["levels"].items() if MAIN.name in level},
        "false_alarm_rate_stated": detector.threshold_.false_alarm_rate,
        "extrapolated": detector.threshold_.extrapolated,
        "fit_seconds": round(seconds, 2),
        "ms_per_image": round(1000 * figures["seconds"]["score_per_image"], 2),
        "threads": torch.get_num_threads(),
        "versions": versions(),
    }


def outcome_of(job: Job, images: ImageSet, device: str) -> Outcome:
    """Returns what `fit_and_evaluate` does, or why it could not."""
    try:
        return fit_and_evaluate(job, images, lambda count: None, device=device)
    except PatchebmError as error:
        return str(error)
    except Exception as error:
        # Not a sentence that anybody thought of, so the traceback is wanted, too.
        traceback.print_exc()
        return f"{type(error).__name__}: {error}"


def _hash(image_set: ImageSet) -> str:
    """Returns the SHA-256 over everything in a set that figures depend on."""
    images = [*image_set.train, *image_set.test]
    masks = [mask for image in images for mask in image.masks]
    lists = [file for name in ("groups.csv", "kinds.csv") if (file := image_set.root / name).exists()]
    try:
        return data_hash([*(image.path for image in images), *masks, *lists], image_set.root)
    except OSError as error:
        raise DataError(
            f"{error.filename} cannot be read: {error.strerror}; fix the file or remove it"
        ) from error
