"""This module keeps the sources of images."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session, joinedload

from patchebm.station.arrival import Missed, Outcome
from patchebm.station.database.base import now
from patchebm.station.database.history import SourceFile
from patchebm.station.database.products import Product, Source
from patchebm.station.errors import ConflictError, NotFoundError
from patchebm.station.notices import SOURCES, notify
from patchebm.station.roles import Actor
from patchebm.station.services import audit, names, products
from patchebm.station.sources import open_source
from patchebm.station.sources.base import Context, OpenSession
from patchebm.station.sources.options import without_secrets

# Files of a folder that are forgotten at once: parts are stored in between.
AT_ONCE = 5000


def add(
    session: Session,
    actor: Actor,
    open_session: OpenSession,
    name: str,
    product: str,
    kind: str,
    settings: dict[str, Any],
) -> Source:
    """Adds a source; it begins to work once this is committed.

    Raises:
        NotFoundError: there is no such product.
        ConflictError: there is a source of that name.
        ConfigError: the kind or a setting cannot be used.
    """
    names.slug(name, "source")
    found = products.get(session, product)
    if session.scalar(select(Source.id).where(Source.name == name)) is not None:
        raise ConflictError(f"there is a source '{name}' already; choose another name")
    _require_usable(open_session, name, found, kind, settings)
    source = Source(name=name, product_id=found.id, kind=kind, settings=settings, enabled=True, created=now())
    session.add(source)
    session.flush()
    audit.record(
        session,
        actor,
        "source.add",
        f"source:{name}",
        {"product": product, "kind": kind, **without_secrets(settings)},
    )
    notify(session, SOURCES)
    return source


def get(session: Session, name: str) -> Source:
    """Returns a source. Raises NotFoundError if there is none of that name."""
    source = session.scalar(select(Source).where(Source.name == name))
    if source is None:
        raise NotFoundError(f"there is no source '{name:.64}'")
    return source


def change(
    session: Session, actor: Actor, open_session: OpenSession, name: str, settings: dict[str, Any]
) -> Source:
    """Replaces the settings of a source, which then starts again with them.

    Raises:
        NotFoundError: there is none of that name.
        ConfigError: a setting cannot be used.
    """
    source = get(session, name)
    _require_usable(open_session, name, source.product, source.kind, settings)
    source.settings = settings
    session.flush()
    audit.record(session, actor, "source.change", f"source:{name}", without_secrets(settings))
    notify(session, SOURCES)
    return source


def remove(open_session: OpenSession, actor: Actor, name: str) -> None:
    """Deletes a source. Its parts stay, under its name; which files of a folder it knew is forgotten.

    It is switched off first, so that what it has handed over is stored before it goes. Its files are
    forgotten in several transactions, since there may be millions of them, and parts have to be stored
    meanwhile.

    Args:
        open_session: opens the database.
        actor: who deletes it.
        name: of the source.

    Raises:
        NotFoundError: there is no source of that name.
    """
    with open_session(write=True) as session:
        source = get(session, name)
        source_id = source.id
        if source.enabled:
            enable(session, actor, name, False)
    going = True
    while going:
        with open_session(write=True) as session:
            # What is being stored just now may still note a file: this waits for it, and then none comes.
            locked = select(Source).where(Source.id == source_id, Source.name == name).with_for_update()
            found = session.scalar(locked)
            if found is None:
                raise NotFoundError(f"there is no source '{name:.64}' any more")
            going = _forget_some(session, source_id) == AT_ONCE
            if not going:
                details = {"product": found.product.name, "kind": found.kind}
                session.delete(found)
                session.flush()
                audit.record(session, actor, "source.delete", f"source:{name}", details)
                notify(session, SOURCES)


def enable(session: Session, actor: Actor, name: str, enabled: bool) -> Source:
    """Lets a source work, or rest. Raises NotFoundError if there is none of that name."""
    source = get(session, name)
    source.enabled = enabled
    session.flush()
    audit.record(session, actor, "source.enable", f"source:{name}", {"enabled": enabled})
    notify(session, SOURCES)
    return source


def everything(session: Session) -> Sequence[Source]:
    """Returns all sources by name, with their products."""
    return session.scalars(select(Source).options(joinedload(Source.product)).order_by(Source.name)).all()


def _forget_some(session: Session, source_id: int) -> int:
    """Forgets which files of a folder are done with, up to `AT_ONCE` of them. Returns how many."""
    of_it = SourceFile.source_id == source_id
    some = select(SourceFile.state).where(of_it).limit(AT_ONCE)
    query = delete(SourceFile).where(of_it, SourceFile.state.in_(some)).returning(SourceFile.state)
    return len(session.scalars(query, execution_options={"synchronize_session": False}).all())


def _require_usable(
    open_session: OpenSession, name: str, product: Product, kind: str, settings: dict[str, Any]
) -> None:
    """Opens a source to see that it can be; it is never run. Raises ConfigError."""
    context = Context(
        0, name, product.id, product.name, _receive_nothing, _miss_nothing, open_session, threading.Event()
    )
    open_source(kind, context, settings)


def _receive_nothing(*_: Any, **__: Any) -> Future[Outcome]:
    raise NotImplementedError


def _miss_nothing(missed: Missed) -> None:
    raise NotImplementedError
