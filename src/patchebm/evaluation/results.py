"""What an evaluation leaves behind: figures and the score of every image, to be plotted and compared."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from patchebm.errors import DataError
from patchebm.evaluation.evaluate import Evaluation
from patchebm.files import write_text
from patchebm.images.fingerprints import Duplicate
from patchebm.images.folders import ImageSet
from patchebm.provenance import file_hash

FOLDER = "evaluation"
"""Where in a run folder results lie, one file for each image set."""


def results_of(
    evaluation: Evaluation,
    image_set: ImageSet,
    *,
    duplicates: Sequence[Duplicate] = (),
    warnings: Sequence[str] = (),
    facts: dict[str, Any],
) -> dict[str, Any]:
    """The figures of an evaluation with what they come from, as JSON can hold it.

    Args:
        evaluation: what was measured.
        image_set: whose test images were scored.
        duplicates: test images that training has seen.
        warnings: further sentences for the reader.
        facts: what was run; kept under `made_by`.

    Returns:
        The figures; `duplicates`, `warnings` and `made_by`; and `predictions`, for each image its record
        (see `Prediction.record`) with `image` as seen from the set, and its `defect`.
    """
    records = []
    for image, prediction in zip(evaluation.images, evaluation.predictions, strict=True):
        path = image.path
        name = path.relative_to(image_set.root) if path.is_relative_to(image_set.root) else path
        # A file name that is not valid UTF-8 reaches Python as lone surrogates, which cannot be written.
        text = name.as_posix().encode("utf-8", "replace").decode("utf-8")
        records.append(prediction.record() | {"image": text, "defect": image.defect})
    figures = dict(evaluation.figures)
    figures["warnings"] = [*warnings, *figures["warnings"]]
    return figures | {
        "duplicates": [asdict(duplicate) for duplicate in duplicates],
        "made_by": facts,
        "predictions": records,
    }


def write_results(path: str | Path, results: dict[str, Any]) -> None:
    """Write results as JSON, atomically. Raises PatchebmError if the file cannot be written."""
    write_text(path, json.dumps(results, indent=1, allow_nan=False) + "\n")


def write_predictions(path: str | Path, results: dict[str, Any]) -> None:
    """Write a line for each image as CSV: truth, score, verdict, tail probability and the levels' scores.

    Raises:
        PatchebmError: the file cannot be written.
    """
    stream = io.StringIO()
    plain = ("image", "defect", "score", "tail_probability", "extrapolated", "anomalous", "threshold")
    levels = list(results["predictions"][0]["levels"])
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*plain, *(f"{name}_score" for name in levels)])
    for record in results["predictions"]:
        writer.writerow([*(record[key] for key in plain), *(record["levels"][name] for name in levels)])
    write_text(path, stream.getvalue())


def results_file(run: Path, image_set: str) -> Path:
    """Where the results of a run on a set are kept."""
    return run / FOLDER / f"{image_set or 'set'}.json"


def read_results(run: str | Path) -> dict[str, dict[str, Any]]:
    """All results that `patchebm evaluate` left in a run folder, by image set.

    Raises:
        DataError: the folder is missing, holds no results, ones that cannot be read, or ones of a model that
            has changed since; says how to get them.
    """
    folder = Path(run)
    if not folder.is_dir():
        raise DataError(f"{folder} is not a run folder; name one that `patchebm train` wrote")
    how = f"run patchebm evaluate {folder} DATA first"
    files = sorted((folder / FOLDER).glob("*.json"))
    if not files:
        raise DataError(f"{folder} holds no results; {how}")
    model = folder / "model.json"
    model_sha256 = file_hash(model) if model.exists() else None
    found = {}
    for file in files:
        try:
            results = json.loads(file.read_text(encoding="utf-8"))
            made_by = results["made_by"]
            for key in ("image_set", "predictions", "threshold", "levels"):
                results[key]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{file} cannot be read as results ({error}); {how}") from error
        if model_sha256 is not None and made_by.get("model_sha256") != model_sha256:
            raise DataError(f"the model in {folder} has changed since {file} was written; {how}")
        found[str(results["image_set"])] = results
    return found
