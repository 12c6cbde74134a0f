"""This module writes the benchmark as a folder in the MVTec AD layout."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from patchebm.errors import DataError, PatchebmError
from patchebm_products.drawing import KINDS, check, draw

# Raised whenever the same parameters give other images, so that an older folder is not taken for a new one.
DRAWING_VERSION = 1
_RECORD = "synthetic.json"
_README = """Synthetic product "{product}", drawn by patchebm with seed {seed}; no photograph is in it.

train/good                 {train} good parts to learn from
test/good                  {test_good} good parts
test/<defect>              {per_defect} defective parts for each defect
ground_truth/<defect>      the defect's pixels: white on black, 000_mask.png belongs to 000.png
kinds.csv                  whether a defect is local (a patch looks wrong) or global (only its place does)
synthetic.json             the parameters; the same parameters give the same images

Images are {size} x {size} RGB.
"""


def _files(parameters: dict[str, int | str]) -> list[str]:
    """Lists the files of a complete set, relative to its folder."""
    good = [
        f"{split}/good/{k:03d}.png"
        for split, count in (("train", "train"), ("test", "test_good"))
        for k in range(int(parameters[count]))
    ]
    bad = [
        f"{folder}/{defect}/{k:03d}{end}.png"
        for defect in KINDS
        for k in range(int(parameters["per_defect"]))
        for folder, end in (("test", ""), ("ground_truth", "_mask"))
    ]
    return [*good, *bad, "kinds.csv", "README.txt", _RECORD]


def _accept(folder: Path, parameters: dict[str, int | str]) -> None:
    """Raises DataError unless `folder` is the complete set with these parameters."""
    fix = "choose another folder or delete this one"
    try:
        found = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise DataError(
            f"{folder} exists and is not a synthetic set (no readable {_RECORD}); {fix}"
        ) from None
    if found != parameters:
        raise DataError(f"{folder} holds a synthetic set with other parameters ({_RECORD}: {found}); {fix}")
    for name in _files(parameters):
        if not (folder / name).is_file():
            raise DataError(f"{folder} is an incomplete synthetic set, {name} is missing; {fix}")


def write_synthetic_set(
    root: str | Path,
    product: str,
    *,
    seed: int = 0,
    train: int = 60,
    test_good: int = 20,
    per_defect: int = 5,
    size: int = 128,
) -> Path:
    """Writes a product's images under `root`/`product` in the MVTec AD layout.

    The folder appears whole or not at all: it is drawn beside its place and renamed. A complete set with the
    same parameters is left alone.

    Args:
        root: folder that gets the product's folder; made if it does not exist.
        product: one of PRODUCTS.
        seed: 0 or more.
        train: number of good images in train/good, at least 1.
        test_good: number of good images in test/good.
        per_defect: number of images for each of the seven defects.
        size: side in pixels.

    Returns:
        `root`/`product`.

    Raises:
        DataError: unknown product, impossible numbers, or another folder in the way.
        PatchebmError: the folder cannot be written.
    """
    check(product, seed=seed, size=size)
    for name, count, least in (
        ("train", train, 1),
        ("test_good", test_good, 0),
        ("per_defect", per_defect, 0),
    ):
        if count < least:
            raise DataError(f"{name}={count} is too few images; choose at least {least}")
    parameters: dict[str, int | str] = {
        "drawing_version": DRAWING_VERSION,
        "product": product,
        "seed": seed,
        "train": train,
        "test_good": test_good,
        "per_defect": per_defect,
        "size": size,
    }
    target = Path(root) / product
    if target.exists():
        _accept(target, parameters)
        return target
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{product}.", suffix=".part", dir=target.parent))
        # mkdtemp makes folders private; a data set gets the permissions that mkdir() would give it.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o777 & ~umask)
        _draw_into(temporary, parameters)
        try:
            temporary.rename(target)
        except OSError:
            if not target.exists():
                raise
            # Another process was faster.
            _accept(target, parameters)
    except OSError as error:
        raise PatchebmError(
            f"cannot write {target}: {error.strerror or error}; free some space or choose another folder"
        ) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    return target


def _draw_into(folder: Path, parameters: dict[str, int | str]) -> None:
    """Draws all images, masks and notes of a set into an existing folder."""
    product, seed, size = str(parameters["product"]), int(parameters["seed"]), int(parameters["size"])
    for name in _files(parameters):
        if not name.endswith(".png") or name.startswith("ground_truth"):
            continue
        path = folder / name
        split, defect, file = name.split("/")
        # Defects are splits of their own: no defective part has its good twin in the set.
        image, mask = draw(
            product, seed=seed, split=f"{split}/{defect}", index=int(path.stem), defect=defect, size=size
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
        if defect != "good":
            truth = folder / "ground_truth" / defect / file.replace(".png", "_mask.png")
            truth.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask.astype(np.uint8) * 255).save(truth)
    kinds = "".join(f"{defect},{kind}\n" for defect, kind in KINDS.items())
    (folder / "kinds.csv").write_text(f"defect,kind\n{kinds}", encoding="utf-8")
    (folder / "README.txt").write_text(_README.format(**parameters), encoding="utf-8")
    (folder / _RECORD).write_text(json.dumps(parameters, indent=2) + "\n", encoding="utf-8")
