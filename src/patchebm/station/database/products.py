"""This module holds the tables of products, their models, calibrations and sources."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Float, ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from patchebm.station.database.base import Base


class Product(Base):
    """This class is a kind of part that the station inspects.

    Attributes:
        name: lower-case letters, digits, `-` and `_`; stands in addresses.
        title: what pages show.
        roi: region of interest, see `patchebm.station.roi`: what lies outside is neither inspected nor learnt
            from; None for the whole image.
        active_model_id: the model that inspects; None until one is activated.
    """

    __tablename__ = "products"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    title: Mapped[str] = mapped_column(String(120), default="")
    roi: Mapped[dict[str, Any] | None]
    active_model_id: Mapped[int | None] = mapped_column(
        ForeignKey("model_versions.id", use_alter=True, name="fk_products_active_model_id_model_versions")
    )
    created: Mapped[datetime]
    active_model: Mapped[ModelVersion | None] = relationship(foreign_keys=[active_model_id], post_update=True)


class ModelVersion(Base):
    """This class is a bundle that was uploaded for a product; its file is `models/<sha256>.patchebm`.

    Attributes:
        number: 1, 2, ... within the product; addresses call it `version`.
        card: the bundle's card without the scores of good parts, which lie in `calibrations`.
        levels: names of the levels, in their order.
        calibration_id: the calibration whose threshold this version uses.
    """

    __tablename__ = "model_versions"
    __table_args__ = (UniqueConstraint("product_id", "number"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    product_id: Mapped[int] = mapped_column(ForeignKey("products.id"))
    number: Mapped[int]
    sha256: Mapped[str] = mapped_column(String(64))
    size: Mapped[int]
    note: Mapped[str] = mapped_column(String(200), default="")
    card: Mapped[dict[str, Any]] = mapped_column(deferred=True)
    levels: Mapped[list[Any]]
    created: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(String(80))
    calibration_id: Mapped[int | None] = mapped_column(
        ForeignKey("calibrations.id", use_alter=True, name="fk_model_versions_calibration_id_calibrations")
    )
    product: Mapped[Product] = relationship(foreign_keys=[product_id])
    calibration: Mapped[Calibration | None] = relationship(foreign_keys=[calibration_id], post_update=True)


class Activation(Base):
    """This class is one change of the model that inspects a product: who, when, from which to which."""

    __tablename__ = "activations"

    id: Mapped[int] = mapped_column(primary_key=True)
    product_id: Mapped[int] = mapped_column(ForeignKey("products.id"), index=True)
    model_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"))
    previous_model_id: Mapped[int | None] = mapped_column(ForeignKey("model_versions.id"))
    time: Mapped[datetime]
    actor: Mapped[str] = mapped_column(String(80))
    model: Mapped[ModelVersion] = relationship(foreign_keys=[model_id])


class Calibration(Base):
    """This class is what turns a model's scores into verdicts: rows are added and approved, never changed.

    Attributes:
        method: `bundle` (as exported), `recalibrated` (from confirmed-good parts) or `threshold` (moved by
            hand).
        status: `proposed` (waits for a second person), `active` (was in force at some time) or `rejected`.
        facts: what `patchebm.runtime.calibration.Calibration.from_dict` takes.
        threshold: copied from `facts`, for search.
        approved_by: who put it in force; another than `created_by` where four eyes are asked for.
    """

    __tablename__ = "calibrations"

    id: Mapped[int] = mapped_column(primary_key=True)
    model_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"), index=True)
    method: Mapped[str] = mapped_column(String(16))
    status: Mapped[str] = mapped_column(String(16))
    false_alarm_rate: Mapped[float] = mapped_column(Float(53))
    threshold: Mapped[float] = mapped_column(Float(53))
    parts: Mapped[int]
    facts: Mapped[dict[str, Any]] = mapped_column(deferred=True)
    note: Mapped[str] = mapped_column(String(200), default="")
    created: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(String(80))
    approved: Mapped[datetime | None]
    approved_by: Mapped[str | None] = mapped_column(String(80))
    model: Mapped[ModelVersion] = relationship(foreign_keys=[model_id])


class Source(Base):
    """This class is where images of a product come from, besides HTTP push, which needs no row.

    Attributes:
        kind: name of a class in `patchebm.station.sources`, for instance `folder`.
        settings: what that class takes.
    """

    __tablename__ = "sources"

    id: Mapped[int] = mapped_column(primary_key=True)
    product_id: Mapped[int] = mapped_column(ForeignKey("products.id"))
    name: Mapped[str] = mapped_column(String(64), unique=True)
    kind: Mapped[str] = mapped_column(String(16))
    settings: Mapped[dict[str, Any]]
    enabled: Mapped[bool] = mapped_column(default=True)
    created: Mapped[datetime]
    product: Mapped[Product] = relationship()


class TrainingJob(Base):
    """This class is a training that runs, or ran, in a process of its own.

    Attributes:
        state: `waiting`, `running`, `done`, `failed` or `cancelled`.
        request: preset, images and options.
        progress: what pages show: step, steps, last lines.
    """

    __tablename__ = "training_jobs"

    id: Mapped[int] = mapped_column(primary_key=True)
    product_id: Mapped[int] = mapped_column(ForeignKey("products.id"), index=True)
    state: Mapped[str] = mapped_column(String(16))
    request: Mapped[dict[str, Any]]
    progress: Mapped[dict[str, Any]]
    message: Mapped[str] = mapped_column(Text, default="")
    created: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(String(80))
    ended: Mapped[datetime | None]
    model_id: Mapped[int | None] = mapped_column(ForeignKey("model_versions.id"))
    product: Mapped[Product] = relationship()


class DriftState(Base):
    """This class is how far a product's test for drift has come, under one model.

    Attributes:
        parts: parts seen since the start.
        log_martingale: natural logarithm of the martingale now.
        peak: largest `log_martingale` so far.
        alarm: time of the alarm; None while there is none.
        state: what the martingale and the ranks need to go on.
    """

    __tablename__ = "drift_states"

    id: Mapped[int] = mapped_column(primary_key=True)
    product_id: Mapped[int] = mapped_column(ForeignKey("products.id"), index=True)
    model_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"))
    calibration_id: Mapped[int | None] = mapped_column(ForeignKey("calibrations.id"))
    started: Mapped[datetime]
    ended: Mapped[datetime | None]
    parts: Mapped[int] = mapped_column(default=0)
    log_martingale: Mapped[float] = mapped_column(Float(53), default=0.0)
    peak: Mapped[float] = mapped_column(Float(53), default=0.0)
    alarm: Mapped[datetime | None]
    state: Mapped[dict[str, Any]]
