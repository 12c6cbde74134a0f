"""The wall between what the base install needs and what needs torch, and the direction of imports.

`CONTRIBUTING.md` has the table of folders that these tests hold the code to.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "patchebm"
HEAVY = {"torch", "lightning", "safetensors", "scipy", "sklearn", "matplotlib", "tensorboard", "onnx"}
ABOVE = ("images", "runtime", "check", "line", "station", "config", "cli")
BELOW = ("energy", "features", "training", "detector", "export", "anomalib")
# A module may import from its own folder and from those that stand before it. Modules of the top level are
# named; those that are not come first.
ORDER = [
    ("images", "config"),
    ("runtime",),
    ("check",),
    ("run_folder", "loading"),
    ("line",),
    ("station",),
    ("energy",),
    ("features",),
    ("training",),
    ("detector",),
    ("export",),
    ("anomalib",),
    ("evaluation",),
    ("report",),
    ("scale",),
    ("cli",),
]
RANK = {name: rank for rank, names in enumerate(ORDER, 1) for name in names}
# They open what lies below the wall when they are called, and not before.
LAZY = ("cli", "loading")
MIXED = ("evaluation", "report")
# They do not even ask for it when they are called.
NEVER_HEAVY = ("images", "runtime", "check", "line", "station", "config", "scale")

REFUSE = """
import importlib, sys

heavy, modules = set(sys.argv[1].split(",")), sys.argv[2:]

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in heavy:
            raise ModuleNotFoundError(f"{name} is below the wall", name=name)

sys.meta_path.insert(0, Refuse())
for module in modules:
    importlib.import_module(module)
print(len(modules))
"""


class Import(NamedTuple):
    """An import statement: who imports what, and whether only when a function is called."""

    importer: str
    imported: str
    lazy: bool


def module_name(file: Path, source: Path) -> str:
    return ".".join(file.relative_to(source.parent).with_suffix("").parts).removesuffix(".__init__")


def modules_of(source: Path) -> dict[str, Path]:
    return {module_name(file, source): file for file in sorted(source.rglob("*.py"))}


def imports_of(source: Path) -> list[Import]:
    """All import statements below a folder, without those for type checkers."""
    modules = modules_of(source)
    return [one for module, file in modules.items() for one in _imports(module, file, modules)]


def _imports(module: str, file: Path, modules: dict[str, Path]) -> Iterator[Import]:
    waiting = [(node, False) for node in ast.parse(file.read_text(encoding="utf-8")).body]
    while waiting:
        node, lazy = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            continue
        if isinstance(node, ast.Import):
            yield from (Import(module, alias.name, lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file} has a relative import, which this check does not follow"
            for alias in node.names:
                # `from package import module` is an import of the module.
                inner = f"{node.module}.{alias.name}"
                yield Import(module, inner if inner in modules else str(node.module), lazy)
        lazy = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        waiting += [(child, lazy) for child in ast.iter_child_nodes(node)]


def folder_of(module: str) -> str:
    """`patchebm.images.photo` lies in `images`, `patchebm.loading` is itself, `patchebm` is ''."""
    return f"{module}.".split(".")[1]


def offences(source: Path) -> list[str]:
    """Imports against the direction of the table, as sentences."""
    package = source.name
    found = []
    for importer, imported, lazy in imports_of(source):
        mine, other = folder_of(importer), folder_of(imported)
        if imported.split(".")[0] != package:
            wrong = mine in NEVER_HEAVY and imported.split(".")[0] in HEAVY
        else:
            through_the_wall = other in BELOW and mine not in (*BELOW, *MIXED)
            upwards = mine != other and RANK.get(other, 0) > 0 and RANK.get(mine, 0) <= RANK.get(other, 0)
            wrong = through_the_wall and mine not in LAZY if lazy else through_the_wall or upwards
        if wrong:
            found.append(f"{importer} imports {imported}")
    return found


def circle(source: Path) -> list[str] | None:
    """Modules that import each other when they are imported, or None."""
    graph: dict[str, set[str]] = {}
    for importer, imported, lazy in imports_of(source):
        if imported.split(".")[0] == source.name and not lazy:
            graph.setdefault(importer, set()).add(imported)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return None


def test_every_module_above_the_wall_is_imported_without_what_is_below() -> None:
    # Alembic runs the files of its own; they are no modules of the package.
    files = [(name, file) for name, file in modules_of(SOURCE).items() if "migrations" not in file.parts]
    modules = [name for name, file in files if folder_of(name) in ABOVE or file.parent == SOURCE]
    done = subprocess.run(
        [sys.executable, "-c", REFUSE, ",".join(HEAVY), *modules], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(modules) > 40


def test_no_module_imports_against_the_direction() -> None:
    assert offences(SOURCE) == []


def test_every_folder_has_its_place() -> None:
    folders = {path.name for path in SOURCE.iterdir() if (path / "__init__.py").exists()}
    assert folders <= set(RANK)


def test_no_modules_import_each_other() -> None:
    assert circle(SOURCE) is None


@pytest.mark.parametrize(
    ("file", "line", "found"),
    [
        ("images/photo.py", "from toy.runtime import tail", True),
        ("images/photo.py", "import torch", True),
        ("images/photo.py", "def f():\n    import torch", True),
        ("images/photo.py", "if TYPE_CHECKING:\n    import torch", False),
        ("runtime/tail.py", "from toy.images.photo import Photo", False),
        ("runtime/tail.py", "def f():\n    from toy.detector import scorer", True),
        ("cli/train.py", "from toy.detector import scorer", True),
        ("cli/train.py", "def f():\n    from toy.detector import scorer", False),
        ("loading.py", "import toy.detector.scorer", True),
        ("errors.py", "from toy.images import photo", True),
        ("detector/scorer.py", "import torch, toy.runtime.tail", False),
        ("detector/scorer.py", "from toy.cli import train", True),
    ],
)
def test_the_check_finds_what_it_is_for(tmp_path: Path, file: str, line: str, found: bool) -> None:
    source = tmp_path / "toy"
    for name in ("images/photo.py", "runtime/tail.py", "detector/scorer.py", "cli/train.py", "errors.py"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).touch()
        (source / name).with_name("__init__.py").touch()
    (source / file).write_text(line)
    assert bool(offences(source)) == found


def test_a_circle_is_found(tmp_path: Path) -> None:
    source = tmp_path / "toy"
    source.mkdir()
    (source / "a.py").write_text("import toy.b")
    (source / "b.py").write_text("def f():\n    import toy.a")
    assert circle(source) is None
    (source / "b.py").write_text("from toy import a")
    assert set(circle(source) or ()) == {"toy.a", "toy.b"}
