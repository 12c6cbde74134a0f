"""This module is where an engineer trains a model in the browser, looks at it, and adds it as a version."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import BaseModel, Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData

from patchebm.errors import ConfigError
from patchebm.station.errors import NotFoundError
from patchebm.station.roi import roi_of
from patchebm.station.services import audit, models, products
from patchebm.station.services.training_images import confirmed_good, writer_of
from patchebm.station.web.dependencies import DatabaseSession, Engineer, TheStation
from patchebm.station.web.pages.rendering import page
from patchebm.station.web.uploads import StreamedRequest, StreamedRoute

router = APIRouter(include_in_schema=False, route_class=StreamedRoute)

# Seconds after which the page of a training that runs is loaded again.
REFRESH = 3
# A page that `check` or `train` wrote holds its own style and images; it runs nothing and loads nothing.
_REPORT_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox"
)

Identifier = Annotated[str, Path(max_length=40)]


class Wanted(BaseModel):
    """This class is what the form asks for."""

    rate: float = Field(gt=0, lt=1)
    confirmed: bool = False
    quick: bool = False


@router.get("/products/{product}/trainings")
def overview(
    request: Request, session: DatabaseSession, station: TheStation, actor: Engineer, product: str
) -> Response:
    """Returns the form to train, and what was trained."""
    found = products.get(session, product)
    calibration = models.active_calibration(found)
    return page(
        request,
        "trainings.html",
        actor,
        product=found,
        trainings=station.trainings.of(found.name),
        confirmed=len(confirmed_good(session, station.storage, found)),
        rate=calibration.false_alarm_rate if calibration is not None else 0.05,
    )


@router.post("/products/{product}/trainings")
async def begin(
    request: Request,
    station: TheStation,
    actor: Engineer,
    product: str,
) -> Response:
    """Begins to train with the images of the form, and parts that were confirmed good."""
    assert isinstance(request, StreamedRequest)
    # Not by the signature: a form that is named there is read before it is known who sends it.
    wanted = _wanted(await request.form())
    uploads = [(one.name, one.path) for one in request.uploads if one.field == "images"]

    def start() -> str:
        with station.session() as session:
            found = products.get(session, product)
            parts = confirmed_good(session, station.storage, found) if wanted.confirmed else []
            roi = roi_of(found.roi)
        training = station.trainings.begin(
            product,
            writer_of(uploads, parts, station.settings.megapixels, roi),
            quick=wanted.quick,
            false_alarm_rate=wanted.rate,
            started_by=actor.name,
        )
        with station.session(write=True) as session:
            facts = {
                "training": training.id,
                "images": training.images,
                "false_alarm_rate": wanted.rate,
                "roi": found.roi,
            }
            audit.record(session, actor, "training.start", f"product:{product}", facts)
        return training.id

    name = await run_in_threadpool(start)
    return RedirectResponse(f"/products/{product}/trainings/{name}", 303)


@router.get("/products/{product}/trainings/{training}")
def details(
    request: Request,
    session: DatabaseSession,
    station: TheStation,
    actor: Engineer,
    product: str,
    training: Identifier,
) -> Response:
    """Returns how a training goes."""
    found = products.get(session, product)
    one = station.trainings.get(found.name, training)
    return page(
        request,
        "training.html",
        actor,
        product=found,
        training=one,
        said=station.trainings.said(one),
        reports=[kind for kind in ("check", "training") if station.trainings.report(one, kind) is not None],
        refresh=REFRESH,
    )


@router.get("/products/{product}/trainings/{training}/{kind}")
def report(
    session: DatabaseSession,
    station: TheStation,
    actor: Engineer,
    product: str,
    training: Identifier,
    kind: Literal["check", "training"],
) -> Response:
    """Returns the page that `check` or `train` wrote."""
    one = station.trainings.get(products.get(session, product).name, training)
    content = station.trainings.report(one, kind)
    if content is None:
        raise NotFoundError("there is no such page yet")
    return Response(content, media_type="text/html", headers={"Content-Security-Policy": _REPORT_POLICY})


@router.post("/products/{product}/trainings/{training}/cancel")
def cancel(station: TheStation, actor: Engineer, product: str, training: Identifier) -> Response:
    """Ends a training."""
    one = station.trainings.get(product, training)
    station.trainings.cancel(one.id)
    with station.session(write=True) as session:
        audit.record(session, actor, "training.cancel", f"product:{product}", {"training": one.id})
    return RedirectResponse(f"/products/{product}/trainings/{one.id}", 303)


@router.post("/products/{product}/trainings/{training}/model")
def add(station: TheStation, actor: Engineer, product: str, training: Identifier) -> Response:
    """Adds what was trained as the next version, and goes on to its comparison with the active one."""
    one = station.trainings.get(product, training)
    content = station.trainings.bundle(one)
    checked = models.verify(content)
    note = f"trained here from {one.images} images"
    with station.session(write=True) as session:
        added = models.add(session, actor, station.storage, product, content, note=note, checked=checked)
        number = added.number
    return RedirectResponse(f"/products/{product}/compare/{number}", 303)


def _wanted(form: FormData) -> Wanted:
    try:
        return Wanted.model_validate(dict(form))
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"{first['loc'][0]}: {first['msg']}") from error
