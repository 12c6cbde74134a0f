"""This module keeps calibrations: from the bundle, from confirmed-good parts, or with a moved threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from patchebm.errors import ConfigError
from patchebm.runtime.calibration import Calibration as Facts
from patchebm.runtime.threshold import Threshold
from patchebm.station.database.base import now
from patchebm.station.database.products import Calibration, ModelVersion, Product
from patchebm.station.errors import ConflictError, ForbiddenError, NotFoundError
from patchebm.station.notices import MODELS, notify
from patchebm.station.roles import Actor
from patchebm.station.services import audit, names, options


def of_bundle(session: Session, actor: Actor, model: ModelVersion, facts: Facts) -> Calibration:
    """Adds the calibration that a bundle came with; it is in force from the start."""
    return _add(session, actor, model, "bundle", facts, note="", four_eyes=False)


def propose(
    session: Session,
    actor: Actor,
    product: Product,
    model: ModelVersion,
    facts: Facts,
    method: str,
    *,
    note: str = "",
) -> Calibration:
    """Adds a calibration; it is in force at once, or, with four eyes, once a second person approves it.

    Args:
        session: open.
        actor: who wants it.
        product: whose model it is for.
        model: that it is for.
        facts: what `at_rate`, `at_threshold` or `insights.from_reviews` returned.
        method: `threshold` or `recalibrated`.
        note: why.
    """
    four_eyes = options.read(session).four_eyes
    calibration = _add(session, actor, model, method, facts, note=note, four_eyes=four_eyes)
    before = model.calibration
    if not four_eyes:
        model.calibration = calibration
        notify(session, MODELS)
    session.flush()
    details = {
        "version": model.number,
        "calibration": calibration.id,
        "method": method,
        "status": calibration.status,
        "threshold": calibration.threshold,
        "false_alarm_rate": calibration.false_alarm_rate,
        "threshold_before": before.threshold if before is not None else None,
        "note": calibration.note,
    }
    audit.record(session, actor, "calibration.add", f"product:{product.name}", details)
    return calibration


def decide(
    session: Session, actor: Actor, product: Product, calibration_id: int, *, approve: bool
) -> Calibration:
    """Approves a proposed calibration, or rejects it.

    Raises:
        NotFoundError: the product has no such calibration.
        ConflictError: it is not proposed (any more).
        ForbiddenError: who approves is who proposed it.
    """
    calibration = get(session, product, calibration_id)
    if calibration.status != "proposed":
        raise ConflictError(
            f"calibration {calibration_id} is {calibration.status}; only proposed ones can be"
        )
    if approve and calibration.created_by == actor.name:
        raise ForbiddenError("another person than who proposed it must approve a calibration")
    calibration.status = "active" if approve else "rejected"
    calibration.approved, calibration.approved_by = now(), actor.name
    if approve:
        calibration.model.calibration = calibration
        notify(session, MODELS)
    session.flush()
    action = "calibration.approve" if approve else "calibration.reject"
    details = {"calibration": calibration_id, "threshold": calibration.threshold}
    audit.record(session, actor, action, f"product:{product.name}", details)
    return calibration


def get(session: Session, product: Product, calibration_id: int) -> Calibration:
    """Returns a calibration. Raises NotFoundError if the product has none of that number."""
    calibration = session.scalar(
        select(Calibration)
        .join(ModelVersion, Calibration.model_id == ModelVersion.id)
        .where(Calibration.id == calibration_id, ModelVersion.product_id == product.id)
    )
    if calibration is None:
        raise NotFoundError(f"'{product.name}' has no calibration {calibration_id}")
    return calibration


def of_product(session: Session, product: Product, limit: int = 100) -> Sequence[Calibration]:
    """Returns the calibrations of a product's models, newest first."""
    return session.scalars(
        select(Calibration)
        .join(ModelVersion, Calibration.model_id == ModelVersion.id)
        .where(ModelVersion.product_id == product.id)
        .order_by(Calibration.id.desc())
        .limit(limit)
    ).all()


def facts_of(calibration: Calibration) -> Facts:
    """Returns what a row holds, ready for use."""
    return Facts.from_dict(calibration.facts)


def at_rate(facts: Facts, rate: float) -> Facts:
    """Returns a calibration at another false-alarm rate. Raises ConfigError outside (0, 1)."""
    return facts.at_false_alarm_rate(rate)


def at_threshold(facts: Facts, value: float) -> Facts:
    """Returns a calibration with a threshold that was set by hand; its rate is what good parts show there.

    Raises:
        ConfigError: it is not finite.
    """
    if not np.isfinite(value):
        raise ConfigError("threshold is not finite; give a score")
    # A score on the threshold is no alarm yet.
    rate = facts.tail.probability(float(np.nextafter(value, np.inf)))
    before = facts.threshold
    threshold = Threshold(float(value), rate, facts.tail.extrapolated(value), before.normals, before.parts)
    return replace(facts, threshold=threshold)


def _add(
    session: Session,
    actor: Actor,
    model: ModelVersion,
    method: str,
    facts: Facts,
    *,
    note: str,
    four_eyes: bool,
) -> Calibration:
    time = now()
    calibration = Calibration(
        model_id=model.id,
        method=method,
        status="proposed" if four_eyes else "active",
        false_alarm_rate=facts.threshold.false_alarm_rate,
        threshold=facts.threshold.value,
        parts=facts.tail.parts,
        facts=facts.to_dict(),
        note=names.line(note, "note", 200),
        created=time,
        created_by=actor.name,
        approved=None if four_eyes else time,
        approved_by=None if four_eyes else actor.name,
    )
    session.add(calibration)
    session.flush()
    return calibration
