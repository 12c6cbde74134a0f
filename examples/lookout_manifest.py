"""Puts the images of an Amazon Lookout for Vision manifest into the folders that patchebm reads.

    aws s3 sync s3://BUCKET images
    python lookout_manifest.py train.manifest test.manifest --images images --out part

The first manifest is that of the training dataset, whose normal images go to part/train/good. The second is
that of the test dataset and may be left out. All anomalous images go to part/test/NAME, where NAME names
the anomalies in their mask, or is `anomaly` for images without one. Masks become
part/ground_truth/NAME/IMAGE_mask.png, white on black. The program needs numpy and Pillow alone.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path
from urllib.parse import urlparse

import numpy as np
from PIL import Image


def main():
    """Sort in the images of both manifests, and say how many went where."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("train", type=Path, help="manifest of the training dataset")
    parser.add_argument("test", type=Path, nargs="?", help="manifest of the test dataset")
    parser.add_argument("--images", type=Path, required=True, help="folder with the content of the bucket")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    arguments = parser.parse_args()
    counts = {}
    for manifest, good in ((arguments.train, "train/good"), (arguments.test, "test/good")):
        lines = manifest.read_text(encoding="utf-8").splitlines() if manifest else []
        for line in filter(str.strip, lines):
            folder = sort_in(json.loads(line), good, arguments.images, arguments.out)
            counts[folder] = counts.get(folder, 0) + 1
    for folder, count in sorted(counts.items()):
        print(f"{count:>6} images in {arguments.out / folder}")


def sort_in(entry, good, images, out):
    """Copy one image, with its mask, and return the folder that it went to."""
    source = local(entry["source-ref"], images)
    # Unique also where folders of the bucket have images of one name.
    name = "_".join(source.relative_to(images).parts)
    folder = good
    if entry["anomaly-label-metadata"]["class-name"] != "normal":
        kinds, mask = read_mask(entry, images)
        folder = f"test/{'+'.join(kinds) or 'anomaly'}"
        if kinds:
            target = out / folder.replace("test/", "ground_truth/") / f"{Path(name).stem}_mask.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(target)
    (out / folder).mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, out / folder / name)
    return folder


def read_mask(entry, images):
    """Return the names of the anomalies in an image's mask, and the mask, 255 where there is one."""
    if "anomaly-mask-ref" not in entry:
        return [], None
    pixels = np.asarray(Image.open(local(entry["anomaly-mask-ref"], images)).convert("RGB"))
    mask, kinds = np.zeros(pixels.shape[:2], dtype=np.uint8), []
    for kind in entry["anomaly-mask-ref-metadata"]["internal-color-map"].values():
        colour = [int(kind["hex-color"].lstrip("#")[i : i + 2], 16) for i in (0, 2, 4)]
        here = (pixels == colour).all(axis=2)
        if kind["class-name"].upper() != "BACKGROUND" and here.any():
            mask[here] = 255
            kinds.append(kind["class-name"])
    return sorted(kinds), mask


def local(address, images):
    """Return the file that was fetched from an address such as s3://BUCKET/KEY."""
    file = images / urlparse(address).path.lstrip("/")
    if not file.is_file():
        sys.exit(f"{file} does not exist; fetch {address} first, for instance with `aws s3 sync`")
    return file


if __name__ == "__main__":
    main()
