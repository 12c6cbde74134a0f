"""The claims of the documentation, every figure read from the committed results: `claims.md` and `short.md`.

    python -m benchmarks.claims     # writes both, then puts all tables into README.md and the documentation

To add a claim, yield it from the function of its results file, or add a file and a function to `SOURCES`;
a file that is not there yields nothing. What is worse than a peer, a control or a part of ours is looked
up in the results, too, so that no table can leave it out. `short.md` is the screen of results in README.md.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import pages
from patchebm.evaluation.summary import Columns, markdown, summarise
from patchebm.files import write_text

HERE = Path(__file__).parent
# What the thesis claims: points of mean AUROC over an image-level model alone, and a faster sampler.
THESIS_POINTS, THESIS_FASTER = 18.3, 2.4

# What the variants of `benchmarks.peers` are called in a sentence.
NAMES = {
    "brightness": "mean brightness",
    "contrast": "contrast",
    "untrained": "untrained network",
    "gaussian": "Gaussian alone",
    "padim": "PaDiM",
    "patchcore": "PatchCore",
    "dfm": "DFM",
    "dfkde": "DFKDE",
    "ganomaly": "GANomaly",
}

Claim = tuple[str, str]
"""What is claimed, and its figures."""


def features(found: dict[str, Any]) -> Iterator[Claim]:
    columns, hard = found["image_auroc"], found["image_auroc_hard_sets"]
    ours, peers = columns["features ensemble"], ("PatchCore", "PaDiM")
    yield (
        f"Mean image AUROC over {len(ours['sets'])} sets: `features`, and two peers on the same backbone",
        f"{value(ours)}; " + ", ".join(f"{name} {value(columns[name])}" for name in peers),
    )
    yield (
        "The same mean of the other presets on features",
        ", ".join(
            f"`{name}` {value(columns[f'{name} ensemble'])}" for name in ("features-fast", "features-max")
        ),
    )
    yield (
        "Sets on which a peer has a higher image AUROC than `features`",
        where_better({name: columns[name] for name in peers}, ours),
    )
    yield (
        "Sets on which one level alone has a higher image AUROC than the ensemble of `features`",
        where_better({level: columns[f"features {level}"] for level in ("patch", "image")}, ours),
    )
    yield (
        f"Mean image AUROC of the patch level over the {len(hard_sets(hard))} harder sets: clusters with the "
        "network trained by noise contrast, against clusters alone",
        f"{value(hard['features patch'])} against {value(hard['mixture patch'])}",
    )
    yield (
        "The same mean of both levels: `features` against Gaussians alone",
        f"{value(hard['features ensemble'])} against {value(hard['gaussian ensemble'])}",
    )
    for figure, name in (("pixel_auroc", "pixel AUROC"), ("aupro", "AUPRO to 0.3")):
        facts = found[figure]["features"]
        yield (f"{name[0].upper()}{name[1:]} of `features` on the sets with masks", per_set(facts))
    alarms = found["false_alarm_rate_observed"]["features"]
    highest = max(alarms["sets"], key=lambda name: alarms["sets"][name]["mean"])
    yield (
        "Good test images called anomalous by `features` at a stated rate of 0.05: mean over sets, highest",
        f"{value(alarms)}; {highest} {value(alarms['sets'][highest])}",
    )
    missed = miss_rates(found)
    yield (
        "Defects missed by `features` at that rate: mean over sets; each set",
        f"{value(missed)}; {per_set(missed)}",
    )


def cost(found: dict[str, Any]) -> Iterator[Claim]:
    ms, ours = found["ms_per_image"], found["ms_per_image"]["features"]
    peers = list(found["state_bytes"])
    bare = ms["bare backbone, folded (ours)"]
    yield (
        f"One image of {found['size']} px on {found['threads']} cores, in PyTorch: `features`; peers",
        f"{ours:.1f} ms, {ours / bare:.1f} times the bare backbone; "
        + "; ".join(f"{name} {ms[name]:.1f} ms" for name in peers),
    )
    state = found["state_bytes"]
    yield (
        "Size of what is learned, the backbone left out: `features`, `features-fast`; peers",
        ", ".join(f"{found['model_bytes'][name] / 1e6:.1f} MB" for name in ("features", "features-fast"))
        + "; "
        + "; ".join(f"{name} {state[name] / 1e6:.1f} MB" for name in state),
    )
    yield (
        f"Fitting `features` on {found['images']} images with {found['threads']} cores",
        f"{found['fit_seconds']['features']:.0f} s",
    )


def pixel(found: dict[str, Any]) -> Iterator[Claim]:
    columns = found["summary"]
    ours, baseline = columns["pixel-cpu ensemble"], columns["image-baseline image"]
    levels = {level: columns[f"pixel-cpu {level}"] for level in ("patch", "image")}
    yield (
        f"Mean image AUROC over {len(ours['sets'])} sets: `pixel-cpu` against an image-level energy alone "
        f"(`image-baseline`, shortened). The thesis says {THESIS_POINTS:+} points",
        f"{value(ours)} against {value(baseline)}: {points(ours, baseline)}",
    )
    yield (
        "The ensemble of `pixel-cpu` against each of its levels alone",
        ", ".join(f"{name} {points(ours, level)}" for name, level in levels.items()),
    )
    ours_too = tuple(f"pixel-cpu {level}" for level in ("ensemble", "patch", "image"))
    yield (
        "Sets on which a control or a simpler energy has a higher image AUROC than `pixel-cpu`",
        where_better({n: facts for n, facts in columns.items() if n not in ours_too}, ours, best_only=True),
    )


def sampler(found: dict[str, Any]) -> Iterator[Claim]:
    calls = [row[call] for row in found["rows"] for call in ("PYLD-10-5", "PYLD-20-10")]
    yield (
        "PYLD in closed form: times faster than the inner loop as written; largest difference in float64",
        f"{span([call['closed_faster_than_literal'] for call in calls])}; "
        f"{max(call['largest_difference_float64'] for call in calls):.0e}",
    )
    for inner in (5, 10):
        faster = [
            row["iteration_against_sgld20"][f"inner_{inner}"]["iteration_faster"] for row in found["rows"]
        ]
        yield (
            f"A training iteration with PYLD-M-{inner}: how many times faster than with SGLD-20 whose chains "
            f"travel as far. The thesis says {THESIS_FASTER}",
            span(faster),
        )


def sets(found: dict[str, Any]) -> Iterator[Claim]:
    """Of `patchebm benchmark`."""
    for preset, facts in found["false_alarms"].items():
        pool = facts["pooled"]
        low, high = pool["interval"]
        yield (
            f"Good test images called anomalous by `{preset}` at a stated rate of {facts['stated']:g}: "
            f"{len(facts['sets'])} sets together; highest set",
            f"{pool['rate']:.3f} of {pool['good']} (95 % interval {low:.3f} to {high:.3f}, "
            f"{'with' if pool['within'] else 'without'} {facts['stated']:g}); {pool['largest_rate']:.3f}",
        )
    for pair in found["paired"].get("image_auroc", []):
        test = pair["runs"]
        verdict = test["note"] if test["p"] is None else f"p {test['p_holm']:.2g} (signed rank, Holm)"
        yield (
            f"Mean difference of image AUROC of `{pair['first']}` and `{pair['second']}` over "
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
                by_set = columns.setdefault(NAMES.get(row["variant"], row["variant"]), {})
                by_set.setdefault(row["set"], {})[row["seed"]] = row[figure]
        if "features" not in columns:
            continue
        over = list(columns["features"])
        summary = summarise(columns, over)
        ours = summary.pop("features")
        yield (
            f"Mean {name} over {len(over)} sets: `features`; peers in anomalib, and controls",
            "; ".join([value(ours), *(f"{other} {value(facts)}" for other, facts in summary.items())]),
        )
        yield (
            f"Sets on which one of these has a higher {name} than `features`, with the best of them",
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
                f"One image in PyTorch ({key}): `features`; anomalib's models",
                f"{ours:.1f} ms; " + ", ".join(f"{NAMES[name]} {ms:.1f}" for name, ms in others.items()),
            )


def held_out(found: dict[str, Any]) -> Iterator[Claim]:
    """Of quarters of train/good."""
    for variant, by_rate in found["rates"].items():
        pool = by_rate["0.05"]["pooled"]
        low, high = pool["interval"]
        yield (
            f"Good images called anomalous by `features` at a stated rate of 0.05, on quarters of train/good "
            f"that were held out at random; {variant} in calibration",
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
            f"Exported as {variant}: sets for which export offers it; largest difference of AUROC, and of a "
            "score, from PyTorch; verdicts that differ",
            f"{len(rows)} of {len(reference)}; {off:.4f}, {moved:.1g}; {flips} of {images}",
        )
    for threads, times in found["latency"].items():
        timed = ("onnx f32", "openvino f32", "onnx f32, features-fast", "openvino f32, features-fast")
        for variant in timed:
            ms, bare = times[variant]["ms"], times[times[variant]["bare"]]["ms"]
            yield (
                f"One image of 256 px, {variant}, threads: {threads}; compared with the bare backbone there, "
                "and with PatchCore in PyTorch",
                f"{ms:.1f} ms; {ms / bare:.2f} times the backbone; PatchCore takes "
                f"{times['PatchCore, PyTorch']['ms'] / ms:.1f} times as long",
            )
    base = found["footprint"]
    yield (
        "Installation without PyTorch: size; time to import; time to the first verdict; peak memory",
        f"{base['install_mb']} MB; {base['import_seconds']:.3f} s; {base['first_verdict_seconds']:.2f} s; "
        f"{base['resident_mb']} MB",
    )
    rows = found["verbs"]
    both = min(sum(row[verb] for row in rows) for verb in ("predicted", "watched"))
    yield (
        "Test images of all sets scored by `predict` and by `watch` without PyTorch: recorded by both; "
        "verdicts that differ",
        f"{both} of {sum(row['images'] for row in rows)}; {sum(row['differ'] for row in rows)}",
    )
    yield (
        "An image of 8000 x 2000 px: peak memory with its map, by the size that it is resized to",
        "; ".join(f"{row['memory_mb']} MB at {row['looked_at']} px" for row in found["large"] if row["map"]),
    )


def watch(found: dict[str, Any]) -> Iterator[Claim]:
    yield (
        f"`watch` killed {len(found['killed_at'])} times over {found['files']} files: lost; scored twice",
        f"{found['lost']}; {found['twice']}",
    )


SOURCES: dict[str, tuple[str, Callable[[dict[str, Any]], Iterator[Claim]]]] = {
    "features/results.json": ("Energies on features", features),
    "features/cost.json": ("What they cost", cost),
    "alarms/results.json": ("False alarms on held-out good images", held_out),
    "sets/results.json": ("Presets compared", sets),
    "peers/results.json": ("Peers in anomalib, and controls", peers),
    "peers/cost.json": ("What the peers cost", peers_cost),
    "deploy/results.json": ("Exported models", deploy),
    "watch/results.json": ("The watcher", watch),
    "pixel/results.json": ("Energies on pixels", pixel),
    "sampler/results.json": ("The sampler", sampler),
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


def miss_rates(found: dict[str, Any], variant: str = "features") -> dict[str, Any]:
    """Mean and standard deviation over seeds of the share of defects that a variant misses."""
    columns: Columns = {variant: {}}
    for row in found["runs"]:
        if row["variant"] == variant:
            columns[variant].setdefault(row["set"], {})[row["seed"]] = row["miss_rate"]
    return summarise(columns, list(columns[variant]))[variant]


def read(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / name).read_text(encoding="utf-8"))
    return found


def table(folder: Path = HERE) -> str:
    """The claims as Markdown, a section for each results file in a folder."""
    sections = []
    for name, (title, claims) in SOURCES.items():
        if (folder / name).exists():
            rows = [list(claim) for claim in claims(read(folder, name))]
            text = markdown(["what was measured", "figure"], rows)
            sections.append(f"### {title}\n\nFrom `benchmarks/{name}`:\n\n{text}")
    return "\n".join(sections)


def short(folder: Path = HERE) -> str:
    """One screen of results: image AUROC beside two peers, errors at the threshold, and what is worse."""
    found = read(folder, "features/results.json")
    columns = found["image_auroc"]
    ours, peers = columns["features ensemble"], {name: columns[name] for name in ("PatchCore", "PaDiM")}
    alarms, missed = found["false_alarm_rate_observed"]["features"], miss_rates(found)
    hard = hard_sets(found["image_auroc_hard_sets"])

    def percent(facts: dict[str, Any]) -> str:
        return f"{100 * facts['mean']:.0f} %"

    rows = [
        [
            name,
            *(f"{facts['sets'][name]['mean']:.3f}" for facts in (ours, *peers.values())),
            *(percent(facts["sets"][name]) for facts in (alarms, missed)),
        ]
        for name in ours["sets"]
    ]
    means = [f"{facts['mean']:.3f}" for facts in (ours, *peers.values())]
    rows.append(["**mean**", *means, percent(alarms), percent(missed)])
    header = ["image set", "`features`", *peers, "good parts called anomalous", "defects missed"]
    over_hard = sum(missed["sets"][name]["mean"] for name in hard) / len(hard)
    lines = [
        f"- At the default false-alarm rate of 5 %, `features` misses {100 * over_hard:.0f} % of the defects "
        f"of the {len(hard)} harder sets ({', '.join(hard)}).",
        f"- On some sets a peer ranks images better (image AUROC): {where_better(peers, ours)}.",
    ]
    if (folder / "peers/results.json").exists():
        for claim, figure in peers_claims(folder):
            if "AUPRO" in claim and "higher" in claim:
                lines.append(f"- Others point better at the defects of some sets (AUPRO): {figure}.")
    return markdown(header, rows) + "\n" + "\n".join(lines) + "\n"


def peers_claims(folder: Path) -> list[Claim]:
    return list(peers(read(folder, "peers/results.json")))


def main() -> int:
    write_text(HERE / "claims.md", table())
    write_text(HERE / "short.md", short())
    pages.update()
    return 0


if __name__ == "__main__":
    sys.exit(main())
