"""This module keeps the models of products: uploaded, verified, activated, rolled back."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session, joinedload

from patchebm.errors import ModelFileError
from patchebm.runtime.bundle import Bundle, parse_bundle
from patchebm.runtime.bundle_predictor import BundlePredictor
from patchebm.runtime.engines import open_engine
from patchebm.station.database.base import now
from patchebm.station.database.products import Activation, Calibration, ModelVersion, Product
from patchebm.station.errors import ConflictError, NotFoundError
from patchebm.station.notices import MODELS, notify
from patchebm.station.roles import Actor
from patchebm.station.services import audit, calibrations, names, products
from patchebm.station.storage import Storage

# Of the card: they lie in the table of calibrations, and are long.
_LEFT_OUT = ("tail", "synthetic_defects")


def verify(content: bytes) -> tuple[Bundle, BundlePredictor]:
    """Returns a bundle, and the model in it after it scored an image: hashes and card are checked before.

    Raises:
        ModelFileError: no bundle, altered, damaged, or of another version; says which.
        ConfigError: its runtime is not installed here; says the fix.
    """
    bundle = parse_bundle(content, "the bundle")
    predictor = BundlePredictor(bundle, open_engine(bundle, 1))
    try:
        predictor.warm_up()
    except Exception as error:
        line = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelFileError(f"the bundle cannot score an image ({line:.120}); export it again") from error
    return bundle, predictor


def add(
    session: Session,
    actor: Actor,
    storage: Storage,
    product_name: str,
    content: bytes,
    *,
    note: str = "",
    checked: tuple[Bundle, BundlePredictor] | None = None,
) -> ModelVersion:
    """Adds a bundle to a product, under the next number; it inspects nothing before it is activated.

    Args:
        session: open.
        actor: who uploads it.
        storage: gets the file.
        product_name: whose model it is.
        content: of the file.
        note: what people should know of it.
        checked: what `verify` returned for `content`, where that was done before the transaction.

    Raises:
        NotFoundError: there is no such product.
        ConflictError: the product has this very bundle already.
        ModelFileError: as `verify`.
    """
    product = products.get(session, product_name)
    bundle, predictor = checked or verify(content)
    sha256 = hashlib.sha256(content).hexdigest()
    same = session.scalar(
        select(ModelVersion.number).where(
            ModelVersion.product_id == product.id, ModelVersion.sha256 == sha256
        )
    )
    if same is not None:
        raise ConflictError(f"this bundle is version {same} of '{product_name}' already; activate that")
    storage.put(storage.model(sha256), content)
    last = session.scalar(select(func.max(ModelVersion.number)).where(ModelVersion.product_id == product.id))
    model = ModelVersion(
        product_id=product.id,
        number=(last or 0) + 1,
        sha256=sha256,
        size=len(content),
        note=names.line(note, "note", 200),
        card={key: value for key, value in bundle.card.items() if key not in _LEFT_OUT},
        levels=list(predictor.calibration_.level_names),
        created=now(),
        created_by=actor.name,
    )
    session.add(model)
    session.flush()
    model.calibration = calibrations.of_bundle(session, actor, model, predictor.calibration_)
    session.flush()
    facts = {"version": model.number, "sha256": sha256, "size": len(content)}
    audit.record(session, actor, "model.add", f"product:{product_name}", facts)
    return model


def activate(session: Session, actor: Actor, product_name: str, number: int) -> Activation:
    """Makes a version inspect a product from the next part on; an older number is a roll-back.

    Raises:
        NotFoundError: there is no such product or version.
        ConflictError: that version inspects already.
    """
    product = products.get(session, product_name)
    model = get(session, product, number)
    previous = product.active_model
    if previous is not None and previous.id == model.id:
        raise ConflictError(f"version {number} of '{product_name}' is active already")
    product.active_model = model
    activation = Activation(
        product_id=product.id,
        model_id=model.id,
        previous_model_id=previous.id if previous is not None else None,
        time=now(),
        actor=actor.name,
    )
    session.add(activation)
    session.flush()
    before = previous.number if previous is not None else None
    facts = {"version": number, "previous": before}
    audit.record(session, actor, "model.activate", f"product:{product_name}", facts)
    notify(session, MODELS)
    return activation


def get(session: Session, product: Product, number: int) -> ModelVersion:
    """Returns a version of a product. Raises NotFoundError if there is none of that number."""
    model = session.scalar(
        select(ModelVersion).where(ModelVersion.product_id == product.id, ModelVersion.number == number)
    )
    if model is None:
        raise NotFoundError(f"'{product.name}' has no model version {number}")
    return model


def versions(session: Session, product: Product) -> Sequence[ModelVersion]:
    """Returns all versions of a product with their calibrations, newest first."""
    return session.scalars(
        select(ModelVersion)
        .where(ModelVersion.product_id == product.id)
        .order_by(ModelVersion.number.desc())
        .options(joinedload(ModelVersion.calibration))
    ).all()


def activations(session: Session, product: Product, limit: int = 50) -> Sequence[Activation]:
    """Returns who activated which version when, newest first."""
    return session.scalars(
        select(Activation)
        .where(Activation.product_id == product.id)
        .order_by(Activation.id.desc())
        .limit(limit)
        .options(joinedload(Activation.model))
    ).all()


def parity(model: ModelVersion) -> dict[str, Any]:
    """Returns how far the exported graph's scores were from those of the model it was exported from."""
    return dict(model.card.get("parity") or {})


def active_calibration(product: Product) -> Calibration | None:
    """Returns the calibration whose threshold a product has; None without a model."""
    return product.active_model.calibration if product.active_model is not None else None
