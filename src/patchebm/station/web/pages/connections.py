"""This module is the page of what the station is connected to: how each source and output does."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response

from patchebm.station.roles import Role
from patchebm.station.services import messages, outputs, products, sources
from patchebm.station.web.dependencies import Admin, DatabaseSession, Engineer, TheStation
from patchebm.station.web.pages import camera_settings
from patchebm.station.web.pages.rendering import page

router = APIRouter(include_in_schema=False)

PAGE = "/connections"


@router.get(PAGE)
def show(request: Request, session: DatabaseSession, station: TheStation, actor: Engineer) -> Response:
    """Returns the page; a script keeps the states up to date."""
    states, failing, waiting = station.sources.states(), station.outputs.failing(), messages.counts(session)
    named = {one.id: one for one in products.everything(session)}
    return page(
        request,
        "connections.html",
        actor,
        sources=[
            {
                "name": row.name,
                "kind": row.kind,
                "product": row.product,
                "enabled": row.enabled,
                "trouble": states.get(row.name, ""),
                "camera": row.kind in camera_settings.KINDS,
            }
            for row in sources.everything(session)
        ],
        outputs=[
            {
                "name": row.name,
                "kind": row.kind,
                "product": None if row.product_id is None else named[row.product_id],
                "enabled": row.enabled,
                "trouble": failing.get(row.name, ""),
                "pending": waiting.get(row.id, {}).get("pending", 0),
                "set_aside": waiting.get(row.id, {}).get("set_aside", 0),
            }
            for row in outputs.everything(session)
        ],
        may_switch=actor.role >= Role.ADMIN,
    )


@router.post(PAGE + "/sources/{source}")
def switch_source(
    session: DatabaseSession, actor: Admin, source: str, enabled: Annotated[bool, Form()]
) -> Response:
    """Switches a source on or off."""
    sources.enable(session, actor, source, enabled)
    return RedirectResponse(PAGE, 303)


@router.post(PAGE + "/outputs/{output}")
def switch_output(
    session: DatabaseSession, actor: Admin, output: str, enabled: Annotated[bool, Form()]
) -> Response:
    """Switches an output on or off."""
    outputs.enable(session, actor, output, enabled)
    return RedirectResponse(PAGE, 303)
