"""The documentation: its commands and keys exist, its links resolve, and the site needs no network."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

import patchebm
from patchebm.cli.fleet_file import read_fleet
from patchebm.cli.main import VERBS
from patchebm.cli.train import check_options
from patchebm.config.features import FeaturesConfig
from patchebm.config.pixels import PixelsConfig
from tests.browser import open_browser

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Options that the pages name already and that land with the verbs' new command lines.
COMING: set[str] = set()


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def fences(page: Path, language: str) -> list[str]:
    """The code blocks of a page in one language, without their indentation."""
    found = []
    for match in re.finditer(
        r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<code>.*?)^(?P=indent)```$",
        page.read_text(encoding="utf-8"),
        re.MULTILINE | re.DOTALL,
    ):
        if match["language"] == language and "--8<--" not in match["code"]:
            found.append(re.sub(f"^{match['indent']}", "", match["code"], flags=re.MULTILINE))
    return found


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every command of patchebm that a page shows, in a block or in its text, as page and arguments."""
    for page in PAGES:
        prose = re.sub(r"^( *)```.*?^\1```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
        inline = re.findall(r"`(patchebm [^`]+)`", prose)
        blocks = "\n".join(fences(page, "sh")).replace("\\\n", " ").splitlines()
        for line in [*blocks, *inline]:
            try:
                words = shlex.split(line, comments=True)
            except ValueError:
                pytest.fail(f"{name_of(page)}: {line} is no command")
            starts = [i for i, word in enumerate(words) if word.rsplit("/", 1)[-1] == "patchebm"]
            for start in starts:
                arguments = words[start + 1 :]
                # Not `pip install patchebm`, and not a folder of this name.
                if arguments and (arguments[0] in VERBS or start == 0):
                    yield name_of(page), arguments


COMMANDS = list(dict.fromkeys((page, tuple(words)) for page, words in commands()))


@cache
def help_of(verb: str) -> str:
    """All that the verb says of its options, the rare ones included."""

    def printed(option: str) -> str:
        return subprocess.run(
            [sys.executable, "-m", "patchebm.cli.main", verb, *option.split()],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"COLUMNS": "200"},
        ).stdout

    text = printed("--help")
    if verb in ("station", "fleet"):
        # They have commands, each with options of its own.
        commands = re.findall(r"^  ([a-z]+(?: add| change)?) ", text, re.MULTILINE)
        texts = [printed(f"{command} --help") for command in commands]
        return "\n".join([text, *texts])
    return text + printed("--help-all") if "--help-all" in text else text


@cache
def reference() -> ModuleType:
    """The hook that writes the reference."""
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "hooks" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def keys() -> set[str]:
    """Every key of both kinds of runs, with dots between its parts."""
    found: set[str] = reference().dotted_keys(FeaturesConfig) | reference().dotted_keys(PixelsConfig)
    return found


def test_pages_show_commands() -> None:
    assert len(COMMANDS) > 60
    assert {words[0] for _, words in COMMANDS} >= set(VERBS)


@pytest.mark.parametrize(
    ("page", "arguments"), COMMANDS, ids=[f"{page}: {' '.join(words)}" for page, words in COMMANDS]
)
def test_the_options_of_commands_exist(page: str, arguments: tuple[str, ...]) -> None:
    verb, *words = arguments
    if verb in ("VERB", "--version", "--help"):
        return
    assert verb in VERBS, f"{page}: there is no verb {verb}"
    offered = set(re.findall(r"(?<![\w-])--[a-z][\w.-]*", help_of(verb)))
    given = {word.split("=")[0] for word in words if word.startswith("--")} - {"--help"}
    unknown = {option for option in given - offered if option[2:].replace("-", "_") not in keys()}
    if unknown and unknown <= COMING:
        pytest.xfail(f"{verb} will have {', '.join(unknown)}")
    assert not unknown, f"{page}: {verb} has no {', '.join(unknown)}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_options_in_the_text_exist(page: Path) -> None:
    """Those that stand alone, such as `--roi mask.png`, belong to some verb or are keys."""
    offered = {option for verb in VERBS for option in re.findall(r"--[a-z][\w.-]*", help_of(verb))}
    # `--only cost` is an option of a benchmark.
    offered |= {"--only"} | COMING
    text = page.read_text(encoding="utf-8")
    for option in re.findall(r"`(--[a-z][\w.-]*)[^`]*`", text):
        assert option in offered or option[2:].replace("-", "_") in keys(), f"there is no {option}"


def configurations() -> list[Any]:
    return [
        pytest.param(yaml.safe_load(code), id=f"{name_of(page)}: {code.splitlines()[0]}")
        for page in PAGES
        for code in fences(page, "yaml")
        # What is for Kubernetes, or names products, is no configuration of a run.
        if not code.startswith(("apiVersion:", "products:"))
    ]


@pytest.mark.parametrize("values", configurations())
def test_keys_of_configurations_exist(values: dict[str, Any]) -> None:
    def check(section: dict[str, Any], prefix: str) -> None:
        for key, value in section.items():
            assert f"{prefix}{key}" in keys(), f"there is no key {prefix}{key}"
            if isinstance(value, dict):
                check(value, f"{prefix}{key}.")

    check(values, "")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_fleets_can_be_read(page: Path, tmp_path: Path) -> None:
    for code in fences(page, "yaml"):
        if code.startswith("products:"):
            (tmp_path / "FLEET.yaml").write_text(code)
            for entry in read_fleet(tmp_path / "FLEET.yaml"):
                check_options(["DATA", "--out", "OUT", *entry.options])


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=name_of)
def test_files_that_a_page_includes_exist(page: Path) -> None:
    for line in page.read_text(encoding="utf-8").splitlines():
        if re.match(r"\s*-+8\s*<", line):
            mark = re.fullmatch(r'\s*--8<-- ?"(.+)"', line)
            assert mark is not None, f"{line} includes nothing"
            assert (ROOT / mark[1]).exists()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_python_uses_what_is_public(page: Path) -> None:
    for code in fences(page, "python"):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                if node.value.id == "patchebm":
                    assert node.attr in patchebm.__all__
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("patchebm"):
                # Of an extra that the tests' environment does not have.
                if node.module == "patchebm.anomalib":
                    continue
                module = importlib.import_module(str(node.module))
                assert all(alias.name in module.__all__ for alias in node.names)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_within_the_repository_resolve(page: Path) -> None:
    prose = re.sub(r"^( *)```.*?^\1```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        path, _, anchor = target.partition("#")
        if re.match(r"\w+:", target) or not path:
            continue
        file = (page.parent / path).resolve()
        assert file.exists(), f"{target} does not exist"
        if anchor:
            titles = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {slug(title) for title in titles}, f"{target}: there is no such heading"


def slug(title: str) -> str:
    return re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", title.replace("`", "")).strip().lower())


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 250


class Assets(HTMLParser):
    """Collects what a page loads, and what it is made of."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.classes: set[str] = set()
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.add(tag)
        self.classes |= set((values.get("class") or "").split())
        if tag in ("script", "img", "iframe", "source", "video", "audio", "embed"):
            self.loaded.append(values.get("src") or "")
        if tag == "link":
            self.loaded.append(values.get("href") or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    for package in ("mkdocs", "material", "mkdocstrings", "latex2mathml"):
        pytest.importorskip(package, reason=f"{package} is not installed; `make docs` installs it")
    out = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
    )
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.slow
def test_the_site_loads_nothing_from_a_network(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        assets = Assets()
        assets.feed(page.read_text(encoding="utf-8"))
        outside = [url for url in assets.loaded if re.match(r"(\w+:)?//", url)]
        assert not outside, f"{page.name} loads {outside}"
        # The theme would fetch its program from a server for these.
        assert "mermaid" not in assets.classes
    for sheet in site.rglob("*.css"):
        assert not re.search(r"""url\(\s*["']?(\w+:)?//|@import""", sheet.read_text(encoding="utf-8")), sheet


@pytest.mark.slow
def test_the_site_is_whole(site: Path) -> None:
    commands_page = (site / "reference" / "commands.html").read_text(encoding="utf-8")
    for verb in VERBS:
        assert f"usage: patchebm {verb}" in commands_page
    configuration = (site / "reference" / "configuration.html").read_text(encoding="utf-8")
    for key in ("false_alarm_rate", "em_steps", "gradient_input"):
        assert key in configuration
    python = (site / "reference" / "python.html").read_text(encoding="utf-8")
    for name in ("EnsembleDetector", "Prediction", "GaussianEnergy", "ModuleBackbone"):
        assert name in python
    # Formulas are MathML, and none was left as it is written.
    energies = Assets()
    text = (site / "how" / "energies.html").read_text(encoding="utf-8")
    energies.feed(text)
    assert {"math", "mfrac", "msub"} <= energies.tags
    assert "arithmatex" not in energies.classes
    # A table that Markdown takes for text would show its bars.
    for page in (site / "benchmarks").glob("*.html"):
        assert "<p>|" not in page.read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_site_in_a_browser(site: Path, tmp_path: Path) -> None:
    """Pages fit a phone, ask for files alone, and can be searched without a server."""
    with open_browser(tmp_path / "profile") as page:
        for file in sorted(site.rglob("*.html")):
            page.open(file, width=390, phone=True)
            content, window = page.widths()
            assert content <= window, f"{file} scrolls sideways"
        page.open(site / "index.html", width=1280)
        driver = page.driver
        driver.execute_script("document.querySelector('label[for=__search]').click()")
        field = driver.find_element("css selector", "input.md-search__input")
        driver.execute_script("arguments[0].focus()", field)
        field.send_keys("whitening")
        found: list[Any] = []
        for _ in range(100):
            found = driver.find_elements("css selector", ".md-search-result__item")
            if found:
                break
            time.sleep(0.1)
        assert found
        outside = [url for url in page.requests() if not url.startswith(("file:", "about:", "blob:"))]
        assert outside == []
