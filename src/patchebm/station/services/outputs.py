"""This module keeps the outputs that results go to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from patchebm.errors import ConfigError
from patchebm.station.database.base import now
from patchebm.station.database.history import Output
from patchebm.station.errors import ConflictError, NotFoundError
from patchebm.station.notices import OUTPUTS, notify
from patchebm.station.outputs import open_sender
from patchebm.station.outputs.webhook import new_secret
from patchebm.station.roles import Actor
from patchebm.station.services import audit, names, products


def add(
    session: Session,
    actor: Actor,
    name: str,
    kind: str,
    settings: dict[str, Any],
    product: str | None = None,
) -> Output:
    """Adds an output; it gets what is stored from now on.

    A webhook without a secret gets one, which stands in the `settings` of the row.

    Raises:
        NotFoundError: there is no such product.
        ConflictError: there is an output of that name.
        ConfigError: the kind or a setting cannot be used, or a library of the extra `line` is missing.
    """
    names.slug(name, "output")
    if session.scalar(select(Output.id).where(Output.name == name)) is not None:
        raise ConflictError(f"there is an output '{name}' already; choose another name")
    if kind == "webhook" and "secret" not in settings:
        settings = settings | {"secret": new_secret()}
    sender = open_sender(kind, settings)
    chosen = settings.get("products", [])
    for one in chosen:
        products.get(session, one)
    if product is not None and chosen not in ([], [product]):
        # A part of another product, which it triggered, would never be answered.
        raise ConfigError(f'this output gets results of {product} alone; its products must be ["{product}"]')
    output = Output(
        name=name,
        kind=kind,
        settings=settings,
        product_id=None if product is None else products.get(session, product).id,
        enabled=True,
        created=now(),
    )
    session.add(output)
    session.flush()
    audit.record(
        session, actor, "output.add", f"output:{name}", {"kind": kind, "product": product, **sender.shown}
    )
    notify(session, OUTPUTS)
    return output


def enable(session: Session, actor: Actor, name: str, enabled: bool) -> Output:
    """Lets an output work, or rest: then it gets no messages. Raises NotFoundError if it does not exist."""
    output = session.scalar(select(Output).where(Output.name == name))
    if output is None:
        raise NotFoundError(f"there is no output '{name:.64}'")
    output.enabled = enabled
    session.flush()
    audit.record(session, actor, "output.enable", f"output:{name}", {"enabled": enabled})
    notify(session, OUTPUTS)
    return output


def everything(session: Session) -> Sequence[Output]:
    """Returns all outputs by name."""
    return session.scalars(select(Output).order_by(Output.name)).all()
