"""This module scores what has settled in a folder that fills, records it, and goes on.

Nothing is lost and nothing is scored twice: an image counts as done when its record is on the disk, and not
before. Whatever happens in between, it is found again in the folder.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath

from patchebm.errors import ImageError, PatchebmError
from patchebm.files import replacing
from patchebm.images.newcomers import Newcomers
from patchebm.images.photo import Photo
from patchebm.line.journal import Journal, Record
from patchebm.line.watch import Arrival, FileState, FolderWatch
from patchebm.runtime.overlay import heat_overlay, side_by_side
from patchebm.runtime.prediction import Prediction
from patchebm.runtime.predictor import Predictor

# Images scored before their records are written: what a stop waits for, and what a power cut repeats.
BATCH = 16
# Seconds until a full disk is tried again: the first, doubled up to the second.
FIRST_RETRY, LONGEST_RETRY = 0.5, 30.0
# A scan may take this share of the time, however many images lie in the folder.
SCAN_SHARE = 0.1


class Stream:
    """This class scores the images of a folder and writes their records to a journal.

    Args:
        predictor: scores images.
        watch: finds them.
        journal: where records go.
        model: what records call the model.
        maps: folder for overlays of anomaly maps, or None.
        regions: whether records list the regions of the anomaly map; with overlays they do.
        stop: set by whoever wants the stream to end; it does so after the current batch.
        say: takes messages.
        recorded: called with each batch of records that has been written.
    """

    def __init__(
        self,
        predictor: Predictor,
        watch: FolderWatch,
        journal: Journal,
        *,
        model: str,
        maps: Path | None,
        regions: bool,
        stop: threading.Event,
        say: Callable[[str], None],
        recorded: Callable[[Sequence[Record]], None],
    ) -> None:
        self._newcomers = Newcomers(predictor.profile, say)
        self._predictor = predictor
        self._watch = watch
        self._journal = journal
        self._model = model
        self._maps = maps
        self._heat_maps = regions or maps is not None
        self._stop = stop
        self._say = say
        self._recorded = recorded
        self._restless: set[str] = set()

    def run(self, *, poll: float, once: bool) -> None:
        """Works until `stop` is set, or, with `once`, until every image that was there at first is recorded.

        Args:
            poll: seconds between two scans of the folder; more where a scan takes long.
            once: whether to end then: images that come, or come again, meanwhile are not waited for, nor one
                that never stops changing.

        Raises:
            DataError: the results were moved or deleted.
        """
        wanted: set[str] | None = None
        while not self._stop.is_set():
            self._journal.check()
            began = time.monotonic()
            ready = self._watch.scan()
            took = time.monotonic() - began
            if once and not self._watch.gone:
                waiting = self._watch.waiting
                wanted = set(waiting) if wanted is None else wanted & waiting
                if not self._still_wanted(wanted):
                    self._newcomers.finish()
                    return
            for first in range(0, len(ready), BATCH):
                if self._stop.is_set():
                    return
                done = self._work(ready[first : first + BATCH])
                if wanted is not None:
                    wanted -= done
            spent = time.monotonic() - began
            self._stop.wait(max(poll, took / SCAN_SHARE) - spent)

    def _still_wanted(self, names: set[str]) -> bool:
        """Says whether there is an image to wait for; says which ones never stop changing."""
        endless = {name for name in names if self._watch.never_settles(name)}
        if endless != names:
            return True
        for name in sorted(endless):
            self._say(f"left out: {name} never stopped changing, so that it was not read; run watch again")
        return False

    def _read(self, arrival: Arrival, photo: Photo) -> tuple[Arrival, bool]:
        """Reads an image; returns it with the state in which it was read, and whether it changed meanwhile.

        Raises:
            ImageError: it cannot be read.
            OSError: it is gone.
        """
        if not arrival.restless:
            photo.sha256  # noqa: B018  (reads the file)
            return arrival, FileState.of(arrival.path) != arrival.state
        if arrival.name not in self._restless:
            self._restless.add(arrival.name)
            self._say(
                f"{arrival.name} is replaced before it has settled: it is scored as it is found, and what it "
                "is between two scans is not; write each image under a name of its own"
            )
        before = FileState.of(arrival.path)
        photo.sha256  # noqa: B018
        return replace(arrival, state=before), FileState.of(arrival.path) != before

    def _work(self, batch: Sequence[Arrival]) -> set[str]:
        """Scores a batch of images and records it; returns the names that were recorded, or known already."""
        records: list[Record] = []
        known: set[str] = set()
        arrived: list[tuple[Arrival, Photo]] = []
        for found in batch:
            photo = Photo(found.path, self._predictor.decoding_)
            try:
                arrival, changed = self._read(found, photo)
            except (ImageError, OSError) as error:
                if not os.path.exists(found.path):
                    if not found.restless:
                        self._say(f"{found.name} was removed before it was scored")
                elif not found.restless and self._watch.give_up(found):
                    records.append(self._record(found, None) | {"error": str(error)})
                continue
            if changed:
                continue
            if self._journal.is_same(arrival.name, arrival.state, photo.sha256):
                known.add(arrival.name)
            else:
                arrived.append((arrival, photo))
        photos = [photo for _, photo in arrived]
        outcomes = self._predictor.outcomes(photos, heat_maps=self._heat_maps)
        for (arrival, photo), outcome in zip(arrived, outcomes, strict=True):
            record = self._record(arrival, photo.sha256)
            if isinstance(outcome, ImageError):
                if arrival.restless or not self._watch.give_up(arrival):
                    continue
                record["error"] = str(outcome)
            else:
                self._newcomers.add(photo)
                record |= outcome.record() | {"image": arrival.name}
                if self._maps is not None and not self._draw(photo, outcome, record, self._maps):
                    return known
            # What was replaced while it was scored was a whole image all the same.
            if arrival.restless or _is_unchanged(arrival):
                records.append(record)
        if records and self._persist(lambda: self._journal.append(records)):
            self._recorded(records)
            known.update(record["image"] for record in records)
        return known

    def _record(self, arrival: Arrival, sha256: str | None) -> Record:
        """Returns what is known of an image without its score."""
        size, mtime_ns, ctime_ns, _ = arrival.state
        identity = f"{arrival.name}\0{size}\0{mtime_ns}\0{sha256}".encode("utf-8", "surrogateescape")
        return {
            "id": hashlib.sha256(identity).hexdigest()[:32],
            "time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            "image": arrival.name,
            "size": size,
            "mtime_ns": mtime_ns,
            "ctime_ns": ctime_ns,
            "sha256": sha256,
            "model": self._model,
        }

    def _draw(self, photo: Photo, prediction: Prediction, record: Record, folder: Path) -> bool:
        """Writes the overlay of a prediction's map and names it in the record. Returns as `_persist`."""
        assert prediction.heat_map is not None
        low, high = self._predictor.heat_range(prediction.heat_map)
        try:
            overlay = heat_overlay(
                photo.pixels, prediction.heat_map, low=low, high=high, mask=prediction.mask
            )
        except ValueError:
            # A map that is not finite cannot be drawn; the score counts all the same.
            return True
        name = _map_name(record)
        record["overlay"] = f"{folder.name}/{name}"

        def save() -> None:
            with replacing(folder / name) as temporary:
                side_by_side(photo.pixels, overlay, None).save(temporary, format="PNG")

        return self._persist(save)

    def _persist(self, write: Callable[[], None]) -> bool:
        """Writes something, however long the disk is full. Returns False if the stream is to stop before."""
        pause, failed = FIRST_RETRY, False
        while True:
            try:
                write()
            except PatchebmError as error:
                self._journal.check()
                if not failed:
                    self._say(f"{error}; trying again until it works, nothing is lost meanwhile")
                failed = True
                if self._stop.wait(pause):
                    return False
                pause = min(2 * pause, LONGEST_RETRY)
            else:
                if failed:
                    self._say("results can be written again")
                return True


def _map_name(record: Record) -> str:
    """Returns where an image's overlay goes: each version of the image, and each ending, has its own name."""
    path = PurePosixPath(record["image"])
    return str(path.with_name(f"{path.stem}_{record['id'][:8]}_heat.png"))


def _is_unchanged(arrival: Arrival) -> bool:
    """Says whether the file is still the one that was scored, or gone, which leaves its score as it is."""
    try:
        return FileState.of(arrival.path) == arrival.state
    except FileNotFoundError:
        return True
