"""A network of one's own as a backbone."""

from __future__ import annotations

import hashlib

import pytest
import torch
from torch import nn

from patchebm.errors import ConfigError
from patchebm.features.module_backbone import ModuleBackbone


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.Conv2d(4, 6, 3, 2, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


def test_maps_are_the_layers_outputs() -> None:
    module = network()
    backbone = ModuleBackbone(module, ["1", "3"], "mine", multiple=4)
    x = torch.rand(2, 3, 20, 24)
    first, second = backbone(x)
    module.eval()
    with torch.no_grad():
        torch.testing.assert_close(first, module[:2](x))  # before the ReLU, which works in place
        torch.testing.assert_close(second, module[:4](x))
    assert (backbone.blocks, backbone.channels, backbone.strides) == ((0, 1), (4, 6), (2, 4))


def test_the_callers_network_stays_as_it_is() -> None:
    module = network().train()
    backbone = ModuleBackbone(module, ["3"], "mine")
    backbone(torch.rand(4, 3, 64, 64))
    assert module.training
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert torch.equal(module[1].running_mean, torch.zeros(4))
    assert not any(layer._forward_hooks for layer in backbone.modules())
    assert not any(layer.training for layer in backbone.train().modules())


def test_the_hash_is_that_of_the_state() -> None:
    module = network()
    content = b"".join(tensor.numpy().tobytes() for _, tensor in sorted(module.state_dict().items()))
    assert ModuleBackbone(module, ["3"], "mine").sha256 == hashlib.sha256(content).hexdigest()
    with torch.no_grad():
        module[0].weight[0, 0, 0, 0] += 1
    assert ModuleBackbone(module, ["3"], "mine").sha256 != hashlib.sha256(content).hexdigest()


def test_layers_that_give_no_map_are_refused() -> None:
    stem = nn.Sequential()
    stem.add_module("convolution", nn.Conv2d(3, 4, 1))
    with pytest.raises(ConfigError, match=r"no layer 'convolutoin' \(did you mean 'convolution'\?\)"):
        ModuleBackbone(stem, ["convolutoin"], "mine")
    with pytest.raises(ConfigError, match="each once"):
        ModuleBackbone(stem, ["convolution", "convolution"], "mine")
    with pytest.raises(ConfigError, match="one or more"):
        ModuleBackbone(stem, [], "mine")
    with pytest.raises(ConfigError, match=r"layer '5' of mine .* gave \(1, 6\)"):
        ModuleBackbone(network(), ["5"], "mine")
    with pytest.raises(ConfigError, match="mine cannot run on an image of 64 x 64 pixels"):
        ModuleBackbone(nn.Sequential(nn.Conv2d(4, 4, 1)), ["0"], "mine")
    twice = nn.Conv2d(3, 3, 1)
    with pytest.raises(ConfigError, match=r"gave \(1, 3, 64, 64\), \(1, 3, 64, 64\)"):
        ModuleBackbone(nn.Sequential(twice, twice), ["0"], "mine")
    with pytest.raises(ConfigError, match=r"gives \(1, 4, 62, 62\) for an image of 64 x 64 pixels"):
        ModuleBackbone(nn.Sequential(nn.Conv2d(3, 4, 3)), ["0"], "mine")


def test_an_average_of_the_whole_image_is_no_map() -> None:
    backbone = ModuleBackbone(network(), ["4"], "mine")
    with pytest.raises(ConfigError, match="choose a block that gives a map"):
        backbone(torch.zeros(1, 3, 128, 128))
