"""Presets: what each of them is, and that files extend them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from patchebm.config.base import RunConfig
from patchebm.config.build import build_config
from patchebm.config.features import FeaturesConfig
from patchebm.config.pixels import PixelsConfig
from patchebm.config.presets import (
    config_text,
    load_preset,
    preset_layers,
    preset_names,
    preset_summary,
    read_config_file,
)
from patchebm.errors import ConfigError


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return found


def differences(config: RunConfig, other: RunConfig) -> dict[str, Any]:
    """The values of a configuration that differ from another's, by their dotted keys."""
    values, others = flat(asdict(config)), flat(asdict(other))
    return {key: value for key, value in values.items() if key not in others or others[key] != value}


def test_names() -> None:
    assert preset_names() == [
        "features", "features-fast", "image-baseline", "jempp", "pixel-cpu", "thesis",
        "thesis-small",
    ]  # fmt: skip
    for name in preset_names():
        assert 20 < len(preset_summary(name)) < 84
        assert preset_summary(name)[-1] == "."


def test_a_preset_goes_round() -> None:
    for name in preset_names():
        config = load_preset(name)
        assert build_config(asdict(config)) == config
        assert build_config(yaml.safe_load(config_text(config))) == config
        # In YAML, tuples are lists and whole numbers may stand for any number.
        assert config_text(build_config(yaml.safe_load(config_text(config)))) == config_text(config)


def test_presets_of_features() -> None:
    assert load_preset() == load_preset("features") == FeaturesConfig()
    assert differences(load_preset("features-fast"), FeaturesConfig()) == {
        "features.size": (256, 256),
        "position.network": None,
        "defects.local_checks": 80,
    }


def test_presets_of_pixels() -> None:
    assert load_preset("pixel-cpu") == PixelsConfig()
    thesis = flat(asdict(load_preset("thesis")))
    for level in ("patch", "image"):
        network = f"{level}.network"
        assert {
            f"{level}.base": None,
            f"{network}.depth": 28,
            f"{network}.width": 10,
            f"{network}.norm": "batch",
            f"{network}.pooling": "mean",
            f"{network}.gradient_input": False,
            f"{network}.negatives.kind": "informative",
            f"{network}.sampler.kind": "pyld",
            f"{network}.sampler.outer": 20,
            f"{network}.sampler.inner": 10,
            f"{network}.sampler.lr": 0.2,
            f"{network}.sampler.buffer_size": 100,
            f"{network}.sampler.restart": 0.05,
            f"{network}.training.steps": None,
            f"{network}.training.epochs": 200,
            f"{network}.training.objective": "contrastive",
            f"{network}.training.batch_size": 32,
            f"{network}.training.lr": 1e-4,
            f"{network}.training.warmup": 0,
            f"{network}.training.decay_from": 1.0,
            f"{network}.training.data_noise": 0.1,
            f"{network}.training.energy_penalty": 0.0,
            f"{network}.training.averaging": 0.0,
            f"{level}.score.kind": "energy",
            f"{level}.score.standardise_positions": False,
            f"{level}.score.top": 1,
        }.items() <= thesis.items()
    assert differences(load_preset("jempp"), load_preset("thesis")) == {
        f"{level}.network.{key}": value
        for level in ("patch", "image")
        for key, value in {
            "sampler.outer": 10,
            "sampler.inner": 5,
            "sampler.buffer_size": 10_000,
            "training.data_noise": 0.03,
        }.items()
    }
    # What the file says departs from the thesis, and nothing else.
    assert differences(load_preset("thesis-small"), load_preset("thesis")) == {
        **{
            f"{level}.network.{key}": value
            for level in ("patch", "image")
            for key, value in {
                "depth": 10,
                "width": 2,
                "sampler.outer": 10,
                "sampler.inner": 5,
                "training.steps": 1500,
                "training.batch_size": 16,
                "training.checkpoint_every": 50,
            }.items()
        },
        "patch.view.train_size": (128, 128),
        "patch.view.test_size": (128, 128),
        "patch.view.patch": 32,
        "image.view.size": (32, 32),
    }
    baseline = load_preset("image-baseline")
    assert baseline.levels == ["image"]
    assert {
        "image.base": None,
        "image.network.depth": 10,
        "image.network.negatives.kind": "uniform",
        "image.network.sampler.kind": "sgld",
        "image.network.sampler.steps": 20,
        "image.network.sampler.lr": 1.0,
        "image.network.sampler.noise": 0.01,
        "image.network.sampler.buffer_size": 10_000,
        "image.network.training.steps": 80,
        "image.network.training.lr": 1e-4,
    }.items() <= flat(asdict(baseline)).items()


def test_changes_of_a_preset() -> None:
    config = load_preset("features-fast", {"seed": 3}, {"patch": {"base": {"em_steps": 2}}})
    assert differences(config, load_preset("features-fast")) == {"seed": 3, "patch.base.em_steps": 2}
    with pytest.raises(ConfigError, match="unknown key 'sed'"):
        load_preset("features", {"sed": 3})


def test_presets_that_do_not_exist() -> None:
    with pytest.raises(
        ConfigError, match=r"no preset 'thesi' \(did you mean 'thesis'\?\); presets are features,"
    ):
        load_preset("thesi")
    with pytest.raises(ConfigError, match="no preset"):
        load_preset("../presets/thesis")


def test_presets_extend_each_other(tmp_path: Path) -> None:
    def write(name: str, text: str) -> None:
        (tmp_path / f"{name}.yaml").write_text(text)

    write("a", "seed: 1\n")
    write("b", "extends: a\nlevels: [patch]\n")
    write("c", "extends: b\nseed: 3\n")
    assert preset_layers("c", tmp_path) == [{"seed": 1}, {"levels": ["patch"]}, {"seed": 3}]
    write("a", "extends: c\n")
    with pytest.raises(ConfigError, match="in a circle: c > b > a > c"):
        preset_layers("c", tmp_path)
    write("a", "extends: nothing\n")
    with pytest.raises(ConfigError, match="no preset 'nothing'"):
        preset_layers("c", tmp_path)
    write("a", "extends: [b]\n")
    with pytest.raises(ConfigError, match="must be the name of one preset"):
        preset_layers("c", tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe\x00",
        b"patch: [",
        b"3",
        b"- a",
        b"!!int ''",
        b"!!bool x: 1",
        b"[" * 3000,
        b"? {}\n: 1",
        b"\x00",
    ],
)
def test_files_that_are_no_configuration(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "c.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"c\.yaml .* configuration file") as caught:
        read_config_file(file)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing.yaml", tmp_path / ("x" * 300)):
        with pytest.raises(ConfigError, match="cannot be read"):
            read_config_file(path)
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    assert read_config_file(tmp_path / "empty.yaml") == (None, {})
