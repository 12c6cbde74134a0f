"""This module takes images, answers with verdicts, and reads the history."""

from __future__ import annotations

import asyncio
import uuid
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from patchebm.errors import ConfigError
from patchebm.station.database.history import MissedPart
from patchebm.station.errors import NotFoundError
from patchebm.station.images import MEDIA_TYPES, coloured_map
from patchebm.station.services import inspections, reviews
from patchebm.station.services.inspections import Filters
from patchebm.station.web.api import PROBLEMS, schemas
from patchebm.station.web.bodies import read_file
from patchebm.station.web.dependencies import DatabaseSession, Line, Operator, TheStation

router = APIRouter(tags=["inspections"], responses=PROBLEMS)

# Images and maps never change; those who may see them may keep them for a while.
_CACHED = {"Cache-Control": "private, max-age=3600, immutable"}
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            **dict.fromkeys((*MEDIA_TYPES.values(),), _BINARY),
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"image": {"type": "string", "format": "binary"}},
                    "required": ["image"],
                }
            },
        },
    }
}


@router.post(
    "/products/{product}/inspections",
    status_code=201,
    response_model=schemas.Inspection,
    openapi_extra=_BODY,
    responses={200: {"model": schemas.Inspection, "description": "The verdict that this key had before."}},
)
async def inspect(
    request: Request,
    station: TheStation,
    actor: Line,
    product: str,
    part: Annotated[str, Query(max_length=128, description="What the line calls the part.")] = "",
    idempotency_key: Annotated[str | None, Header(max_length=128)] = None,
) -> Response:
    """Inspects an image, stores it with its verdict, and then answers.

    With an `Idempotency-Key` a request may be repeated: the part is inspected and stored once.
    """
    content = await read_file(request, "image", station.settings.upload_mb)
    future = await run_in_threadpool(
        station.inspector.receive,
        product,
        f"push:{actor.plain_name}",
        content,
        part=part,
        key=idempotency_key,
    )
    # The part is stored even if its sender goes.
    stored = await asyncio.shield(asyncio.wrap_future(future))
    outcome = dict(stored)
    replayed = outcome.pop("replayed", False)
    headers = {"Location": f"{inspections.API}/{outcome['id']}"}
    if replayed:
        headers["Idempotent-Replayed"] = "true"
    return JSONResponse(outcome, 200 if replayed else 201, headers)


def _filters(
    product: Annotated[str | None, Query(max_length=64)] = None,
    source: Annotated[str | None, Query(max_length=80)] = None,
    part: Annotated[str | None, Query(max_length=128, description="`abc*` finds all that start so.")] = None,
    model: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None,
    verdict: Literal["OK", "NG"] | None = None,
    review: Literal["good", "defective", "unsure", "any", "none"] | None = None,
    defect: Annotated[str | None, Query(max_length=64)] = None,
    since: Annotated[datetime | None, Query(description="With a time zone, such as `Z`.")] = None,
    until: datetime | None = None,
    min_score: Annotated[float | None, Query(allow_inf_nan=False)] = None,
    max_score: Annotated[float | None, Query(allow_inf_nan=False)] = None,
    max_tail: Annotated[float | None, Query(ge=0, le=1)] = None,
    min_latency_ms: Annotated[float | None, Query(ge=0, allow_inf_nan=False)] = None,
    level: Annotated[str | None, Query(pattern="^[a-z0-9_]{1,40}$")] = None,
    min_level: Annotated[float | None, Query(allow_inf_nan=False)] = None,
    sha256: Annotated[str | None, Query(pattern="^[0-9a-f]{64}$")] = None,
) -> Filters:
    return Filters(
        product=product,
        source=source,
        part=part,
        model=model,
        verdict=verdict,
        review=review,
        defect=defect,
        since=with_zone("since", since),
        until=with_zone("until", until),
        min_score=min_score,
        max_score=max_score,
        max_tail=max_tail,
        min_latency_ms=min_latency_ms,
        level=level,
        min_level=min_level,
        sha256=sha256,
    )


def with_zone(name: str, time: datetime | None) -> datetime | None:
    """Returns a time of a query. Raises ConfigError if it has no zone, or cannot be stored."""
    if time is not None and (time.tzinfo is None or not 1970 < time.year < 9999):
        raise ConfigError(f"{name} must be a time with its zone, such as 2026-11-26T12:00:00Z")
    return time


TheFilters = Annotated[Filters, Depends(_filters)]
Limit = Annotated[int, Query(ge=1, le=inspections.MAX_PAGE)]
Cursor = Annotated[uuid.UUID | None, Query(description="`next` of the page before.")]


@router.get("/inspections")
def history(
    session: DatabaseSession,
    actor: Operator,
    filters: TheFilters,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> schemas.InspectionPage:
    """Returns parts, newest first."""
    found = inspections.search(session, filters, limit=limit + 1, after=cursor)
    more = len(found) > limit
    items = [inspections.as_dict(one) for one in found[:limit]]
    return schemas.InspectionPage.model_validate({"items": items, "next": items[-1]["id"] if more else None})


@router.get("/inspections/{inspection}")
def one(session: DatabaseSession, actor: Line, inspection: uuid.UUID) -> schemas.Inspection:
    """Returns a part."""
    return schemas.Inspection.model_validate(inspections.as_dict(inspections.get(session, inspection)))


@router.get(
    "/inspections/{inspection}/image",
    response_class=Response,
    responses={200: {"content": dict.fromkeys(MEDIA_TYPES.values(), _BINARY)}},
)
def image(session: DatabaseSession, station: TheStation, actor: Operator, inspection: uuid.UUID) -> Response:
    """Returns the image of a part, as it came."""
    row = inspections.get(session, inspection)
    if row.image_deleted is not None:
        raise NotFoundError("this image is no longer kept")
    content = station.storage.get(station.storage.image(row.id, row.image_format))
    return Response(content, media_type=MEDIA_TYPES[row.image_format], headers=_CACHED)


@router.get(
    "/inspections/{inspection}/map",
    response_class=Response,
    responses={200: {"content": {"image/png": _BINARY}}},
)
def heat_map(
    session: DatabaseSession,
    station: TheStation,
    actor: Operator,
    inspection: uuid.UUID,
    style: Annotated[
        Literal["colour", "grey"], Query(description="To lay over the image, or to compute with.")
    ] = "colour",
) -> Response:
    """Returns the anomaly map of a part as PNG, at most 512 pixels along a side."""
    row = inspections.get(session, inspection)
    if row.image_deleted is not None:
        raise NotFoundError("this map is no longer kept")
    content = station.storage.get(station.storage.map(row.id))
    headers = _CACHED | {"X-Map-Low": f"{row.map_low:.9g}", "X-Map-High": f"{row.map_high:.9g}"}
    shown = coloured_map(content) if style == "colour" else content
    return Response(shown, media_type="image/png", headers=headers)


@router.get("/inspections/{inspection}/reviews")
def reviews_of(session: DatabaseSession, actor: Operator, inspection: uuid.UUID) -> list[schemas.Review]:
    """Returns what people said of a part, newest first."""
    inspections.get(session, inspection)
    return [schemas.Review.model_validate(reviews.as_dict(r)) for r in reviews.of(session, inspection)]


@router.post("/inspections/{inspection}/reviews", status_code=201)
def review(
    session: DatabaseSession, actor: Operator, inspection: uuid.UUID, body: schemas.NewReview
) -> schemas.Review:
    """Adds what a person says of a part; the newest review counts."""
    added = reviews.add(session, actor, inspection, body.verdict, defect=body.defect, note=body.note)
    return schemas.Review.model_validate(reviews.as_dict(added))


@router.get("/missed")
def missed(
    session: DatabaseSession,
    actor: Operator,
    product: Annotated[str | None, Query(max_length=64)] = None,
    open_only: bool = False,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> schemas.MissedPage:
    """Returns parts that came and were not inspected, newest first."""
    found = inspections.missed(session, product=product, after=cursor, open_only=open_only, limit=limit + 1)
    more = len(found) > limit
    return schemas.MissedPage.model_validate(
        {
            "items": [_missed(row) for row in found[:limit]],
            "next": str(found[limit - 1].id) if more else None,
            "open": inspections.missed_counts(session),
        }
    )


def _missed(row: MissedPart) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "time": row.time,
        "product": row.product.name,
        "source": row.source,
        "part": row.part,
        "idempotency_key": row.idempotency_key,
        "reason": row.reason,
        "message": row.message,
        "inspection": None if row.inspection_id is None else str(row.inspection_id),
    }
