"""Configurations from plain values: what is built, what is refused, and in which words."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchebm.config.build import build_config, check_config
from patchebm.config.features import (
    DiagonalConfig,
    FeaturesConfig,
    GaussianConfig,
    MixtureConfig,
)
from patchebm.config.keys import config_keys, keys_of
from patchebm.config.pixels import PixelGaussianConfig, PixelsConfig
from patchebm.config.training import NoisedConfig, PYLDConfig, SGLDConfig, ShellConfig
from patchebm.errors import ConfigError
from tests.config.external import NamelessConfig, NeighboursConfig

RECURSIVE: list[Any] = []
RECURSIVE.append(RECURSIVE)


def nested(key: str, value: Any) -> dict[str, Any]:
    """`{"a": {"b": value}}` for the key `a.b`."""
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def features(*layers: dict[str, Any]) -> FeaturesConfig:
    config = build_config(*layers)
    assert isinstance(config, FeaturesConfig)
    return config


def refusal(*layers: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        build_config(*layers)
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


def test_the_defaults_are_the_recommendation() -> None:
    assert build_config() == FeaturesConfig()
    assert build_config({"kind": "features"}) == FeaturesConfig()
    assert build_config({"kind": "pixels"}) == PixelsConfig()


def test_values_have_pythons_own_types() -> None:
    config = features(
        {"seed": 3, "features": {"size": [128, 96]}, "patch": {"network": {"training": {"lr": 1}}}}
    )
    assert type(config.seed) is int
    assert config.features.size == (128, 96)
    assert type(config.features.size[0]) is int
    assert config.patch.network is not None
    assert type(config.patch.network.training.lr) is float


def test_text_of_options_is_understood() -> None:
    config = features(
        {
            "seed": "7",
            "levels": "[patch]",
            "features": {"size": "[64, 32]", "weights": "null"},
            "patch": {"network": "null", "base": "{components: 5}"},
            "calibration": {"consecutive": "false"},
        }
    )
    assert (config.seed, config.levels, config.features.size) == (7, ["patch"], (64, 32))
    assert config.patch.network is None
    assert config.patch.base == MixtureConfig(components=5)
    assert config.calibration.consecutive is False


def test_later_layers_change_what_earlier_ones_made() -> None:
    first = {"seed": 1, "patch": {"top": 7, "base": {"components": 9}}}
    config = features(first, {"seed": 2, "patch": {"base": {"em_steps": 4}}})
    assert (config.seed, config.patch.top) == (2, 7)
    assert config.patch.base == MixtureConfig(components=9, em_steps=4)


def test_another_kind_takes_its_own_defaults() -> None:
    changed = features({"patch": {"base": {"components": 9}}}, {"patch": {"base": {"kind": "gaussian"}}})
    assert changed.patch.base == GaussianConfig()
    same = features({"patch": {"base": {"components": 9}}}, {"patch": {"base": {"kind": "mixture"}}})
    assert same.patch.base == MixtureConfig(components=9)
    assert build_config({"seed": 3}, {"kind": "pixels"}) == PixelsConfig()


def test_null_can_be_filled_again() -> None:
    off = {"patch": {"network": None, "whitening": None}}
    config = features(off, {"patch": {"network": {"hidden": 5}, "whitening": {"kind": "diagonal"}}})
    assert config.patch.network is not None
    assert config.patch.network.hidden == 5
    assert config.patch.network.negatives == NoisedConfig()
    # With the defaults of the level, not those of the class.
    nothing: dict[str, Any] = {"position": {"network": None}}
    refilled = features(nothing, {"position": {"network": {"hidden": 5}}}).position.network
    assert refilled is not None
    assert (refilled.hidden, refilled.training.steps) == (5, 300)
    assert config.patch.whitening == DiagonalConfig()


def test_parts_without_a_default_need_a_kind() -> None:
    key = "patch.network.sampler"
    assert refusal(nested(f"{key}.lr", 1)) == f"{key}.kind is missing; set it to one of pyld, sgld, shell"
    for kind, sampler in (
        ("pyld", PYLDConfig(lr=1.0)),
        ("sgld", SGLDConfig(lr=1.0)),
        ("shell", ShellConfig(lr=1.0)),
    ):
        network = features(nested(key, {"kind": kind, "lr": 1})).patch.network
        assert network is not None
        assert network.sampler == sampler


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("patch.network.training.stepz", 3, "unknown key 'patch.network.training.stepz' (did you mean "),
        ("patch.network.training.batch-size", 3, "(did you mean 'patch.network.training.batch_size'?)"),
        # Keys of the schema before this one.
        ("patch.energy.kind", "tilted", "unknown key 'patch.energy'"),
        ("patch.chains.steps", 3, "unknown key 'patch.chains'"),
        ("patch.base.rank", 3, "patch.base.rank belongs to kind gaussian; patch.base is of kind mixture"),
        ("patch.view.grid", 7, "patch.view belongs to kind pixels; the run is of kind features"),
        ("patch.network.negatives.scales", 7, "did you mean 'patch.network.negatives.scale'"),
        ("patch.base.kind", "gausian", "patch.base.kind is 'gausian' (did you mean 'gaussian'?)"),
        ("patch.base.kind", ["gaussian"], "it must be one of gaussian, mixture, or module:Class"),
        ("kind", "pixel", "kind is 'pixel' (did you mean 'pixels'?)"),
        ("patch", 3, "patch is 3; it must hold keys such as patch.whitening"),
        ("patch", None, "patch is null; it must hold keys"),
        ("patch", RECURSIVE, "it must hold keys"),
        ("patch.network.training", None, "patch.network.training is null; it must hold keys"),
        ("patch.network.negatives", None, "it must hold keys such as patch.network.negatives.kind"),
        ("patch.network.training.lr", float("nan"), "training.lr is nan; it must be a number above 0"),
        ("patch.network.training.lr", float("inf"), "is inf, which is too large a number"),
        ("patch.network.training.steps", "many", "must be a whole number of at least 0, or null"),
        ("patch.network.training.batch_size", 0, "is 0; it must be a whole number from 2 to 100000"),
        ("patch.network.training.objective", "hinge", "it must be contrastive or logistic"),
        ("patch.network.training.averaging", 1, "it must be a number of at least 0 and below 1"),
        ("patch.network.tilt", 1, "patch.network.tilt is 1; it must be true or false"),
        ("features.backbone", 3, "features.backbone is 3; it must be text"),
        ("features.backbone", None, "features.backbone is null; it must be text"),
        ("features.size", 512, "features.size is 512; it must be two numbers in brackets, [A, B]"),
        ("features.size", [512], "features.size is [512]; it must be two numbers in brackets, [A, B]"),
        ("features.size", [512, 5000], "each a whole number from 4 to 4096"),
        ("features.size", [512, None], "each a whole number from 4 to 4096"),
        ("features.blocks", "2", "it must be a list in brackets, [A, B, ...], each a whole number"),
        ("features.blocks", [], "features.blocks is []; name one or more"),
        ("features.blocks", [4, 2], "once each and ascending"),
        ("features.pool", 4, "features.pool is 4; use an odd number"),
        ("patch.smooth", 2, "patch.smooth is 2; use an odd number"),
        ("patch.top", 0, "patch.top is 0; it must be a whole number above 0"),
        ("seed", -1, "seed is -1; it must be a whole number of at least 0"),
        ("seed", 2**70, "which is too large a number"),
        ("false_alarm_rate", 2, "false_alarm_rate is 2; it must be a number above 0 and below 1"),
        ("levels", [], "levels [] must name one or more of position, patch, image, once each"),
        ("levels", ["patch", "patch"], "once each"),
        ("levels", ["patch", "part"], "must name one or more of position, patch, image"),
        ("calibration.folds", 1, "calibration.folds is 1; it must be a whole number of at least 2"),
        ("calibration.members", 19, "calibration.members is 19; use 1 to calibration.folds, which is 5"),
        ("calibration.refit", ["part"], "['part'] must name levels, of position, patch, image"),
        ("patch.network.negatives.scale", [1, 0.5], "patch.network.negatives.scale [1.0, 0.5] must ascend"),
        ("patch.network.negatives.kind", "uniform", "kind uniform is for pixels; use noised or informative"),
        ("patch", {"base": None, "network": None}, "patch.base and patch.network are both null"),
        ("patch", {"base": None, "network": {"tilt": True}}, "patch.network.tilt needs patch.base"),
        ("patch.network.negatives.kind", "synthetic", "kind synthetic is for the position level"),
        ("position.network.negatives.kind", "informative", "use synthetic or noised"),
        ("position.network.negatives.scale", [1, 0.5], "position.network.negatives.scale [1.0, 0.5] must"),
        ("position.network.tilt", True, "position.network.tilt is true, but the Gaussians"),
        ("position.network.sampler", {"kind": "shell", "shell": [2, 1]}, "shell [2.0, 1.0] must ascend"),
        ("position.network.sampler", {"kind": "shell", "buffer_size": 9}, "buffer_size is 9, but chains"),
        (
            "patch.network",
            {"sampler": {"kind": "shell"}, "negatives": {"kind": "informative"}},
            "patch.network.sampler.kind shell moves negatives around the good views",
        ),
        ("image.network.tilt", True, "image.network.tilt needs a network of the whole view"),
    ],
)  # fmt: skip
def test_refusals_on_features_name_the_key(key: str, value: Any, words: str) -> None:
    # Only levels that are fitted are looked at.
    assert words in refusal({"levels": ["position", "patch", "image"]}, nested(key, value))


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        (
            "patch.network.hidden",
            3,
            "patch.network.hidden belongs to kind features; the run is of kind pixels",
        ),
        ("patch.whitening", None, "patch.whitening belongs to kind features"),
        ("patch.network.depth", 11, "patch.network.depth 11 is not 6n + 4; use 10, 16, 22 or 28"),
        ("image.network.depth", 4, "image.network.depth 4 is not 6n + 4"),
        ("patch.base", None, "patch.network.gradient_input needs patch.base; set it to false"),
        ("patch.view.grid", "many", "patch.view.grid is 'many'; it must be a whole number from 2 to 1024"),
        ("patch.view.position_std", [0, 1], "each a number above 0, or text, or null"),
        (
            "patch.view.position_std",
            "[300]",
            "patch.view.position_std is '[300]'; it must be two positive numbers",
        ),
        ("patch.view.test_size", [64, 4097], "patch.view.test_size is [64, 4097]"),
        ("image.view.size", [3, 3], "image.view.size is [3, 3]"),
        ("patch.score.kind", "median", "it must be energy or gradient"),
    ],
)
def test_refusals_on_pixels_name_the_key(key: str, value: Any, words: str) -> None:
    assert words in refusal({"kind": "pixels"}, nested(key, value))


def test_levels_that_are_not_fitted_may_be_unfit() -> None:
    nothing = {"image": {"base": None, "network": None}}
    assert build_config(nothing, {"levels": ["patch"]}).levels == ["patch"]
    assert "image.base and image.network" in refusal(nothing, {"levels": ["image"]})


def test_keys_that_are_no_text_are_named() -> None:
    assert refusal({3: 4}) == "unknown key '3'"


def test_a_kind_from_outside_the_package() -> None:
    kind = NeighboursConfig.kind
    config = features({"patch": {"base": {"kind": kind, "neighbours": 5}}}, {"patch": {"top": 2}})
    assert config.patch.base == NeighboursConfig(neighbours=5)
    assert build_config(asdict(config)) == config
    assert "neighbours is 0" in refusal({"patch": {"base": {"kind": kind, "neighbours": 0}}})
    unknown = refusal({"patch": {"base": {"kind": kind, "neighbour": 5}}})
    assert unknown.endswith("(did you mean 'patch.base.neighbours'?)")
    for wrong, words in {
        "nowhere:Class": "cannot be imported (ModuleNotFoundError",
        ":": "cannot be imported",
        ".relative:Class": "cannot be imported",
        "tests.config.external:Missing": "cannot be imported (AttributeError",
        "os:path": "is no subclass of patchebm.config.features:EnergyConfig",
        "patchebm.config.training:PYLDConfig": "is no subclass of",
        "tests.config.external:NamelessConfig": "the default of NamelessConfig.kind is 'mixture'",
    }.items():
        assert words in refusal({"patch": {"base": {"kind": wrong}}})


def test_configurations_made_in_python_are_checked() -> None:
    config = FeaturesConfig(seed=4)
    config.features.size = [64, 32]  # type: ignore[assignment]
    checked = check_config(config)
    assert isinstance(checked, FeaturesConfig)
    assert checked.features.size == (64, 32)
    assert checked.patch is not config.patch
    assert checked == FeaturesConfig(seed=4, features=checked.features)

    config.features.size = (64, "x")  # type: ignore[assignment]
    with pytest.raises(ConfigError, match=r"features\.size is "):
        check_config(config)
    for wrong, words in (
        (PixelGaussianConfig(), "patch.base is PixelGaussianConfig"),
        (NamelessConfig(), "set kind to 'tests.config.external:NamelessConfig'"),
        (None, "patch.network.tilt needs patch.base"),
    ):
        config = FeaturesConfig(levels=["patch"])
        assert config.patch.network is not None
        config.patch.network.tilt = True
        config.patch.base = wrong  # type: ignore[assignment]
        with pytest.raises(ConfigError) as caught:
            check_config(config)
        assert words in str(caught.value)
    with pytest.raises(ConfigError, match="patch is null"):
        check_config(FeaturesConfig(patch=None))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="the configuration is 3"):
        check_config(3)  # type: ignore[arg-type]


def test_every_key_is_explained() -> None:
    for run in (FeaturesConfig(), PixelsConfig()):
        for key in keys_of(run):
            # The help lists the kinds itself.
            assert key.help or key.name.endswith(".kind"), key.name


PARTS = sorted(
    {part for run in (FeaturesConfig, PixelsConfig) for key in config_keys(run) for part in key.split(".")}
)
KINDS = [
    "features", "pixels", "gaussian", "mixture", "noised", "uniform", "pyld", "sgld", "within", "a:b",
    NeighboursConfig.kind,
]  # fmt: skip
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=3)
    | st.dates()
    | st.sampled_from(KINDS)
)
KEYS = st.sampled_from(PARTS) | st.sampled_from(PARTS) | st.text(max_size=5) | st.integers() | st.none()
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=10,
)


def attempt(*layers: dict[Any, Any]) -> str:
    """The complaint about a configuration, or nothing if it can be built, and then built again."""
    try:
        config = build_config(*layers)
    except ConfigError as error:
        return str(error)
    assert build_config(asdict(config)) == config
    return ""


@settings(max_examples=100, deadline=None)
@given(st.lists(st.dictionaries(KEYS, VALUES, max_size=4), min_size=1, max_size=2))
def test_garbage_is_refused_in_one_sentence(layers: list[dict[Any, Any]]) -> None:
    assert "\n" not in attempt(*layers)


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([FeaturesConfig, PixelsConfig]).flatmap(
        lambda run: st.tuples(st.just(run().kind), st.sampled_from(config_keys(run)))
    ),
    VALUES,
)
def test_garbage_at_every_key_is_refused_in_one_sentence(place: tuple[str, str], value: Any) -> None:
    kind, key = place
    sentence = attempt({"kind": kind}, nested(key, value))
    assert "\n" not in sentence
    assert not sentence or key.split(".")[0] in sentence
