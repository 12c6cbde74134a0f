"""This module keeps what a scoring run is made of: an interrupted one goes on, and another is refused."""

from __future__ import annotations

import json
from typing import Any

from patchebm._version import __version__
from patchebm.errors import DataError
from patchebm.scale.block import PARTS, RUN
from patchebm.scale.plan import Plan, part_name
from patchebm.scale.storage import Store

SUMMARY = "summary.json"

# What must not differ when a run goes on, and how a message calls it.
_SAME = {
    "model_sha256": "another model",
    "threshold": "another false-alarm rate",
    "source_sha256": "another list of images",
    "block": "another list of images",
    "maps": "another choice of --maps",
}


class ScoreFolder:
    """This class is the place of the results of one run.

    | file | what it is |
    |---|---|
    | `run.json` | the model, the source and the options |
    | `parts/part-000000.parquet` | the results of a block of images, written whole |
    | `maps/000000123.png` | the anomaly map of an image, by its number |
    | `summary.json` | all of it in figures; written last |

    Args:
        store: folder or URI.
    """

    def __init__(self, store: Store) -> None:
        self.store = store

    def claim(self, source: str, plan: Plan, run: dict[str, Any]) -> bool:
        """Takes the place for a run, or recognises one that was interrupted; returns whether it goes on.

        Args:
            source: what the user called the images.
            plan: of the source.
            run: what the run is made of; see `run_facts`.

        Raises:
            DataError: the place holds something else, or the results of another model or source.
        """
        facts = {"patchebm": __version__, "source": source, "images": plan.images, **run}
        there = self.store.names()
        if RUN not in there:
            if there:
                raise DataError(f"{self.store.place} is not empty and holds no scores; choose another --out")
            self.store.write(RUN, _json(facts))
            return False
        before = self._object(RUN)
        for key, what in _SAME.items():
            if before.get(key) != json.loads(json.dumps(facts[key])):
                raise DataError(f"{self.store.place} holds scores of {what}; choose another --out")
        self.store.sweep(PARTS)
        return True

    def done(self, plan: Plan) -> set[int]:
        """Returns the numbers of the blocks whose results are there."""
        there = self.store.names(PARTS)
        return {number for number in range(plan.parts) if part_name(number) in there}

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Writes `summary.json`."""
        self.store.write(SUMMARY, _json(summary))

    def _object(self, name: str) -> dict[str, Any]:
        try:
            value = json.loads(self.store.read(name))
            if not isinstance(value, dict):
                raise ValueError("it is no JSON object")
        except ValueError as error:
            raise DataError(
                f"{self.store.place}/{name} cannot be read ({error}); choose another --out"
            ) from error
        return value


def run_facts(plan: Plan, model_sha256: str, threshold: float, *, maps: bool) -> dict[str, Any]:
    """Returns what a part of the results belongs to.

    Names are left out: the same files may be called otherwise from another machine.
    """
    return {
        "model_sha256": model_sha256,
        "source_sha256": plan.sha256,
        "threshold": threshold,
        "block": plan.block,
        "maps": maps,
    }


def _json(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, allow_nan=False) + "\n").encode()
