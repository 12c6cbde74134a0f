"""A backbone in 8-bit integers: an ONNX graph that the same runtime computes in training and on the line.

Energies that were fitted on features in float32 do not fit those that int8 gives: scores moved by half a
standard deviation. Here they are fitted on what the line will compute, so that there is nothing to move.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from patchebm.errors import ConfigError
from patchebm.features.backbone import Backbone
from patchebm.runtime.onnx_engine import OnnxEngine
from patchebm.runtime.probe import probe_image, require_same

if TYPE_CHECKING:
    from patchebm.features.extractor import FeatureExtractor

# The operator that stands for the graph while a model is traced for export.
OPERATOR = "patchebm::Backbone"
# Side of the pattern that it is probed with, in multiples that it takes.
PROBE = 4


class QuantisedBackbone(Backbone):
    """Feature maps by ONNX Runtime, on the CPU. `patchebm.features.quantise` makes one.

    Args:
        graph: an ONNX file: from `images` `(B, 3, H, W)` float32 in [-1, 1] to the maps of the blocks, in
            their order.
        name: of the backbone that it was made from.
        blocks: as there.
        sha256: of the weights in float32 that it was made from.
        multiple: as there.
        reach: as there.
        made_on: instructions of the processor on which it was made, as `patchebm.line.machine` names them.
        probe: what it gave there for the pattern of `patchebm.runtime.probe`; None where it is made here.

    Attributes:
        graph: as given.
        made_on: as given.

    Raises:
        ConfigError: ONNX Runtime cannot be imported, or this processor computes something else; says the fix.
        ModelFileError: the graph cannot be read.
    """

    def __init__(
        self,
        graph: bytes,
        name: str,
        blocks: Sequence[int],
        sha256: str,
        multiple: int,
        reach: int | None,
        made_on: Sequence[str],
        probe: Sequence[float] | None = None,
    ) -> None:
        super().__init__(name, blocks, sha256, multiple)
        self.graph = graph
        self.made_on = tuple(made_on)
        self._engine = OnnxEngine(graph, torch.get_num_threads(), f"the int8 graph of {name}")
        self._settle()
        self.reach = reach
        found = self._measured_probe()
        self._probe = found if probe is None else list(probe)
        require_same(found, self._probe, f"the int8 backbone {name}", made_on)

    @classmethod
    def from_facts(cls, graph: bytes, blocks: Sequence[int], facts: Mapping[str, Any]) -> QuantisedBackbone:
        """Return the backbone of a graph and of what `facts` gave.

        Raises:
            KeyError, TypeError, ValueError: a fact is missing or of another kind.
        """
        reach = facts["reach"]
        return cls(
            graph,
            str(facts["name"]),
            blocks,
            str(facts["sha256"]),
            int(facts["multiple"]),
            None if reach is None else int(reach),
            [str(flag) for flag in facts["made_on"]],
            [float(value) for value in facts["probe"]],
        )

    def facts(self) -> dict[str, Any]:
        """Return what must be kept beside the graph, in plain values."""
        return {
            "name": self.name,
            "sha256": self.sha256,
            "multiple": self.multiple,
            "reach": self.reach,
            "made_on": list(self.made_on),
            "probe": self._probe,
        }

    def maps(self, x: Tensor) -> list[Tensor]:
        """Outputs `(B, C_i, H / stride_i, W / stride_i)` of the chosen blocks."""
        if torch.onnx.is_in_onnx_export():
            return list(_Run.apply(x, self))  # type: ignore[no-untyped-call]
        return self.computed(x)

    def computed(self, x: Tensor) -> list[Tensor]:
        """Return the same by ONNX Runtime, also while a model is traced."""
        names = [map_name(number) for number in range(len(self.blocks))]
        found = self._engine.run(np.ascontiguousarray(x.detach().numpy()), names)
        return [torch.from_numpy(found[name]) for name in names]

    def _measured_probe(self) -> list[float]:
        """Return the mean magnitude of each map of the pattern."""
        side = PROBE * self.multiple
        pattern = torch.from_numpy(probe_image((side, side))).permute(0, 3, 1, 2) * 2 - 1
        return [float(one.abs().mean()) for one in self.computed(pattern)]


class _Run(torch.autograd.Function):
    """Stands in a traced model as one operator, in whose place export puts the graph."""

    @staticmethod
    def forward(context: Any, x: Tensor, backbone: QuantisedBackbone) -> tuple[Tensor, ...]:
        del context
        return tuple(backbone.computed(x))

    @staticmethod
    def symbolic(graph: Any, x: Any, backbone: QuantisedBackbone) -> Any:
        """Return the operator's outputs, with the shapes that later operators are traced by."""
        made = graph.op(OPERATOR, x, outputs=len(backbone.blocks))
        outputs = (made,) if len(backbone.blocks) == 1 else made
        # Heights and widths are not known of tiles.
        sides = x.type().varyingSizes()[2:]
        for one, channels, stride in zip(outputs, backbone.channels, backbone.strides, strict=True):
            own = [None if side is None else side // stride for side in sides]
            one.setType(x.type().with_sizes([None, channels, *own]))
        return made


Quantiser: TypeAlias = "Callable[[FeatureExtractor, Iterable[NDArray[np.float32]]], FeatureExtractor]"
"""From an extractor and good images to the same extractor with its backbone in int8."""


def require_quantiser() -> Quantiser:
    """Return `patchebm.features.quantise.quantised`.

    Raises:
        ConfigError: a package that it needs is not installed; says which command installs it.
    """
    try:
        from patchebm.features.quantise import quantised
    except ImportError as error:
        raise ConfigError(
            f"features.precision int8 needs {error.name}, which quantises the backbone; run "
            "`pip install 'patchebm[export]'`"
        ) from error
    return quantised


def map_name(number: int) -> str:
    """Return what the graph calls the map of a block, by the number of the block among those taken."""
    return f"map_{number}"
