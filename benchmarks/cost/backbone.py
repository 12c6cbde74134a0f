"""The frozen backbone of the preset features alone, as the other runtimes time it: an ONNX file.

python -m benchmarks.cost.backbone FILE PIXELS
"""

from __future__ import annotations

import sys
import warnings

import torch
from torch import Tensor, nn

from patchebm.config.features import ExtractorConfig
from patchebm.features.backbone import Backbone, load_backbone


class Bare(nn.Module):
    """The backbone without its checks, which make no part of a graph."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.backbone.maps(x))


def main(file: str, side: int) -> None:
    config = ExtractorConfig()
    bare = Bare(load_backbone(config.backbone, config.blocks)).eval()
    example = torch.zeros(1, 3, side, side)
    with warnings.catch_warnings():
        # Of its deprecation; see `patchebm.export.graph`.
        warnings.simplefilter("ignore")
        torch.onnx.export(bare, (example,), file, dynamo=False, opset_version=18, input_names=["images"])


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
