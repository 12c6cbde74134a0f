"""This module keeps products."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from patchebm.errors import ConfigError
from patchebm.station.database.base import now
from patchebm.station.database.products import Product
from patchebm.station.errors import ConflictError, NotFoundError
from patchebm.station.notices import MODELS, notify
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
    product = Product(
        name=name, title=names.line(title, "title", 120) or name, roi=checked_roi(roi), created=now()
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
    """Changes what is given of a product; `roi` of `{}` takes the region away.

    Raises:
        NotFoundError: there is no such product.
        ConfigError: the title or the region cannot be used.
    """
    product = get(session, name)
    before = {"title": product.title, "roi": product.roi}
    if title is not None:
        product.title = names.line(title, "title", 120) or name
    if roi is not None:
        product.roi = checked_roi(roi or None)
    after = {"title": product.title, "roi": product.roi}
    session.flush()
    audit.record(session, actor, "product.change", f"product:{name}", {"before": before, "after": after})
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


def checked_roi(roi: dict[str, Any] | None) -> dict[str, Any] | None:
    """Returns a region of interest. Raises ConfigError if it is no box inside the image."""
    if roi is None:
        return None
    box = roi.get("box")
    right = isinstance(box, list | tuple) and len(box) == 4 and set(roi) == {"box"}
    if not right or not all(isinstance(x, int | float) and 0 <= x <= 1 for x in box or ()):
        raise ConfigError('roi must be {"box": [left, top, right, bottom]}, as shares of width and height')
    left, top, right_edge, bottom = map(float, box or ())
    if not (left < right_edge and top < bottom):
        raise ConfigError("roi is empty; left must be below right, and top below bottom")
    return {"box": [left, top, right_edge, bottom]}
