"""This module makes the model of a product of a fleet: check, train, export, evaluate."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from patchebm.errors import PatchebmError
from patchebm.run_folder import RunFolder
from patchebm.runtime.bundle import read_bundle
from patchebm.scale.fleet_models import BUNDLE, RUN
from patchebm.scale.measured import MEASURED, has_tests, measured
from patchebm.scale.product import WARNING, WARNINGS, Columns, Product


@dataclass(frozen=True)
class TrainedProduct(Product):
    """This class is a product whose model is made; see `Product`.

    Its options are those of `patchebm train`.

    | file of its folder | what it is |
    |---|---|
    | `run` | the run folder |
    | `part.patchebm` | the bundle |
    | `evaluation.json` | what `patchebm evaluate` measured, where truth is known |

    Attributes:
        check: takes the arguments of `patchebm train`, and returns what there is to warn of before.
    """

    columns: ClassVar[Columns] = {
        "product": str,
        "images": int,
        "false_alarm_rate": float,
        "threshold": float,
        **MEASURED,
        **WARNINGS,
        "seconds": float,
        "error": str,
    }

    needs: ClassVar[Sequence[str]] = (
        "torch", "lightning", "safetensors", "scipy", "sklearn", "matplotlib", "onnx",
    )  # fmt: skip
    extras: ClassVar[str] = "scale,export"

    check: Callable[[Sequence[str]], Sequence[str]]

    @property
    def run(self) -> Path:
        """Returns the run folder."""
        return self.folder / RUN

    @property
    def bundle(self) -> Path:
        """Returns the file of the exported model."""
        return self.folder / BUNDLE

    @property
    def evaluation(self) -> Path:
        """Returns the file of what was measured."""
        return self.folder / "evaluation.json"

    def clear(self) -> None:
        """Removes the model and what was measured of it."""
        for file in (self.bundle, self.evaluation):
            file.unlink(missing_ok=True)
        shutil.rmtree(self.run, ignore_errors=True)

    def work(self) -> int:
        """Checks, trains, exports and evaluates, as far as that is not done."""
        arguments = [str(self.data), "--out", str(self.run), *self.options, *self.good_option]
        if not RunFolder(self.run).is_finished:
            self._warn(arguments)
            if status := self.verb(["train", *arguments]):
                return status
        if not self.bundle.exists() and (
            status := self.verb(["export", str(self.run), "--out", str(self.bundle)])
        ):
            return status
        if self.evaluation.exists() or not has_tests(self.data, self.good):
            return 0
        command = ["evaluate", str(self.run), str(self.data), "--json", str(self.evaluation)]
        return self.verb([*command, *self.good_option])

    def _warn(self, arguments: Sequence[str]) -> None:
        """Says what the check of the images warns of."""
        try:
            warnings = self.check(arguments)
        except PatchebmError:
            # Training says the same, and ends with it.
            return
        for sentence in warnings:
            print(f"{WARNING}{sentence}", flush=True)

    def figures(self) -> dict[str, Any]:
        """Returns what the files of the finished model say; see `Product.figures`."""
        threshold = read_bundle(self.bundle).card["threshold"]
        return {
            "images": RunFolder(self.run).record().get("images"),
            "false_alarm_rate": threshold["false_alarm_rate"],
            "threshold": threshold["value"],
            **measured(self.evaluation, threshold["false_alarm_rate"]),
        }
