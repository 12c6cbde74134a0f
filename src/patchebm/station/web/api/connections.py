"""This module keeps what the station is connected to: sources of images, and outputs of results."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from patchebm.station.arrival import Outcome
from patchebm.station.database import tables
from patchebm.station.outputs import shown_settings
from patchebm.station.services import inspections, joined, messages, outputs, sources
from patchebm.station.sources.joiner import FEWEST, MOST
from patchebm.station.sources.options import without_secrets
from patchebm.station.station import Station
from patchebm.station.web.api import PROBLEMS, schemas
from patchebm.station.web.bodies import read_images
from patchebm.station.web.dependencies import Admin, DatabaseSession, Engineer, Line, TheStation

router = APIRouter(tags=["connections"], responses=PROBLEMS)

Part = Annotated[str, Query(max_length=128, description="What the line calls the part.")]
_VIEWS = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "description": "An image in a field for each view, which has its name.",
                    "additionalProperties": {"type": "string", "format": "binary"},
                    "minProperties": FEWEST,
                    "maxProperties": MOST,
                }
            }
        },
    }
}


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


@router.delete("/sources/{source}", status_code=204)
def delete_source(station: TheStation, actor: Admin, source: str) -> None:
    """Deletes a source. Its parts stay in the history, under its name."""
    sources.remove(station.session, actor, source)


@router.post(
    "/sources/{source}/trigger",
    status_code=201,
    response_model=schemas.Inspection | schemas.JoinedPart,
    responses={
        200: {
            "model": schemas.Inspection | schemas.JoinedPart,
            "description": "The verdict that this key had before.",
        }
    },
)
async def trigger_source(
    station: TheStation,
    actor: Line,
    source: str,
    part: Part = "",
    idempotency_key: Annotated[str | None, Header(max_length=128)] = None,
) -> Response:
    """Has a camera take an image, or several take their views, inspects and stores them, and then answers.

    With an `Idempotency-Key` a request may be repeated: the part is taken and stored once. Of several views
    those that were not inspected are taken again.
    """
    future = await run_in_threadpool(station.sources.trigger, source, part, idempotency_key)
    return await _verdict(future)


@router.post(
    "/sources/{source}/parts",
    status_code=201,
    response_model=schemas.JoinedPart,
    openapi_extra=_VIEWS,
    responses={200: {"model": schemas.JoinedPart, "description": "The verdict that this key had before."}},
)
async def push_views(
    request: Request,
    station: TheStation,
    actor: Line,
    source: str,
    part: Part = "",
    idempotency_key: Annotated[str | None, Header(max_length=128)] = None,
) -> Response:
    """Inspects the images of all views of a part, joins their verdicts and stores them, and then answers.

    The source is of the kind `pushed-views`. The name of each field is that of a view. With an
    `Idempotency-Key` a request may be repeated: the part is inspected and stored once.
    """
    images = await read_images(request, station.settings.upload_mb, MOST)
    future = await run_in_threadpool(station.sources.push_views, source, images, part, idempotency_key)
    return await _verdict(future)


async def _verdict(future: Future[Outcome]) -> Response:
    """Answers with what becomes of a part, once it is stored."""
    # The part is stored even if its sender goes.
    stored = await asyncio.shield(asyncio.wrap_future(future))
    outcome = dict(stored)
    replayed = outcome.pop("replayed", False)
    headers = {"Location": f"{joined.API if 'views' in outcome else inspections.API}/{outcome['id']}"}
    if replayed:
        headers["Idempotent-Replayed"] = "true"
    return JSONResponse(outcome, 200 if replayed else 201, headers)


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
def change_output(
    station: TheStation, actor: Admin, output: str, body: schemas.OutputChange
) -> schemas.OutputAdded:
    """Lets an output work, or rest, or changes its settings; what is left out stays, secrets included.

    A setting that is null is taken away. A webhook whose `secret` is null gets a new one, which is shown this
    once. Pending messages are sent with the new settings, and numbers go on.
    """
    changes = body.settings or {}
    with station.session(write=True) as session:
        row = outputs.get(session, output)
        if body.settings is not None:
            row = outputs.change(session, actor, output, changes)
        if body.enabled is not None:
            row = outputs.enable(session, actor, output, body.enabled)
        fresh = "secret" in changes and changes["secret"] is None
        secret = row.settings.get("secret") if fresh else None
    # Of the output as it works now.
    with station.session() as session:
        facts = _output(session, station, row) | {"secret": secret}
    return schemas.OutputAdded.model_validate(facts)


@router.delete("/outputs/{output}")
def delete_output(station: TheStation, actor: Admin, output: str) -> schemas.OutputDeleted:
    """Deletes an output with all of its messages, those included that it has not sent yet."""
    return schemas.OutputDeleted(unsent=outputs.remove(station.session, actor, output))


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
        "settings": shown_settings(row.kind, row.settings),
        "enabled": row.enabled,
        "pending": waiting.get("pending", 0),
        "set_aside": waiting.get("set_aside", 0),
        "failure": station.outputs.failing().get(row.name, ""),
    }
