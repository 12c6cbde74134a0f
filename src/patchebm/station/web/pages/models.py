"""This module is an engineer's page of a product: its versions, uploads, activation and roll-back."""

from __future__ import annotations

from collections import defaultdict
from typing import Annotated

from fastapi import APIRouter, Form, Path, Query, Request
from fastapi.responses import RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from patchebm.station.roi import MAX_SIDE, MIN_SIDE
from patchebm.station.services import inspections, models, products, shadow, sources
from patchebm.station.services.inspections import Filters
from patchebm.station.web.bodies import read_file
from patchebm.station.web.dependencies import DatabaseSession, Engineer, TheStation
from patchebm.station.web.pages import camera_settings
from patchebm.station.web.pages.rendering import page

router = APIRouter(include_in_schema=False)

Edge = Annotated[int, Form(ge=0, le=MAX_SIDE)]
Number = Annotated[int, Path(ge=1, le=2**31 - 1)]


@router.get("/products/{product}")
def details(
    request: Request, session: DatabaseSession, station: TheStation, actor: Engineer, product: str
) -> Response:
    """Returns the page of a product."""
    found = products.get(session, product)
    newest = inspections.search(session, Filters(product=found.name), limit=1)
    return page(
        request,
        "product.html",
        actor,
        product=found,
        newest=inspections.as_dict(newest[0]) if newest else None,
        versions=[(model, models.parity(model)) for model in models.versions(session, found)],
        activations=models.activations(session, found, 20),
        cameras=camera_settings.KINDS,
        min_side=MIN_SIDE,
        max_side=MAX_SIDE,
        states=defaultdict(str, station.sources.states()),
        sources=[one for one in sources.everything(session) if one.product_id == found.id],
    )


@router.post("/products/{product}/roi")
def change_roi(
    session: DatabaseSession,
    actor: Engineer,
    product: str,
    x: Edge = 0,
    y: Edge = 0,
    width: Edge = 0,
    height: Edge = 0,
    whole: Annotated[bool, Form()] = False,
) -> Response:
    """Sets the region of interest, or takes it away with `whole`."""
    roi = {} if whole else {"x": x, "y": y, "width": width, "height": height}
    products.change(session, actor, product, roi=roi)
    return RedirectResponse(f"/products/{product}", 303)


@router.post("/products/{product}/models")
async def upload(request: Request, station: TheStation, actor: Engineer, product: str) -> Response:
    """Adds a bundle as the next version, once it was verified."""
    content = await read_file(request, "model", station.settings.bundle_mb)

    def add() -> None:
        with station.session() as session:
            products.get(session, product)
        checked = models.verify(content)
        with station.session(write=True) as session:
            models.add(session, actor, station.storage, product, content, checked=checked)

    await run_in_threadpool(add)
    return RedirectResponse(f"/products/{product}", 303)


@router.post("/products/{product}/activate")
def activate(
    station: TheStation, actor: Engineer, product: str, version: Annotated[int, Form(ge=1, le=2**31 - 1)]
) -> Response:
    """Makes a version inspect from the next part on."""
    with station.session() as session:
        model = models.get(session, products.get(session, product), version)
    station.active_models.prepare(model)
    with station.session(write=True) as session:
        models.activate(session, actor, product, version)
    return RedirectResponse(f"/products/{product}", 303)


@router.get("/products/{product}/compare/{version}")
def compare(
    request: Request,
    station: TheStation,
    actor: Engineer,
    product: str,
    version: Number,
    parts: Annotated[int, Query(ge=1, le=shadow.MOST)] = shadow.PARTS,
) -> Response:
    """Lets a version inspect the last parts again, without any effect, and shows what differs."""
    result = shadow.compare(station.session, station.storage, product, version, parts)
    with station.session() as session:
        active = products.get(session, product).active_model
        number = active.number if active is not None else None
    return page(
        request,
        "compare.html",
        actor,
        product=product,
        comparison=result,
        parts=parts,
        most=shadow.MOST,
        active=number,
    )
