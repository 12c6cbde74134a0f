"""`patchebm fleet ACTION ...`: the models of many products, on one machine or a Ray cluster."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from patchebm.config.nearest import nearest
from patchebm.errors import ConfigError

ACTIONS = {
    "train": "make a model for each product",
    "evaluate": "measure the model of each product on its test images",
    "score": "score archives: each image with the model of its product",
}

_USAGE = f"""usage: patchebm fleet ACTION ...

The models of many products, on one machine or a Ray cluster. A product that fails concerns no other.
Interrupted, the same command goes on.

actions:
{chr(10).join(f"  {action:<9} {what}" for action, what in ACTIONS.items())}

`patchebm fleet ACTION --help` tells more.
"""


def run(argv: Sequence[str]) -> None:
    """Does what the arguments say."""
    words = list(argv)
    if not words or words[0] in ("-h", "--help"):
        print(_USAGE, end="")
        if not words:
            raise ConfigError("fleet needs an action; see `patchebm fleet --help`")
        return
    action = words.pop(0)
    if action not in ACTIONS:
        raise ConfigError(
            f"fleet has no action '{action}'{nearest(action, ACTIONS)}; actions are {', '.join(ACTIONS)}"
        )
    importlib.import_module(f"patchebm.cli.fleet_{action}").run(words)
