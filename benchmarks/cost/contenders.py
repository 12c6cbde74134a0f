"""What is timed: every contender, and the bare backbone that its time is divided by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# Methods of `benchmarks.peers.methods` that are fitted.
OURS = ("features", "features-fast", "pixel-cpu", "image-baseline")
THEIRS = ("patchcore", "mh-patchcore", "padim", "dfm", "dfkde", "supersimplenet", "glass", "ganomaly")
# Exported: preset, format and precision. int8 is decided in training: `python -m benchmarks.int8`.
BUNDLES = (
    *((preset, form, "f32") for preset in OURS[:2] for form in ("onnx", "openvino")),
    (OURS[0], "openvino", "bf16"),
)
BARE = "bare backbone"
RUNTIMES = {"onnx": "ONNX Runtime", "openvino": "OpenVINO"}
# Fitted with: batched inverses, of which PaDiM has one, never end in torch 2.13 and 2.14 with more threads
# here.
THREADS_OF_THEIRS = 1


@dataclass(frozen=True)
class Contender:
    """One row of the table of times.

    Attributes:
        name: of the model, or `BARE`.
        kind: what `benchmarks.cost.clock` calls it.
        model: what `kind` needs: a method, a bundle, or a graph.
        group: runtime and environment; ratios are to the bare backbone of the same group.
        theirs: whether it runs in anomalib's environment.
    """

    name: str
    kind: str
    model: str
    group: str
    theirs: bool = False

    @property
    def title(self) -> str:
        """Name and group, which no other contender has."""
        return f"{self.name}, {self.group}"


def bundle_file(work: Path, preset: str, form: str, precision: str) -> Path:
    """Returns where a bundle is kept."""
    return work / f"{preset}-{form}-{precision}.patchebm"


def listed(
    work: Path, fitted: Sequence[str], exported: Sequence[Sequence[str]], titles: Mapping[str, str]
) -> list[Contender]:
    """Returns the contenders, the bare backbone of each group first.

    Args:
        work: folder of models.
        fitted: methods.
        exported: preset, format and precision of bundles.
        titles: of methods.
    """
    found: list[Contender] = []

    def add(group: str, rows: Sequence[tuple[str, str, str]], *, theirs: bool = False) -> None:
        found.extend(Contender(name, kind, model, group, theirs) for name, kind, model in rows)

    ours = [(name, "method", name) for name in OURS if name in fitted]
    add("PyTorch", [(BARE, "torch-bare", "-"), *ours])
    for form, group in RUNTIMES.items():
        own = [bundle for bundle in exported if bundle[1] == form]
        if own:
            rows = [(f"{b[0]} {b[2]}", "bundle", str(bundle_file(work, b[0], b[1], b[2]))) for b in own]
            add(group, [(BARE, f"{form}-bare", str(work / "backbone.onnx")), *rows])
    theirs = [(titles[name], "method", name) for name in THEIRS if name in fitted]
    if theirs:
        # A preset, too: it shows whether the two environments differ.
        same = [row for row in ours if row[0] == OURS[0]]
        add("PyTorch, anomalib's environment", [(BARE, "torch-bare", "-"), *same, *theirs], theirs=True)
    return found


def bare_of(contenders: Sequence[Contender]) -> dict[str, str]:
    """Returns the title of the bare backbone of each group."""
    return {one.group: one.title for one in contenders if one.name == BARE}
