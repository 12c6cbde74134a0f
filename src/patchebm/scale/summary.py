"""This module reads the parts of the results again and sums them up, one at a time."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from patchebm.errors import DataError
from patchebm.runtime.calibration import Calibration
from patchebm.scale.block import METADATA, PARTS
from patchebm.scale.drift import Drift, DriftCounter
from patchebm.scale.plan import Plan, part_name
from patchebm.scale.storage import Store

# The bins of the histogram: scores count standard deviations of good parts.
EDGES = np.arange(-4, 16.25, 0.25)
# Errors that are told in full.
_EXAMPLES = 10
_COLUMNS = ["index", "image", "score", "anomalous", "error"]
_READ_AHEAD = 8


class Summary:
    """This class is what all parts of the results say together. It depends on nothing but them.

    Args:
        calibration: of the model.
        plan: of the source.
        run: what every part must belong to.
    """

    def __init__(self, calibration: Calibration, plan: Plan, run: dict[str, Any]) -> None:
        self._calibration = calibration
        self._plan = plan
        self._run = run
        self._drift = DriftCounter(calibration.tail)
        self._counts = np.zeros(len(EDGES) - 1, dtype=np.int64)
        self._below = self._above = 0
        self._sums: list[float] = []
        self._range: list[float] = []
        self.images = self.errors = self.anomalous = 0
        self.examples: list[dict[str, str]] = []
        self.notices: list[str] = []

    def add(self, number: int, content: bytes) -> None:
        """Adds the part of a block.

        Raises:
            DataError: it is damaged, belongs to another run, or does not hold each image of its block once.
        """
        name = f"{PARTS}/{part_name(number)}"
        try:
            file = pq.ParquetFile(io.BytesIO(content))
            facts = json.loads(file.schema_arrow.metadata[METADATA])
            table = file.read(columns=_COLUMNS)
        except (OSError, KeyError, TypeError, ValueError, pa.ArrowException) as error:
            raise DataError(f"{name} is damaged; delete it and start again") from error
        if facts["run"] != self._run:
            raise DataError(f"{name} belongs to other images or another model; delete it and start again")
        if table.column("index").to_pylist() != list(self._plan.expected(number)):
            raise DataError(f"{name} does not hold each of its images once; delete it and start again")
        self.notices += [sentence for sentence in facts["notices"] if sentence not in self.notices]
        failed = table.filter(table.column("error").is_valid())
        self.images += len(table)
        self.errors += len(failed)
        for row in failed.slice(0, max(0, _EXAMPLES - len(self.examples))).to_pylist():
            self.examples.append({"image": row["image"], "error": row["error"]})
        self.anomalous += sum(table.column("anomalous").drop_null().to_pylist())
        scores = table.column("score").drop_null().to_numpy()
        if len(scores):
            self._counts += np.histogram(scores, EDGES)[0]
            self._below += int((scores < EDGES[0]).sum())
            self._above += int((scores > EDGES[-1]).sum())
            self._sums.append(math.fsum(scores))
            self._range = [min([*self._range, *scores]), max([*self._range, *scores])]
            self._drift.add(scores)

    @property
    def scored(self) -> int:
        """Returns how many images have a score."""
        return self.images - self.errors

    @property
    def drift(self) -> Drift | None:
        """Returns the test against the calibration; None without scores."""
        return self._drift.result()

    def to_dict(self) -> dict[str, Any]:
        """Returns all figures as JSON can hold them."""
        threshold, drift = self._calibration.threshold, self.drift
        scored = self.scored
        scores = (
            {"mean": math.fsum(self._sums) / scored, "min": self._range[0], "max": self._range[1]}
            if scored
            else None
        )
        return {
            "images": self.images,
            "scored": scored,
            "errors": self.errors,
            "error_examples": self.examples,
            "anomalous": self.anomalous,
            "share_anomalous": self.anomalous / scored if scored else None,
            "threshold": threshold.value,
            "false_alarm_rate": threshold.false_alarm_rate,
            "scores": scores,
            "histogram": {
                "edges": EDGES.tolist(),
                "counts": self._counts.tolist(),
                "below": self._below,
                "above": self._above,
            },
            "drift": drift.to_dict() if drift else None,
            "notices": self.notices,
            "parts": self._plan.parts,
            **self._run,
        }


def summarise(
    store: Store,
    calibration: Calibration,
    plan: Plan,
    run: dict[str, Any],
    tick: Callable[[], object] = lambda: None,
) -> Summary:
    """Returns the summary of results that are complete.

    Args:
        store: that holds them.
        calibration: of the model.
        plan: of the source.
        run: what every part must belong to.
        tick: is called after each part.

    Raises:
        DataError: a part is missing, damaged or of another run; names it.
        PatchebmError: the store cannot be read.
    """
    summary = Summary(calibration, plan, run)
    numbers = iter(range(plan.parts))
    with ThreadPoolExecutor(_READ_AHEAD) as threads:
        while some := list(islice(numbers, _READ_AHEAD)):
            contents = threads.map(lambda number: _read(store, number), some)
            for number, content in zip(some, contents, strict=True):
                summary.add(number, content)
                tick()
    return summary


def _read(store: Store, number: int) -> bytes:
    name = f"{PARTS}/{part_name(number)}"
    try:
        return store.read(name)
    except FileNotFoundError as error:
        raise DataError(
            f"{store.place} lacks {name}; start again, and where several machines work, give an --out that "
            "all of them share"
        ) from error
