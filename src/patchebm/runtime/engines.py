"""This module opens the engine for a bundle: ONNX Runtime or OpenVINO, on the provider that was asked for."""

from __future__ import annotations

import numpy as np

from patchebm.device import available_threads
from patchebm.errors import ConfigError
from patchebm.runtime.bundle import Bundle
from patchebm.runtime.engine import CPU, Engine
from patchebm.runtime.onnx_engine import OnnxEngine
from patchebm.runtime.openvino_engine import OpenVinoEngine
from patchebm.runtime.probe import require_probe

# How far a provider's scores of one image may be from the CPU's, absolute and relative: at f32 by rounding
# alone; in less, each provider rounds in its own places.
TOLERANCE = {"f32": (0.01, 0.001)}
LOOSE = (0.5, 0.05)


def open_engine(bundle: Bundle, threads: int | None = None, provider: str | None = None) -> Engine:
    """Returns the engine that a bundle's graph is for.

    Args:
        bundle: as read.
        threads: that one call uses; None takes all that this process may run on.
        provider: an execution provider of ONNX Runtime (cpu, cuda, tensorrt, openvino, ...) or a device of
            OpenVINO (cpu, gpu, npu); None is the CPU. Any other than the CPU is compared with that first.

    Raises:
        ConfigError: its runtime is not installed, or its precision or the provider is not offered here; says
            the fix. Or the provider does not score as the CPU does, or a bundle in int8 not as where it was
            made.
        ModelFileError: the graph cannot be read.
    """
    if threads is not None and threads < 1:
        raise ConfigError(f"threads {threads} is below 1; leave it out to use all cores")
    threads = threads or available_threads()
    provider = provider or CPU
    engine = _open(bundle, threads, provider)
    require_probe(bundle, engine)
    if provider.lower() != CPU:
        require_same_scores(engine, _open(bundle, threads, CPU), bundle, provider)
    return engine


def require_same_scores(engine: Engine, reference: Engine, bundle: Bundle, provider: str) -> None:
    """Raises ConfigError if an engine does not score noise as the CPU does.

    Providers leave out antialiasing, or multiply in less than 32 bits, without a word; a resize of noise
    shows both.

    Args:
        engine: on another provider.
        reference: on the CPU.
        bundle: whose graph both run.
        provider: what the message calls it.
    """
    height, width = bundle.card["graph"]["size"]
    # Larger than the graph works at, and no multiple of it, so that it is scaled down to fractions of pixels.
    shape = (1, int(1.7 * height) + 1, int(2.3 * width) + 1, 3)
    noise = np.random.default_rng(0).random(shape, dtype=np.float32)
    wanted = ["score", "levels", "heat_map"]
    found, expected = engine.run(noise, wanted), reference.run(noise, wanted)
    absolute, relative = TOLERANCE.get(bundle.card["graph"].get("precision", "f32"), LOOSE)
    for name in wanted:
        if not np.allclose(found[name], expected[name], atol=absolute, rtol=relative):
            far = float(np.abs(found[name] - expected[name]).max())
            raise ConfigError(
                f"provider {provider} does not score as the CPU does ({name} differs by {far:.2g}); use "
                "--provider cpu"
            )


def _open(bundle: Bundle, threads: int, provider: str) -> Engine:
    members, graph = bundle.members, bundle.card["graph"]
    if graph["format"] == "onnx":
        return OnnxEngine(members["graph.onnx"], threads, bundle.source, provider)
    precision = graph.get("precision", "f32")
    return OpenVinoEngine(
        members["graph.xml"], members["graph.bin"], precision, threads, bundle.source, provider
    )
