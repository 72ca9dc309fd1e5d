"""Make pytorch_training.json: the losses of a model that reads digits, as PyTorch trains it.

Tests and the chapter "A first deep model on real digits" read the file and need no PyTorch. To make it again, in an
environment that has both PyTorch 2.13.0 and convlib:

    python tests/data/make_pytorch_training.py

The first numbers are those of `convlib.models.digit_reader`, float64, seed 0; the order of the images is that of
`convlib.training.fit`, seed 0. Layers, loss, derivatives and Adam are PyTorch's. The file holds the mean loss of each
epoch, and the loss of each step.
"""

import json
from pathlib import Path

import numpy as np
import torch

from convlib.datasets import load_digits
from convlib.models import digit_reader

EPOCHS, BATCH, RATE, SEED = 3, 32, 0.01, 0
TRAINING = slice(0, 1157)


def twin(dropout=0.0, dtype=np.float64, rng=SEED):
    """Return the model in PyTorch, with the first numbers that convlib gives it."""
    nn = torch.nn
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Dropout(dropout), nn.Linear(512, 10),
    ).to(torch.from_numpy(np.zeros(1, dtype)).dtype)
    state = digit_reader(dtype=dtype, rng=rng).state_dict()
    model.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
    return model


def step_losses(epochs=EPOCHS):
    """Train; return the loss of each step, one list for each epoch, and the sizes of the batches."""
    digits, model, rng = load_digits(), twin(), np.random.default_rng(SEED)
    images = torch.from_numpy(digits.images[TRAINING, np.newaxis] / 16.0)
    labels = torch.from_numpy(digits.labels[TRAINING])
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    losses = []
    for _ in range(epochs):
        batches = torch.from_numpy(rng.permutation(len(images))).split(BATCH)
        losses.append([])
        for batch in batches:
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(images[batch]), labels[batch])
            loss.backward()
            optimizer.step()
            losses[-1].append(loss.item())
    return losses, [len(batch) for batch in batches]


def main():
    torch.set_num_threads(1)
    steps, sizes = step_losses()
    document = {
        "torch": torch.__version__.split("+")[0], "script": "tests/data/make_pytorch_training.py",
        "losses": [float(np.average(losses, weights=sizes)) for losses in steps],
        "steps": steps,
    }
    (Path(__file__).parent / "pytorch_training.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
