"""The claims of the README, every figure read from the committed results: `claims.md`.

    python -m benchmarks.claims     # writes claims.md, then puts all tables into README.md

To add a claim, yield it from the function of its results file, or add a file and a function to `SOURCES`;
a file that is not there yields nothing. What is worse than a peer, a control or a part of ours is looked
up in the results, too, so that no table can leave it out.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import readme
from patchebm.evaluation.summary import Columns, markdown, summarise
from patchebm.files import write_text

HERE = Path(__file__).parent
# What the thesis claims: points of mean AUROC over an image-level model alone, and a faster sampler.
THESIS_POINTS, THESIS_FASTER = 18.3, 2.4

Claim = tuple[str, str]
"""What is claimed, and its figures."""


def features(found: dict[str, Any]) -> Iterator[Claim]:
    columns, hard = found["image_auroc"], found["image_auroc_hard_sets"]
    ours, peers = columns["features ensemble"], ("PatchCore", "PaDiM")
    yield (
        f"`features`: mean image AUROC over {len(ours['sets'])} sets; peers on the same backbone",
        f"{value(ours)}; " + ", ".join(f"{name} {value(columns[name])}" for name in peers),
    )
    yield (
        "`features-fast`, and `features-max`: the same mean",
        ", ".join(value(columns[f"{name} ensemble"]) for name in ("features-fast", "features-max")),
    )
    yield (
        "sets on which a peer ranks better than `features`",
        where_better({name: columns[name] for name in peers}, ours),
    )
    yield (
        "sets on which a level alone ranks better than the ensemble of `features`",
        where_better({level: columns[f"features {level}"] for level in ("patch", "image")}, ours),
    )
    yield (
        f"noise contrast against clusters as fitted, patch level, over {len(hard_sets(hard))} harder sets",
        f"{value(hard['features patch'])} against {value(hard['mixture patch'])}",
    )
    yield (
        "`features` against Gaussians alone, both levels, on the same sets",
        f"{value(hard['features ensemble'])} against {value(hard['gaussian ensemble'])}",
    )
    for figure, name in (("pixel_auroc", "pixel AUROC"), ("aupro", "AUPRO to 0.3")):
        facts = found[figure]["features"]
        yield (f"`features`: {name} on the sets with masks", per_set(facts))
    alarms = found["false_alarm_rate_observed"]["features"]
    highest = max(alarms["sets"], key=lambda name: alarms["sets"][name]["mean"])
    yield (
        "`features`: good parts called anomalous at a stated 0.05, mean over sets; highest set",
        f"{value(alarms)}; {highest} {value(alarms['sets'][highest])}",
    )


def cost(found: dict[str, Any]) -> Iterator[Claim]:
    ms, ours = found["ms_per_image"], found["ms_per_image"]["features"]
    peers = list(found["state_bytes"])
    bare = ms["bare backbone, folded (ours)"]
    yield (
        f"`features`: one image of {found['size']} px on {found['threads']} cores; peers",
        f"{ours:.1f} ms, {ours / bare:.1f} times the bare backbone; "
        + "; ".join(f"{name} {ms[name]:.1f} ms" for name in peers),
    )
    state = found["state_bytes"]
    yield (
        "`features`, `features-fast`: model but for the backbone; peers",
        ", ".join(f"{found['model_bytes'][name] / 1e6:.1f} MB" for name in ("features", "features-fast"))
        + "; "
        + "; ".join(f"{name} {state[name] / 1e6:.1f} MB" for name in state),
    )
    yield (
        f"`features`: fitting {found['images']} images on {found['threads']} cores",
        f"{found['fit_seconds']['features']:.0f} s",
    )


def pixel(found: dict[str, Any]) -> Iterator[Claim]:
    columns = found["summary"]
    ours, baseline = columns["pixel-cpu ensemble"], columns["image-baseline image"]
    levels = {level: columns[f"pixel-cpu {level}"] for level in ("patch", "image")}
    yield (
        f"`pixel-cpu`: mean image AUROC over {len(ours['sets'])} sets, against an image-level energy alone "
        f"(`image-baseline`, shortened); the thesis says {THESIS_POINTS:+} points",
        f"{value(ours)} against {value(baseline)}: {points(ours, baseline)}",
    )
    yield (
        "ensemble of `pixel-cpu` against its own levels alone",
        ", ".join(f"{name} {points(ours, level)}" for name, level in levels.items()),
    )
    ours_too = tuple(f"pixel-cpu {level}" for level in ("ensemble", "patch", "image"))
    yield (
        "sets on which a control or a simpler energy ranks better than `pixel-cpu`",
        where_better({n: facts for n, facts in columns.items() if n not in ours_too}, ours, best_only=True),
    )


def sampler(found: dict[str, Any]) -> Iterator[Claim]:
    calls = [row[call] for row in found["rows"] for call in ("PYLD-10-5", "PYLD-20-10")]
    yield (
        "PYLD in closed form: times faster than the literal inner loop; largest difference in float64",
        f"{span([call['closed_faster_than_literal'] for call in calls])}; "
        f"{max(call['largest_difference_float64'] for call in calls):.0e}",
    )
    for inner in (5, 10):
        faster = [
            row["iteration_against_sgld20"][f"inner_{inner}"]["iteration_faster"] for row in found["rows"]
        ]
        yield (
            f"training iteration with PYLD-M-{inner}: times faster than with SGLD-20 whose chains travel as "
            f"far; the thesis says {THESIS_FASTER}",
            span(faster),
        )


def sets(found: dict[str, Any]) -> Iterator[Claim]:
    """Of `patchebm benchmark`."""
    for preset, facts in found["false_alarms"].items():
        pool = facts["pooled"]
        low, high = pool["interval"]
        yield (
            f"`{preset}`: good parts called anomalous at a stated {facts['stated']:g}, pooled over "
            f"{len(facts['sets'])} sets; highest set",
            f"{pool['rate']:.3f} of {pool['good']} (95 % interval {low:.3f} to {high:.3f}, "
            f"{'with' if pool['within'] else 'without'} {facts['stated']:g}); {pool['largest_rate']:.3f}",
        )
    for pair in found["paired"].get("image_auroc", []):
        test = pair["runs"]
        verdict = test["note"] if test["p"] is None else f"p {test['p_holm']:.2g} (signed rank, Holm)"
        yield (
            f"`{pair['first']}` against `{pair['second']}`: mean difference of image AUROC over "
            f"{test['pairs']} pairs of set and seed",
            f"{test['mean_difference']:+.3f}; {verdict}",
        )


def peers(found: dict[str, Any]) -> Iterator[Claim]:
    """Of anomalib and the controls, on the same splits."""
    named = {
        "image_auroc": "image AUROC",
        "pixel_auroc": "pixel AUROC",
        "aupro": "AUPRO to 0.3",
    }
    for figure, name in named.items():
        columns: Columns = {}
        for row in found["runs"]:
            if figure in row:
                by_set = columns.setdefault(row["variant"], {})
                by_set.setdefault(row["set"], {})[row["seed"]] = row[figure]
        if "features" not in columns:
            continue
        over = list(columns["features"])
        summary = summarise(columns, over)
        ours = summary.pop("features")
        yield (
            f"`features` beside peers (anomalib) and controls: mean {name} over {len(over)} sets",
            "; ".join([value(ours), *(f"{other} {value(facts)}" for other, facts in summary.items())]),
        )
        yield (
            f"sets on which one of these has a higher {name} than `features`, and the best of them",
            where_better(summary, ours, best_only=True),
        )


def peers_cost(found: dict[str, Any]) -> Iterator[Claim]:
    """Of anomalib's models, side by side."""
    methods = found["methods"]
    for key in next(iter(methods.values()))["ms_per_image"]:
        if "score alone" in key:
            ours = methods["features"]["ms_per_image"][key]
            others = {n: methods[n]["ms_per_image"][key] for n in ("patchcore", "padim", "dfm")}
            yield (
                f"`features` in PyTorch beside anomalib's, one image, {key}",
                f"{ours:.1f} ms; " + ", ".join(f"{name} {ms:.1f}" for name, ms in others.items()),
            )


def held_out(found: dict[str, Any]) -> Iterator[Claim]:
    """Of quarters of train/good."""
    for variant, by_rate in found["rates"].items():
        pool = by_rate["0.05"]["pooled"]
        low, high = pool["interval"]
        yield (
            f"`features`, {variant}: good parts called anomalous at a stated 0.05, on quarters held out at "
            "random from train/good",
            f"{pool['rate']:.3f} of {pool['good']} (95 % interval {low:.3f} to {high:.3f}); "
            f"highest set {pool['largest_rate']:.3f}",
        )


def deploy(found: dict[str, Any]) -> Iterator[Claim]:
    reference = {row["set"]: row for row in found["parity"] if row["variant"] == "PyTorch"}
    for variant in dict.fromkeys(row["variant"] for row in found["parity"] if row["variant"] != "PyTorch"):
        rows = [row for row in found["parity"] if row["variant"] == variant and "refused" not in row]
        if not rows:
            continue
        off = max(abs(row["image_auroc"] - reference[row["set"]]["image_auroc"]) for row in rows)
        moved = max(row["score_difference"] for row in rows)
        flips, images = (sum(row[key] for row in rows) for key in ("verdict_flips", "images"))
        yield (
            f"exported as {variant}: sets that export offers it for; largest differences of AUROC and of a "
            "score from PyTorch; verdicts that differ",
            f"{len(rows)} of {len(reference)}; {off:.4f}, {moved:.1g}; {flips} of {images}",
        )
    for threads, times in found["latency"].items():
        timed = ("onnx f32", "openvino f32", "onnx f32, features-fast", "openvino f32, features-fast")
        for variant in timed:
            ms, bare = times[variant]["ms"], times[times[variant]["bare"]]["ms"]
            yield (
                f"one image of 256 px, {variant}, threads: {threads}; times the bare backbone there; "
                "PatchCore in PyTorch takes",
                f"{ms:.1f} ms, {ms / bare:.2f}; {times['PatchCore, PyTorch']['ms'] / ms:.1f} times as long",
            )
    base = found["footprint"]
    yield (
        "base install; import; first verdict; peak memory",
        f"{base['install_mb']} MB; {base['import_seconds']:.3f} s; {base['first_verdict_seconds']:.2f} s; "
        f"{base['resident_mb']} MB",
    )
    rows = found["verbs"]
    both = min(sum(row[verb] for row in rows) for verb in ("predicted", "watched"))
    yield (
        "`predict` and `watch` without torch on the test images of all sets: recorded by both; that differ",
        f"{both} of {sum(row['images'] for row in rows)}; {sum(row['differ'] for row in rows)}",
    )
    yield (
        "an image of 8000 x 2000 px: peak memory, with its map",
        "; ".join(f"{row['memory_mb']} MB at {row['looked_at']} px" for row in found["large"] if row["map"]),
    )


def watch(found: dict[str, Any]) -> Iterator[Claim]:
    yield (
        f"`watch` killed {len(found['killed_at'])} times over {found['files']} files: lost; scored twice",
        f"{found['lost']}; {found['twice']}",
    )


SOURCES: dict[str, Callable[[dict[str, Any]], Iterator[Claim]]] = {
    "features/results.json": features,
    "features/cost.json": cost,
    "pixel/results.json": pixel,
    "sampler/results.json": sampler,
    "sets/results.json": sets,
    "peers/results.json": peers,
    "peers/cost.json": peers_cost,
    "alarms/results.json": held_out,
    "deploy/results.json": deploy,
    "watch/results.json": watch,
}


def value(facts: dict[str, Any]) -> str:
    return f"{facts['mean']:.3f} ± {facts['std']:.3f}"


def points(ours: dict[str, Any], other: dict[str, Any]) -> str:
    return f"{100 * (ours['mean'] - other['mean']):+.1f} points"


def per_set(facts: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value(figures)}" for name, figures in facts["sets"].items())


def span(values: list[float]) -> str:
    return f"{min(values):.2f} to {max(values):.2f}"


def hard_sets(summary: dict[str, Any]) -> list[str]:
    return list(next(iter(summary.values()))["sets"])


def where_better(others: dict[str, dict[str, Any]], ours: dict[str, Any], *, best_only: bool = False) -> str:
    """The sets on which others have a higher mean than ours, with both; of the others all, or the best."""
    found = []
    for name, own in ours["sets"].items():
        better = {other: facts["sets"][name] for other, facts in others.items() if name in facts["sets"]}
        better = {other: facts for other, facts in better.items() if facts["mean"] > own["mean"]}
        ranked = sorted(better, key=lambda other: -better[other]["mean"])
        if ranked:
            named = ", ".join(
                f"{other} {value(better[other])}" for other in ranked[: 1 if best_only else None]
            )
            found.append(f"{name}: {named} against {value(own)}")
    return "; ".join(found) or "none"


def table(folder: Path = HERE) -> str:
    """The claims as Markdown, from the results files in a folder."""
    rows = []
    for name, read in SOURCES.items():
        if (folder / name).exists():
            found = json.loads((folder / name).read_text(encoding="utf-8"))
            source = f"[{name}](benchmarks/{name})"
            rows += [[claim, figure, source] for claim, figure in read(found)]
    return markdown(["claim", "figure", "from"], rows)


def main() -> int:
    write_text(HERE / "claims.md", table())
    readme.update()
    return 0


if __name__ == "__main__":
    sys.exit(main())
