"""This module keeps products, their models and their calibrations."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from patchebm.errors import ConfigError
from patchebm.runtime.calibration import Calibration as Facts
from patchebm.station.database import tables
from patchebm.station.errors import ConflictError
from patchebm.station.roles import Actor
from patchebm.station.services import calibrations, insights, models, products
from patchebm.station.station import Station
from patchebm.station.web.api import PROBLEMS, schemas
from patchebm.station.web.bodies import read_file
from patchebm.station.web.dependencies import DatabaseSession, Engineer, Operator, TheStation

router = APIRouter(tags=["products"], responses=PROBLEMS)

Number = Annotated[int, Path(ge=1, le=2**31 - 1)]
_BUNDLE = {
    "requestBody": {
        "required": True,
        "content": {
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"model": {"type": "string", "format": "binary"}},
                    "required": ["model"],
                }
            },
        },
    }
}


@router.get("/products")
def all_products(session: DatabaseSession, actor: Operator) -> list[schemas.Product]:
    """Returns all products by name."""
    return [schemas.Product.model_validate(_product(one)) for one in products.everything(session)]


@router.post("/products", status_code=201)
def add_product(session: DatabaseSession, actor: Engineer, body: schemas.NewProduct) -> schemas.Product:
    """Adds a product."""
    added = products.add(session, actor, body.name, title=body.title, roi=_roi(body.roi))
    return schemas.Product.model_validate(_product(added))


@router.get("/products/{product}")
def one_product(session: DatabaseSession, actor: Operator, product: str) -> schemas.ProductDetails:
    """Returns a product with its models, newest first."""
    found = products.get(session, product)
    facts = _product(found) | {
        "models": [_model(one, found) for one in models.versions(session, found)],
        "activations": [
            {"time": one.time, "actor": one.actor, "version": one.model.number}
            for one in models.activations(session, found)
        ],
    }
    return schemas.ProductDetails.model_validate(facts)


@router.patch("/products/{product}")
def change_product(
    session: DatabaseSession, actor: Engineer, product: str, body: schemas.ProductChange
) -> schemas.Product:
    """Changes a product's title or region of interest, by which the next part is inspected."""
    takes_away = body.roi is None and "roi" in body.model_fields_set
    roi = {} if takes_away else _roi(body.roi)
    changed = products.change(session, actor, product, title=body.title, roi=roi)
    return schemas.Product.model_validate(_product(changed))


@router.post("/products/{product}/models", status_code=201, openapi_extra=_BUNDLE)
async def add_model(
    request: Request,
    station: TheStation,
    actor: Engineer,
    product: str,
    note: Annotated[str, Query(max_length=200)] = "",
) -> schemas.Model:
    """Adds a bundle as the product's next version, once its hashes, its card and a trial were checked."""
    content = await read_file(request, "model", station.settings.bundle_mb)
    facts = await run_in_threadpool(_add_model, station, actor, product, content, note)
    return schemas.Model.model_validate(facts)


def _add_model(station: Station, actor: Actor, product: str, content: bytes, note: str) -> dict[str, Any]:
    with station.session() as session:
        products.get(session, product)
    # Takes seconds, in which others must be able to write.
    checked = models.verify(content)
    with station.session(write=True) as session:
        model = models.add(session, actor, station.storage, product, content, note=note, checked=checked)
        return _model(model, products.get(session, product))


@router.post("/products/{product}/models/{version}/activate")
def activate(station: TheStation, actor: Engineer, product: str, version: Number) -> schemas.ProductDetails:
    """Makes a version inspect from the next part on; with an older version it is a roll-back."""
    with station.session() as session:
        model = models.get(session, products.get(session, product), version)
    # Takes a while, in which others must be able to write.
    station.active_models.prepare(model)
    with station.session(write=True) as session:
        models.activate(session, actor, product, version)
    with station.session() as session:
        return one_product(session, actor, product)


@router.get("/products/{product}/calibrations")
def all_calibrations(session: DatabaseSession, actor: Operator, product: str) -> list[schemas.Calibration]:
    """Returns the calibrations of a product's models, newest first."""
    found = products.get(session, product)
    rows = calibrations.of_product(session, found)
    return [schemas.Calibration.model_validate(calibration(row)) for row in rows]


@router.post("/products/{product}/calibrations", status_code=201)
def add_calibration(
    session: DatabaseSession, actor: Engineer, product: str, body: schemas.NewCalibration
) -> schemas.Calibration:
    """Moves the threshold, or learns from reviews what good parts score.

    It is in force at once, unless the station asks for four eyes: then another person must approve it.
    """
    found = products.get(session, product)
    model = found.active_model if body.model is None else models.get(session, found, body.model)
    if model is None:
        raise ConflictError(f"'{product}' has no active model; say which version is meant")
    facts, method = wanted_calibration(session, model, body)
    added = calibrations.propose(session, actor, found, model, facts, method, note=body.note)
    return schemas.Calibration.model_validate(calibration(added))


@router.post("/products/{product}/calibrations/{number}/approve")
def approve(session: DatabaseSession, actor: Engineer, product: str, number: Number) -> schemas.Calibration:
    """Puts a proposed calibration in force; another person than who proposed it must do so."""
    found = products.get(session, product)
    decided = calibrations.decide(session, actor, found, number, approve=True)
    return schemas.Calibration.model_validate(calibration(decided))


@router.post("/products/{product}/calibrations/{number}/reject")
def reject(session: DatabaseSession, actor: Engineer, product: str, number: Number) -> schemas.Calibration:
    """Puts a proposed calibration aside."""
    found = products.get(session, product)
    decided = calibrations.decide(session, actor, found, number, approve=False)
    return schemas.Calibration.model_validate(calibration(decided))


def wanted_calibration(
    session: Session, model: tables.ModelVersion, body: schemas.NewCalibration
) -> tuple[Facts, str]:
    """Returns the calibration that a request wants, and its method.

    Raises:
        ConfigError: it wants none or several, or it cannot be had.
    """
    if model.calibration is None:
        raise ConflictError(f"version {model.number} has no calibration")
    facts = calibrations.facts_of(model.calibration)
    if body.from_reviews and body.threshold is None:
        rate = body.false_alarm_rate or facts.threshold.false_alarm_rate
        return insights.from_reviews(session, model, rate), "recalibrated"
    if body.from_reviews or (body.threshold is None) == (body.false_alarm_rate is None):
        raise ConfigError("give exactly one of threshold, false_alarm_rate and from_reviews")
    if body.threshold is not None:
        return calibrations.at_threshold(facts, body.threshold), "threshold"
    assert body.false_alarm_rate is not None
    return calibrations.at_rate(facts, body.false_alarm_rate), "threshold"


def _roi(roi: schemas.Roi | None) -> dict[str, Any] | None:
    return None if roi is None else roi.model_dump()


def _product(product: tables.Product) -> dict[str, Any]:
    model = product.active_model
    in_force = models.active_calibration(product)
    return {
        "name": product.name,
        "title": product.title,
        "roi": product.roi,
        "model": model.number if model is not None else None,
        "threshold": in_force.threshold if in_force is not None else None,
        "created": product.created,
    }


def _model(model: tables.ModelVersion, product: tables.Product) -> dict[str, Any]:
    graph = model.card.get("graph") or {}
    assert model.calibration is not None
    return {
        "version": model.number,
        "active": product.active_model_id == model.id,
        "sha256": model.sha256,
        "size": model.size,
        "note": model.note,
        "levels": model.levels,
        "format": str(graph.get("format", "")),
        "precision": str(graph.get("precision", "f32")),
        "parity": models.parity(model),
        "created": model.created,
        "created_by": model.created_by,
        "calibration": calibration(model.calibration),
    }


def calibration(row: tables.Calibration) -> dict[str, Any]:
    """Returns a calibration as REST shows it."""
    return {
        "id": row.id,
        "model": row.model.number,
        "method": row.method,
        "status": row.status,
        "in_force": row.model.calibration_id == row.id,
        "false_alarm_rate": row.false_alarm_rate,
        "threshold": row.threshold,
        "parts": row.parts,
        "note": row.note,
        "created": row.created,
        "created_by": row.created_by,
        "approved": row.approved,
        "approved_by": row.approved_by,
    }
