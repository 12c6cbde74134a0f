"""This module measures the model of a product of a fleet on the product's test images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from patchebm.run_folder import RunFolder
from patchebm.scale.measured import MEASURED, has_tests, measured
from patchebm.scale.product import WARNINGS, Columns, Product, files_in, json_object


@dataclass(frozen=True)
class EvaluatedProduct(Product):
    """This class is a product whose model is measured; see `Product`.

    Its options are those of `patchebm evaluate`.

    | file of its folder | what it is |
    |---|---|
    | `evaluation.json` | what `patchebm evaluate` measured; missing where there are no test images |

    Attributes:
        model: bundle or run folder.
    """

    columns: ClassVar[Columns] = {
        "product": str,
        "false_alarm_rate": float,
        "threshold": float,
        **MEASURED,
        **WARNINGS,
        "seconds": float,
        "error": str,
    }

    needs: ClassVar[Sequence[str]] = ("scipy", "sklearn", "matplotlib")
    extras: ClassVar[str] = "scale,train"

    model: Path

    @property
    def evaluation(self) -> Path:
        """Returns the file of what was measured."""
        return self.folder / "evaluation.json"

    def made_of(self) -> dict[str, Any]:
        """Returns the same as of any product, and what tells whether the model changed."""
        # Of a run its card, which is written last: an evaluation writes into the folder, too.
        file = RunFolder(self.model).card_file if self.model.is_dir() else self.model
        return super().made_of() | {"model": files_in([file])}

    def clear(self) -> None:
        """Removes what was measured of another model or on other images."""
        self.evaluation.unlink(missing_ok=True)

    def work(self) -> int:
        """Measures the model, if there are test images."""
        if self.evaluation.exists() or not has_tests(self.data, self.good):
            return 0
        command = ["evaluate", str(self.model), str(self.data), "--json", str(self.evaluation)]
        threads = ["--threads", str(self.threads)] if self.model.is_file() else []
        return self.verb([*command, *threads, *self.options, *self.good_option])

    def figures(self) -> dict[str, Any]:
        """Returns what the evaluation says; see `Product.figures`."""
        found = json_object(self.evaluation)
        if found is None:
            return {}
        calibration = found["calibration"]
        return {
            "false_alarm_rate": calibration["false_alarm_rate"],
            "threshold": calibration["value"],
            **measured(self.evaluation, calibration["false_alarm_rate"]),
        }
