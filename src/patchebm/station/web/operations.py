"""This module answers those who watch over the process: probes and Prometheus."""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from patchebm.station.metrics import CONTENT_TYPE
from patchebm.station.web.dependencies import Line, TheStation

router = APIRouter(include_in_schema=False)


@router.get("/healthz")
def healthz() -> dict[str, str]:
    """Says that the process answers."""
    return {"status": "ok"}


@router.get("/readyz")
def readyz(station: TheStation) -> Response:
    """Says whether parts can be inspected and stored; what is wrong stands in `problems`."""
    problems = station.problems()
    status = {"status": "ok" if not problems else "not ready", "problems": problems}
    return JSONResponse(status, 503 if problems else 200)


@router.get("/metrics")
def metrics(station: TheStation, actor: Line) -> Response:
    """Returns figures for Prometheus; a token of the role line is enough."""
    return Response(station.metrics.text(), headers={"Content-Type": CONTENT_TYPE})
