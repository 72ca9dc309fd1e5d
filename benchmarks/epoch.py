"""One epoch of the model that reads digits, with convlib and with PyTorch.

    python -m benchmarks.epoch --output benchmarks/results/learning/epoch.json      a minute; leave the machine alone
    python -m benchmarks.epoch --quick                                              a glance, nothing is stored

Both train the model of the chapter "A first deep model on real digits" in float32, from the same first numbers, on the
same batches in the same order, with dropout and Adam: 1,437 images in batches of 32. Before anything is timed, both
take some steps without dropout, and must learn the same.

Each number of threads has a process of its own: NumPy's products of matrices can be told theirs only before they are
loaded.
"""

import argparse
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks import machine, measure
from benchmarks.peers import Convlib, PyTorch
from benchmarks.run import rounded, text_of

ROOT = Path(__file__).parents[1]
IMAGES, BATCH, RATE, SEED, DROPOUT = 1437, 32, 0.01, 0, 0.3
# An epoch is long: two of them are a block.
USUAL = measure.Settings(rounds=9, block_seconds=0.2, lead_seconds=0.1)


class Ours:
    """With convlib, by its own trainer."""

    def __init__(self, dropout=DROPOUT):
        from convlib import datasets, losses, models, optimizers, training

        digits = datasets.load_digits()
        self.images = (digits.images[:IMAGES, np.newaxis] / 16).astype(np.float32)
        self.labels = digits.labels[:IMAGES]
        self.model = models.digit_reader(dropout=dropout, rng=SEED)
        optimizer = optimizers.Adam(self.model.parameters(), lr=RATE)
        self.trainer = training.Trainer(self.model, losses.CrossEntropyLoss(), optimizer, batch_size=BATCH, rng=SEED)

    def epoch(self):
        """Train one epoch more; return its mean loss."""
        epochs = len(self.trainer.history.losses) + 1
        return self.trainer.fit(self.images, self.labels, epochs=epochs, progress=False).losses[-1]


class Theirs:
    """With PyTorch alone."""

    def __init__(self, dropout=DROPOUT):
        import torch

        ours, nn = Ours(), torch.nn
        self.images, self.labels = torch.from_numpy(ours.images), torch.from_numpy(ours.labels)
        self.rng = np.random.default_rng(SEED)
        self.model = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
            nn.Flatten(), nn.Dropout(dropout), nn.Linear(512, 10),
        )
        state = ours.model.state_dict()
        self.model.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=RATE)

    def epoch(self):
        import torch

        total, right = 0.0, 0
        for chosen in torch.from_numpy(self.rng.permutation(IMAGES)).split(BATCH):
            scores, labels = self.model(self.images[chosen]), self.labels[chosen]
            loss = torch.nn.functional.cross_entropy(scores, labels)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            total += loss.item() * len(chosen)
            right += int((scores.argmax(dim=1) == labels).sum())
        return total / IMAGES


def difference():
    """Return by how much the first epoch's losses without dropout differ, as a part of the loss."""
    ours, theirs = Ours(dropout=0.0).epoch(), Theirs(dropout=0.0).epoch()
    return abs(ours - theirs) / theirs


def row(count, settings):
    """Check that both learn the same, then time their epochs in turns."""
    Convlib.use_threads(count)
    ours = Ours()
    ours.epoch()
    PyTorch.use_threads(count)
    apart = difference()
    if not apart <= measure.MAX_ERROR:
        raise measure.WrongResult(f"the loss of the first epoch differs by {apart:.1e}")
    result = measure.compare(ours.epoch, Theirs().epoch, settings.for_threads(count))
    return rounded({
        "threads": count, "peer": PyTorch.name, "difference": apart,
        "ratio": {"median": result.ratio, "lower": result.lower_quartile, "upper": result.upper_quartile},
        "seconds": {Convlib.name: result.ours, PyTorch.name: result.theirs},
        "rounds": result.rounds, "dropped": result.dropped, "quiet": result.quiet,
    })


def in_another_process(count, quick):
    """Measure with so many threads in a new process; return its row."""
    limits = {f"{library}_NUM_THREADS": str(count) for library in ("OPENBLAS", "OMP", "MKL", "VECLIB_MAXIMUM")}
    command = [sys.executable, "-m", "benchmarks.epoch", "--only", str(count), *(["--quick"] if quick else [])]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True,
                          env={**os.environ, **limits})
    return json.loads(done.stdout)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2], metavar="COUNT")
    parser.add_argument("--quick", action="store_true", help="few rounds")
    parser.add_argument("--only", type=int, metavar="COUNT", help="measure in this process, and print the row as JSON")
    parser.add_argument("--output", type=Path, help="where to store the result (JSON)")
    options = parser.parse_args(arguments)
    if not PyTorch.available():
        print("nothing to compare with: `make bench` installs PyTorch", file=sys.stderr)
        return 1
    if options.only:
        print(json.dumps(row(options.only, USUAL._replace(rounds=3) if options.quick else USUAL)))
        return 0
    rows = [in_another_process(count, options.quick) for count in options.threads]
    for each in rows:
        noise = "" if each["quiet"] else ", NOT QUIET"
        print(f"threads {each['threads']}: {each['ratio']['median']:.2f} x {each['peer']} {each['seconds']}{noise}")
    if options.output:
        document = {
            "date": datetime.now(UTC).isoformat(timespec="seconds"), "script": "benchmarks/epoch.py",
            "machine": machine.description(), "versions": machine.versions([Convlib, PyTorch]),
            "images": IMAGES, "batch_size": BATCH, "dtype": "float32", "rows": rows,
        }
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(text_of(document), encoding="utf-8")
    return 0


if __name__ == "__main__":
    machine.keep_freed_memory()
    sys.exit(main())
