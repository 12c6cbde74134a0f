"""The claims of the documentation, every figure read from the results files: `claims.md` and its excerpts.

    python -m benchmarks.claims     # writes them, then puts all tables into README.md and the documentation

To add a claim, yield it from the function of its results file, or add a file and a function to `SOURCES`;
a file that is not there yields nothing. What is worse than a peer, a control or a part of ours is looked
up in the results, too, so that no table can leave it out. `short.md` is the screen of results in
README.md, and `thesis.md` what the thesis claims.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import pages
from benchmarks.thesis import beside as first_claim
from benchmarks.thesis import figures as of_thesis
from patchebm.evaluation.summary import Columns, markdown, summarise, with_spread
from patchebm.files import write_text

HERE = Path(__file__).parent
# What the thesis claims of its sampler: so many times faster than SGLD-20.
THESIS_FASTER = 2.4
REFERENCE = "SGLD-20"

# What the variants of `benchmarks.peers` are called in a sentence.
NAMES = {
    "brightness": "mean brightness",
    "contrast": "contrast",
    "untrained": "untrained network",
    "gaussian": "Gaussians alone",
    "padim": "PaDiM",
    "patchcore": "PatchCore",
    "dfm": "DFM",
    "dfkde": "DFKDE",
    "mh-patchcore": "MH-PatchCore",
    "supersimplenet": "SuperSimpleNet",
    "glass": "GLASS",
    "ganomaly": "GANomaly",
}

OURS = "features"
# Variants of `benchmarks.features`: peers, and the preset with one part left out or exchanged.
PEERS = ("PatchCore", "PaDiM")
PARTS = (
    *("Gaussians alone", "noise alone", "defects alone", "with image level", "256 px", "whole images"),
    "neighbours together",
)
# False-alarm rates at which misses are reported.
RATES = ("0.05", "0.01")

Claim = tuple[str, str]
"""What is claimed, and its figures."""


def features(found: dict[str, Any]) -> Iterator[Claim]:
    """Of the preset features, its peers and its parts; what was not measured on all sets is left out."""
    columns = found["image_auroc"]
    if OURS not in columns:
        return
    ours = columns[OURS]
    yield f"Mean image AUROC over {len(ours['sets'])} sets: `features`", with_spread(ours)
    beside = found.get("beside_peers", {})
    others = {name: beside[name] for name in PEERS if name in beside}
    if others:
        yield (
            f"The same mean over {len(beside[OURS]['sets'])} of these sets: `features`, and peers on the "
            "same backbone",
            named({OURS: beside[OURS]} | others),
        )
    if "features-fast" in columns:
        yield "The same mean of `features-fast`", with_spread(columns["features-fast"])
    if others:
        yield (
            "Sets on which a peer has a higher image AUROC than `features`",
            where_better(others, beside[OURS]),
        )
    parts = {name: columns[name] for name in PARTS if name in columns}
    if parts:
        yield "The same mean of `features` with one part left out or exchanged", named(parts)
    alone = {name: parts[name] for name in parts if name == "Gaussians alone"}
    if alone:
        yield (
            "Sets on which the Gaussians alone have a higher image AUROC than `features` with its network",
            where_better(alone, ours),
        )
    for figure, name in (("pixel_auroc", "Pixel AUROC"), ("aupro", "AUPRO to 0.3")):
        if OURS in found.get(figure, {}):
            yield f"{name} of `features` on the sets with masks", per_set(found[figure][OURS])
    alarms = found["false_alarm_rate_observed"].get(OURS)
    if alarms:
        highest = max(alarms["sets"], key=lambda name: alarms["sets"][name]["mean"])
        yield (
            "Good test images called anomalous by `features` at a stated rate of 0.05: mean over sets; "
            "highest set",
            f"{with_spread(alarms)}; {highest} {with_spread(alarms['sets'][highest])}",
        )
    for rate in RATES:
        missed, at_roc = miss_rates(found, rate), miss_rates(found, rate, at_roc=True)
        if missed:
            yield (
                f"Defects missed by `features` at a stated rate of {rate}: mean over sets; each set",
                f"{with_spread(missed)}; {per_set(missed)}",
            )
        if at_roc:
            yield (
                f"Defects that a threshold set on the good test images themselves for {rate} would miss, "
                "the ROC's own point: mean over sets",
                with_spread(at_roc),
            )
    if found.get("promise"):
        yield (
            "The share of defects that `train` says it will find, and the share found in the test images: "
            "rank correlation over the sets",
            f"{found['promise']['rank_correlation']:.2f}",
        )


def cost(found: dict[str, Any]) -> Iterator[Claim]:
    """Of time and memory, every contender in turn on one machine; ratios to the bare backbone beside it."""
    times = found["times"]
    timed = [
        f"{name} {runtime}"
        for name, runtime in (
            ("features,", "PyTorch"),
            ("features f32,", "ONNX Runtime"),
            ("features f32,", "OpenVINO"),
            ("PatchCore (anomalib), bank of 8,192,", "PyTorch, anomalib's environment"),
            ("PaDiM (anomalib),", "PyTorch, anomalib's environment"),
            ("DFM (anomalib),", "PyTorch, anomalib's environment"),
        )
    ]
    for threads in found["threads"]:
        yield (
            f"Time of one image of {found['size']} px, in times of the bare backbone in the same runtime; "
            f"threads: {threads}",
            "; ".join(f"{name} {times[name][f'{threads} score']['ratio']:.2f}" for name in timed),
        )
    fits = found["fits"]
    yield (
        f"Fit of {found['images']} images: seconds on {max(found['threads'])} cores (anomalib: one), "
        "and size of what is learned without the backbone",
        "; ".join(
            f"{name} {facts['fit_seconds']:.0f} s, {facts['state_bytes'] / 1e6:.1f} MB"
            for name, facts in fits.items()
        ),
    )
    yield (
        "Start of a process to its end, cold and warm",
        "; ".join(f"{name} {s['cold']:.2f} s, {s['warm']:.2f} s" for name, s in found["starts"].items()),
    )


def pixel(found: dict[str, Any]) -> Iterator[Claim]:
    columns = found["summary"]
    ours, baseline = columns["pixel-cpu ensemble"], columns["image-baseline image"]
    levels = {level: columns[f"pixel-cpu {level}"] for level in ("patch", "image")}
    yield (
        f"Mean image AUROC over {len(ours['sets'])} sets: `pixel-cpu` against an image-level energy alone "
        "(`image-baseline`, 80 steps)",
        f"{with_spread(ours)} against {with_spread(baseline)}: {points(ours, baseline)}",
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


def thesis(found: dict[str, Any]) -> Iterator[Claim]:
    """Of the thesis, at reduced size: its first claim, and what a reader should know beside it."""
    rows = found["runs"]
    by_length = {steps: of_thesis.at_length(rows, steps) for steps in of_thesis.lengths(rows)}
    if not any(first_claim.points(own) for own in by_length.values()):
        yield (
            "Image AUROC of the ensemble of `thesis-small` against `image-baseline` at equal length. The "
            f"thesis says {first_claim.THESIS_POINTS:+} points",
            "not measured since the loss was mended",
        )
    for steps, own in by_length.items():
        length = of_thesis.length_name(steps)
        auroc, oracle = first_claim.points(own), first_claim.points(own, "oracle")
        if auroc:
            yield (
                f"Image AUROC after {length} (sets with their seeds: {first_claim.counted_over(auroc)}): "
                "the ensemble of `thesis-small` against `image-baseline` at equal length. The thesis says "
                f"{first_claim.THESIS_POINTS:+} points",
                against(auroc),
            )
        if oracle:
            yield (
                "The same in the thesis' own figure, the balanced accuracy at the best threshold of the test "
                f"images, after {length}",
                against(oracle),
            )
        columns = of_thesis.summary(of_thesis.columns(own, "levels"), of_thesis.sets_of(own))
        ours = columns.get(first_claim.OURS)
        if not ours:
            continue
        simpler = {
            name: one for name, one in columns.items() if "(" in name or name.startswith("Gaussian alone")
        }
        if simpler:
            yield (
                f"After {length}: sets on which a control or the Gaussian alone has a higher image AUROC "
                "than the ensemble of `thesis-small`, with the best of them",
                where_better(simpler, ours, best_only=True),
            )
        runs = [row for row in rows if row["steps"] == steps and row["variant"] != "controls"]
        trained = [level for row in runs for level in row["chains"].values() if "distance" in level]
        if trained:
            yield (
                f"After {length}: runs that the guard rolled back, and gave up; distance that a pixel of a "
                "chain travels in a step of training",
                f"{sum(row['rollbacks'] > 0 for row in runs)} and {sum('diverged' in row for row in runs)} "
                f"of {len(runs)}; {span([level['distance'] for level in trained])}",
            )
    yield "The presets `thesis` and `jempp` at full size", found["full_size"]


def against(found: dict[str, Any]) -> str:
    """The ensemble of the thesis against its baseline in the mean, and the difference on each set."""
    text = (
        f"{found['ours']['mean']:.3f} against {found['baseline']['mean']:.3f}: "
        f"{with_spread(found['points'], '+.1f')} points"
    )
    by_set = [f"{name} {with_spread(facts['points'], '+.1f')}" for name, facts in found["sets"].items()]
    return text + (f" ({', '.join(by_set)})" if len(by_set) > 1 else "")


def quality(found: dict[str, Any]) -> Iterator[Claim]:
    """Of the second claim of the thesis, with equal quality instead of an equal number of steps.

    A sampler that never gets to a quality which another one reaches is said, too.
    """
    for place, samplers in found["seconds"].items():
        if REFERENCE not in samplers or len(samplers) == 1:
            continue
        for level, slow in samplers[REFERENCE].items():
            times = {name: own.get(level) for name, own in samplers.items() if name != REFERENCE}
            if slow:
                said_of = {
                    name: f"{slow / own:.2f}" if own else f"never ({REFERENCE} after {slow:.0f} s)"
                    for name, own in times.items()
                }
            elif any(times.values()):
                said_of = {
                    name: f"after {own:.0f} s ({REFERENCE} never)" if own else "never"
                    for name, own in times.items()
                }
            else:
                continue
            yield (
                f"Time to a corruption AUROC of {level} ({place}): how many times sooner than with "
                f"{REFERENCE}. The thesis says {THESIS_FASTER}",
                ", ".join(f"{name} {text}" for name, text in said_of.items()),
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
            "; ".join(
                [
                    with_spread(ours),
                    *(f"{other} {with_spread(facts)}" for other, facts in summary.items()),
                ]
            ),
        )
        yield (
            f"Sets on which one of these has a higher {name} than `features`, with the best of them",
            where_better(summary, ours, best_only=True),
        )


def held_out(found: dict[str, Any]) -> Iterator[Claim]:
    """Of quarters of train/good."""
    pool = found["rates"]["0.05"]["pooled"]
    low, high = pool["interval"]
    yield (
        "Good images called anomalous by `features` at a stated rate of 0.05, on quarters of train/good that "
        "were held out at random",
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


Sources = dict[str, tuple[str, Callable[[dict[str, Any]], Iterator[Claim]]]]

THESIS: Sources = {
    "thesis/results.json": ("The thesis, at reduced size", thesis),
    "quality/results.json": ("The sampler's time to equal quality", quality),
}
"""The results files of what the thesis claims; README.md shows them, too."""

SOURCES: Sources = {
    "features/results.json": ("Energies on features", features),
    "cost/results.json": ("What it costs", cost),
    "alarms/results.json": ("False alarms on held-out good images", held_out),
    "sets/results.json": ("Presets compared", sets),
    "peers/results.json": ("Peers in anomalib, and controls", peers),
    "deploy/results.json": ("Exported models", deploy),
    "watch/results.json": ("The watcher", watch),
    "pixel/results.json": ("Energies on pixels", pixel),
    "sampler/results.json": ("The sampler", sampler),
    **THESIS,
}


def points(ours: dict[str, Any], other: dict[str, Any]) -> str:
    return f"{100 * (ours['mean'] - other['mean']):+.1f} points"


def per_set(facts: dict[str, Any]) -> str:
    return ", ".join(f"{name} {with_spread(figures)}" for name, figures in facts["sets"].items())


def span(values: list[float]) -> str:
    return f"{min(values):.2f} to {max(values):.2f}"


def named(columns: dict[str, dict[str, Any]]) -> str:
    return ", ".join(f"{name} {with_spread(facts)}" for name, facts in columns.items())


def where_better(others: dict[str, dict[str, Any]], ours: dict[str, Any], *, best_only: bool = False) -> str:
    """The sets on which others have a higher mean than ours, with both; of the others all, or the best."""
    found = []
    for name, own in ours["sets"].items():
        better = {other: facts["sets"][name] for other, facts in others.items() if name in facts["sets"]}
        better = {other: facts for other, facts in better.items() if facts["mean"] > own["mean"]}
        ranked = sorted(better, key=lambda other: -better[other]["mean"])
        if ranked:
            named = ", ".join(
                f"{other} {with_spread(better[other])}" for other in ranked[: 1 if best_only else None]
            )
            found.append(f"{name}: {named} against {with_spread(own)}")
    return "; ".join(found) or "none"


def miss_rates(
    found: dict[str, Any], rate: str, variant: str = OURS, *, at_roc: bool = False
) -> dict[str, Any] | None:
    """Mean and deviation of the share of defects that a variant misses at a stated rate; None if unknown.

    Args:
        found: the results of `benchmarks.features`.
        rate: the stated false-alarm rate, one of `RATES`.
        variant: of which.
        at_roc: at the threshold that the good test images themselves give for this rate.
    """
    name = f"missed at {rate}" + (", at the ROC's own point" if at_roc else "")
    facts: dict[str, Any] | None = found.get(name, {}).get(variant)
    return facts


def read(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / name).read_text(encoding="utf-8"))
    return found


def table(folder: Path = HERE, sources: Sources = SOURCES) -> str:
    """The claims as Markdown, a section for each results file in a folder."""
    sections = []
    for name, (title, claims) in sources.items():
        if (folder / name).exists():
            rows = [list(claim) for claim in claims(read(folder, name))]
            if not rows:
                continue
            text = markdown(["what was measured", "figure"], rows)
            sections.append(f"### {title}\n\nFrom `benchmarks/{name}`:\n\n{text}")
    return "\n".join(sections)


def short(folder: Path = HERE) -> str:
    """One screen of results: image AUROC beside two peers, errors at the threshold, and what is worse."""
    found = read(folder, "features/results.json")
    columns = found["image_auroc"]
    if OURS not in columns:
        return "The preset `features` has not been measured yet.\n"
    ours, beside = columns[OURS], found.get("beside_peers", {})
    others = {name: beside[name] for name in PEERS if name in beside}
    missed, at_roc = miss_rates(found, "0.05"), miss_rates(found, "0.05", at_roc=True)
    shares = {
        "good parts called anomalous": found["false_alarm_rate_observed"].get(OURS),
        "defects missed": missed,
    }
    errors = {name: facts for name, facts in shares.items() if facts}

    def percent(facts: dict[str, Any]) -> str:
        return f"{100 * facts['mean']:.0f} %"

    rows = [
        [
            name,
            *(
                f"{facts['sets'][name]['mean']:.3f}" if name in facts["sets"] else "–"
                for facts in (ours, *others.values())
            ),
            *(percent(facts["sets"][name]) for facts in errors.values()),
        ]
        for name in ours["sets"]
    ]
    # Means over different sets are no comparison.
    alike = [facts for facts in others.values() if facts["sets"].keys() == ours["sets"].keys()]
    means = [
        f"{ours['mean']:.3f}",
        *(f"{one['mean']:.3f}" if one in alike else "–" for one in others.values()),
    ]
    rows.append(["**mean**", *means, *map(percent, errors.values())])
    lines = []
    if missed and at_roc:
        lines.append(
            f"- At the default false-alarm rate of 5 %, `features` misses {percent(missed)} of the defects "
            "in the mean of these sets. A threshold that is set on the good test images themselves for the "
            f"same rate would miss {percent(at_roc)}: the difference is what calibration loses."
        )
    if others:
        better = where_better(others, beside[OURS])
        lines.append(f"- Sets on which a peer ranks images better (image AUROC): {better}.")
    if (folder / "peers/results.json").exists():
        name = "AUPRO to 0.3"
        for claim, figure in peers_claims(folder):
            if name in claim and "higher" in claim:
                lines.append(
                    f"- Sets on which another method points better at the defects ({name}): {figure}."
                )
    header = ["image set", "`features`", *others, *errors]
    return markdown(header, rows) + "\n" + "\n".join(lines) + "\n"


def peers_claims(folder: Path) -> list[Claim]:
    return list(peers(read(folder, "peers/results.json")))


def main() -> int:
    write_text(HERE / "claims.md", table())
    write_text(HERE / "short.md", short())
    write_text(HERE / "thesis.md", table(sources=THESIS))
    pages.update()
    return 0


if __name__ == "__main__":
    sys.exit(main())
