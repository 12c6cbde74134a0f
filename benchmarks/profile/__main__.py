"""Whether a model says that images differ from those it was trained on: never of its own, always of others.

The profile of each set is taken of its training images. Then its test images, good and defective, come in as
`predict`, `watch` and `evaluate` take them, once in the order of their names and many times in random order:
unchanged, where any sentence is a false one, and changed in one way, where silence is a miss. A changed image
is saved as the kind of file that it was, a JPEG at the quality that it had, so that nothing else differs.
Few images are tried as well: profiles of 20 training images at random, and eight test images at random.
Nothing is trained. A set that is in log.jsonl is not measured again. All of it takes some five minutes of one
core.
"""

from __future__ import annotations

import io
import random
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageFilter

from benchmarks.common import SETS, Log, options, parse, write_results
from patchebm.evaluation.summary import markdown
from patchebm.images.folders import open_image_set
from patchebm.images.newcomers import FIRST, Newcomers
from patchebm.images.photo import Photo
from patchebm.images.profile import Profile, Traits

HERE = Path(__file__).resolve().parent
ALL_SETS = (*SETS, "screw", "capsules")
ORDERS = 100
FEW = 20


def _same(image: Image.Image) -> Image.Image:
    return image


def _darker(image: Image.Image) -> Image.Image:
    return image.point(lambda value: round(0.8 * value))


def _half(image: Image.Image) -> Image.Image:
    return image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)


def _narrow(image: Image.Image) -> Image.Image:
    return image.resize((image.width * 3 // 4, image.height), Image.Resampling.LANCZOS)


def _blurred(image: Image.Image) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(1.5))


def _grey(image: Image.Image) -> Image.Image:
    return image.convert("L").convert(image.mode)


Change = Callable[[Image.Image], Image.Image]
# What is done to the pixels, and the quality of the JPEG that is made of them; 0 for the file's own kind.
CHANGES: dict[str, tuple[Change, int]] = {
    "JPEG at quality 90": (_same, 90),
    "JPEG at quality 50": (_same, 50),
    "half the size": (_half, 0),
    "3/4 of the width": (_narrow, 0),
    "0.8 times as bright": (_darker, 0),
    "blurred (sigma 1.5)": (_blurred, 0),
    "grey": (_grey, 0),
}


def changed(photo: Photo, change: Change, quality: int) -> Photo:
    """Returns a photo whose content is what a camera with another setting would have written."""
    with Image.open(io.BytesIO(photo.content)) as image:
        kind = "JPEG" if quality else str(image.format)
        settings = {"quality": quality or Traits.of(photo).quality} if kind == "JPEG" else {}
        stream = io.BytesIO()
        change(image).save(stream, format=kind, **settings)
    other = Photo(photo.path)
    other.__dict__["content"] = stream.getvalue()
    return other


def spoke_after(profile: Profile, traits: Sequence[Traits]) -> int | None:
    """Returns after how many images something is said; None for never."""
    said: list[str] = []
    newcomers = Newcomers(profile, said.append)
    for count, one in enumerate(traits, 1):
        newcomers.take(one)
        if said:
            return count
    newcomers.finish()
    return len(traits) if said else None


def tried(profile: Profile, traits: Sequence[Traits], generator: random.Random) -> dict[str, Any]:
    """Returns how often something is said of images in the order of their names and in random orders."""
    orders = [list(traits), *(generator.sample(traits, len(traits)) for _ in range(ORDERS))]
    counts = [spoke_after(profile, order) for order in orders]
    spoken = [count for count in counts if count is not None]
    return {
        "images": len(traits),
        "orders": len(orders),
        "spoke": len(spoken),
        "after": statistics.median(spoken) if spoken else None,
    }


def one_set(root: Path) -> dict[str, Any]:
    """Returns what was found on a set."""
    image_set = open_image_set(root)
    generator = random.Random(0)
    train = [Traits.of(Photo(image.path)) for image in image_set.train]
    test = [Photo(image.path) for image in image_set.test]
    profile = Profile.of(train)
    traits: dict[str, list[Traits]] = {"unchanged": []} | {name: [] for name in CHANGES}
    for photo in test:
        traits["unchanged"].append(Traits.of(photo))
        for name, (change, quality) in CHANGES.items():
            traits[name].append(Traits.of(changed(photo, change, quality)))
        photo.release()
    if profile.grey:
        # There is no colour to take away.
        del traits["grey"]
    few = [
        spoke_after(Profile.of(generator.sample(train, min(FEW, len(train)))), own)
        for own in (generator.sample(traits["unchanged"], FIRST) for _ in range(ORDERS))
    ]
    return {
        "set": image_set.name,
        "profile": profile.to_dict(),
        "few": {"orders": len(few), "spoke": sum(count is not None for count in few)},
        "changes": {name: tried(profile, own, generator) for name, own in traits.items()},
    }


def table(runs: Sequence[dict[str, Any]]) -> str:
    """Returns Markdown: of each set and change, how often something was said, and after how many images."""
    rows = []
    for name in ("unchanged", *CHANGES):
        cells = []
        for run in runs:
            found = run["changes"].get(name)
            if found is None:
                cells.append("already grey")
                continue
            after = "" if found["after"] is None else f", after {found['after']:.0f}"
            cells.append(f"{found['spoke']} of {found['orders']}{after}")
        rows.append([name, *cells])
    few = [f"{run['few']['spoke']} of {run['few']['orders']}" for run in runs]
    rows.append([f"unchanged, {FIRST} images against {FEW}", *few])
    return markdown(["test images", *(run["set"] for run in runs)], rows)


def main(argv: list[str] | None = None) -> None:
    arguments = parse(options(HERE, __doc__, sets=ALL_SETS), argv)
    log = Log(arguments.out)
    for name in arguments.sets:
        if name not in {row["set"] for row in log.rows}:
            log.keep(one_set(arguments.data / name))
    runs = sorted(
        (row for row in log.rows if row["set"] in arguments.sets),
        key=lambda row: list(arguments.sets).index(row["set"]),
    )
    write_results(arguments, {"runs": runs}, {"table.md": table(runs)})


if __name__ == "__main__":
    main()
