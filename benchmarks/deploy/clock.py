"""One contender in a process of its own, which times an image whenever it reads a line.

    python -m benchmarks.deploy.clock WHAT THREADS MODEL IMAGE

WHAT is one of `CONTENDERS`; MODEL a run folder, or an exported file for `bundle` and `bundle-with-maps`. Each
line read is answered by the median milliseconds of five calls, after two that warm the caches; decoding is no
part of them.
"""

from __future__ import annotations

import io
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from patchebm.images.reading import read_image
from patchebm.runtime.engine import INPUT

Call = Callable[[], object]
# Images that PatchCore's bank is chosen from: more would not make it slower, its size is fixed.
BANK_IMAGES = 60


def bundle(model: Path, image: Path, threads: int, *, heat_maps: bool = False) -> Call:
    """An exported model, without torch in the process."""
    from patchebm.loading import load

    predictor, pixels = load(model, threads=threads), read_image(image)
    return lambda: predictor.predict([pixels], heat_maps=heat_maps)


def bundle_with_maps(model: Path, image: Path, threads: int) -> Call:
    return bundle(model, image, threads, heat_maps=True)


def pytorch(model: Path, image: Path, threads: int) -> Call:
    detector, pixels = _detector(model, threads), read_image(image)
    return lambda: detector.score([pixels])


def pytorch_bare(model: Path, image: Path, threads: int) -> Call:
    import torch

    backbone = _detector(model, threads).backbone
    prepared = torch.from_numpy(_prepared(model, image))

    def call() -> object:
        with torch.inference_mode():
            return backbone(prepared)

    return call


def patchcore(model: Path, image: Path, threads: int) -> Call:
    """PatchCore with a bank of 8,192 on the same backbone, in PyTorch."""
    import torch

    from benchmarks.features.peers import PatchCore, PeerMaps
    from patchebm.features.backbone import load_backbone
    from patchebm.features.views import resize, to_tensor

    features = _detector(model, threads).config.features
    seen = PeerMaps(load_backbone(features.backbone or "", features.blocks[1:]), features.size)
    images = sorted(image.parent.iterdir())[:BANK_IMAGES]
    sized = [resize(to_tensor(read_image(path), 3), features.size) for path in images]
    judge = PatchCore(torch.stack([seen(s) for s in sized]), torch.Generator().manual_seed(0))
    return lambda: judge.score(seen(sized[0]))


def onnx_bare(model: Path, image: Path, threads: int) -> Call:
    """The backbone alone in ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(_exported(model), options, providers=["CPUExecutionProvider"])
    prepared = _prepared(model, image)
    return lambda: session.run(None, {INPUT: prepared})


def openvino_bare(model: Path, image: Path, threads: int) -> Call:
    """The backbone alone in OpenVINO, at f32."""
    import openvino

    core = openvino.Core()
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
    }
    compiled = core.compile_model(core.read_model(_exported(model)), "CPU", settings)
    request, prepared = compiled.create_infer_request(), _prepared(model, image)
    return lambda: request.infer([prepared], share_inputs=True)


CONTENDERS: dict[str, Callable[[Path, Path, int], Call]] = {
    "pytorch": pytorch,
    "pytorch-bare": pytorch_bare,
    "patchcore": patchcore,
    "onnx-bare": onnx_bare,
    "openvino-bare": openvino_bare,
    "bundle": bundle,
    "bundle-with-maps": bundle_with_maps,
}


def _detector(model: Path, threads: int) -> Any:
    import torch

    from patchebm.detector import load

    torch.set_num_threads(threads)
    return load(model)


def _prepared(model: Path, image: Path) -> np.ndarray[Any, Any]:
    """The image as the backbone takes it, `(1, 3, *size)`."""
    from patchebm.features.views import resize, to_tensor

    size = _detector(model, 1).config.features.size
    return resize(to_tensor(read_image(image), 3), size)[None].contiguous().numpy()  # type: ignore[no-any-return]


def _exported(model: Path) -> bytes:
    """The backbone of a run as ONNX."""
    import torch

    detector = _detector(model, 1)
    module = torch.nn.Module()
    module.forward = lambda x: tuple(detector.backbone.maps(x))  # type: ignore[method-assign]
    file: Any = io.BytesIO()
    example = torch.zeros(1, 3, *detector.config.features.size)
    torch.onnx.export(module.eval(), (example,), file, dynamo=False, opset_version=18, input_names=[INPUT])
    return file.getvalue()  # type: ignore[no-any-return]


def main() -> None:
    what, threads, model, image = sys.argv[1:]
    call = CONTENDERS[what](Path(model), Path(image), int(threads))
    for _ in range(10):
        call()
    print(json.dumps("ready"), flush=True)
    for _ in sys.stdin:
        seconds = []
        for _ in range(7):
            began = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - began)
        print(json.dumps(1000 * statistics.median(seconds[2:])), flush=True)


if __name__ == "__main__":
    main()
