"""This module keeps the outputs that results go to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from patchebm.errors import ConfigError
from patchebm.station.database.base import now
from patchebm.station.database.history import Output
from patchebm.station.database.products import Product
from patchebm.station.errors import ConflictError, NotFoundError
from patchebm.station.notices import OUTPUTS, notify
from patchebm.station.outputs import open_sender
from patchebm.station.outputs.base import Sender
from patchebm.station.outputs.dispatcher import OpenSession
from patchebm.station.outputs.webhook import new_secret
from patchebm.station.roles import Actor
from patchebm.station.services import audit, messages, names, products


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
    settings = _with_secret(kind, settings)
    sender = _opened(session, kind, settings, product)
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


def get(session: Session, name: str) -> Output:
    """Returns an output. Raises NotFoundError if there is none of that name."""
    output = session.scalar(select(Output).where(Output.name == name))
    if output is None:
        raise NotFoundError(f"there is no output '{name:.64}'")
    return output


def change(session: Session, actor: Actor, name: str, changes: dict[str, Any]) -> Output:
    """Changes settings of an output, which then starts again with them.

    What it has not sent yet is sent with the new settings, and the numbers of its messages go on.

    Args:
        session: open.
        actor: who changes it.
        name: of the output.
        changes: settings by name. One that is left out stays, a secret too; one that is None is taken away,
            and a webhook whose secret is taken away gets a new one.

    Raises:
        NotFoundError: there is no output of that name.
        ConfigError: a setting cannot be used.
    """
    output = get(session, name)
    before = output.settings
    kept = {key: value for key, value in (before | changes).items() if value is not None}
    settings = _with_secret(output.kind, kept)
    product = None if output.product_id is None else session.get_one(Product, output.product_id).name
    sender = _opened(session, output.kind, settings, product)
    output.settings = settings
    session.flush()
    # By their names alone: the value may be a secret.
    changed = sorted(key for key in before | settings if before.get(key) != settings.get(key))
    audit.record(session, actor, "output.change", f"output:{name}", {"changed": changed, **sender.shown})
    notify(session, OUTPUTS)
    return output


def enable(session: Session, actor: Actor, name: str, enabled: bool) -> Output:
    """Lets an output work, or rest: then it gets no messages. Raises NotFoundError if it does not exist."""
    output = get(session, name)
    output.enabled = enabled
    session.flush()
    audit.record(session, actor, "output.enable", f"output:{name}", {"enabled": enabled})
    notify(session, OUTPUTS)
    return output


def remove(open_session: OpenSession, actor: Actor, name: str) -> int:
    """Deletes an output and all of its messages, those included that are not sent yet.

    It is switched off first. Its messages are deleted in several transactions, since there may be millions
    of them, and parts have to be stored meanwhile.

    Args:
        open_session: opens the database.
        actor: who deletes it.
        name: of the output.

    Returns:
        How many of its messages had not been sent.

    Raises:
        NotFoundError: there is no output of that name.
    """
    with open_session(write=True) as session:
        output = get(session, name)
        output_id = output.id
        if output.enabled:
            enable(session, actor, name, False)
    unsent, going = 0, True
    while going:
        with open_session(write=True) as session:
            # What is being stored just now may still add a message: this waits for it, and then none comes.
            locked = select(Output).where(Output.id == output_id, Output.name == name).with_for_update()
            found = session.scalar(locked)
            if found is None:
                raise NotFoundError(f"there is no output '{name:.64}' any more")
            count, waiting = messages.forget_some(session, output_id)
            unsent += waiting
            going = count == messages.AT_ONCE
            if not going:
                session.delete(found)
                session.flush()
                details = {"kind": found.kind, "unsent": unsent}
                audit.record(session, actor, "output.delete", f"output:{name}", details)
                notify(session, OUTPUTS)
    return unsent


def everything(session: Session) -> Sequence[Output]:
    """Returns all outputs by name."""
    return session.scalars(select(Output).order_by(Output.name)).all()


def _with_secret(kind: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Returns settings with a fresh secret for a webhook that has none."""
    return settings | {"secret": new_secret()} if kind == "webhook" and "secret" not in settings else settings


def _opened(session: Session, kind: str, settings: dict[str, Any], product: str | None) -> Sender:
    """Opens an output to see that it can be used; it is never started. Raises as `add` does."""
    sender = open_sender(kind, settings)
    chosen = settings.get("products", [])
    for one in chosen:
        products.get(session, one)
    if product is not None and chosen not in ([], [product]):
        # A part of another product, which it triggered, would never be answered.
        raise ConfigError(f'this output gets results of {product} alone; its products must be ["{product}"]')
    return sender
