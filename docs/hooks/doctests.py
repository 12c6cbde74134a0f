"""An extension of griffe: examples in docstrings (`>>>`) are shown as code, not as quotations."""

from __future__ import annotations

import re
from typing import Any

import griffe

_EXAMPLE = re.compile(r"(?:^>>> .*\n?(?:^(?!>>>|\s*$).*\n?)*)+", re.MULTILINE)


class Doctests(griffe.Extension):
    """Puts examples into code blocks."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of an object, if it has one."""
        if obj.docstring:
            obj.docstring.value = _EXAMPLE.sub(_as_code, obj.docstring.value)


def _as_code(match: re.Match[str]) -> str:
    lines = [
        re.sub(r"\s*# doctest:.*", "", line).removeprefix(">>> ") for line in match[0].strip().splitlines()
    ]
    return "```python\n" + "\n".join(lines) + "\n```\n"
