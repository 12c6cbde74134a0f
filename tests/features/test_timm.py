"""Backbones of timm. It is an extra: `make test-timm` runs these in an environment of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from patchebm.errors import ConfigError, ModelFileError
from patchebm.features.backbone import load_backbone, state_sha256

timm: Any = pytest.importorskip(
    "timm", reason="timm is not installed (make test-timm installs it)", exc_type=ImportError
)

# timm's own small test models; the vision transformer's pretrained configuration has one fixed size.
CONVOLUTIONAL, TRANSFORMER = "test_resnet", "test_vit"
# One whose mean and standard deviation differ by channel.
UNEVEN = "mobilenetv3_small_050"


def weights_of(name: str, folder: Path, seed: int = 0) -> tuple[torch.nn.Module, Path]:
    """A whole model with random weights and statistics, and the file of its state."""
    torch.manual_seed(seed)
    model = timm.create_model(name).eval()
    for key, tensor in model.state_dict().items():
        if key.endswith("running_mean"):
            tensor.normal_(0, 0.1)
        if key.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
    file = folder / f"{name}.safetensors"
    save_file(model.state_dict(), file)
    return model, file


@pytest.mark.parametrize(
    ("name", "blocks", "strides"),
    [(CONVOLUTIONAL, [1, 3], (4, 16)), (UNEVEN, [0, 2], (2, 8)), (TRANSFORMER, [2, 5], (16, 16))],
)
def test_maps_are_those_of_timm_for_normalised_images(
    name: str, blocks: list[int], strides: tuple[int, ...], tmp_path: Path
) -> None:
    model, file = weights_of(name, tmp_path)
    backbone = load_backbone(f"timm:{name}", blocks, file)
    pixels = torch.rand((2, 3, 224, 160), generator=torch.Generator().manual_seed(1))
    mean, std = (torch.tensor(model.pretrained_cfg[key]).view(3, 1, 1) for key in ("mean", "std"))
    options = {"dynamic_img_size": True} if name == TRANSFORMER else {}
    whole = timm.create_model(name, **options).eval()
    whole.load_state_dict(model.state_dict())
    if name == CONVOLUTIONAL:
        layers = [torch.nn.Sequential(*list(whole.children())[:5]), whole.layer2, whole.layer3]
        with torch.no_grad():
            first = layers[0]((pixels - mean) / std)
            expected = [first, layers[2](layers[1](first))]
    else:
        indices = {"indices": blocks, "intermediates_only": True, "norm": False}
        with torch.no_grad():
            expected = whole.forward_intermediates((pixels - mean) / std, **indices)
    actual = backbone(pixels * 2 - 1)
    assert backbone.strides == strides
    for block, one, other in zip(blocks, actual, expected, strict=True):
        assert not one.requires_grad
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4, msg=f"block {block}")
    assert backbone.channels == tuple(one.shape[1] for one in expected)
    assert backbone.sha256 == state_sha256(backbone.network)


def test_it_is_frozen_and_holds_the_weights_once(tmp_path: Path) -> None:
    _, file = weights_of(CONVOLUTIONAL, tmp_path)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    backbone = load_backbone(f"timm:{CONVOLUTIONAL}", [0, 1], file)
    assert torch.equal(before, torch.get_rng_state())
    assert backbone.multiple == 32
    assert not any(module.training for module in backbone.train().modules())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    assert backbone.network.pretrained_cfg == {}
    assert len(state_sha256(backbone.network)) == 64


def test_unknown_models_and_blocks_are_refused(tmp_path: Path) -> None:
    _, file = weights_of(CONVOLUTIONAL, tmp_path)
    name = f"timm:{CONVOLUTIONAL}"
    with pytest.raises(ConfigError, match=r"features\.blocks has 5, and timm:test_resnet has blocks 0 to 4"):
        load_backbone(name, [5], file)
    with pytest.raises(ConfigError, match=r"features\.blocks has -1"):
        load_backbone(name, [-1, 2], file)
    with pytest.raises(ConfigError, match=r"features\.blocks \[3, 1\] is not ascending"):
        load_backbone(name, [3, 1], file)
    with pytest.raises(ConfigError, match=r"timm has no model.*did you mean 'resnet18'"):
        load_backbone("timm:resnet_18", [1])
    with pytest.raises(ConfigError, match=r"timm:resnet18\.nothing' cannot be used.*Invalid pretrained tag"):
        load_backbone("timm:resnet18.nothing", [1])
    with pytest.raises(ConfigError, match="for any size of image"):
        load_backbone("timm:mixer_s32_224", [1])


def test_a_model_whose_blocks_are_no_maps_is_refused(tmp_path: Path) -> None:
    name = "test_mambaout"
    _, file = weights_of(name, tmp_path)
    with pytest.raises(ConfigError, match="no map"):
        load_backbone(f"timm:{name}", [1], file)


def test_files_that_are_not_the_models_weights_are_refused(tmp_path: Path) -> None:
    model, file = weights_of(CONVOLUTIONAL, tmp_path)
    name = f"timm:{CONVOLUTIONAL}"
    state = model.state_dict()
    # timm by itself would leave the missing tensor random when only features are asked for.
    del state["conv1.0.weight"]
    save_file(state, tmp_path / "part.safetensors")
    with pytest.raises(ModelFileError, match=r"part\.safetensors does not hold the weights of the whole"):
        load_backbone(name, [1], tmp_path / "part.safetensors")
    _, other = weights_of(UNEVEN, tmp_path)
    with pytest.raises(ModelFileError, match="does not hold the weights of the whole model timm:test_resnet"):
        load_backbone(name, [1], other)
    torch.save(model.state_dict(), tmp_path / "pickle.safetensors")
    with pytest.raises(ModelFileError, match=r"pickle\.safetensors cannot be read"):
        load_backbone(name, [1], tmp_path / "pickle.safetensors")
    (tmp_path / "short.safetensors").write_bytes(file.read_bytes()[:-10])
    with pytest.raises(ModelFileError, match=r"short\.safetensors cannot be read"):
        load_backbone(name, [1], tmp_path / "short.safetensors")
    with pytest.raises(ModelFileError, match=r"absent\.safetensors cannot be read"):
        load_backbone(name, [1], tmp_path / "absent.safetensors")


@pytest.fixture
def offline_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache of fetched weights, and no network."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_weights_that_cannot_be_fetched_are_one_sentence(offline_cache: Path) -> None:
    del offline_cache
    with pytest.raises(ConfigError, match=r"timm:test_resnet could not be fetched .* as features\.weights$"):
        load_backbone(f"timm:{CONVOLUTIONAL}", [1])


def test_fetched_weights_are_those_of_the_file(offline_cache: Path, tmp_path: Path) -> None:
    _, file = weights_of(CONVOLUTIONAL, tmp_path)
    folder = offline_cache / (
        "models--" + timm.get_pretrained_cfg(CONVOLUTIONAL).hf_hub_id.replace("/", "--")
    )
    (folder / "snapshots" / "first").mkdir(parents=True)
    file.rename(folder / "snapshots" / "first" / "model.safetensors")
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("first")
    fetched = load_backbone(f"timm:{CONVOLUTIONAL}", [1, 3])
    given = load_backbone(
        f"timm:{CONVOLUTIONAL}", [1, 3], folder / "snapshots" / "first" / "model.safetensors"
    )
    assert fetched.sha256 == given.sha256
    x = torch.rand(1, 3, 64, 64) * 2 - 1
    for one, other in zip(fetched(x), given(x), strict=True):
        assert torch.equal(one, other)
