"""This module reads the history for statistics: rates from reviews, the review queue, recalibration."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from patchebm.errors import ConfigError
from patchebm.runtime.calibration import Calibration as Facts
from patchebm.station.database.base import first_id
from patchebm.station.database.history import Inspection, Review
from patchebm.station.database.products import Calibration, ModelVersion, Product
from patchebm.station.services import options
from patchebm.station.services.calibrations import facts_of
from patchebm.station.statistics.queue import RANDOM, Picked, Waiting, ordered
from patchebm.station.statistics.recalibration import from_confirmed, represented
from patchebm.station.statistics.reviews import Cell, Rates, rates

# Parts among which the queue chooses: the newest without a review.
CANDIDATES = 2000
# Parts that a preview of a threshold looks at.
PREVIEWED = 1000


@dataclass(frozen=True)
class Row:
    """This class is a line of the table of rates.

    Attributes:
        product, model: name and version.
        week: Monday of the week; None for all weeks together.
        cell: counts.
        rates: what reviews say.
        stated: false-alarm rate that the thresholds in force stood for, the mean over parts; None without
            parts.
    """

    product: str
    model: int
    week: datetime | None
    cell: Cell
    rates: Rates
    stated: float | None


def review_queue(session: Session, product: Product | None, limit: int) -> list[Picked]:
    """Returns the parts that should be reviewed first, of one product or of all."""
    query = (
        select(
            Inspection.id,
            Inspection.anomalous,
            Inspection.tail_probability,
            Calibration.false_alarm_rate,
            Inspection.threshold,
            Inspection.levels,
        )
        .join(Calibration, Inspection.calibration_id == Calibration.id)
        .where(Inspection.review.is_(None), Inspection.image_deleted.is_(None))
        .order_by(Inspection.id.desc())
        .limit(CANDIDATES)
    )
    if product is not None:
        query = query.where(Inspection.product_id == product.id)
    waiting = [Waiting(*row) for row in session.execute(query)]
    return ordered(waiting, options.read(session).review_share, limit)


def weekly_rates(
    session: Session, since: datetime, until: datetime, product: Product | None = None
) -> list[Row]:
    """Returns what reviews say by product, model and week, newest first; after each model all weeks together.

    Args:
        session: open.
        since, until: weeks that begin in between.
        product: of which product; None for all.
    """
    found: list[Row] = []
    by_model: dict[tuple[str, int], list[Row]] = defaultdict(list)
    monday = (since - timedelta(days=since.weekday())).replace(hour=0, minute=0, second=0, microsecond=0)
    while monday < until:
        for row in _week(session, monday, product):
            by_model[row.product, row.model].append(row)
        monday += timedelta(days=7)
    for (name, version), rows in sorted(by_model.items(), key=lambda item: (item[0][0], -item[0][1])):
        cells = [row.cell for row in rows]
        parts = [cell.ng + cell.ok for cell in cells]
        stated = sum((row.stated or 0) * n for row, n in zip(rows, parts, strict=True)) / sum(parts)
        found += [Row(name, version, None, _sum(cells), rates(cells), stated), *reversed(rows)]
    return found


def from_reviews(session: Session, model: ModelVersion, rate: float) -> Facts:
    """Returns the calibration that confirmed-good parts of the history give, without the bias of how they
    came.

    Of the parts that were NG all confirmed-good ones count; of those that were OK the ones that chance
    picked.

    Args:
        session: open.
        model: whose scores they are.
        rate: false-alarm rate.

    Raises:
        ConfigError: too few, or a rate outside (0, 1); says what is missing.
    """
    if model.calibration is None:
        raise ConfigError(f"version {model.number} has no calibration")
    mine = Inspection.model_id == model.id
    picked = select(Review.inspection_id).where(Review.picked == RANDOM)
    query = select(Inspection.part, Inspection.score, Inspection.anomalous, Inspection.review)
    rows = session.execute(
        query.where(
            mine,
            Inspection.review.in_(("good", "defective")),
            Inspection.anomalous.is_(True) | Inspection.id.in_(picked),
        ).order_by(Inspection.id)
    ).all()
    counted = select(Inspection.anomalous, func.count().label("parts")).where(mine)
    counts = {row.anomalous: row.parts for row in session.execute(counted.group_by(Inspection.anomalous))}
    weights = represented([row.anomalous for row in rows], (counts.get(False, 0), counts.get(True, 0)))
    good = np.array([row.review == "good" for row in rows], dtype=bool)
    return from_confirmed(
        facts_of(model.calibration),
        np.array([row.score for row in rows], dtype=np.float64)[good],
        [row.part or None for row, kept in zip(rows, good, strict=True) if kept],
        weights[good],
        rate,
    )


def newest(session: Session, model: ModelVersion, limit: int = PREVIEWED) -> Sequence[Inspection]:
    """Returns the newest parts that a model inspected, newest first."""
    query = select(Inspection).where(
        Inspection.product_id == model.product_id, Inspection.model_id == model.id
    )
    return session.scalars(query.order_by(Inspection.id.desc()).limit(limit)).all()


def _week(session: Session, monday: datetime, product: Product | None) -> list[Row]:
    within = [
        Inspection.id >= first_id(monday),
        Inspection.id < first_id(monday + timedelta(days=7)),
    ]
    if product is not None:
        within.append(Inspection.product_id == product.id)
    query = (
        select(
            Inspection.model_id,
            Inspection.anomalous,
            Inspection.review,
            Inspection.calibration_id,
            func.count(),
        )
        .where(*within)
        .group_by(Inspection.model_id, Inspection.anomalous, Inspection.review, Inspection.calibration_id)
    )
    counts: dict[int, dict[tuple[bool, str | None], int]] = defaultdict(lambda: defaultdict(int))
    calibrated: dict[int, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for model_id, anomalous, review, calibration_id, n in session.execute(query):
        counts[model_id][anomalous, review] += n
        calibrated[model_id][calibration_id] += n
    samples: dict[int, list[tuple[bool, float]]] = defaultdict(list)
    chosen = (
        select(Inspection.model_id, Inspection.review, func.min(Review.probability))
        .join(Review, Review.inspection_id == Inspection.id)
        .where(*within, Review.picked == RANDOM, Inspection.review.in_(("good", "defective")))
        .group_by(Inspection.id, Inspection.model_id, Inspection.review)
    )
    for model_id, review, probability in session.execute(chosen):
        # All of the random sample have one.
        samples[model_id].append((review == "defective", float(probability or 1)))
    named = select(ModelVersion.id, Product.name, ModelVersion.number).join(
        Product, ModelVersion.product_id == Product.id
    )
    rows = []
    for model_id, name, version in session.execute(named.where(ModelVersion.id.in_(counts))):
        count = counts[model_id]
        cell = Cell(
            ng=sum(n for (anomalous, _), n in count.items() if anomalous),
            ok=sum(n for (anomalous, _), n in count.items() if not anomalous),
            ng_good=count[True, "good"],
            ng_defective=count[True, "defective"],
            sample=tuple(samples[model_id]),
        )
        used = session.execute(
            select(Calibration.id, Calibration.false_alarm_rate).where(
                Calibration.id.in_(calibrated[model_id])
            )
        )
        stated = sum(rate * calibrated[model_id][number] for number, rate in used) / (cell.ng + cell.ok)
        rows.append(Row(name, version, monday, cell, rates([cell]), stated))
    return rows


def _sum(cells: Sequence[Cell]) -> Cell:
    return Cell(
        sum(cell.ng for cell in cells),
        sum(cell.ok for cell in cells),
        sum(cell.ng_good for cell in cells),
        sum(cell.ng_defective for cell in cells),
        tuple(one for cell in cells for one in cell.sample),
    )
