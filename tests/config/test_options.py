"""The configuration on the command line: precedence, spelling, help."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from patchebm.cli.config_options import ConfigChanges, ConfigParser
from patchebm.cli.options import RATE, Parser
from patchebm.config.base import RunConfig
from patchebm.config.build import build_config
from patchebm.config.features import FeaturesConfig
from patchebm.config.keys import keys_of, section_class
from patchebm.config.pixels import PixelsConfig
from patchebm.config.presets import load_preset, preset_names
from patchebm.errors import ConfigError
from tests.config.external import NeighboursConfig


def parser() -> ConfigParser:
    made = ConfigParser(prog="patchebm fit", description="Fit a model.")
    made.add_argument("data")
    made.add_argument("--out", required=True)
    made.add_argument("--threads", type=int)
    return made


def configured(*words: str) -> RunConfig:
    """The configuration that words make, which stand around the arguments of the verb itself."""
    values, changes = parser().parse_config([*words[:2], "DATA", "--out", "RUN", *words[2:]])
    assert (values.data, values.out) == ("DATA", "RUN")
    return changes.applied_to(values.preset)


def refusal(*words: str) -> str:
    with pytest.raises(ConfigError) as caught:
        configured(*words)
    return str(caught.value)


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        parser().parse_config(list(words))
    assert stopped.value.code == 0
    return capsys.readouterr().out


def write(file: Path, **values: Any) -> str:
    file.write_text(yaml.safe_dump(values))
    return str(file)


def test_preset_then_files_then_options(tmp_path: Path) -> None:
    assert configured() == FeaturesConfig()
    assert configured("--preset", "thesis") == load_preset("thesis")
    first = write(tmp_path / "1.yaml", seed=1, patch={"top": 1, "base": {"components": 1}})
    second = write(tmp_path / "2.yaml", seed=2, patch={"top": 2})
    options = ["--seed", "3"]
    config = configured(*options, "--config", first, f"--config={second}", "--preset", "features-fast")
    assert config == load_preset("features-fast", {"seed": 3, "patch": {"top": 2, "base": {"components": 1}}})
    # The place of an option decides nothing but which of two equal ones counts.
    assert configured("--seed", "9", "--config", first, *options).seed == 3


def test_an_option_a_file_and_python_say_the_same(tmp_path: Path) -> None:
    values = {"false_alarm_rate": 0.1, "patch": {"network": {"training": {"batch_size": 64}}}}
    options = ["--false-alarm-rate", "0.1", "--patch.network.training.batch-size=64"]
    from_file = configured("--config", write(tmp_path / "c.yaml", **values))
    assert configured(*options) == from_file == build_config(values) == load_preset("features", values)


def test_values_of_every_type() -> None:
    config = configured(
        "--levels", "[patch]", "--features.size", "[64, 32]", "--calibration.consecutive", "false",
        "--patch.network.training.steps", "null", "--image.network", "null", "--patch.base.kind", "gaussian",
        "--patch.base.rank", "8", "--features.weights", "w.safetensors",
    )  # fmt: skip
    assert config == build_config(
        {
            "levels": ["patch"],
            "features": {"size": [64, 32], "weights": "w.safetensors"},
            "calibration": {"consecutive": False},
            "patch": {"base": {"kind": "gaussian", "rank": 8}, "network": {"training": {"steps": None}}},
            "image": {"network": None},
        }
    )
    assert configured("--kind", "pixels") == PixelsConfig()
    kind = NeighboursConfig.kind
    outside = configured("--patch.base.kind", kind, "--patch.base.neighbours", "7")
    assert outside.level("patch").base == NeighboursConfig(neighbours=7)


def test_a_file_may_extend_a_preset(tmp_path: Path) -> None:
    file = write(tmp_path / "c.yaml", extends="features-fast", seed=1)
    expected = load_preset("features-fast", {"seed": 1})
    assert configured("--config", file) == expected
    assert configured("--preset", "features-fast", "--config", file) == expected
    words = refusal("--preset", "thesis", "--config", file)
    assert words == f"{file} extends features-fast, and the preset is thesis; leave one of them out"
    other = write(tmp_path / "d.yaml", seed=2)
    assert f"{other} comes before it" in refusal("--config", other, "--config", file)
    assert configured("--config", file, "--config", other).seed == 2
    unknown = write(tmp_path / "e.yaml", extends="feature")
    assert "did you mean 'features'" in refusal("--config", unknown)


def test_changes_apply_to_several_presets() -> None:
    made = ConfigParser(prog="patchebm compare-presets", preset=None, seed=False)
    _, changes = made.parse_config(["--patch.network.training.steps", "7"])
    for name in ("features", "pixel-cpu"):
        expected = load_preset(name, {"patch": {"network": {"training": {"steps": 7}}}})
        assert changes.applied_to(name) == expected
    with pytest.raises(ConfigError, match="unknown option '--preset'"):
        made.parse_config(["--preset", "features"])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--patch.network.training.batch_size", "3"], "did you mean '--patch.network.training.batch-size'?"),
        (["--false_alarm_rate", "1"], "'--false_alarm_rate' (did you mean '--false-alarm-rate'?)"),
        (["--print_config"], "unknown option '--print_config' (did you mean '--print-config'?)"),
        (["--patch.network.training.batchsize", "3"], "did you mean '--patch.network.training.batch-size'?"),
        (["--patch.networks.hidden", "3"], "'--patch.networks' (did you mean '--patch.network'?)"),
        (["--patch.base.rank", "3"], "belongs to kind gaussian; patch.base is of kind mixture"),
        (["--level", "[patch]"], "unknown option '--level' (did you mean '--levels'?)"),
        (["--sed=3"], "unknown option '--sed' (did you mean '--seed'?)"),
        (["--thread", "3"], "unknown option '--thread' (did you mean '--threads'?)"),
        (["more"], "'more' is one argument too many; see `patchebm fit --help`"),
        ([""], "'' is one argument too many"),
        (["--threads", "many"], "--threads is 'many'; it must be a whole number"),
        (["--patch.top"], "--patch.top needs a value"),
        (["--patch.top", "--seed"], "--patch.top needs a value"),
        (["--patch.top", "-1"], "patch.top is '-1'; it must be a whole number above 0"),
        (["--patch.top=many"], "patch.top is 'many'"),
        (["--patch..top", "1"], "unknown option '--patch.'"),
        (["--.x", "1"], "unknown option '--'"),
        (["--patch.network", "null", "--patch.network.hidden", "3"], "--patch.network.hidden is given with"),
        (["--patch.network.hidden", "3", "--patch.network", "null"], "--patch.network is given with"),
        (["--preset", "thesi"], "there is no preset 'thesi' (did you mean 'thesis'?)"),
        (["--config", "nothing.yaml"], "nothing.yaml cannot be read"),
    ],
)  # fmt: skip
def test_refusals_name_the_option(words: list[str], sentence: str) -> None:
    assert sentence in refusal("--seed", "1", *words)


def test_arguments_of_the_verb_that_are_missing() -> None:
    for words in (["DATA"], ["--out", "RUN"]):
        with pytest.raises(ConfigError, match="arguments are required: "):
            parser().parse_config(words)
    with pytest.raises(ConfigError, match="expected one argument"):
        parser().parse_config(["DATA", "--out"])
    values, changes = parser().parse_config(["--out", "RUN", "--seed", "1", "--", "--patch.top"])
    assert (values.data, changes) == ("--patch.top", ConfigChanges(options={"seed": "1"}))


def test_an_unknown_key_of_a_file_is_spelled_as_there(tmp_path: Path) -> None:
    file = write(tmp_path / "c.yaml", patch={"network": {"training": {"batchsize": 3}}})
    words = (
        "unknown key 'patch.network.training.batchsize' (did you mean 'patch.network.training.batch_size'?)"
    )
    assert refusal("--config", file, "--seed", "3") == words


def test_help_fits_on_one_screen(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    lines = printed(capsys, "--help").splitlines()
    assert len(lines) <= 60
    assert max(map(len, lines)) <= 100
    text = "\n".join(lines)
    for words in ("--preset", "--config", RATE, "--seed", "--help-all", "--print-config", *preset_names()):
        assert words in text


@pytest.mark.parametrize("preset", ["features-fast", "thesis"])
def test_help_all_names_every_key(
    preset: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    text = printed(capsys, "--help-all", "--preset", preset)
    assert max(map(len, text.splitlines())) <= 100
    options = re.findall(r"^  --(\S+) \S+  \(default: ", text, re.MULTILINE)
    config = load_preset(preset)
    nullable = {
        f"{level}.{name}" for level in ("patch", "image") for name in ("whitening", "base", "network")
    }
    for key in keys_of(config):
        if section_class(key.annotation) is None or key.name in nullable:
            assert key.name.replace("_", "-") in options
    assert len([option for option in options if option.endswith(".base.kind")]) == 2
    for block in text.split("\n\n"):
        flags = re.findall(r"^  --(\S+) ", block, re.MULTILINE)
        assert len(set(flags)) == len(flags)
    titles = re.findall(r"^patch\.\S+, kind \w+", text, re.MULTILINE)
    assert {"patch.network.sampler, kind sgld", "patch.base, kind gaussian"} <= set(titles)


def test_help_all_shows_the_defaults_in_use(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--preset", "features", "--patch.top", "17", "--patch.base.kind", "gaussian"]
    lines = printed(capsys, *words, "--help-all").splitlines()
    for line in (
        "  --patch.top N  (default: 17)",
        "  --patch.whitening.clusters N  (default: 128)",
        "  --patch.base.kind TEXT  (default: gaussian)",
        "  --patch.base.rank N|null  (default: 32)",
        "  --patch.network.sampler null  (default: null)",
        '  --levels [A,B]  (default: ["position"])',
    ):
        assert line in lines


def test_print_config_is_a_configuration_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--preset", "jempp", "--patch.view.grid", "3", "--image.network.sampler", "null"]
    file = tmp_path / "c.yaml"
    file.write_text(printed(capsys, "DATA", *words, "--print-config"))
    assert configured("--config", str(file)) == configured(*words) != load_preset("jempp")


def test_other_verbs_share_the_complaints() -> None:
    plain = Parser(prog="patchebm score")
    plain.add_argument(RATE, type=float)
    assert plain.parse([RATE, "0.1"]).false_alarm_rate == 0.1
    for word, sentence in {
        "--false_alarm_rate=0.1": "unknown option '--false_alarm_rate' (did you mean '--false-alarm-rate'?)",
        "--false-alarm-rate=x": "--false-alarm-rate is 'x'; it must be a number",
        # No abbreviations.
        "--false=0.1": "unknown option '--false'",
    }.items():
        with pytest.raises(ConfigError, match=re.escape(sentence)):
            plain.parse([word])


def modules_after(code: str) -> set[str]:
    """The modules that are loaded in a fresh interpreter after some code."""
    code += "\nimport sys, json; print(json.dumps(sorted(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return set(json.loads(out.splitlines()[-1]))


def test_configurations_need_no_torch() -> None:
    loaded = modules_after(
        "from patchebm.config.presets import load_preset; load_preset('thesis')\n"
        "from patchebm.cli.config_options import ConfigParser\n"
        "ConfigParser(prog='x').parse_config(['--seed', '1'])[1].applied_to()"
    )
    assert not loaded & {"torch", "scipy", "sklearn", "numpy"}
    assert "jsonargparse" not in modules_after("from patchebm.cli.main import main; main(['--help'])")
    assert "jsonargparse" not in modules_after("from patchebm.cli.options import Parser")


WORDS = st.sampled_from(
    [
        "--seed", "--patch.top", "--patch.base.kind", "gaussian", "--config", "--preset", "thesis", "3",
        "null", "--", "--help-all", "--out", "--patch", "{}", "--levels", "[", "--kind=pixels",
        "--image.network.sampler", "-h",
    ]
) | st.text(max_size=6)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.lists(WORDS, max_size=6))
def test_any_words_give_a_configuration_or_one_sentence(words: list[str]) -> None:
    sentence, status = "", 0
    try:
        values, changes = parser().parse_config(words)
        changes.applied_to(values.preset)
    except ConfigError as error:
        sentence = str(error)
    except SystemExit as stopped:
        status = stopped.code
    assert "\n" not in sentence
    assert status == 0
