"""What an exported model costs and whether it scores the same: python -m benchmarks.deploy [SET ...].

Run folders are trained where they are missing, bundles exported at every precision that this machine offers;
what export refuses is a row, too. Timings take turns in one process; `results.json` says how many threads.
A set that is done is not done again.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import patchebm
from benchmarks.common import Log
from benchmarks.features.peers import PatchCore, PeerMaps
from patchebm.cli.main import main as cli
from patchebm.data.folders import open_image_set
from patchebm.data.images import read_image
from patchebm.data.views import resize, to_tensor
from patchebm.deploy.engines import INPUT, available_threads
from patchebm.deploy.export import FORMATS, PRECISIONS, build_bundle
from patchebm.detector import EnsembleDetector
from patchebm.detector import load as load_run
from patchebm.errors import PatchebmError
from patchebm.evaluation.metrics import image_metrics
from patchebm.features.backbone import load_backbone

HERE = Path(__file__).parent
RUNS = HERE.parents[1] / "runs" / "deploy"
DATA = Path(os.environ.get("PATCHEBM_DATA", HERE.parents[2] / "shared" / "data"))
SETS = ["bottle", "tire", "magnetic_tile", "solar_poly", "circuitboard", "cubes"]
ROUNDS = 40
FOOTPRINT = (
    ("install_mb", "size of a clean venv", "MB"),
    ("import_seconds", "`import patchebm`", "s"),
    ("first_verdict_seconds", "process start to first verdict", "s"),
    ("resident_mb", "peak memory while scoring", "MB"),
)
SIZE = 256


def bundles(name: str) -> tuple[EnsembleDetector, dict[str, Path], dict[str, str]]:
    """The detector of a set, its bundles by format and precision, and what was refused and why."""
    run = RUNS / name
    if not (run / "model.json").exists():
        cli(["train", str(DATA / name), "--out", str(run), "--overwrite"])
    detector = load_run(run)
    training = [picture.path for picture in open_image_set(DATA / name).train]
    files, refused = {}, {}
    for form in FORMATS:
        for precision in PRECISIONS:
            key = f"{form} {precision}"
            file = RUNS / f"{name}-{form}-{precision}.patchebm"
            try:
                if not file.exists():
                    build_bundle(
                        detector,
                        verify=training[1::2],
                        training=training[::2],
                        form=form,
                        precision=precision,
                    ).write(file)
                files[key] = file
            except PatchebmError as error:
                refused[key] = str(error)
    return detector, files, refused


def parity(name: str) -> list[dict[str, Any]]:
    """AUROC on the test pictures by PyTorch and by each bundle, score differences and verdict flips."""
    detector, files, refused = bundles(name)
    test = open_image_set(DATA / name).test
    labels = np.array([picture.anomalous for picture in test])
    paths = [picture.path for picture in test]
    reference = list(detector.iterate(paths, heat_maps=False))
    scores = np.array([p.score for p in reference])
    rows = [{"variant": "PyTorch", "image_auroc": image_metrics(labels, scores)["image_auroc"]}]
    for key, file in files.items():
        found = list(patchebm.load(file).iterate(paths, heat_maps=False))
        own = np.array([p.score for p in found])
        rows.append(
            {
                "variant": key,
                "image_auroc": image_metrics(labels, own)["image_auroc"],
                "score_difference": float(np.abs(own - scores).max()),
                "verdict_flips": sum(
                    a.anomalous != b.anomalous for a, b in zip(found, reference, strict=True)
                ),
            }
        )
    rows += [{"variant": key, "refused": why} for key, why in refused.items()]
    return [{"set": name, "seed": 0, "pictures": len(paths), **row} for row in rows]


def latency(name: str) -> dict[str, float]:
    """Milliseconds for one decoded picture of 256 px, decoding excluded; all contenders in turn."""
    detector = load_run(RUNS / name)
    # What parity refused is not there.
    files = {
        f"{form} {precision}": file
        for form in FORMATS
        for precision in PRECISIONS
        if (file := RUNS / f"{name}-{form}-{precision}.patchebm").exists()
    }
    paths = [picture.path for picture in open_image_set(DATA / name).train]
    sized = [resize(to_tensor(read_image(path), 3), (SIZE, SIZE)) for path in paths[:60]]
    picture = ((sized[0].permute(1, 2, 0) + 1) / 2).clamp(0, 1).contiguous().numpy()
    assert detector.backbone is not None
    features = detector.config.features
    seen = PeerMaps(load_backbone(features.backbone or "", features.blocks[1:]), features.size)
    patchcore = PatchCore(torch.stack([seen(s) for s in sized]), torch.Generator().manual_seed(0))
    bare, batch = detector.backbone, sized[0][None].contiguous()
    contenders: dict[str, Callable[[], object]] = {
        "PyTorch": lambda: detector.score([picture]),
        "PyTorch, bare backbone": lambda: bare(batch),
        "PatchCore, PyTorch": lambda: patchcore.score(seen(sized[0])),
        **_bare_backbones(bare),
    }
    for key, file in files.items():
        predictor = patchebm.load(file, warm_up=True)
        contenders[key] = lambda p=predictor: p.predict(picture, heat_maps=False)
        contenders[f"{key}, with maps"] = lambda p=predictor: p.predict(picture)
    timings: dict[str, list[float]] = {key: [] for key in contenders}
    for _ in range(ROUNDS):
        for key, call in contenders.items():
            call()  # once to warm the caches that the one before left cold
            began = time.perf_counter()
            call()
            timings[key].append(time.perf_counter() - began)
    return {key: round(1000 * statistics.median(values), 2) for key, values in timings.items()}


def _bare_backbones(backbone: torch.nn.Module) -> dict[str, Callable[[], object]]:
    """The backbone alone in each runtime, at f32."""
    import io

    import onnxruntime
    import openvino

    file = io.BytesIO()
    module = torch.nn.Module()
    module.forward = lambda x: tuple(backbone.maps(x))  # type: ignore[method-assign, operator]
    x = torch.zeros(1, 3, SIZE, SIZE)
    torch.onnx.export(module.eval(), (x,), file, dynamo=False, opset_version=18, input_names=[INPUT])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = available_threads()
    session = onnxruntime.InferenceSession(file.getvalue(), options, providers=["CPUExecutionProvider"])
    core = openvino.Core()
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": available_threads(),
    }
    request = core.compile_model(core.read_model(file.getvalue()), "CPU", settings).create_infer_request()
    array = x.numpy()
    return {
        "onnx, bare backbone": lambda: session.run(None, {INPUT: array}),
        "openvino, bare backbone": lambda: request.infer([array], share_inputs=True),
    }


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
from patchebm.deploy.measure import peak_memory_mb
print(imported, first, peak_memory_mb())
"""


def footprint(name: str) -> dict[str, float]:
    """Seconds to import and, from process start, to the first verdict; MB resident, and of a base install."""
    venv = RUNS / "venv-base"
    python = venv / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        command = [python, "-m", "pip", "install", "-q", "-c", "constraints.txt", "."]
        subprocess.run(command, check=True, cwd=HERE.parents[1])
    picture = open_image_set(DATA / name).train[0].path
    rows, starts = [], []
    for _ in range(5):
        began = time.perf_counter()
        command = [python, "-c", FIRST_VERDICT, RUNS / f"{name}-onnx-f32.patchebm", picture]
        ran = subprocess.run(command, check=True, capture_output=True, text=True, cwd=RUNS)
        rows.append([float(word) for word in ran.stdout.split()])
        began = time.perf_counter()
        subprocess.run([python, "-c", "pass"], check=True)
        starts.append(time.perf_counter() - began)
    imported, first, resident = np.median(rows, axis=0)
    size = sum(f.stat().st_size for f in venv.rglob("*") if f.is_file() and not f.is_symlink())
    return {
        "import_seconds": round(float(imported), 3),
        "first_verdict_seconds": round(float(first + np.median(starts)), 3),
        "resident_mb": round(float(resident)),
        "install_mb": round(size / 2**20),
    }


def table(results: dict[str, Any]) -> str:
    """Markdown: parity on each set, then milliseconds."""
    lines = [
        "| set | variant | image AUROC | largest score difference | verdicts that differ |",
        "|---" * 5 + "|",
    ]
    refused: dict[str, list[str]] = {}
    for row in results["parity"]:
        if "refused" in row:
            refused.setdefault(row["variant"], []).append(row["set"])
        else:
            difference = f"{row['score_difference']:.2g}" if "score_difference" in row else ""
            flips = f"{row['verdict_flips']} of {row['pictures']}" if "verdict_flips" in row else ""
            lines.append(
                f"| {row['set']} | {row['variant']} | {row['image_auroc']:.4f} | {difference} | {flips} |"
            )
    if refused:
        told = ", ".join(f"{variant} on {len(sets)} sets" for variant, sets in refused.items())
        lines += ["", f"Refused by export, with the reason in the results: {told}."]
    lines += ["", "| one picture, 256 px, batch 1 | ms | / bare backbone there |", "|---|---|---|"]
    times = results["ms"]
    for key, ms in times.items():
        bare = (
            times[f"{key.split(' ')[0].rstrip(',')}, bare backbone"]
            if not key.startswith("PatchCore")
            else None
        )
        lines.append(f"| {key} | {ms:.1f} | {f'{ms / bare:.2f}' if bare else ''} |")
    facts = results["footprint"]
    lines += ["", "| base install, without torch | |", "|---|---|"]
    lines += [f"| {text} | {facts[key]:g} {unit} |" for key, text, unit in FOOTPRINT]
    return "\n".join(lines) + "\n"


def main() -> None:
    names = sys.argv[1:] or SETS
    log = Log(HERE)
    done = {row["set"] for row in log.rows}
    for name in names:
        if name not in done:
            for row in parity(name):
                log.keep(row)
    results = {
        "command": "python -m benchmarks.deploy",
        "threads": available_threads(),
        "parity": log.rows,
        "ms": latency(names[0]),
        "footprint": footprint(names[0]),
    }
    (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (HERE / "table.md").write_text(table(results))
    print(table(results))


if __name__ == "__main__":
    main()
