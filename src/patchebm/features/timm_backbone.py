"""Models of the library timm (Wightman 2019, https://github.com/huggingface/pytorch-image-models)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor

from patchebm.errors import ConfigError, ModelFileError
from patchebm.features.backbone import TIMM, Backbone, check_blocks, require, state_sha256


class TimmBackbone(Backbone):
    """`timm.create_model(name, features_only=True)` with the normalisation that its weights expect.

    Models of one fixed input size are made to take any size where timm can do so (vision transformers).
    `multiple` is the least common multiple of all its blocks' strides.

    Args:
        name: model of timm, with a tag of weights or without.
        blocks: numbers of timm's feature levels (`out_indices`), ascending.
        weights: a safetensors file with the state of the whole model, as timm's pages offer it for download.
            None fetches the weights through timm, or finds them in its cache. `sha256` is in both cases that
            of the built network's state: the same weights are the same, whichever way they came.

    Raises:
        ConfigError: timm is not installed, has no such model, or gives no maps of its blocks; blocks that it
            does not have; or weights that could not be fetched.
        ModelFileError: the file of weights is missing, no safetensors file, or of another model.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, name: str, blocks: Sequence[int], weights: str | Path | None = None) -> None:
        full_name = TIMM + name
        timm = require("timm", full_name, "timm")
        if not timm.is_model(name):
            from patchebm.config.nearest import nearest

            raise ConfigError(
                f"features.backbone '{full_name}': timm has no model of this name"
                f"{nearest(name, timm.list_models())}; `timm.list_models()` lists them"
            )
        options, strides = _what_it_takes(timm, name)
        check_blocks(full_name, blocks, len(strides))
        options["out_indices"] = tuple(blocks)
        if weights is None:
            network = _fetched(timm, name, options)
        else:
            network = _from_file(timm, name, options, Path(weights))
        super().__init__(full_name, blocks, state_sha256(network), math.lcm(*strides))
        mean, std = (torch.tensor(network.pretrained_cfg[key])[:, None, None] for key in ("mean", "std"))
        # timm keeps the weights that it was handed in there, a second time.
        network.pretrained_cfg = network.default_cfg = {}
        self.network = network
        # (pixel - mean) / std, for a pixel in [0, 1] that comes as x = 2 pixel - 1.
        self.register_buffer("scale", 0.5 / std, persistent=False)
        self.register_buffer("shift", (0.5 - mean) / std, persistent=False)
        self._settle()

    def maps(self, x: Tensor) -> list[Tensor]:
        """Outputs `(B, C_i, H / stride_i, W / stride_i)` of the chosen blocks."""
        return list(self.network(x * self.scale + self.shift))


def _what_it_takes(timm: Any, name: str) -> tuple[dict[str, Any], list[int]]:
    """Options for `create_model`, and the strides of all blocks, without drawing or fetching a weight."""
    options: dict[str, Any] = {"features_only": True}
    try:
        if timm.get_pretrained_cfg(name).fixed_input_size:
            options["dynamic_img_size"] = True
        with torch.device("meta"):
            blocks = timm.create_model(name, out_indices=(0,), **options).feature_info.info
    # timm has no errors of its own: an unknown tag, a model without blocks, one that takes one size only.
    except (RuntimeError, TypeError, AssertionError) as error:
        raise ConfigError(
            f"features.backbone '{TIMM}{name}' cannot be used, because timm cannot give maps of its blocks "
            f"for any size of image ({_first_line(error)}); choose another model"
        ) from error
    return options, [block["reduction"] for block in blocks]


def _fetched(timm: Any, name: str, options: dict[str, Any]) -> Any:
    try:
        with torch.random.fork_rng(devices=[]):
            return timm.create_model(name, pretrained=True, **options)
    except (OSError, RuntimeError) as error:
        raise ConfigError(
            f"the weights of {TIMM}{name} could not be fetched ({type(error).__name__}); connect to the "
            "network, or download them elsewhere and name the safetensors file as features.weights"
        ) from error


def _from_file(timm: Any, name: str, options: dict[str, Any], file: Path) -> Any:
    try:
        tensors = load_tensors(file.read_bytes())
    except (OSError, SafetensorError) as error:
        raise ModelFileError(
            f"features.weights {file} cannot be read ({_first_line(error)}); give a safetensors file"
        ) from error
    # Without a classifier to cut off, timm insists that every tensor of the model is in the file; else it
    # would leave the others random and say nothing.
    overlay = {"state_dict": tensors, "classifier": None}
    try:
        with torch.random.fork_rng(devices=[]):
            return timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **options)
    except (RuntimeError, KeyError, ValueError) as error:
        raise ModelFileError(
            f"features.weights {file} does not hold the weights of the whole model {TIMM}{name}; give "
            "the file that timm offers for it"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
