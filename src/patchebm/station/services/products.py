"""This module keeps products."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from patchebm.errors import ConfigError
from patchebm.station.database.base import now
from patchebm.station.database.history import Inspection
from patchebm.station.database.products import Product
from patchebm.station.errors import ConflictError, NotFoundError
from patchebm.station.notices import MODELS, notify
from patchebm.station.roi import roi_of
from patchebm.station.roles import Actor
from patchebm.station.services import audit, names


def add(
    session: Session, actor: Actor, name: str, *, title: str = "", roi: dict[str, Any] | None = None
) -> Product:
    """Adds a product.

    Raises:
        ConfigError: the name, the title or the region of interest cannot be used.
        ConflictError: there is a product of that name.
    """
    names.slug(name, "product")
    if session.scalar(select(Product.id).where(Product.name == name)) is not None:
        raise ConflictError(f"there is a product '{name}' already; choose another name")
    facts = None if roi is None else roi_of(roi)
    product = Product(
        name=name,
        title=names.line(title, "title", 120) or name,
        roi=None if facts is None else facts.facts,
        created=now(),
    )
    session.add(product)
    session.flush()
    audit.record(session, actor, "product.add", f"product:{name}", {"title": product.title, "roi": roi})
    notify(session, MODELS)
    return product


def change(
    session: Session,
    actor: Actor,
    name: str,
    *,
    title: str | None = None,
    roi: dict[str, Any] | None = None,
) -> Product:
    """Changes what is given of a product, by which the next part is inspected; `{}` takes the region away.

    Raises:
        NotFoundError: there is no such product.
        ConfigError: the title or the region cannot be used, or the region does not fit the newest image.
    """
    product = get(session, name)
    before = {"title": product.title, "roi": product.roi}
    if title is not None:
        product.title = names.line(title, "title", 120) or name
    if roi is not None:
        product.roi = _usable_roi(session, product, roi) if roi else None
    after = {"title": product.title, "roi": product.roi}
    session.flush()
    audit.record(session, actor, "product.change", f"product:{name}", {"before": before, "after": after})
    notify(session, MODELS)
    return product


def get(session: Session, name: str) -> Product:
    """Returns a product with its active model. Raises NotFoundError if there is none of that name."""
    query = select(Product).where(Product.name == name).options(joinedload(Product.active_model))
    product = session.scalar(query)
    if product is None:
        raise NotFoundError(f"there is no product '{name:.64}'")
    return product


def everything(session: Session) -> Sequence[Product]:
    """Returns all products by name, with their active models."""
    query = select(Product).order_by(Product.name).options(joinedload(Product.active_model))
    return session.scalars(query).all()


def _usable_roi(session: Session, product: Product, facts: dict[str, Any]) -> dict[str, Any]:
    """Returns a region of interest that may be stored.

    Raises:
        ConfigError: it is none, or does not fit the newest image of the product.
    """
    roi = roi_of(facts)
    assert roi is not None
    query = select(Inspection.width, Inspection.height).where(Inspection.product_id == product.id)
    newest = session.execute(query.order_by(Inspection.id.desc()).limit(1)).first()
    if newest is not None and not roi.fits(*newest):
        raise ConfigError(
            f"the newest image of '{product.name}' has {roi.misfit(*newest)}; draw it within the image"
        )
    return roi.facts
