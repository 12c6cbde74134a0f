"""Milliseconds for one decoded image of 256 px: contenders by turns, with one thread and with all."""

from __future__ import annotations

import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.turns import Contender
from patchebm.runtime.engines import available_threads

ROUNDS = 15
SIZE = 256
# Name in the table -> what `clock` calls it, and the name of what its time is divided by.
ALWAYS = {
    "PyTorch, bare backbone": ("pytorch-bare", "PyTorch, bare backbone"),
    "PyTorch": ("pytorch", "PyTorch, bare backbone"),
    "PatchCore, PyTorch": ("patchcore", "PyTorch, bare backbone"),
    "onnx, bare backbone": ("onnx-bare", "onnx, bare backbone"),
    "openvino, bare backbone": ("openvino-bare", "openvino, bare backbone"),
}


def measure(run: Path, bundles: dict[str, Path], images: list[Path]) -> dict[str, Any]:
    """Time the contenders.

    Args:
        run: folder of a trained model.
        bundles: what it was exported to, by format and precision.
        images: good ones; the first is scored.

    Returns:
        `threads` -> contender -> `ms`, the median, and `bare`, by which it is to be divided.
    """
    contenders = {name: (what, run, bare) for name, (what, bare) in ALWAYS.items()}
    for key, file in bundles.items():
        bare = f"{key.split()[0]}, bare backbone"
        contenders[key] = ("bundle", file, bare)
        contenders[f"{key}, with maps"] = ("bundle-with-maps", file, bare)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        sized = [_at_size(path, Path(folder) / f"{i:03d}.png") for i, path in enumerate(images[:60])]
        for threads in sorted({1, available_threads()}):
            found[str(threads)] = _by_turns(contenders, threads, sized[0])
    return found


def _by_turns(contenders: dict[str, tuple[str, Path, str]], threads: int, image: Path) -> dict[str, Any]:
    with ExitStack() as stack:
        running = {}
        for name, (what, model, _) in contenders.items():
            arguments = (what, str(threads), str(model), str(image))
            running[name] = stack.enter_context(Contender("benchmarks.deploy.clock", *arguments))
            running[name].hear()
        times: dict[str, list[float]] = {name: [] for name in running}
        for _ in range(ROUNDS):
            for name, contender in running.items():
                times[name].append(contender.ask(""))
    return {
        name: {"ms": round(statistics.median(values), 2), "bare": contenders[name][2]}
        for name, values in times.items()
    }


def _at_size(source: Path, target: Path) -> Path:
    with Image.open(source) as image:
        image.convert("RGB").resize((SIZE, SIZE)).save(target)
    return target


def table(found: dict[str, Any]) -> str:
    """Markdown: a row for each contender."""
    threads = list(found)
    head = "".join(f" ms, {n} thread{'s' if n != '1' else ''} | / bare backbone there |" for n in threads)
    lines = [f"| one image, {SIZE} px, batch 1 |{head}", "|---" * (1 + 2 * len(threads)) + "|"]
    for name in found[threads[0]]:
        cells = []
        for n in threads:
            facts = found[n][name]
            ratio = facts["ms"] / found[n][facts["bare"]]["ms"]
            cells.append(f" {facts['ms']:.1f} | {ratio:.2f} |")
        lines.append(f"| {name} |{''.join(cells)}")
    return "\n".join(lines) + "\n"
