"""Any network as a backbone: the outputs of its named submodules."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from patchebm.errors import ConfigError
from patchebm.features.backbone import Backbone, state_sha256


class ModuleBackbone(Backbone):
    """Outputs of submodules of any network. `blocks` counts the layers, `sha256` is that of the state.

    Args:
        module: takes `(B, 3, H, W)`, float32 in [-1, 1]; if its weights expect other values, put the
            normalisation in front of it. It is copied, and stays as it is.
        layers: names of its submodules, as in `named_modules`, in the order in which maps are returned. Each
            runs once for a batch and gives a map `(B, C, H / stride, W / stride)`.
        name: what messages and model files call it.
        multiple: height and width of an image must be multiples of this.

    Raises:
        ConfigError: no layers, a layer named twice or unknown, with the nearest known one, or one that does
            not give one map.
    """

    def __init__(self, module: nn.Module, layers: Sequence[str], name: str, multiple: int = 32) -> None:
        known = [layer for layer, _ in module.named_modules() if layer]
        for layer in layers:
            if layer not in known:
                from patchebm.config.nearest import nearest

                raise ConfigError(
                    f"{name} has no layer '{layer}'{nearest(layer, known)}; see its named_modules()"
                )
        if not layers or len(set(layers)) != len(layers):
            raise ConfigError(f"layers {list(layers)} of {name} must name one or more layers, each once")
        super().__init__(name, range(len(layers)), state_sha256(module), multiple)
        self.module = copy.deepcopy(module)
        self._layers = tuple(layers)
        parameter = next(module.parameters(), None)
        self._settle(parameter.device if parameter is not None else None)

    def maps(self, x: Tensor) -> list[Tensor]:
        """Outputs `(B, C_i, H / stride_i, W / stride_i)` of the layers, in their order."""
        outputs: dict[str, list[object]] = {layer: [] for layer in self._layers}

        def keep(layer: str, output: object) -> None:
            # A copy: an activation that works in place may come next.
            outputs[layer].append(output.clone() if isinstance(output, Tensor) else output)

        hooks = [
            self.module.get_submodule(layer).register_forward_hook(
                lambda _module, _inputs, output, layer=layer: keep(layer, output)
            )
            for layer in self._layers
        ]
        try:
            self.module(x)
        finally:
            for hook in hooks:
                hook.remove()
        return [self._one_map(layer, found) for layer, found in outputs.items()]

    def _one_map(self, layer: str, outputs: list[object]) -> Tensor:
        if len(outputs) == 1 and isinstance(outputs[0], torch.Tensor) and outputs[0].ndim == 4:
            return outputs[0]
        got = [tuple(o.shape) if isinstance(o, Tensor) else type(o).__name__ for o in outputs]
        raise ConfigError(
            f"layer '{layer}' of {self.name} must give one map (B, C, H, W) for a batch, and gave "
            f"{', '.join(map(str, got)) or 'nothing'}; choose another layer"
        )
