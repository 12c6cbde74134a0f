"""This module runs graphs by ONNX Runtime, which is imported only when it is used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from patchebm.errors import ConfigError
from patchebm.runtime.engine import CPU, INPUT, LARGEST_MAP, Tensors, is_map, unreadable_graph

# What ONNX Runtime itself puts behind the short names that users give.
_SUFFIX = "ExecutionProvider"
# Of CUDA's products of matrices, TensorFloat-32 keeps 10 bits of mantissa: scores would move.
_SETTINGS = {"CUDAExecutionProvider": {"use_tf32": "0"}}


class OnnxEngine:
    """This class runs an ONNX graph; see `patchebm.runtime.engine.Engine`.

    Args:
        graph: the file's content, which is kept for pickling.
        threads: that one call uses.
        source: what messages call the graph.
        provider: short or full name of an execution provider.

    Attributes:
        graph: as given.

    Raises:
        ConfigError: ONNX Runtime or the provider is not there; says what is.
        ModelFileError: the graph cannot be read.
    """

    def __init__(self, graph: bytes, threads: int, source: str, provider: str = CPU) -> None:
        self.graph = graph
        self._arguments = (graph, threads, source, provider)
        onnxruntime = _require_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Errors come as exceptions; the log would repeat them.
        options.log_severity_level = 4
        known = onnx_providers()
        chosen = known.get(provider.lower().removesuffix(_SUFFIX.lower()))
        if chosen is None:
            raise ConfigError(
                f"provider {provider} is not available here; ONNX Runtime offers {', '.join(known)}. Others "
                "come with other packages, such as cuda with onnxruntime-gpu"
            )
        providers = [(chosen, _SETTINGS.get(chosen, {}))]
        if chosen != known[CPU]:
            # For the operators that the provider does not have.
            providers.append((known[CPU], {}))
        try:
            self._session = onnxruntime.InferenceSession(graph, options, providers=providers)
        except Exception as error:
            raise unreadable_graph(source, error) from error
        # ONNX Runtime goes on without a provider whose libraries are missing.
        if chosen not in self._session.get_providers():
            raise ConfigError(
                f"provider {provider} could not be started; install the driver and the libraries that this "
                "onnxruntime was built for, or use --provider cpu"
            )
        self._can_limit = any(i.name == LARGEST_MAP for i in self._session.get_overridable_initializers())

    def __reduce__(self) -> tuple[Any, ...]:
        # A session cannot be pickled: whoever unpickles opens one.
        return OnnxEngine, self._arguments

    def run(self, images: NDArray[np.float32], outputs: Sequence[str]) -> Tensors:
        """Returns the named outputs; see `Engine.run`."""
        inputs = {INPUT: images}
        if self._can_limit and not any(map(is_map, outputs)):
            # ONNX Runtime computes what nobody fetches, too, whatever its run options say: make it one pixel.
            inputs[LARGEST_MAP] = np.ones(1, dtype=np.int64)
        values = self._session.run(list(outputs), inputs)
        return dict(zip(outputs, values, strict=True))


def onnx_providers() -> dict[str, str]:
    """Returns the execution providers that are there: short names to those of ONNX Runtime, `cpu` first.

    Raises:
        ConfigError: ONNX Runtime is not installed.
    """
    # Azure's runs models on a server, and none of these.
    names = {name for name in _require_onnxruntime().get_available_providers() if "Azure" not in name}
    short = {name.removesuffix(_SUFFIX).lower(): name for name in names}
    return dict(sorted(short.items(), key=lambda item: (item[0] != CPU, item[0])))


def _require_onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigError(
            f"ONNX Runtime cannot be imported ({error}); run `pip install --force-reinstall onnxruntime`"
        ) from error
    return onnxruntime
