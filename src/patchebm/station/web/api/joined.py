"""This module reads the history of parts of which several views were inspected."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query

from patchebm.station.services import joined
from patchebm.station.services.joined import JoinedFilters
from patchebm.station.web.api import PROBLEMS, schemas
from patchebm.station.web.api.inspections import Cursor, Limit, with_zone
from patchebm.station.web.dependencies import DatabaseSession, Line, Operator

router = APIRouter(tags=["inspections"], responses=PROBLEMS)


@router.get("/joined-parts")
def history(
    session: DatabaseSession,
    actor: Operator,
    product: Annotated[str | None, Query(max_length=64)] = None,
    source: Annotated[str | None, Query(max_length=80)] = None,
    part: Annotated[str | None, Query(max_length=128, description="`abc*` finds all that start so.")] = None,
    verdict: Literal["OK", "NG"] | None = None,
    since: Annotated[datetime | None, Query(description="With a time zone, such as `Z`.")] = None,
    until: datetime | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> schemas.JoinedPartPage:
    """Returns parts of which several views were inspected, newest first."""
    filters = JoinedFilters(
        product, source, part, verdict, with_zone("since", since), with_zone("until", until)
    )
    found = joined.search(session, filters, limit=limit + 1, after=cursor)
    more = len(found) > limit
    items = found[:limit]
    return schemas.JoinedPartPage.model_validate({"items": items, "next": items[-1]["id"] if more else None})


@router.get("/joined-parts/{part}")
def one(session: DatabaseSession, actor: Line, part: uuid.UUID) -> schemas.JoinedPart:
    """Returns a part of which several views were inspected."""
    return schemas.JoinedPart.model_validate(joined.get(session, part))
