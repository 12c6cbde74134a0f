"""An installation without torch: its size, its start, and the verbs that a line's PC runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from patchebm.evaluation.summary import markdown
from patchebm.images.folders import open_image_set

ROOT = Path(__file__).resolve().parents[2]
FACTS = (
    ("install_mb", "size of a clean venv", "MB"),
    ("import_seconds", "`import patchebm`", "s"),
    ("first_verdict_seconds", "process start to first verdict", "s"),
    ("resident_mb", "peak memory while scoring", "MB"),
)
FIRST_VERDICT = """
import sys, time
began = time.perf_counter()
import patchebm
imported = time.perf_counter() - began
predictor = patchebm.load(sys.argv[1])
predictor.predict(sys.argv[2])
first = time.perf_counter() - began
for _ in range(50):
    predictor.predict(sys.argv[2])
from patchebm.line.measure import peak_memory_mb
print(imported, first, peak_memory_mb())
"""


def run(command: Sequence[str | Path], **settings: Any) -> str:
    """Runs a command of the base install, away from packages that PYTHONPATH names; returns its output."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment, **settings)
    return done.stdout


def make_venv(folder: Path) -> None:
    """Makes a virtual environment with `pip install .` and nothing else, for the code as it is."""
    subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
    command = [folder / "bin" / "python", "-m", "pip", "install", "-q", "-c", "constraints.txt", "."]
    subprocess.run(command, check=True, cwd=ROOT)


def footprint(venv: Path, bundle: Path, image: Path) -> dict[str, float]:
    """Returns seconds to import and, from process start, to the first verdict; MB in memory and on disk."""
    python = venv / "bin" / "python"
    rows, starts = [], []
    for _ in range(5):
        command = [python, "-c", FIRST_VERDICT, bundle, image]
        rows.append([float(word) for word in run(command, cwd=venv).split()])
        began = time.perf_counter()
        run([python, "-c", "pass"])
        starts.append(time.perf_counter() - began)
    imported, first, resident = np.median(rows, axis=0)
    size = sum(f.stat().st_size for f in venv.rglob("*") if f.is_file() and not f.is_symlink())
    return {
        "import_seconds": round(float(imported), 3),
        "first_verdict_seconds": round(float(first + np.median(starts)), 3),
        "resident_mb": round(float(resident)),
        "install_mb": round(size / 2**20),
    }


def verbs(venv: Path, bundle: Path, data: Path, scratch: Path) -> dict[str, Any]:
    """Runs `predict` and `watch` on all test images of a set, and compares them with each other.

    Returns:
        `images`; `predicted` and `watched`, how many came out; `differ`, how many got another verdict or a
        score that differs by more than 1e-6.
    """
    program = venv / "bin" / "patchebm"
    test = [image.path for image in open_image_set(data).test]
    found = scratch / "predictions.json"
    scratch.mkdir(parents=True, exist_ok=True)
    command = [program, "predict", bundle, data / "test", "--json", found]
    run(command)
    command = [program, "watch", data / "test", "--model", bundle, "--out", scratch / "watched", "--once"]
    run(command, stderr=subprocess.DEVNULL)
    predicted = {Path(row["image"]).resolve(): row for row in json.loads(found.read_text())}
    lines = (scratch / "watched" / "results.jsonl").read_text().splitlines()
    watched = {(data / "test" / row["image"]).resolve(): row for row in map(json.loads, lines)}
    both = predicted.keys() & watched.keys()
    return {
        "set": data.name,
        "images": len(test),
        "predicted": len(predicted),
        "watched": len(watched),
        "differ": sum(
            predicted[path]["anomalous"] != watched[path]["anomalous"]
            or abs(predicted[path]["score"] - watched[path]["score"]) > 1e-6
            for path in both
        ),
    }


def footprint_table(footprint: dict[str, float]) -> str:
    """Returns Markdown: what the installation needs."""
    rows = [[text, f"{footprint[key]:g} {unit}"] for key, text, unit in FACTS]
    return markdown(["base install, without torch", ""], rows)


def verbs_table(verbs: list[dict[str, Any]]) -> str:
    """Returns Markdown: a row for each set."""
    keys = ("set", "images", "predicted", "watched", "differ")
    head = ["set", "test images", "`predict`", "`watch`", "that differ"]
    return markdown(head, [[str(row[key]) for key in keys] for row in verbs])
