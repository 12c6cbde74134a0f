"""This module holds the tables of inspected parts, of missed ones, of reviews, and of what goes out."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import Float, ForeignKey, Index, Integer, LargeBinary, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from patchebm.station.database.base import Base
from patchebm.station.database.people import Counter
from patchebm.station.database.products import Calibration, ModelVersion, Product


class Inspection(Base):
    """This class is one part that was inspected. No row is ever deleted.

    Attributes:
        id: UUID of version 7 of `time`: sorts by time.
        source: `push:TOKEN` or the name of a source.
        part: what the line calls the part; "" where it said nothing.
        idempotency_key: what the sender called this request; unique within a product.
        image_sha256: of the bytes as they came.
        image_format: PNG, JPEG, BMP or TIFF; the file is stored as it came.
        image_size, width, height: bytes, and pixels of the upright image.
        image_deleted: when retention took the image and the map; None while they are there.
        score, levels, tail_probability, extrapolated, threshold, anomalous: as `patchebm.runtime.Prediction`.
        latency_ms: from the arrival to the verdict, without the commit.
        map_low, map_high: heat of black and of white in the stored map.
        region_count: connected regions of the map that are hotter than what good parts show; None for
            parts of before regions were kept.
        regions: as `patchebm.runtime.Prediction.record`, at most 100.
        hottest: largest value of the anomaly map, which a new calibration learns from.
        brightness: mean of the image in [0, 1].
        sharpness: variance of the Laplacian of the grey image in [0, 1].
        p_value: rank of the score among the calibration parts and all parts so far; see drift.
        log_martingale: natural logarithm of the drift martingale after this part.
        review: verdict of the newest review: good, defective or unsure; None without one.
        defect: kind of defect that the newest review names; "" without one.
        roi: region of interest of the inspection, see `patchebm.station.roi`; None for the whole image.
        unjoined_id: of a view whose part has no joined verdict yet, the same for all its views; else None.
    """

    __tablename__ = "inspections"
    __table_args__ = (
        Index("ix_inspections_product_id_id", "product_id", "id"),
        Index("ix_inspections_product_id_anomalous_id", "product_id", "anomalous", "id"),
        Index("ix_inspections_product_id_review_id", "product_id", "review", "id"),
        Index("ix_inspections_product_id_score", "product_id", "score"),
        Index("ix_inspections_part", "part"),
        Index("uq_inspections_product_id_idempotency_key", "product_id", "idempotency_key", unique=True),
        # What retention looks for: images that are still there, oldest first.
        Index(
            "ix_inspections_with_image",
            "id",
            sqlite_where=text("image_deleted IS NULL"),
            postgresql_where=text("image_deleted IS NULL"),
        ),
        Index(
            "ix_inspections_unjoined_id",
            "unjoined_id",
            sqlite_where=text("unjoined_id IS NOT NULL"),
            postgresql_where=text("unjoined_id IS NOT NULL"),
        ),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    time: Mapped[datetime]
    product_id: Mapped[int] = mapped_column(ForeignKey("products.id"))
    model_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"), index=True)
    calibration_id: Mapped[int] = mapped_column(ForeignKey("calibrations.id"))
    source: Mapped[str] = mapped_column(String(80))
    part: Mapped[str] = mapped_column(String(128), default="")
    idempotency_key: Mapped[str | None] = mapped_column(String(128))
    image_sha256: Mapped[str] = mapped_column(String(64))
    image_format: Mapped[str] = mapped_column(String(8))
    image_size: Mapped[int]
    width: Mapped[int]
    height: Mapped[int]
    image_deleted: Mapped[datetime | None]
    score: Mapped[float] = mapped_column(Float(53))
    levels: Mapped[dict[str, Any]]
    tail_probability: Mapped[float] = mapped_column(Float(53))
    extrapolated: Mapped[bool]
    threshold: Mapped[float] = mapped_column(Float(53))
    anomalous: Mapped[bool]
    latency_ms: Mapped[float] = mapped_column(Float(53))
    map_low: Mapped[float] = mapped_column(Float(53))
    map_high: Mapped[float] = mapped_column(Float(53))
    region_count: Mapped[int | None]
    regions: Mapped[list[Any] | None]
    hottest: Mapped[float] = mapped_column(Float(53))
    brightness: Mapped[float] = mapped_column(Float(53))
    sharpness: Mapped[float] = mapped_column(Float(53))
    p_value: Mapped[float | None] = mapped_column(Float(53))
    log_martingale: Mapped[float | None] = mapped_column(Float(53))
    review: Mapped[str | None] = mapped_column(String(16))
    defect: Mapped[str] = mapped_column(String(64), default="")
    roi: Mapped[dict[str, Any] | None]
    unjoined_id: Mapped[uuid.UUID | None]
    product: Mapped[Product] = relationship()
    model: Mapped[ModelVersion] = relationship()
    calibration: Mapped[Calibration] = relationship()


class JoinedPart(Base):
    """This class is one part of which several views were inspected. No row is ever deleted.

    Attributes:
        id: UUID of version 7 of `time`, when the last view was inspected.
        source: name of the source; that of a view is `source/VIEW`.
        idempotency_key: what the sender called the trigger or the push; unique within a product.
        worst_view_id: inspection of the view that shows the part at its worst.
        views: id of the inspection of each view, by name; None for one that was not inspected.
    """

    __tablename__ = "joined_parts"
    __table_args__ = (
        Index("ix_joined_parts_product_id_id", "product_id", "id"),
        Index("uq_joined_parts_product_id_idempotency_key", "product_id", "idempotency_key", unique=True),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    time: Mapped[datetime]
    product_id: Mapped[int] = mapped_column(ForeignKey("products.id"))
    source: Mapped[str] = mapped_column(String(80))
    part: Mapped[str] = mapped_column(String(128), default="")
    idempotency_key: Mapped[str | None] = mapped_column(String(128))
    anomalous: Mapped[bool]
    worst_view_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("inspections.id"))
    views: Mapped[dict[str, Any]]
    product: Mapped[Product] = relationship()


class MissedPart(Base):
    """This class is a part that came and was not inspected, so that none goes missing in silence.

    Attributes:
        reason: `queue_full`, `unreadable`, `no_model` or `failed`; of a camera also `away`, `frozen`,
            `black`, `incomplete` or `late`; of a part with several views also `stopped`: the station ended
            before all views were inspected, and the others do not decide.
        inspection_id: set when the same part was sent again and inspected.
    """

    __tablename__ = "missed_parts"
    __table_args__ = (Index("ix_missed_parts_product_id_id", "product_id", "id"),)

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    time: Mapped[datetime]
    product_id: Mapped[int] = mapped_column(ForeignKey("products.id"))
    source: Mapped[str] = mapped_column(String(80))
    part: Mapped[str] = mapped_column(String(128), default="")
    idempotency_key: Mapped[str | None] = mapped_column(String(128), index=True)
    reason: Mapped[str] = mapped_column(String(16))
    message: Mapped[str] = mapped_column(Text, default="")
    inspection_id: Mapped[uuid.UUID | None]
    product: Mapped[Product] = relationship()


class SourceFile(Base):
    """This class is a file of a watched folder that is done with, so that none is inspected twice.

    Attributes:
        state: 16 bytes that stand for name, size and time of the file.
        sha256: of its content; "" if it could not be read.
    """

    __tablename__ = "source_files"

    source_id: Mapped[int] = mapped_column(ForeignKey("sources.id"), primary_key=True)
    state: Mapped[bytes] = mapped_column(LargeBinary(16), primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    sha256: Mapped[str] = mapped_column(String(64))


class Review(Base):
    """This class is what a person says of a part; the newest counts, all are kept.

    Attributes:
        verdict: good, defective or unsure.
        defect: the kind of defect; "" unless defective.
        picked: `queue:random` if the part is in the random sample of those that were OK, however it was
            found; else "". These parts estimate misses without bias.
        probability: for `queue:random`, the probability with which the part was picked.
    """

    __tablename__ = "reviews"

    id: Mapped[int] = mapped_column(Counter, primary_key=True, autoincrement=True)
    inspection_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("inspections.id"), index=True)
    time: Mapped[datetime]
    actor: Mapped[str] = mapped_column(String(80))
    verdict: Mapped[str] = mapped_column(String(16))
    defect: Mapped[str] = mapped_column(String(64), default="")
    note: Mapped[str] = mapped_column(String(500), default="")
    picked: Mapped[str] = mapped_column(String(24), default="")
    probability: Mapped[float | None] = mapped_column(Float(53))


class Output(Base):
    """This class is where results go.

    Attributes:
        kind: name of a class in `patchebm.station.outputs`, for instance `webhook`.
        settings: what that class takes, secrets included; pages and REST never show those.
        product_id: whose results are sent; None for all products.
        numbered: parts whose verdicts it was given so far.
    """

    __tablename__ = "outputs"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    kind: Mapped[str] = mapped_column(String(16))
    settings: Mapped[dict[str, Any]]
    product_id: Mapped[int | None] = mapped_column(ForeignKey("products.id"))
    enabled: Mapped[bool] = mapped_column(default=True)
    created: Mapped[datetime]
    numbered: Mapped[int] = mapped_column(Counter, default=0, server_default="0")


class OutboxMessage(Base):
    """This class is a message for one output, written in the transaction of what it tells of.

    Attributes:
        id: counts up: messages of an output are sent in this order.
        key: `Idempotency-Key`; the same each time that the message is sent.
        kind: for instance `inspection`.
        body: what is sent, as JSON.
        number: of a part's verdict, 1, 2, ... within the output; else 0, as of a view or a review.
        state: `pending`, `sent`, or `set_aside` (refused several times; tried again later).
    """

    __tablename__ = "outbox"
    __table_args__ = (Index("ix_outbox_output_id_state_id", "output_id", "state", "id"),)

    id: Mapped[int] = mapped_column(Counter, primary_key=True, autoincrement=True)
    output_id: Mapped[int] = mapped_column(ForeignKey("outputs.id"))
    key: Mapped[str] = mapped_column(String(64))
    kind: Mapped[str] = mapped_column(String(24))
    body: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(String(12), default="pending")
    created: Mapped[datetime]
    sent: Mapped[datetime | None]
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    last_error: Mapped[str] = mapped_column(String(200), default="")
    number: Mapped[int] = mapped_column(Counter, default=0, server_default="0")
