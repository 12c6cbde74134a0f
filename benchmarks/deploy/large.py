"""Images of 8000 x 2000 px: panels put together from single solar cells, and the memory that they take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.deploy.base import run as run_base
from patchebm.cli.main import main as cli
from patchebm.evaluation.summary import markdown
from patchebm.images.folders import open_image_set
from patchebm.runtime.bundle import read_bundle

WIDTH, HEIGHT = 8000, 2000
CELL = 300
PANELS = 9
# Input size and grid: a megapixel, the largest that goes through the backbone in one piece, and four, in
# tiles.
SIZES = {"512 x 2048": ("[512,2048]", "[64,256]"), "1024 x 4096": ("[1024,4096]", "[128,512]")}
# What a score costs does not depend on how long the model was trained.
SHORT = [
    *("--calibration.folds=3", "--calibration.members=2"),
    *(f"--position.network.training.{key}={value}" for key, value in (("steps", 40), ("warmup", 4))),
]
ONE = """
import sys, time
import patchebm
predictor = patchebm.load(sys.argv[1])
began = time.perf_counter()
prediction = predictor.predict(sys.argv[2], heat_maps=sys.argv[3] == "1")[0]
seconds = time.perf_counter() - began
from patchebm.line.measure import peak_memory_mb
print(prediction.score, seconds, peak_memory_mb())
"""


def panels(cells: list[Path], folder: Path) -> list[Path]:
    """Writes `PANELS` images, each of good cells drawn at random."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    files = [folder / f"{i:02d}.png" for i in range(PANELS)]
    for file in files:
        if file.exists():
            continue
        rows, columns = -(-HEIGHT // CELL), -(-WIDTH // CELL)
        panel = np.zeros((rows * CELL, columns * CELL), dtype=np.uint8)
        for row, column in np.ndindex(rows, columns):
            with Image.open(cells[generator.integers(len(cells))]) as cell:
                pixels = np.asarray(cell.convert("L").resize((CELL, CELL)))
            panel[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL] = pixels
        Image.fromarray(panel[:HEIGHT, :WIDTH]).save(file)
    return files


def measure(python: Path, data: Path, scratch: Path) -> list[dict[str, Any]]:
    """Trains on panels, exports, and scores one by a Python without torch.

    Args:
        python: of the base install.
        data: a set whose good images are single cells.
        scratch: for panels and models.
    """
    files = panels([image.path for image in open_image_set(data).train], scratch / "panels")
    rows = []
    for name, (size, grid) in SIZES.items():
        run, bundle = scratch / name.replace(" ", ""), scratch / f"{name.replace(' ', '')}.patchebm"
        if not (run / "model.json").exists():
            options = ["--features.size", size, "--features.grid", grid, "--overwrite", *SHORT]
            cli(["train", str(files[0].parent), "--out", str(run), *options])
        if not bundle.exists():
            cli(["export", str(run), "--out", str(bundle), "--verify", *map(str, files[:3])])
        for heat_maps in (0, 1):
            command = [python, "-c", ONE, bundle, files[-1], str(heat_maps)]
            _, seconds, memory = map(float, run_base(command, cwd=scratch).split())
            facts = {"seconds": round(seconds, 2), "memory_mb": round(memory)}
            parity = read_bundle(bundle).card["parity"]
            rows.append({"looked_at": name, "map": bool(heat_maps), **facts, "parity": parity})
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Returns Markdown."""
    lines = [
        [
            f"{row['looked_at']} px",
            "yes" if row["map"] else "no",
            f"{row['seconds']:.1f}",
            f"{row['memory_mb']} MB",
            f"{row['parity']['score_difference']:.1g}",
        ]
        for row in rows
    ]
    head = [f"{WIDTH} x {HEIGHT} px, resized to", "map", "s", "peak memory", "largest score difference"]
    return markdown(head, lines)
