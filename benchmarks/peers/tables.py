"""The comparison as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.peers.methods import METHODS
from patchebm.evaluation.metrics import METRICS, Need
from patchebm.evaluation.summary import markdown, moments, with_spread

# Of maps alone: what needs a threshold of the method's own does not exist for peers.
PIXEL_METRICS = tuple(
    metric
    for metric in METRICS
    if metric.headline and Need.MASKS in metric.needs and Need.MARKED not in metric.needs
)

CAPTION = """\
Same splits, same EfficientNet-Lite0 for all that take features. Peers see whole images at 256 px and take \
strides 8 and 16; `features` crops, and chooses 256 or 384 px. Mean ± standard deviation over the seeds, \
whose number stands in brackets. anomalib's models are \
its own torch modules; PatchCore's bank of 8,192 is chosen by its own greedy rule from a random sample of \
30,000 features, since a choice from all takes hours here; PaDiM gets the local means over 3 x 3 cells that \
PatchCore and `features` take. GANomaly is trained by \
anomalib's own step for 60 s of one core, about what `features` takes, at 32 px{ganomaly}; at its \
defaults one takes half a minute. anomalib's documentation gives its mean image AUROC over MVTec AD as \
.421. SuperSimpleNet and GLASS are trained for 10 minutes of one core{supersimplenet}{glass}, at batches of \
8 images; anomalib advises 300 epochs for the one and took 100 for the other, so these rows say what can be \
had in such a time and not what they can reach. GLASS draws its textures from noise here. \
Rows marked * are read from the benchmarks that they are the subject of; \
a dash is a run that is not in the log yet.
"""


def accuracy(rows: Sequence[dict[str, Any]], sets: Sequence[str]) -> str:
    """Returns image AUROC on all sets, then the main metrics of maps on those with masks."""
    caption = CAPTION.format(**{name: _steps(rows, name) for name in ("ganomaly", "supersimplenet", "glass")})
    parts = [caption, _figures(rows, sets, "image_auroc", "image AUROC")]
    for metric in PIXEL_METRICS:
        with_masks = [s for s in sets if any(metric.name in row and row["set"] == s for row in rows)]
        if with_masks:
            parts.append(_figures(rows, with_masks, metric.name, metric.label))
    return "\n".join(parts)


def _steps(rows: Sequence[dict[str, Any]], method: str) -> str:
    """Returns what a time was worth, to stand in the caption; nothing before the method has run."""
    steps = [row["steps"] for row in rows if row["variant"] == method and "steps" in row]
    return f" ({METHODS[method].title.split()[0]}: {min(steps)} to {max(steps)} steps)" if steps else ""


def _figures(rows: Sequence[dict[str, Any]], sets: Sequence[str], figure: str, title: str) -> str:
    lines = []
    for name, entry in METHODS.items():
        own = [row for row in rows if row["variant"] == name and figure in row]
        by_set = {s: {row["seed"]: row[figure] for row in own if row["set"] == s} for s in sets}
        if not any(by_set.values()):
            continue
        cells = [with_spread(moments(by_set[s].values())) for s in sets]
        # A mean over some of the sets could not be compared with one over all.
        common = set.intersection(*(set(figures) for figures in by_set.values()))
        mean = with_spread(
            moments(float(np.mean([by_set[s][seed] for s in sets])) for seed in sorted(common))
        )
        borrowed = "*" if all("from" in row for row in own) else ""
        number = max(len(figures) for figures in by_set.values())
        lines.append([f"{entry.title}{borrowed} ({number})", *cells, mean])
    return markdown([title, *sets, "mean"], lines)
