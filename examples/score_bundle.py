"""Score an image with a bundle of patchebm by ONNX Runtime, numpy and Pillow alone.

python score_bundle.py part.patchebm image.png
"""

import hashlib
import json
import sys
import zipfile

import numpy as np
import onnxruntime
from PIL import Image


def open_bundle(path):
    """The card and the graph, once their hashes are known to be right."""
    with zipfile.ZipFile(path) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        if (manifest["format"], manifest["format_version"]) != ("patchebm-bundle", 2):
            sys.exit(f"{path} is no bundle of format 2")
        members = {name: archive.read(name) for name in manifest["sha256"]}
    for name, content in members.items():
        if hashlib.sha256(content).hexdigest() != manifest["sha256"][name]:
            sys.exit(f"{name} in {path} was altered")
    return json.loads(members["card.json"]), members["graph.onnx"]


def read_pixels(image, white):
    """8-bit images of any kind and 16-bit grey ones, in [0, 1]; white is of 16 bits."""
    opened = Image.open(image)
    if opened.mode.startswith("I;16"):
        return np.minimum(np.asarray(opened, dtype=np.float32)[:, :, None] / white, 1)
    return np.asarray(opened.convert("RGB"), dtype=np.float32) / 255


def main(path, image):
    """Print the verdict, and where the heat is highest."""
    card, graph = open_bundle(path)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors alone
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    pixels = read_pixels(image, card.get("decoding", {}).get("white_level") or 65535)
    score, heat_map = session.run(["score", "heat_map"], {"images": pixels[None]})
    anomalous = score[0] > card["threshold"]["value"]
    row, column = np.unravel_index(heat_map[0].argmax(), heat_map[0].shape)
    verdict = "ANOMALOUS" if anomalous else "normal"
    print(f"{verdict} {score[0]:.4f}, hottest at x {column}, y {row}")


if __name__ == "__main__":
    main(*sys.argv[1:])
