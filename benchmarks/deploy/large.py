"""A picture of 8000 x 2000 px through a bundle whose features are computed tile by tile: memory and time."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from patchebm.cli.main import main as cli

HEIGHT, WIDTH = 2000, 8000
# What is trained does not matter for what scoring costs: few pictures, few steps.
SETTINGS = [
    "--features.size", "[512,2048]", "--features.grid", "[64,256]", "--image.view.size", "[8,32]",
    "--calibration.members", "1", "--calibration.folds", "3",
    "--patch.training.steps", "20", "--image.training.steps", "20",
]  # fmt: skip

SCORE = """
import json, re, sys, time
import patchebm
predictor = patchebm.load(sys.argv[1])
began = time.perf_counter()
prediction = predictor.predict(sys.argv[2])[0]
seconds = time.perf_counter() - began
resident = int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
shape = prediction.heat_map.shape
print(json.dumps({"seconds": round(seconds, 2), "resident_mb": round(resident), "map": shape}))
"""


def measure(folder: Path, python: Path) -> dict[str, Any]:
    """Seconds and MB of a process without torch that scores one picture and draws its map."""
    pictures = folder / "pictures"
    if not pictures.exists():
        pictures.mkdir(parents=True)
        rng = np.random.default_rng(0)
        weave = np.add.outer(np.sin(np.arange(HEIGHT) / 5), np.sin(np.arange(WIDTH) / 7)) * 40 + 128
        for number in range(7):
            noisy = np.clip(weave + rng.normal(0, 8, weave.shape), 0, 255).astype(np.uint8)
            Image.fromarray(noisy).convert("RGB").save(pictures / f"{number}.png", compress_level=1)
    run, bundle = folder / "run", folder / "large.patchebm"
    if not bundle.exists():
        assert cli(["train", str(pictures), "--out", str(run), "--overwrite", *SETTINGS]) == 0
        assert cli(["export", str(run), "--out", str(bundle)]) == 0
    command = [python, "-c", SCORE, bundle, pictures / "0.png"]
    ran = subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder)
    found: dict[str, Any] = json.loads(ran.stdout)
    assert found.pop("map") == [HEIGHT, WIDTH]
    return found
