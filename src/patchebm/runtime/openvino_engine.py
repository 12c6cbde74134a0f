"""This module runs graphs by OpenVINO, which is imported only when it is used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from patchebm.errors import ConfigError
from patchebm.runtime.engine import (
    CPU,
    IMAGE_SIZE,
    INPUT,
    PREPARED,
    THUMBNAILS,
    Tensors,
    is_map,
    unreadable_graph,
)


class OpenVinoEngine:
    """This class runs an OpenVINO graph at the precision that the bundle states and no other.

    The graph is cut in three, so that only its middle, whose shapes are fixed, is compiled for a shape: an
    image of another size costs nothing, and maps that nobody asked for are not made.
    See `patchebm.runtime.engine.Engine`.

    Args:
        xml: the network's topology.
        weights: its weights; both are kept for pickling.
        precision: bf16, or else f32 for all that is not quantised.
        threads: that one call uses.
        source: what messages call the graph.
        provider: name of one of OpenVINO's devices.

    Raises:
        ConfigError: OpenVINO or the device is not there, or does not offer the precision; says the fix.
        ModelFileError: the graph cannot be read.
    """

    def __init__(
        self, xml: bytes, weights: bytes, precision: str, threads: int, source: str, provider: str = CPU
    ) -> None:
        self._arguments = (xml, weights, precision, threads, source, provider)
        openvino = require_openvino()
        core = openvino.Core()
        devices = openvino_devices(core)
        # Where there are several of a kind, `gpu` is the first.
        device = provider.lower()
        if device not in devices and f"{device}.0" not in devices:
            raise ConfigError(
                f"provider {provider} is not available here; OpenVINO offers {', '.join(devices)}. Others "
                "need their driver"
            )
        device = device.upper()
        if precision == "bf16" and not offers_bf16(core, device):
            raise ConfigError(
                f"{source} computes in bf16, which {device} does not offer here; export it with --precision "
                "f32"
            )
        settings: dict[str, Any] = {
            # OpenVINO would otherwise compute in bf16 or f16 where the device has it, and scores would move.
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
            "PERFORMANCE_HINT": "LATENCY",
        }
        if device == "CPU":
            settings["INFERENCE_NUM_THREADS"] = threads
        try:
            model = core.read_model(model=xml, weights=weights)
            parts = _cut(openvino, model)
            self.compiled = [core.compile_model(part, device, settings) for part, _ in parts]
        except Exception as error:
            raise unreadable_graph(source, error) from error
        self._front, self._middle, self._back = (
            _Requests(compiled, names) for compiled, (_, names) in zip(self.compiled, parts, strict=True)
        )
        self._grids = [name for name in parts[1][1] if name.startswith("grid_")]

    def __reduce__(self) -> tuple[Any, ...]:
        # A compiled model cannot be pickled: whoever unpickles compiles it.
        return OpenVinoEngine, self._arguments

    def run(self, images: NDArray[np.float32], outputs: Sequence[str]) -> Tensors:
        """Returns the named outputs; see `Engine.run`."""
        known = self._front({INPUT: images})
        known |= self._middle(known)
        if any(name not in known for name in outputs):
            size = np.array(images.shape[1:3], dtype=np.int64)
            known |= self._back({IMAGE_SIZE: size, **{name: known[name] for name in self._grids}})
        return {name: known[name] for name in outputs}


class _Requests:
    """This class lets several threads call a compiled model: each call takes a free request, or a new one."""

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
    """Returns the module. Raises ConfigError, with the command that installs it, if it is not there."""
    try:
        import openvino
    except ImportError as error:
        raise ConfigError("OpenVINO is not installed; run `pip install 'patchebm[openvino]'`") from error
    return openvino


def openvino_devices(core: Any) -> list[str]:
    """Returns the names of the devices that are there, such as `cpu`, `gpu` and `npu`."""
    return [str(name).lower() for name in core.available_devices]


def offers_bf16(core: Any, device: str = "CPU") -> bool:
    """Says whether a device computes in bf16 in hardware."""
    return "BF16" in core.get_property(device, "OPTIMIZATION_CAPABILITIES")


def _cut(openvino: Any, model: Any) -> list[tuple[Any, list[str]]]:
    """Returns three models: images to prepared ones, these to scores and grids, grids and a size to maps."""
    from openvino import opset13

    named = {
        name: output for op in model.get_ordered_ops() for output in op.outputs() for name in output.names
    }
    sources = [result.input(0).get_source_output() for result in model.get_results()]
    ends = {name: source for source in sources for name in source.names}
    scored = [name for name in ends if not is_map(name)]
    grids = [name for name in scored if name.startswith("grid_")]
    drawn = [name for name in ends if name not in scored]
    # Graphs of models that inspect all of an image have no thumbnails.
    given = {name: named[name] for name in (PREPARED, THUMBNAILS) if name in named}
    size = named[IMAGE_SIZE]
    images = model.get_parameters()
    cuts = {}
    # A grid is also what its level's score is made of: only the way to its map is cut.
    maps = [(name, ends[name], named[f"plane_{name.removeprefix('grid_')}"].get_node()) for name in grids]
    whole = [(name, output, None) for name, output in {**given, IMAGE_SIZE: size}.items()]
    for name, output, only in [*whole, *maps]:
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
        (part(list(given.values()), images), list(given)),
        (part([ends[name] for name in scored], [cuts[name] for name in given]), scored),
        (part([ends[name] for name in drawn], [cuts[n] for n in (IMAGE_SIZE, *grids)]), drawn),
    ]
