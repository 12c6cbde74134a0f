"""This module draws the part that the demo's line makes, and has a model of it trained.

Training needs torch, which the station never imports: it runs in processes of its own, by the verbs that
everybody uses.
"""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from patchebm.drawn import drawn_products
from patchebm.errors import ConfigError

PRODUCT = "flange"
# A rate of 1 % can be observed from 99 good parts on.
TRAIN, GOOD, PER_DEFECT = 120, 60, 4
SIZE, SEED, RATE = 256, 0, 0.01
_ERROR = "patchebm: error: "


def images(split: str, count: int, defect: str = "good") -> list[bytes]:
    """Returns images of the part as JPEG, as a camera would send them.

    Args:
        split: images of one split are none of another.
        count: how many.
        defect: a kind that `patchebm_products` draws, or `good`.

    Raises:
        ConfigError: the package that draws them is not installed.
    """
    draw = drawn_products().draw
    found = []
    for index in range(count):
        pixels, _ = draw(PRODUCT, seed=SEED, split=f"{split}/{defect}", index=index, defect=defect, size=SIZE)
        packed = io.BytesIO()
        Image.fromarray(pixels).save(packed, "JPEG", quality=90)
        found.append(packed.getvalue())
    return found


def line_images() -> tuple[list[bytes], list[bytes]]:
    """Returns the good and the defective parts that the simulated camera sends."""
    kinds: Sequence[str] = list(drawn_products().KINDS)
    return images("demo", GOOD), [one for kind in kinds for one in images("demo", PER_DEFECT, kind)]


def train_model(folder: Path) -> Path:
    """Trains and exports a model of the part, which takes about a minute on two cores.

    Args:
        folder: for images, run and bundle; it is empty.

    Returns:
        The bundle.

    Raises:
        ConfigError: a package is not installed, or training failed; says which and why.
    """
    good = folder / "good"
    good.mkdir()
    for number, content in enumerate(images("train", TRAIN)):
        (good / f"{number:03d}.jpg").write_bytes(content)
    run, bundle = folder / "run", folder / f"{PRODUCT}.patchebm"
    _patchebm("train", str(good), "--out", str(run), "--quick", "--false-alarm-rate", f"{RATE:g}")
    _patchebm("export", str(run), "--out", str(bundle))
    return bundle


def _patchebm(*words: str) -> None:
    command = [sys.executable, "-m", "patchebm.cli.main", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["it ended without a word"]
        raise ConfigError(f"the demo's model could not be made: {said[-1].removeprefix(_ERROR)}")
