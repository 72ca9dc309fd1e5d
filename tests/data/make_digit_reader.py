"""Make convlib/data/digit_reader.csv.gz: the training of the chapter "A first deep model on real digits", rounded.

    python tests/data/make_digit_reader.py

A line for each parameter: its name, an exponent e, and whole numbers; each stands for itself divided by 2**e. The
chapter checks that its own training still gives these numbers, nearly: on another machine the last digits of a training
differ, so a number that lies half way between two steps may be rounded to the other one. Takes about a minute.
"""

import gzip
import hashlib
from pathlib import Path

import numpy as np

from convlib.datasets import load_digits
from convlib.losses import CrossEntropyLoss
from convlib.models import digit_reader
from convlib.optimizers import Adam
from convlib.training import cosine, fit, jiggle

TARGET = Path(__file__).parents[2] / "convlib" / "data" / "digit_reader.csv.gz"
EPOCHS, RATE, SEED, TRAINING, BIAS_EXPONENT = 60, 0.01, 0, 1157, 10


def trained():
    """Return the model of the chapter after its training."""
    digits, model = load_digits(), digit_reader(dtype=np.float64, rng=SEED)
    images, labels = digits.images[:TRAINING, np.newaxis] / 16.0, digits.labels[:TRAINING]
    fit(model, CrossEntropyLoss(), Adam(model.parameters(), lr=RATE), images, labels, epochs=EPOCHS, rng=SEED,
        augment=jiggle, schedule=cosine(RATE, EPOCHS), progress=False)
    return model


def line(name, array):
    """Return the line of a parameter: the finest power of two by which its weights still fit into a byte."""
    exponent = BIAS_EXPONENT if name.endswith("bias") else int(np.floor(np.log2(127.49 / abs(array).max())))
    numbers = np.rint(array.ravel() * 2.0**exponent).astype(int)
    if name.endswith("weight") and abs(numbers).max() > 127:
        raise ValueError(f"{name}: {abs(numbers).max()} does not fit into a byte")
    return ",".join([name, str(exponent), *map(str, numbers)]) + "\n"


def main():
    """Train, round, pack."""
    text = "".join(line(name, array) for name, array in trained().state_dict().items()).encode()
    TARGET.write_bytes(gzip.compress(text, 9, mtime=0))
    print(hashlib.sha256(text).hexdigest(), TARGET.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
