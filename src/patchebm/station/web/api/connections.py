"""This module keeps what the station is connected to: sources of images, and outputs of results."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from patchebm.station.database import tables
from patchebm.station.outputs import open_sender
from patchebm.station.services import messages, outputs, sources
from patchebm.station.sources.options import without_secrets
from patchebm.station.station import Station
from patchebm.station.web.api import PROBLEMS, schemas
from patchebm.station.web.dependencies import Admin, DatabaseSession, Engineer, Line, TheStation

router = APIRouter(tags=["connections"], responses=PROBLEMS)


@router.get("/sources")
def all_sources(session: DatabaseSession, station: TheStation, actor: Engineer) -> list[schemas.Source]:
    """Returns all sources by name. HTTP push needs none."""
    return [_source(row, station) for row in sources.everything(session)]


# What a source reads lies on the station's machine: only admins say which folders may be read.
@router.post("/sources", status_code=201)
def add_source(
    session: DatabaseSession, station: TheStation, actor: Admin, body: schemas.NewSource
) -> schemas.Source:
    """Adds a source; it begins to work at once."""
    added = sources.add(session, actor, station.session, body.name, body.product, body.kind, body.settings)
    return _source(added, station)


@router.patch("/sources/{source}")
def change_source(
    session: DatabaseSession, station: TheStation, actor: Admin, source: str, body: schemas.SourceChange
) -> schemas.Source:
    """Lets a source work, or rest, or replaces all its settings; what is left out stays."""
    row = sources.get(session, source)
    if body.settings is not None:
        row = sources.change(session, actor, station.session, source, body.settings)
    if body.enabled is not None:
        row = sources.enable(session, actor, source, body.enabled)
    return _source(row, station)


@router.post("/sources/{source}/trigger", status_code=201)
async def trigger_source(
    station: TheStation,
    actor: Line,
    source: str,
    part: Annotated[str, Query(max_length=128, description="What the line calls the part.")] = "",
) -> schemas.Inspection | schemas.JoinedPart:
    """Has a camera take an image, or several take their views, inspects and stores them, and then answers."""
    future = await run_in_threadpool(station.sources.trigger, source, part)
    # The part is stored even if its sender goes.
    outcome = await asyncio.shield(asyncio.wrap_future(future))
    shape = schemas.JoinedPart if "views" in outcome else schemas.Inspection
    return shape.model_validate(outcome)


@router.get("/outputs")
def all_outputs(session: DatabaseSession, station: TheStation, actor: Engineer) -> list[schemas.Output]:
    """Returns all outputs by name, and what they have not sent yet."""
    return [
        schemas.Output.model_validate(facts)
        for facts in (_output(session, station, row) for row in outputs.everything(session))
    ]


@router.post("/outputs", status_code=201)
def add_output(
    session: DatabaseSession, station: TheStation, actor: Admin, body: schemas.NewOutput
) -> schemas.OutputAdded:
    """Adds an output; it gets what is stored from now on. A webhook's secret is shown this once."""
    row = outputs.add(session, actor, body.name, body.kind, body.settings, body.product)
    facts = _output(session, station, row) | {"secret": row.settings.get("secret")}
    return schemas.OutputAdded.model_validate(facts)


@router.patch("/outputs/{output}")
def enable_output(
    session: DatabaseSession, station: TheStation, actor: Admin, output: str, body: schemas.Enabled
) -> schemas.Output:
    """Lets an output work, or rest."""
    row = outputs.enable(session, actor, output, body.enabled)
    return schemas.Output.model_validate(_output(session, station, row))


def _source(row: tables.Source, station: Station) -> schemas.Source:
    return schemas.Source(
        name=row.name,
        product=row.product.name,
        kind=row.kind,
        settings=without_secrets(row.settings),
        enabled=row.enabled,
        state=station.sources.states().get(row.name, ""),
        counts=station.sources.counts().get(row.name, {}),
    )


def _output(session: Session, station: Station, row: tables.Output) -> dict[str, Any]:
    waiting = messages.counts(session).get(row.id, {})
    product = None if row.product_id is None else session.get_one(tables.Product, row.product_id).name
    return {
        "name": row.name,
        "kind": row.kind,
        "product": product,
        "settings": open_sender(row.kind, row.settings).shown,
        "enabled": row.enabled,
        "pending": waiting.get("pending", 0),
        "set_aside": waiting.get("set_aside", 0),
        "failure": station.outputs.failing().get(row.name, ""),
    }
