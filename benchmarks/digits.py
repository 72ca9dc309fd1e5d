"""How many digits the model of the chapter "A first deep model on real digits" reads right, with five seeds.

    python -m benchmarks.digits --output benchmarks/results/learning/digits.json      five minutes or more

The means were chosen by what they do on two whole forms, rows 1157 to 1414. The last rows of the file had no say.
"""

import argparse
import json
import platform
import statistics
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from convlib.datasets import load_digits, split_last, split_shuffled
from convlib.losses import CrossEntropyLoss
from convlib.models import digit_reader
from convlib.optimizers import Adam
from convlib.training import accuracy, cosine, fit, jiggle, predict

SEEDS, EPOCHS, RATE, BATCH = range(5), 60, 0.01, 32
HELD_OUT, FORMS = 360, 1415  # the last three forms begin at row 1415: the last 360 rows begin inside the first of them
CHECKED = range(1157, FORMS)  # two whole forms
# What the chapter compares: the probability of dropout, and whether the images are jiggled.
MEANS = {"neither": (0.0, None), "dropout": (0.3, None), "jiggled": (0.0, jiggle), "both": (0.3, jiggle)}


def splits(seed, labels):
    """Return the training and test rows of each split, by name."""
    return {
        "shuffled": split_shuffled(labels, HELD_OUT, rng=seed),
        "last": split_last(labels, HELD_OUT),
        "forms": split_last(labels, len(labels) - FORMS),
    }


def right_answers(training, test, seed, means="both", epochs=EPOCHS):
    """Train one model; return how many of the test rows it reads right."""
    digits, (dropout, augment) = load_digits(), MEANS[means]
    images = digits.images[:, np.newaxis] / 16.0
    model = digit_reader(dropout=dropout, dtype=np.float64, rng=seed)
    fit(model, CrossEntropyLoss(), Adam(model.parameters(), RATE), images[training], digits.labels[training],
        epochs=epochs, batch_size=BATCH, rng=seed, augment=augment, schedule=cosine(RATE, epochs), progress=False)
    return round(accuracy(predict(model, images[test]), digits.labels[test]) * len(test))


def rows(seeds=SEEDS, epochs=EPOCHS):
    """Yield one row for each of the means on the checked forms, and for each split with the means that were chosen."""
    labels = load_digits().labels
    for means in MEANS:
        training = np.arange(CHECKED.start)
        right = [right_answers(training, np.array(CHECKED), seed, means, epochs) for seed in seeds]
        yield row("checked", means, right, len(CHECKED))
    for split in splits(0, labels):
        places = [splits(seed, labels)[split] for seed in seeds]
        right = [right_answers(*each, seed, "both", epochs) for each, seed in zip(places, seeds, strict=True)]
        yield row(split, "both", right, len(places[0][1]))


def row(split, means, right, count):
    """Return a row of the result, and say it."""
    found = {"split": split, "means": means, "right": right, "of": count, "median": statistics.median(right) / count}
    print(f"{split:9} {means:8} median {found['median']:.2%} of {count}: {right}", flush=True)
    return found


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="where to store the result (JSON)")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    options = parser.parse_args(arguments)
    document = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"), "script": "benchmarks/digits.py",
        "machine": platform.machine(), "numpy": np.__version__,
        "seeds": len(SEEDS), "epochs": options.epochs, "learning_rate": RATE, "batch_size": BATCH,
        "rows": list(rows(epochs=options.epochs)),
    }
    if options.output:
        lines = ",\n".join(f"  {json.dumps(each)}" for each in document.pop("rows"))
        head = json.dumps(document, indent=1)[:-2]
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(f'{head},\n "rows": [\n{lines}\n ]\n}}\n', encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
