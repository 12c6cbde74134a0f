"""MkDocs hook: the tables of tags, from the table that the station itself uses."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

COLUMNS = {
    "modbus": ("register", "coil", "type"),
    "s7": ("address", "type"),
    "opcua": ("type",),
}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill in the tables that a page asks for."""
    return re.sub(r"^<!-- tags: (\w+) -->$", lambda match: table(match[1]), markdown, flags=re.MULTILINE)


def table(protocol: str) -> str:
    """The tags of a protocol, or the values of error_code, as a table."""
    # Here, since the hook `reference` makes the package of this tree importable.
    from patchebm.station.plc.tags import ERRORS, OPCUA_TYPES, PLC_TAGS, STATION_TAGS

    if protocol == "errors":
        rows = [f"| {code} | {meaning} |" for code, meaning in ERRORS.items()]
        return "\n".join(["| error_code | meaning |", "|---|---|", *rows])
    facts: dict[str, Callable[[Any], list[str]]] = {
        "modbus": lambda tag: [
            str(tag.word),
            "" if tag.coil is None else str(tag.coil),
            {"bool": f"bit {tag.bit}"}.get(tag.kind, tag.kind),
        ],
        "s7": lambda tag: [tag.s7_address, tag.s7_type],
        "opcua": lambda tag: [OPCUA_TYPES[tag.kind]],
    }
    head = ["tag", "written by", *COLUMNS[protocol], "meaning"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for side, tags in (("station", STATION_TAGS), ("PLC", PLC_TAGS)):
        for tag in tags:
            cells = [f"`{tag.name}`", side, *facts[protocol](tag), tag.meaning]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
