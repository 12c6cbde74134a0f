"""This module lets another version inspect the last parts again, to compare it with what was said of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from patchebm.errors import PatchebmError
from patchebm.runtime.bundle_predictor import load_bundle
from patchebm.station.roi import read_inside, roi_of
from patchebm.station.services import inspections, models, products
from patchebm.station.services.calibrations import facts_of
from patchebm.station.services.inspections import Filters
from patchebm.station.storage import Storage

# Parts that are inspected again unless another number is asked for, and at most.
PARTS, MOST = 60, inspections.MAX_PAGE


@dataclass(frozen=True)
class Comparison:
    """This class is what two versions say of the same parts.

    Attributes:
        version: the version that inspected again.
        rows: each part as `inspections.as_dict`, with `other_score` and `other_verdict`.
        unreadable: parts whose images could not be inspected again.
    """

    version: int
    rows: tuple[dict[str, Any], ...]
    unreadable: int

    @property
    def changed(self) -> list[dict[str, Any]]:
        """Returns the parts whose verdict would change."""
        return [row for row in self.rows if row["verdict"] != row["other_verdict"]]

    def false_alarms(self, key: str) -> int:
        """Returns how many parts are NG that people confirmed good, by `verdict` or `other_verdict`."""
        return sum(row[key] == "NG" and row["review"] == "good" for row in self.rows)

    def misses(self, key: str) -> int:
        """Returns how many parts are OK that people confirmed defective, by `verdict` or `other_verdict`."""
        return sum(row[key] == "OK" and row["review"] == "defective" for row in self.rows)


def compare(
    open_session: Callable[[], AbstractContextManager[Session]],
    storage: Storage,
    product_name: str,
    number: int,
    parts: int = PARTS,
) -> Comparison:
    """Returns the comparison with the last parts that still have images, by the region of interest of now.

    Args:
        open_session: opens the database for reading; it is closed while the model works.
        storage: holds images and bundles.
        product_name: whose parts.
        number: of the version that inspects again, by its calibration in force.
        parts: how many at most.

    Raises:
        NotFoundError: there is no such product or version.
        ModelFileError: the bundle cannot be opened.
    """
    with open_session() as session:
        product = products.get(session, product_name)
        model = models.get(session, product, number)
        calibration = facts_of(model.calibration) if model.calibration is not None else None
        roi = roi_of(product.roi)
        path = storage.model(model.sha256)
        found = inspections.search(session, Filters(product=product_name), limit=parts)
        shown = [
            (inspections.as_dict(one), storage.image(one.id, one.image_format))
            for one in found
            if one.image_deleted is None
        ]
    # One thread: the line goes on meanwhile.
    predictor = load_bundle(path, threads=1)
    if calibration is not None:
        predictor.calibration_ = calibration
    unreadable = 0

    def inspected() -> Iterator[dict[str, Any]]:
        nonlocal unreadable
        for row, image in shown:
            try:
                pixels, _, _ = read_inside(predictor, storage.get(image), image.name, roi)
                said = predictor.predict([pixels], heat_maps=False)[0]
            except PatchebmError:
                unreadable += 1
                continue
            yield row | {"other_score": said.score, "other_verdict": "NG" if said.anomalous else "OK"}

    rows = tuple(inspected())
    return Comparison(number, rows, unreadable)
