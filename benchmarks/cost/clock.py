"""One contender in a process of its own, which times the scoring of an image whenever it is asked.

    python -m benchmarks.cost.clock KIND MODEL WORK IMAGE

KIND is a key of `KINDS`, MODEL what that needs, WORK the folder of models. It says when it is ready, with the
memory that it took. A question is `{"threads": 2, "maps": false}`; its answer is the median of the
milliseconds of five calls, after two that warm the caches. Decoding the image is no part of them.
"""

from __future__ import annotations

import functools
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from benchmarks.output import own_output
from patchebm.images.reading import read_image
from patchebm.line.machine import hardware
from patchebm.line.measure import peak_memory_mb

Call = Callable[[], object]
Opened = Callable[[int, bool], Call]
"""From threads, and whether a map is made, to what is timed."""

WARM, TIMED = 2, 5


def method(model: str, work: Path, pixels: NDArray[np.float32]) -> Opened:
    """Opens a fitted method, in PyTorch."""
    import torch

    from benchmarks.peers.methods import METHODS

    own = METHODS[model].make()
    own.load(work / model)

    def call(threads: int, maps: bool) -> Call:
        torch.set_num_threads(threads)
        return lambda: own.score(pixels, heat_map=maps)

    return call


def torch_bare(model: str, work: Path, pixels: NDArray[np.float32]) -> Opened:
    """Opens the bare backbone in PyTorch."""
    import torch

    from patchebm.config.features import ExtractorConfig
    from patchebm.features.backbone import load_backbone

    config = ExtractorConfig()
    backbone, images = load_backbone(config.backbone, config.blocks), torch.from_numpy(prepared(pixels))

    def call(threads: int, maps: bool) -> Call:
        torch.set_num_threads(threads)
        return lambda: backbone(images)

    return call


def bundle(model: str, work: Path, pixels: NDArray[np.float32]) -> Opened:
    """Opens an exported model, without torch in the process."""
    from patchebm.loading import load

    opened = functools.cache(lambda threads: load(model, threads=threads))

    def call(threads: int, maps: bool) -> Call:
        predictor = opened(threads)
        return lambda: predictor.predict([pixels], heat_maps=maps)

    return call


def onnx_bare(model: str, work: Path, pixels: NDArray[np.float32]) -> Opened:
    """Opens the bare backbone in ONNX Runtime."""
    import onnxruntime

    @functools.cache
    def opened(threads: int) -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def call(threads: int, maps: bool) -> Call:
        session = opened(threads)
        inputs = {session.get_inputs()[0].name: prepared(pixels)}
        return lambda: session.run(None, inputs)

    return call


def openvino_bare(model: str, work: Path, pixels: NDArray[np.float32]) -> Opened:
    """Opens the bare backbone in OpenVINO, at f32."""
    import openvino

    core = openvino.Core()

    @functools.cache
    def opened(threads: int) -> Any:
        settings = {
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
        }
        return core.compile_model(core.read_model(model), "CPU", settings).create_infer_request()

    def call(threads: int, maps: bool) -> Call:
        request, images = opened(threads), prepared(pixels)
        return lambda: request.infer([images], share_inputs=True)

    return call


KINDS: dict[str, Callable[[str, Path, NDArray[np.float32]], Opened]] = {
    "method": method,
    "torch-bare": torch_bare,
    "bundle": bundle,
    "onnx-bare": onnx_bare,
    "openvino-bare": openvino_bare,
}


def prepared(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns an image, which has the backbone's size already, as the backbone takes it: `(1, 3, H, W)`."""
    return np.ascontiguousarray((pixels * 2 - 1).transpose(2, 0, 1)[None])


def makes_maps(kind: str, model: str) -> bool:
    """Returns whether a contender can make a map."""
    if kind == "method":
        from benchmarks.peers.methods import METHODS

        return METHODS[model].maps
    return kind == "bundle"


def milliseconds(call: Call) -> float:
    """Returns the median time of a call."""
    seconds = []
    for _ in range(WARM + TIMED):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return 1000 * statistics.median(seconds[WARM:])


def main(kind: str, model: str, work: Path, image: Path, out: TextIO) -> None:
    def say(what: object) -> None:
        out.write(json.dumps(what) + "\n")
        out.flush()

    call = KINDS[kind](model, work, read_image(image))
    maps = makes_maps(kind, model)
    milliseconds(call(max(1, int(hardware()["cores"])), maps))
    say({"maps": maps, "peak_mb": peak_memory_mb()})
    for line in sys.stdin:
        question = json.loads(line)
        say(round(milliseconds(call(question["threads"], question["maps"])), 3))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]), own_output())
