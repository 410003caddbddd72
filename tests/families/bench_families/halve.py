"""Pixelates every picture of a folder: halve.py BEFORE AFTER SIZE."""

import sys
from pathlib import Path

from PIL import Image

before, after, size = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
for path in sorted(before.glob("*.png")):
    with Image.open(path) as image:
        small = image.resize((size, size), Image.Resampling.BOX)
        small.resize(image.size, Image.Resampling.NEAREST).save(after / path.name)
