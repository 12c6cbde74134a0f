"""A configuration, and what is built of it before anything is fitted."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from patchebm.config.base import RunConfig
from patchebm.config.build import check_config
from patchebm.config.features import FeaturesConfig
from patchebm.detector.level import Level
from patchebm.detector.scorer import PixelInputs
from patchebm.device import check_devices, require_devices, resolve_device
from patchebm.errors import ConfigError
from patchebm.features.backbone import Backbone, load_backbone
from patchebm.features.extractor import FeatureExtractor
from patchebm.features.framing import Framing
from patchebm.features.quantised_backbone import require_quantiser
from patchebm.features.region import region_of


class Configured:
    """What a configuration asks for: a device, what brings images to the levels, and the levels.

    Args:
        config: of the run.
        backbone: a feature extractor of the caller's own; None for the one that the configuration names.
        device: where features, fits and scores are computed.
        devices: how many of them train networks of pixels.
    """

    def __init__(
        self, config: RunConfig, backbone: Backbone | None, device: str | torch.device, devices: int
    ) -> None:
        self.config = config
        self.backbone = backbone
        self.device = device
        self.devices = devices

    def target_device(self) -> torch.device:
        """Return where features, fits and scores are computed.

        Raises:
            ConfigError: there is no such device, or int8 is not computed on it.
        """
        if not self.in_int8:
            return resolve_device(self.device)
        device = torch.device("cpu") if self.device == "auto" else resolve_device(self.device)
        if device.type != "cpu":
            raise ConfigError(
                f"device {device} does not compute features.precision int8, which ONNX Runtime computes on "
                "the CPU; use --device cpu, or features.precision f32"
            )
        return device

    @property
    def in_int8(self) -> bool:
        """Whether the backbone computes in int8."""
        return isinstance(self.config, FeaturesConfig) and self.config.features.precision == "int8"

    def check(self) -> None:
        """Refuse a configuration that cannot work before anything is read or written.

        Raises:
            ConfigError: names the key and the fix.
        """
        check_config(self.config)
        check_devices(self.devices, self.config)
        require_devices(self.device, self.devices)
        self.target_device()
        if self.in_int8:
            require_quantiser()
        inputs = self.build_inputs()
        for name in self.config.levels:
            self.build_level(name, inputs)

    def build_inputs(
        self,
        roi: NDArray[np.bool_] | None = None,
        framing: Framing | None = None,
        backbone: Backbone | None = None,
    ) -> FeatureExtractor | PixelInputs:
        """Return what brings images to the levels.

        Args:
            roi: `(H, W)` the region of interest, if there is one.
            framing: how images are cut and resized; None for what the configuration names.
            backbone: for features; None for the detector's own, in float32.

        Raises:
            ConfigError: a region or a backbone for pixels, or a backbone that cannot be loaded.
            DataError: a region with nothing in it.
        """
        if not isinstance(self.config, FeaturesConfig):
            if roi is not None:
                raise ConfigError(
                    "a region of interest needs features; use the preset features, or leave it out"
                )
            if self.backbone is not None:
                raise ConfigError(
                    f"the backbone {self.backbone.name} was given for a model of pixels; start from the "
                    "preset features"
                )
            return PixelInputs(3)
        features = self.config.features
        if backbone is None:
            if self.backbone is None:
                self.backbone = load_backbone(features.backbone, features.blocks, features.weights)
            backbone = self.backbone
        inputs = FeatureExtractor(backbone, features, framing)
        inputs.region = None if roi is None else region_of(roi, inputs.size)
        return inputs

    def build_levels(self, inputs: FeatureExtractor | PixelInputs) -> dict[str, Level]:
        """Return the levels of the configuration, not fitted yet, by name."""
        return {name: self.build_level(name, inputs) for name in self.config.levels}

    def build_level(self, name: str, inputs: FeatureExtractor | PixelInputs) -> Level:
        """Return a level that is not fitted yet."""
        config = self.config.level(name)
        level: Level = config.load_target()(name, config, self.config.seed, inputs)
        level.devices = self.devices
        return level
