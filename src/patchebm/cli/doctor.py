"""`patchebm doctor [MODEL] [IMAGES...]`: say what this machine has for scoring, and how fast it is."""

from __future__ import annotations

import json
import tempfile
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from patchebm._version import __version__
from patchebm.cli.model import add_device_options
from patchebm.cli.options import Parser
from patchebm.cli.terminal import say_left_out
from patchebm.errors import DataError, PatchebmError
from patchebm.images.listing import Listing, list_images
from patchebm.line.machine import HELPS, advice, hardware, runtimes
from patchebm.runtime.bundle import read_bundle

# Images that are scored in turn; more would only take longer to read.
MAX_IMAGES = 20


def run(argv: Sequence[str]) -> None:
    """Inspects and measures as the arguments say."""
    parser = Parser(prog="patchebm doctor", description=__doc__)
    parser.add_argument("model", nargs="?", help="bundle or run folder to measure")
    parser.add_argument(
        "images", nargs="*", help="images, or folders of them; without, one of 256 px is made up"
    )
    add_device_options(parser)
    parser.add_argument("--json", action="store_true", help="print the facts as JSON")
    values = parser.parse(argv)
    listing = list_images(values.images) if values.images else Listing(())
    say_left_out(listing.left_out)
    images = list(listing.images[:MAX_IMAGES])
    facts: dict[str, Any] = {"patchebm": __version__, "hardware": hardware(), "runtimes": runtimes()}
    facts["precisions"] = precisions(facts["hardware"], facts["runtimes"])
    facts["advice"] = advice(facts["hardware"], facts["runtimes"])
    problem = None
    if values.model is not None:
        facts["model"] = values.model
        try:
            facts["computes"] = _computes(values.model, facts["hardware"]["flags"])
            facts["speed"] = _speeds(values, images, facts["hardware"]["cores"])
            facts["advice"] += _speed_advice(facts["speed"])
        except PatchebmError as error:
            problem = error
    print(json.dumps(facts, indent=1) if values.json else "\n".join(_lines(facts)), flush=True)
    # What is known of the machine may be what explains it.
    if problem is not None:
        raise problem


def precisions(machine: dict[str, Any], found: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Says what each precision is worth here."""
    words = {}
    for name in ("f32", *HELPS):
        offering = [runtime for runtime, facts in found.items() if name in facts.get("precisions", [])]
        helping = [flag for flag in machine["flags"] if flag in HELPS.get(name, ())]
        words[name] = f"bundles with {' or '.join(offering)}" if offering else "no bundles here"
        if helping:
            words[name] += f"; this processor has {', '.join(helping)} for it"
        elif name in HELPS:
            words[name] += "; this processor has no instructions for it"
    return words


def _computes(model: str, flags: Sequence[str]) -> str | None:
    """Says in which precision a bundle is computed, and which instructions help; None for a run folder."""
    if not Path(model).is_file():
        return None
    graph = read_bundle(model).card["graph"]
    precision = graph.get("precision", "f32")
    if precision not in HELPS:
        return f"computed in {precision}"
    made_on = [flag for flag in graph.get("made_on", []) if flag in HELPS[precision]]
    here = [flag for flag in flags if flag in HELPS[precision]]
    there = f", made on a processor with {', '.join(made_on)}" if made_on else ""
    helped = f"has {', '.join(here)}" if here else "has no instructions for it and is slower"
    return f"computed in {precision}{there}; this processor {helped}"


def _speeds(values: Namespace, images: Sequence[Path], cores: float) -> list[dict[str, Any]]:
    """Measures on one thread, and on as many as there are cores."""
    from patchebm.line.measure import measure

    model = values.model
    if not Path(model).exists():
        raise DataError(f"{model} does not exist; name a bundle or a run folder")
    threads = sorted({1, max(1, int(cores))})
    with tempfile.TemporaryDirectory() as folder:
        images = list(images) or [_gradient(Path(folder))]
        asked = {"provider": values.provider, "device": values.device}
        return [asdict(measure(model, images, n, **asked)) for n in threads]


def _gradient(folder: Path) -> Path:
    """Writes a grainy gradient of 256 px: how fast a model is does not depend on what an image shows."""
    import numpy as np
    from PIL import Image

    # With grain, because a smooth image would be decoded faster than a photograph.
    grain = np.random.default_rng(0).integers(0, 16, (256, 256, 3))
    pixels = (np.arange(256)[:, None, None] // 2 + grain + 56).astype(np.uint8)
    Image.fromarray(pixels).save(folder / "gradient.png")
    return folder / "gradient.png"


def _speed_advice(speeds: Sequence[dict[str, Any]]) -> list[str]:
    """Returns what the measurements say to do."""
    if len(speeds) < 2:
        return []
    one, all_cores = speeds[0], speeds[-1]
    gain = one["score_ms"] / all_cores["score_ms"]
    if gain > 1.2:
        return [f"{all_cores['threads']} threads answer {gain:.1f} times as fast as one"]
    return ["more threads hardly help here; --threads 1 leaves the other cores to others"]


def _lines(facts: dict[str, Any]) -> list[str]:
    """Returns the facts as lines of text."""
    machine = facts["hardware"]
    memory, free = machine["memory_mb"], machine["free_memory_mb"]
    lines = [
        f"patchebm {facts['patchebm']}, Python {machine['python']}, {machine['system']}",
        f"processor  {machine['processor']} ({machine['architecture']}), {machine['cores']:g} of "
        f"{machine['machine_cores']} cores, {' '.join(machine['flags']) or 'no known flags'}",
        f"memory     {_or_unknown(memory)} MB, {_or_unknown(free)} MB free",
    ]
    for name, found in facts["runtimes"].items():
        state = "not installed" if found["version"] is None else found["version"]
        if "providers" in found:
            state += f", --provider {', '.join(found['providers'])}"
        lines.append(f"{name:<12}{found.get('problem', state)}")
    lines += [f"{name:<12}{words}" for name, words in facts["precisions"].items()]
    if facts.get("computes") is not None:
        lines += ["", f"{facts['model']} is {facts['computes']}"]
    if "speed" in facts:
        lines += ["", f"{facts['model']}, an image at a time:"]
    lines += [
        f"  threads {speed['threads']}: {speed['score_ms']:.1f} ms to score, {speed['read_ms']:.1f} to read; "
        f"first verdict after {speed['first_verdict_s']:.1f} s; {_or_unknown(speed['memory_mb'])} MB"
        for speed in facts.get("speed", [])
    ]
    if facts["advice"]:
        lines += ["", *(f"- {sentence}" for sentence in facts["advice"])]
    return lines


def _or_unknown(value: int | None) -> str:
    return "unknown" if value is None else str(value)
