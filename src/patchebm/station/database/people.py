"""This module holds the tables of who may do what, and of who did what."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from patchebm.station.database.base import Base

# SQLite counts by itself in columns of the type INTEGER alone.
Counter = BigInteger().with_variant(Integer, "sqlite")


class User(Base):
    """This class is a person who signs in with a password.

    Attributes:
        password_hash: Argon2id, in PHC form.
        role: operator, engineer or admin.
        language: of the pages; None follows the browser.
        active: False once the user was taken away; rows stay, since history names them.
    """

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    password_hash: Mapped[str] = mapped_column(String(256))
    role: Mapped[str] = mapped_column(String(16))
    language: Mapped[str | None] = mapped_column(String(8))
    active: Mapped[bool] = mapped_column(default=True)
    created: Mapped[datetime]


class ApiToken(Base):
    """This class is a token of the REST interface; its secret is shown once and kept as a SHA-256 only.

    Attributes:
        role: line (pushes images alone), operator, engineer or admin.
        hash: SHA-256 of the whole token in hexadecimal; the token has 256 random bits, so that no slow hash
            is needed.
    """

    __tablename__ = "api_tokens"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    hash: Mapped[str] = mapped_column(String(64), unique=True)
    role: Mapped[str] = mapped_column(String(16))
    created: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(String(80))
    last_used: Mapped[datetime | None]
    revoked: Mapped[datetime | None]


class LoginSession(Base):
    """This class is a browser that has signed in.

    Attributes:
        hash: SHA-256 of the cookie in hexadecimal.
        csrf_token: what forms and scripts of this session send along.
    """

    __tablename__ = "login_sessions"

    hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    csrf_token: Mapped[str] = mapped_column(String(64))
    created: Mapped[datetime]
    last_seen: Mapped[datetime]
    expires: Mapped[datetime] = mapped_column(index=True)
    remote: Mapped[str] = mapped_column(String(64), default="")
    user: Mapped[User] = relationship(lazy="joined")


class AuditEntry(Base):
    """This class is one thing that someone did; triggers of the database refuse to change or delete it.

    Attributes:
        actor: `user:NAME`, `token:NAME`, `command line` or `station`.
        action: for instance `model.activate`; see `services.audit`.
        subject: what it was done to, for instance `product:flange`.
        details: facts, before and after where something changed.
        remote: address that the request came from.
    """

    __tablename__ = "audit_log"

    id: Mapped[int] = mapped_column(Counter, primary_key=True, autoincrement=True)
    time: Mapped[datetime] = mapped_column(index=True)
    actor: Mapped[str] = mapped_column(String(80), index=True)
    action: Mapped[str] = mapped_column(String(64), index=True)
    subject: Mapped[str] = mapped_column(String(160), default="")
    details: Mapped[dict[str, Any]] = mapped_column(default=dict)
    remote: Mapped[str] = mapped_column(String(64), default="")


class Setting(Base):
    """This class is a value that is changed while the station runs; see `services.options`."""

    __tablename__ = "settings"

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[str] = mapped_column(Text)
