"""Make convlib/data/photograph.csv.gz, once: a small grey square of a photograph in the public domain.

    python tests/data/make_photograph.py PHOTOGRAPH

PHOTOGRAPH is the official portrait of Grace Hopper (United States Navy, 1984) in the size in which matplotlib ships
it, 512 x 600 pixels (mpl-data/sample_data/grace_hopper.jpg). Needs Pillow, which comes with matplotlib. Another version
of the decoder may change a number by 1; the stored file is the one that counts.
"""

import gzip
import hashlib
import sys
from pathlib import Path

import numpy as np
from PIL import Image

TARGET = Path(__file__).parents[2] / "convlib" / "data" / "photograph.csv.gz"
TOP, LEFT, SIDE, BLOCK = 14, 88, 360, 4


def main(path):
    """Cut out the square, mix the colours to grey, take the mean of each block of 4 x 4; in whole numbers."""
    image = np.asarray(Image.open(path).convert("RGB")).astype(np.int64)
    if image.shape != (600, 512, 3):
        raise ValueError(f"{path}: expected 512 x 600 pixels, got {image.shape[1]} x {image.shape[0]}")
    grey = image[TOP : TOP + SIDE, LEFT : LEFT + SIDE] @ np.array([299, 587, 114])  # as televisions did, ITU-R BT.601
    blocks = grey.reshape(SIDE // BLOCK, BLOCK, SIDE // BLOCK, BLOCK).sum(axis=(1, 3))
    whole = 1000 * BLOCK**2
    text = "".join(",".join(map(str, line)) + "\n" for line in (blocks + whole // 2) // whole)
    TARGET.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    print(hashlib.sha256(text.encode()).hexdigest())


if __name__ == "__main__":
    main(sys.argv[1])
