"""This module opens the active models of products, and inspects parts with them."""

from __future__ import annotations

import copy
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from patchebm.errors import ImageError
from patchebm.runtime.bundle_predictor import BundlePredictor, load_bundle
from patchebm.station.arrival import Arrival, Inspected
from patchebm.station.database.products import Calibration, ModelVersion, Product
from patchebm.station.errors import NotFoundError, UnavailableError
from patchebm.station.images import light, pack_map
from patchebm.station.roi import Roi, read_inside, roi_of
from patchebm.station.services.calibrations import facts_of
from patchebm.station.storage import Storage

_log = logging.getLogger(__name__)

# Models beside the active ones that stay open, for a quick roll-back.
SPARE = 1
# Seconds after which it is asked whether another process changed a model.
RECHECK = 2.0

OpenSession = Callable[[], AbstractContextManager[Session]]


@dataclass(frozen=True)
class ActiveModel:
    """This class is the active model of a product, which inspects its parts.

    Attributes:
        predictor: the model, with the calibration that is in force.
        model_id: of which version.
        version: its number.
        calibration_id: by which calibration.
        roi: region of interest of the product; None for the whole image.
    """

    predictor: BundlePredictor
    model_id: int
    version: int
    calibration_id: int
    roi: Roi | None = None

    def inspect(self, arrival: Arrival) -> Inspected:
        """Returns an arrival with its verdict and map.

        Raises:
            ImageError: the image cannot be read or scored, or the region of interest does not fit it.
        """
        name, roi = arrival.part or "the image", self.roi
        pixels, width, height = read_inside(self.predictor, arrival.content, name, roi)
        prediction = self.predictor.predict([pixels])[0]
        heat = prediction.heat_map
        if heat is None or not np.isfinite(heat).all():
            raise ImageError(f"{name}: its anomaly map is not finite; check the image")
        record = prediction.record()
        low, high = self.predictor.heat_range(heat)
        brightness, sharpness = light(pixels)
        regions = record["regions"]
        if roi is not None:
            regions = [roi.on_image_region(region, width, height) for region in regions]
        row = {
            "id": arrival.id,
            "time": arrival.time,
            "product_id": arrival.product_id,
            "model_id": self.model_id,
            "calibration_id": self.calibration_id,
            "source": arrival.source,
            "part": arrival.part,
            "idempotency_key": arrival.key,
            "image_sha256": arrival.sha256,
            "image_format": arrival.header.kind,
            "image_size": len(arrival.content),
            "width": width,
            "height": height,
            "score": prediction.score,
            "levels": prediction.levels,
            "tail_probability": prediction.tail_probability,
            "extrapolated": prediction.extrapolated,
            "threshold": prediction.threshold,
            "anomalous": prediction.anomalous,
            "map_low": low,
            "map_high": high,
            "region_count": record["region_count"],
            "regions": regions,
            "hottest": float(heat.max()),
            "brightness": brightness,
            "sharpness": sharpness,
            "defect": "",
            "roi": None if roi is None else roi.facts,
            "unjoined_id": arrival.unjoined_id,
            "latency_ms": round(1000 * (time.monotonic() - arrival.began), 3),
        }
        # Of the whole image, so that it lies on it: nothing is shown where nothing was inspected.
        whole = heat if roi is None else roi.on_image(heat, width, height, low)
        return Inspected(arrival, self.version, row, pack_map(whole, low, high))


class ActiveModels:
    """This class finds the active model of a product; threads may share it.

    Args:
        open_session: opens the database for reading.
        storage: holds the bundles.
    """

    def __init__(self, open_session: OpenSession, storage: Storage) -> None:
        self._open_session = open_session
        self._storage = storage
        # Held while the database is asked and models are opened, which takes long; `_lock` never is.
        self._refreshing = threading.Lock()
        self._lock = threading.Lock()
        # By product; None stands for a product without an active model.
        self._active_models: dict[int, ActiveModel | None] = {}
        self._products: dict[str, int] = {}
        self._models: OrderedDict[str, BundlePredictor] = OrderedDict()
        self._checked = 0.0

    def product_id(self, name: str) -> int:
        """Returns the id of a product. Raises NotFoundError if there is none of that name."""
        self._recheck()
        found = self._products.get(name)
        if found is None:
            # Another process may just have added it.
            self.refresh()
            found = self._products.get(name)
        if found is None:
            raise NotFoundError(f"there is no product '{name:.64}'")
        return found

    def of(self, product_id: int) -> ActiveModel:
        """Returns the active model of a product. Raises UnavailableError if no model is active."""
        self._recheck()
        with self._lock:
            model = self._active_models.get(product_id)
        if model is None:
            raise UnavailableError("this product has no active model yet; upload and activate one")
        return model

    def refresh(self) -> None:
        """Takes in what has changed in the database: the next part is inspected by it."""
        with self._refreshing:
            self._refresh()

    def prepare(self, model: ModelVersion) -> None:
        """Opens a model before it is activated, so that no part waits for it.

        Raises:
            PatchebmError: it cannot be opened.
        """
        with self._refreshing:
            self._open(model.sha256)

    def any_ready(self) -> bool:
        """Says whether any product can be inspected."""
        with self._lock:
            return any(model is not None for model in self._active_models.values())

    def _recheck(self) -> None:
        if time.monotonic() - self._checked > RECHECK and self._refreshing.acquire(blocking=False):
            try:
                self._refresh()
            finally:
                self._refreshing.release()

    def _refresh(self) -> None:
        self._checked = time.monotonic()
        query = (
            select(
                Product.name,
                Product.id,
                Product.roi,
                ModelVersion.id,
                ModelVersion.number,
                ModelVersion.sha256,
                Calibration.id,
            )
            .join(ModelVersion, Product.active_model_id == ModelVersion.id, isouter=True)
            .join(Calibration, ModelVersion.calibration_id == Calibration.id, isouter=True)
        )
        active_models: dict[int, ActiveModel | None] = {}
        with self._open_session() as session:
            # The outer joins give None where there is no model.
            rows: Sequence[Any] = session.execute(query).all()
            for _, product_id, roi_facts, model_id, version, sha256, calibration_id in rows:
                known, roi = self._active_models.get(product_id), roi_of(roi_facts)
                if model_id is None or calibration_id is None:
                    active_models[product_id] = None
                elif (
                    known is not None
                    and known.model_id == model_id
                    and known.calibration_id == calibration_id
                    and known.roi == roi
                ):
                    active_models[product_id] = known
                else:
                    predictor = copy.copy(self._open(sha256))
                    calibration = session.get_one(Calibration, calibration_id)
                    predictor.calibration_ = facts_of(calibration)
                    predictor.notices.say = _log.warning
                    active_models[product_id] = ActiveModel(predictor, model_id, version, calibration_id, roi)
        with self._lock:
            self._active_models = active_models
            self._products = {name: product_id for name, product_id, *_ in rows}

    def _open(self, sha256: str) -> BundlePredictor:
        predictor = self._models.get(sha256)
        if predictor is None:
            # A thread for each image: several are inspected at once.
            predictor = load_bundle(self._storage.model(sha256), threads=1, warm_up=True)
            self._models[sha256] = predictor
            active = sum(model is not None for model in self._active_models.values())
            while len(self._models) > active + 1 + SPARE:
                self._models.popitem(last=False)
        self._models.move_to_end(sha256)
        return predictor
