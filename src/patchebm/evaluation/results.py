"""This module reads and writes results, and picks the part of them that goes with an exported model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from patchebm.errors import DataError
from patchebm.evaluation.evaluate import Results
from patchebm.evaluation.metrics import METRICS, Metric
from patchebm.files import write_text
from patchebm.provenance import file_hash
from patchebm.run_folder import RunFolder

# Beside the metrics and the counts; neither paths, commands nor single images.
_COUNTS = ("threshold", "count", "good_count", "anomalous_count", "false_alarm_count", "miss_count")
_BREAKDOWNS = ("per_defect", "per_kind", "levels")


def level_names(results: Results) -> list[str]:
    """Returns the names of the detector's levels, without the ensemble."""
    return list(results["predictions"][0]["levels"])


def stored_figures(run: RunFolder) -> dict[str, Any]:
    """Returns `card_figures` of the results that a user put into a run folder.

    Raises:
        DataError: the file cannot be read.
    """
    file = run.figures_file
    try:
        results = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(results, dict):
            raise ValueError("it holds no figures")
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read ({error}); evaluate again or remove it") from error
    return card_figures(results)


def card_figures(results: Mapping[str, Any], metrics: Sequence[Metric] = METRICS) -> dict[str, Any]:
    """Returns the figures of results that may go with a model to anyone who uses it.

    Args:
        results: what `patchebm evaluate` wrote.
        metrics: which may go.

    Returns:
        The name of the image set, the threshold, the metrics with their intervals and the counts; the same
        for each level, defect and kind of defect. Nothing that names a path, a command or a single image.
    """
    names = {name for metric in metrics for name in (metric.name, metric.interval_name)}
    kept = {
        key: value
        for key, value in results.items()
        if key == "image_set" or (isinstance(value, (int, float, list)) and (key in names or key in _COUNTS))
    }
    for part in _BREAKDOWNS:
        if isinstance(results.get(part), Mapping):
            kept[part] = {name: card_figures(own, metrics) for name, own in results[part].items()}
    return kept


def write_results(path: str | Path, results: Results) -> None:
    """Writes results as JSON, atomically. Raises PatchebmError if the file cannot be written."""
    write_text(path, json.dumps(results, indent=1, allow_nan=False) + "\n")


def read_results(path: str | Path) -> dict[str, Results]:
    """Reads all results that `patchebm evaluate` left in a run folder, by image set.

    Raises:
        DataError: the folder is missing, holds no results, ones that cannot be read, or ones of a model that
            has changed since; says how to get them.
    """
    run = RunFolder(path)
    if not run.path.is_dir():
        raise DataError(f"{run.path} is not a run folder; name one that `patchebm train` wrote")
    how = f"run patchebm evaluate {run.path} DATA first"
    if not run.results_files():
        raise DataError(f"{run.path} holds no results; {how}")
    model_sha256 = file_hash(run.card_file) if run.is_finished else None
    found = {}
    for file in run.results_files():
        try:
            results = json.loads(file.read_text(encoding="utf-8"))
            made_by = results["made_by"]
            for key in ("image_set", "predictions", "threshold", "levels"):
                results[key]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{file} cannot be read as results ({error}); {how}") from error
        if model_sha256 is not None and made_by.get("model_sha256") != model_sha256:
            raise DataError(f"the model in {run.path} has changed since {file} was written; {how}")
        found[str(results["image_set"])] = results
    return found
