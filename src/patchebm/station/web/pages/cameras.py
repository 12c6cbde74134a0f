"""This module is the page on which a camera is set up: live picture, focus and brightness, settings."""

from __future__ import annotations

import asyncio
import io
import time
from http import HTTPStatus
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from PIL import Image
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from patchebm.station.database.products import Source
from patchebm.station.errors import NotFoundError, UnavailableError
from patchebm.station.images import light
from patchebm.station.services import products, sources
from patchebm.station.sources.camera import CameraSource
from patchebm.station.sources.frames import Frame
from patchebm.station.sources.options import without_secrets
from patchebm.station.sources.views import ViewsSource
from patchebm.station.station import Station
from patchebm.station.web.dependencies import DatabaseSession, Engineer, Operator, TheStation
from patchebm.station.web.pages import camera_settings
from patchebm.station.web.pages.rendering import page

router = APIRouter(include_in_schema=False)

# Pixels along a side of the live picture.
MOST = 960
# Share of the range from where on a pixel counts as overexposed.
WHITE = 0.99


@router.get("/products/{product}/sources/{source}")
def details(
    request: Request,
    session: DatabaseSession,
    station: TheStation,
    actor: Engineer,
    product: str,
    source: str,
) -> Response:
    """Returns the page of a camera; a script shows what it sees."""
    row = _source(session, product, source)
    running, trouble = {}, ""
    if row.enabled:
        try:
            running = _cameras(station, source)
        except UnavailableError as error:
            # Its settings are put right on this page.
            trouble = str(error)
    return page(
        request,
        "camera.html",
        actor,
        product=products.get(session, product),
        source=row,
        trouble=trouble,
        cameras=list(running),
        fields=camera_settings.fields(row.kind, without_secrets(row.settings)),
        defaults=camera_settings.DEFAULTS,
    )


@router.post("/products/{product}/sources/{source}")
async def change(
    request: Request, station: TheStation, actor: Engineer, product: str, source: str
) -> Response:
    """Stores settings; the camera is opened again with them."""
    form = await request.form()

    def store() -> None:
        with station.session(write=True) as session:
            row = _source(session, product, source)
            filled = {key: str(value) for key, value in form.items()}
            settings = camera_settings.changed(row.kind, row.settings, filled)
            sources.change(session, actor, station.session, source, settings)

    await run_in_threadpool(store)
    return RedirectResponse(f"/products/{product}/sources/{source}", 303)


@router.post("/products/{product}/sources/{source}/trigger")
async def trigger(station: TheStation, actor: Operator, product: str, source: str) -> Response:
    """Has an image taken and inspected, and shows the part."""

    def begin() -> Any:
        with station.session() as session:
            _source(session, product, source)
        return station.sources.trigger(source)

    future = await run_in_threadpool(begin)
    outcome = await asyncio.shield(asyncio.wrap_future(future))
    if "views" in outcome:
        return RedirectResponse(f"/line/{product}", 303)
    return RedirectResponse(f"/parts/{outcome['id']}", 303)


@router.get("/sources/{source}/picture")
def picture(
    station: TheStation, actor: Engineer, source: str, view: Annotated[str, Query(max_length=64)] = ""
) -> Response:
    """Returns the newest frame of a camera, small enough to look at, or nothing before the first."""
    frame = _camera(station, source, view).frame
    if frame is None:
        # As after each change of its settings: nothing is wrong.
        return Response(status_code=HTTPStatus.NO_CONTENT)
    image = Image.fromarray(np.squeeze(np.rint(255 * np.clip(frame.shares(), 0, 1)).astype(np.uint8)))
    image.thumbnail((MOST, MOST))
    packed = io.BytesIO()
    image.save(packed, "JPEG", quality=85)
    return Response(packed.getvalue(), media_type="image/jpeg")


@router.get("/sources/{source}/meter")
def meter(station: TheStation, actor: Engineer, source: str) -> Response:
    """Returns what the page of a camera shows beside its picture."""
    running = station.sources.running(source)
    cameras = _cameras(station, source)
    return JSONResponse(
        {
            "state": running.state,
            "counts": station.sources.counts().get(source, {}),
            "cameras": {
                name: None if camera.frame is None else _measured(camera.frame)
                for name, camera in cameras.items()
            },
        }
    )


def _measured(frame: Frame) -> dict[str, float]:
    shares = frame.shares()
    brightness, sharpness = light(shares)
    return {
        "brightness": brightness,
        "sharpness": sharpness,
        "overexposed": float((shares >= WHITE).mean()),
        "width": shares.shape[1],
        "height": shares.shape[0],
        "age": time.monotonic() - frame.time,
    }


def _source(session: Session, product: str, name: str) -> Source:
    row = sources.get(session, name)
    if row.product.name != product or row.kind not in camera_settings.KINDS:
        raise NotFoundError(f"product '{product:.64}' has no camera '{name:.64}'")
    return row


def _cameras(station: Station, source: str) -> dict[str, CameraSource]:
    running = station.sources.running(source)
    if not isinstance(running, CameraSource | ViewsSource):
        raise NotFoundError(f"source '{source}' is no camera")
    return running.cameras


def _camera(station: Station, source: str, view: str) -> CameraSource:
    cameras = _cameras(station, source)
    if view not in cameras:
        raise NotFoundError(f"source '{source}' has no view '{view:.64}'")
    return cameras[view]
