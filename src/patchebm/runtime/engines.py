"""What computes a bundle's graph: ONNX Runtime or OpenVINO, each imported only when it is used."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from patchebm.errors import ConfigError, ModelFileError
from patchebm.runtime.bundle import Bundle

Precision = Literal["f32", "bf16", "int8"]
Outputs = dict[str, NDArray[np.float32]]

INPUT = "images"
PREPARED = "prepared"
IMAGE_SIZE = "image_size"
# Optional input of the ONNX graph, `(1,)` int64: no map is larger than this, in pixels along a side.
LARGEST_MAP = "largest_map"


def is_map(output: str) -> bool:
    """Whether an output is of the images' own size."""
    return output == "heat_map" or output.startswith("map_")


class Engine(Protocol):
    """Runs a graph; safe to call from several threads at once."""

    def run(self, images: NDArray[np.float32], outputs: Sequence[str]) -> Outputs:
        """The named outputs for images `(N, H, W, 1 or 3)` float32 in [0, 1], C-contiguous."""
        ...


def open_engine(bundle: Bundle, threads: int | None = None) -> Engine:
    """The engine that a bundle's graph is for.

    Args:
        bundle: as read.
        threads: that one call uses; None takes all that this process may run on.

    Raises:
        ConfigError: its runtime is not installed, or its precision is not offered here; says the fix.
        ModelFileError: the graph cannot be read.
    """
    if threads is not None and threads < 1:
        raise ConfigError(f"threads {threads} is below 1; leave it out to use all cores")
    threads = threads or available_threads()
    graph = bundle.card["graph"]
    if graph["format"] == "onnx":
        return OnnxEngine(bundle.members["graph.onnx"], threads, bundle.source)
    members = bundle.members
    return OpenVinoEngine(
        members["graph.xml"], members["graph.bin"], graph.get("precision", "f32"), threads, bundle.source
    )


def available_threads() -> int:
    """Cores that this process may run on."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


class OnnxEngine:
    """ONNX Runtime on the CPU.

    Args:
        graph: the file's content.
        threads: that one call uses.
        source: what messages call the graph.
    """

    def __init__(self, graph: bytes, threads: int, source: str) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise ConfigError(
                f"ONNX Runtime cannot be imported ({error}); run `pip install --force-reinstall onnxruntime`"
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Warnings only; errors come as exceptions.
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise ModelFileError(_unreadable(source, error)) from error
        self._can_limit = any(i.name == LARGEST_MAP for i in self._session.get_overridable_initializers())

    def run(self, images: NDArray[np.float32], outputs: Sequence[str]) -> Outputs:
        """See `Engine.run`."""
        inputs = {INPUT: images}
        if self._can_limit and not any(map(is_map, outputs)):
            # ONNX Runtime computes what nobody fetches, too, whatever its run options say: make it one pixel.
            inputs[LARGEST_MAP] = np.ones(1, dtype=np.int64)
        values = self._session.run(list(outputs), inputs)
        return dict(zip(outputs, values, strict=True))


class OpenVinoEngine:
    """OpenVINO on the CPU, at the precision that the bundle states and no other.

    The graph is cut in three, so that only its middle, whose shapes are fixed, is compiled for a shape: a
    image of another size costs nothing, and maps that nobody asked for are not made.

    Args:
        xml: the network's topology.
        weights: its weights.
        precision: bf16, or else f32 for all that is not quantised.
        threads: that one call uses.
        source: what messages call the graph.
    """

    def __init__(self, xml: bytes, weights: bytes, precision: str, threads: int, source: str) -> None:
        openvino = require_openvino()
        core = openvino.Core()
        if precision == "bf16" and not offers_bf16(core):
            raise ConfigError(
                f"{source} computes in bf16, which this CPU does not offer; export it with --precision f32"
            )
        settings = {
            # OpenVINO would otherwise compute in bf16 where the CPU has it, and scores would move.
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
        }
        try:
            model = core.read_model(model=xml, weights=weights)
            parts = _cut(openvino, model)
            self.compiled = [core.compile_model(part, "CPU", settings) for part, _ in parts]
        except Exception as error:
            raise ModelFileError(_unreadable(source, error)) from error
        self._front, self._middle, self._back = (
            _Requests(compiled, names) for compiled, (_, names) in zip(self.compiled, parts, strict=True)
        )
        self._grids = [name for name in parts[1][1] if name.startswith("grid_")]

    def run(self, images: NDArray[np.float32], outputs: Sequence[str]) -> Outputs:
        """See `Engine.run`."""
        known = self._front({INPUT: images})
        known |= self._middle({PREPARED: known[PREPARED]})
        if any(name not in known for name in outputs):
            size = np.array(images.shape[1:3], dtype=np.int64)
            known |= self._back({IMAGE_SIZE: size, **{name: known[name] for name in self._grids}})
        return {name: known[name] for name in outputs}


class _Requests:
    """A compiled model that several threads may call: each call takes a free request, or a new one."""

    def __init__(self, compiled: Any, outputs: Sequence[str]) -> None:
        self._compiled = compiled
        self._free: SimpleQueue[Any] = SimpleQueue()
        self._outputs = outputs

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        try:
            request = self._free.get_nowait()
        except Empty:
            request = self._compiled.create_infer_request()
        # Results are copied: the request's own memory is overwritten by whoever takes it next.
        results = request.infer(dict(inputs), share_inputs=True, share_outputs=False)
        found = {name: results[i] for i, name in enumerate(self._outputs)}
        self._free.put(request)
        return found


def require_openvino() -> Any:
    """The module. Raises ConfigError, with the command that installs it, if it is not there."""
    try:
        import openvino
    except ImportError as error:
        raise ConfigError("OpenVINO is not installed; run `pip install 'patchebm[openvino]'`") from error
    return openvino


def offers_bf16(core: Any) -> bool:
    """Whether this CPU computes in bf16 in hardware."""
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _cut(openvino: Any, model: Any) -> list[tuple[Any, list[str]]]:
    """Images to prepared ones, these to scores and grids, grids and a size to maps."""
    from openvino import opset13

    named = {
        name: output for op in model.get_ordered_ops() for output in op.outputs() for name in output.names
    }
    sources = [result.input(0).get_source_output() for result in model.get_results()]
    ends = {name: source for source in sources for name in source.names}
    scored = [name for name in ends if not is_map(name)]
    grids = [name for name in scored if name.startswith("grid_")]
    drawn = [name for name in ends if name not in scored]
    prepared, size = named[PREPARED], named[IMAGE_SIZE]
    images = model.get_parameters()
    cuts = {}
    # A grid is also what its level's score is made of: only the way to its map is cut.
    maps = [(name, ends[name], named[f"plane_{name.removeprefix('grid_')}"].get_node()) for name in grids]
    for name, output, only in [(PREPARED, prepared, None), (IMAGE_SIZE, size, None), *maps]:
        parameter = opset13.parameter(output.get_partial_shape(), output.get_element_type(), name=name)
        parameter.output(0).set_names({name})
        for target in output.get_target_inputs():
            node = target.get_node()
            if node.get_type_name() != "Result" and only in (None, node):
                target.replace_source_output(parameter.output(0))
        output.set_names(set())
        cuts[name] = parameter

    def part(outputs: list[Any], parameters: list[Any]) -> Any:
        return openvino.Model([opset13.result(output) for output in outputs], parameters)

    return [
        (part([prepared], images), [PREPARED]),
        (part([ends[name] for name in scored], [cuts[PREPARED]]), scored),
        (part([ends[name] for name in drawn], [cuts[n] for n in (IMAGE_SIZE, *grids)]), drawn),
    ]


def _unreadable(source: str, error: Exception) -> str:
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return f"{Path(source)}: its graph cannot be run ({line:.120}); export it again, or update the runtime"
