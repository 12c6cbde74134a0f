"""This module holds the roles, each of which may do what those before it may."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from patchebm.errors import ConfigError


class Role(IntEnum):
    """This class is a role; a higher one includes the lower ones.

    `LINE` is for the tokens of cameras and controllers: it pushes images and reads verdicts of single parts.
    `OPERATOR` sees the history and reviews parts. `ENGINEER` changes products, models and thresholds. `ADMIN`
    changes users, tokens and outputs, and reads the audit log.
    """

    LINE = 1
    OPERATOR = 2
    ENGINEER = 3
    ADMIN = 4

    @property
    def word(self) -> str:
        """Returns how the role is written: in lower case."""
        return self.name.lower()


USER_ROLES = ("operator", "engineer", "admin")
TOKEN_ROLES = ("line", *USER_ROLES)


def role_of(word: str) -> Role:
    """Returns the role of a word. Raises ConfigError for an unknown one."""
    try:
        return Role[word.upper()]
    except KeyError as error:
        raise ConfigError(f"role '{word:.40}' is none of {', '.join(TOKEN_ROLES)}") from error


@dataclass(frozen=True)
class Actor:
    """This class is who asks for something.

    Attributes:
        name: as history and audit log name them: `user:NAME`, `token:NAME`, `command line` or `station`.
        role: what they may do.
        remote: address that the request came from; "" on the command line.
        csrf_token: what forms of this session must send; "" for tokens, which browsers do not send
            by themselves.
        language: that the user chose; None follows the browser.
        user_id: of the user; None for tokens.
    """

    name: str
    role: Role
    remote: str = ""
    csrf_token: str = ""
    language: str | None = None
    user_id: int | None = None

    @property
    def plain_name(self) -> str:
        """Returns the name without its kind."""
        return self.name.partition(":")[2] or self.name


COMMAND_LINE = Actor("command line", Role.ADMIN)
STATION = Actor("station", Role.ADMIN)
