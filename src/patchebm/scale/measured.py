"""This module takes the figures of a product from what `patchebm evaluate` wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from patchebm.errors import DataError
from patchebm.images.folders import open_image_set
from patchebm.scale.product import Columns, json_object

MEASURED: Columns = {
    "good_tested": int,
    "expected_alarms": float,
    "observed_alarms": int,
    "defects_tested": int,
    "defects_missed": int,
    "auroc": float,
}
"""The columns of what was measured on test images."""


def has_tests(data: Path, good: tuple[str, ...]) -> bool:
    """Returns whether a folder has test images of known truth, or may have them and is bad.

    Then `patchebm evaluate` says what is wrong. A folder of good images alone has none.
    """
    try:
        test = open_image_set(data, good=good).test
    except DataError:
        return True
    return any(image.anomalous is not None for image in test)


def measured(evaluation: Path, false_alarm_rate: float) -> dict[str, Any]:
    """Returns the values of `MEASURED` from the JSON file of an evaluation; nothing where there is none.

    Args:
        evaluation: the file.
        false_alarm_rate: of the threshold, which lets so many alarms expect.
    """
    found = json_object(evaluation)
    if not found:
        return {}
    # A fleet without tests needs no metrics.
    from patchebm.evaluation.metrics import MAIN

    return {
        "good_tested": found["good_count"],
        "expected_alarms": false_alarm_rate * found["good_count"],
        "observed_alarms": found.get("false_alarm_count"),
        "defects_tested": found["anomalous_count"],
        "defects_missed": found.get("miss_count"),
        "auroc": found.get(MAIN.name),
    }
