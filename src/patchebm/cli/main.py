"""`patchebm VERB ...`: finds the verb, and turns errors that a user can fix into one sentence."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

from patchebm._version import __version__
from patchebm.cli.terminal import escape_what_cannot_be_shown, say
from patchebm.errors import PatchebmError

VERBS = {
    "check": "say whether an image set is fit to train on, and what to do",
    "train": "fit a detector on images of good parts",
    "evaluate": "measure a detector on images with known truth, and report on it",
    "compare": "put several evaluated runs in one page",
    "export": "write one verified file that scores without torch",
    "predict": "score images, give verdicts, draw anomaly maps",
    "calibrate": "set the false-alarm rate again, or learn again what good parts score",
    "score": "score an archive of images in parallel, on one machine or a Ray cluster",
    "watch": "score images as a camera writes them",
    "station": "inspect parts in a plant: history, reviews and thresholds in a browser",
    "doctor": "say what this machine has for scoring, and how fast it is",
    "benchmark": "measure presets and seeds on several image sets, with tables",
    "fleet": "train, evaluate and score with the models of many products",
    "demo": "train and evaluate on built-in synthetic products, and write a report",
}

USAGE = f"""usage: patchebm VERB ...

Energy-based anomaly detection for industrial images, learned from good parts only.

verbs:
{chr(10).join(f"  {verb:<10} {what}" for verb, what in VERBS.items())}

`patchebm VERB --help` tells more. `patchebm --version` prints the version.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb; the entry point of the `patchebm` command.

    Returns:
        0 on success, 2 for input that the user can fix, 130 after Ctrl-C.
    """
    escape_what_cannot_be_shown()
    argv = list(sys.argv[1:] if arguments is None else arguments)
    if not argv or argv[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0 if argv else 2
    if argv[0] == "--version":
        print(f"patchebm {__version__}")
        return 0
    verb, *rest = argv
    if verb not in VERBS:
        from patchebm.config.nearest import nearest

        return _fail(f"there is no verb '{verb}'{nearest(verb, VERBS)}; verbs are {', '.join(VERBS)}")
    try:
        importlib.import_module(f"patchebm.cli.{verb}").run(rest)
        sys.stdout.flush()
    except PatchebmError as error:
        return _fail(str(error))
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] in ("pyarrow", "fsspec", "ray"):
            return _fail(f"'{verb}' needs {error.name}; install it with: pip install 'patchebm[scale]'")
        if error.name and error.name.split(".")[0] in (
            "torch",
            "lightning",
            "safetensors",
            "scipy",
            "sklearn",
            "matplotlib",
        ):
            return _fail(f"'{verb}' needs {error.name}; install it with: pip install 'patchebm[train]'")
        raise
    except KeyboardInterrupt:
        say(f"patchebm: stopped; nothing is half-written{_how_to_go_on(verb)}")
        return 130
    except BrokenPipeError:
        # The reader of our output (head, less) has gone; keep Python from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _how_to_go_on(verb: str) -> str:
    if verb == "benchmark":
        return ", and the same command goes on after the last finished run"
    if verb in ("score", "fleet"):
        return ", and the same command goes on with what is left"
    return ", and the same command goes on from the last checkpoint" if verb in ("train", "demo") else ""


def _fail(sentence: str) -> int:
    say(f"patchebm: error: {sentence}")
    return 2


if __name__ == "__main__":
    sys.exit(main())
