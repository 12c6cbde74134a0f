"""This module tests the parts of each product for drift, in the transaction that stores them."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, select, update
from sqlalchemy.orm import Session

from patchebm.station.database.base import first_id, now, table_of
from patchebm.station.database.history import Inspection
from patchebm.station.database.products import Calibration, DriftState, Product
from patchebm.station.errors import ConflictError
from patchebm.station.roles import Actor
from patchebm.station.services import audit, options
from patchebm.station.services.calibrations import facts_of
from patchebm.station.statistics.drift import DriftTest, Figures

# Figures for the control charts and the curve, at most.
SHOWN = 1000

# Of the table, not of the class, and made once: each batch of parts asks this, and needs no object.
_STATES = table_of(DriftState)
_RUNNING = (
    select(_STATES.c.id, _STATES.c.state)
    .where(
        _STATES.c.product_id == bindparam("product_id"),
        _STATES.c.model_id == bindparam("model_id"),
        _STATES.c.ended.is_(None),
    )
    .order_by(_STATES.c.id.desc())
    .limit(1)
)


def take_in(session: Session, rows: Sequence[dict[str, Any]]) -> None:
    """Adds `p_value` and `log_martingale` to parts that are about to be stored, and goes on with their tests.

    A new model starts a new test. Of several images of one part the first alone is tested: the others depend
    on it, and get None.

    Args:
        session: open for writing.
        rows: columns of `Inspection`, in the order in which the parts came.
    """
    for product_id, model_id in sorted({(row["product_id"], row["model_id"]) for row in rows}):
        mine = [row for row in rows if (row["product_id"], row["model_id"]) == (product_id, model_id)]
        state_id, facts = _state(session, mine[0])
        test = DriftTest.from_dict(facts)
        known = _known(session, product_id, {row["part"] for row in mine if row["part"]})
        changed: dict[str, Any] = {}
        for row in mine:
            row["p_value"] = row["log_martingale"] = None
            if row["part"] and row["part"] in known:
                continue
            known.add(row["part"])
            alarmed = test.alarm
            step = test.update(Figures(row["score"], row["brightness"], row["sharpness"]))
            row["p_value"], row["log_martingale"] = step.p_value, step.log_martingale
            changed["log_martingale"] = step.log_martingale
            if step.alarm and not alarmed:
                changed["alarm"] = row["time"]
        if changed:
            changed |= {"parts": test.parts, "peak": test.peak, "state": test.to_dict()}
            session.execute(update(_STATES).where(_STATES.c.id == state_id), changed)


def current(session: Session, product: Product) -> DriftState | None:
    """Returns the test that runs for a product's active model; None before its first part."""
    if product.active_model_id is None:
        return None
    return _running(session, product.id, product.active_model_id)


def restart(session: Session, actor: Actor, product: Product, *, calibrated: bool) -> None:
    """Ends a product's test and starts a new one, which says that what it sees now is as it should be.

    Args:
        session: open for writing.
        actor: who says so.
        product: whose test it is.
        calibrated: whether scores are compared with the calibration parts, too; else with the next parts
            alone.

    Raises:
        ConflictError: no model inspects the product.
    """
    model = product.active_model
    if model is None or model.calibration is None:
        raise ConflictError(f"'{product.name}' has no active model; activate one first")
    before = current(session, product)
    if before is not None:
        before.ended = now()
    _start(session, product.id, model.calibration, now(), calibrated=calibrated)
    facts = {"calibrated": calibrated, "parts_before": before.parts if before is not None else 0}
    audit.record(session, actor, "drift.restart", f"product:{product.name}", facts)


def recent(session: Session, state: DriftState, limit: int = SHOWN) -> list[Inspection]:
    """Returns the newest parts of a test, oldest first."""
    query = (
        select(Inspection)
        .where(
            Inspection.product_id == state.product_id,
            Inspection.model_id == state.model_id,
            Inspection.id >= first_id(state.started),
        )
        .order_by(Inspection.id.desc())
        .limit(limit)
    )
    return list(reversed(session.scalars(query).all()))


def first(session: Session, state: DriftState, limit: int) -> Sequence[Inspection]:
    """Returns the first parts of a test, which say what is usual."""
    query = (
        select(Inspection)
        .where(
            Inspection.product_id == state.product_id,
            Inspection.model_id == state.model_id,
            Inspection.id >= first_id(state.started),
        )
        .order_by(Inspection.id)
        .limit(limit)
    )
    return session.scalars(query).all()


def _state(session: Session, row: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Returns the id and the state of the test that a part belongs to, and begins it if there is none."""
    of = {"product_id": row["product_id"], "model_id": row["model_id"]}
    found = session.execute(_RUNNING, of).first()
    if found is not None:
        return found.id, found.state
    calibration = session.get_one(Calibration, row["calibration_id"])
    # The time of its first part, so that this part is found again.
    state = _start(session, row["product_id"], calibration, row["time"], calibrated=True)
    return state.id, state.state


def _running(session: Session, product_id: int, model_id: int) -> DriftState | None:
    found = session.execute(_RUNNING, {"product_id": product_id, "model_id": model_id}).first()
    return None if found is None else session.get_one(DriftState, found.id)


def _start(
    session: Session, product_id: int, calibration: Calibration, started: datetime, *, calibrated: bool
) -> DriftState:
    alpha = options.read(session).drift_alarm_rate
    seed = secrets.randbits(32)
    test = DriftTest.against(facts_of(calibration), seed, alpha) if calibrated else DriftTest(seed, (), alpha)
    state = DriftState(
        product_id=product_id,
        model_id=calibration.model_id,
        calibration_id=calibration.id if calibrated else None,
        started=started,
        state=test.to_dict(),
    )
    session.add(state)
    session.flush()
    return state


def _known(session: Session, product_id: int, parts: set[str]) -> set[str]:
    if not parts:
        return set()
    query = select(Inspection.part).where(Inspection.product_id == product_id, Inspection.part.in_(parts))
    return set(session.scalars(query))
