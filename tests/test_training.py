"""Training: Adam, dropout, jiggling, epochs, and that a stop leaves no trace."""

import builtins
import json
import math
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from convlib import training
from convlib.datasets import load_digits
from convlib.gradcheck import check_gradient
from convlib.layers import Conv2d, Dropout, Flatten, Linear, MaxPool2d, ReLU, Sequential, load, save
from convlib.losses import CrossEntropyLoss, MSELoss
from convlib.models import digit_reader
from convlib.optimizers import SGD, Adam
from convlib.training import (
    History,
    Trainer,
    accuracy,
    cosine,
    fit,
    jiggle,
    load_checkpoint,
    predict,
    save_checkpoint,
)

# Without compiling, a thousand images take hours.
compiled_only = pytest.mark.skipif(bool(os.environ.get("NUMBA_DISABLE_JIT")), reason="nothing is compiled")
PYTORCH = json.loads((Path(__file__).parent / "data" / "pytorch_training.json").read_text())
DIGITS = load_digits()
IMAGES, LABELS = DIGITS.images[:, np.newaxis] / 16.0, DIGITS.labels


def small_model(rng=0, dtype=np.float64):
    """Return a model with all kinds of layers, for images of 6 x 6 and three classes."""
    rng = np.random.default_rng(rng)
    return Sequential(Conv2d(1, 3, 3, padding=1, dtype=dtype, rng=rng), ReLU(), MaxPool2d(2), Flatten(),
                      Dropout(0.3, rng=rng), Linear(27, 3, dtype=dtype, rng=rng))


def examples(count=20, dtype=np.float64):
    """Return images and classes."""
    random = np.random.default_rng(5)
    return random.normal(size=(count, 1, 6, 6)).astype(dtype), random.integers(0, 3, count)


def trainer(rng=0, dtype=np.float64, optimizer=Adam, **settings):
    """Return a trainer of a small model."""
    model = small_model(rng, dtype)
    settings = {"batch_size": 8, "rng": rng, "augment": jiggle, "schedule": cosine(0.01, 6)} | settings
    return Trainer(model, CrossEntropyLoss(), optimizer(model.parameters(), lr=0.01), **settings)


def bits_of(trained):
    """Return everything that a trainer is: parameters, optimizer, generators, history."""
    arrays = [*trained.model.state_dict().values(), *map(np.asarray, trained.optimizer.state_dict().values())]
    generators = [str(each.bit_generator.state) for each in training._generators(trained)]
    return [array.tobytes() for array in arrays], generators, trained.history


# Adam -------------------------------------------------------------------------------------------------------


def moved_by_adam(gradients, **settings):
    """Return where a parameter at 1 stands after these gradients."""
    parameter = SimpleNamespace(data=np.ones(1), grad=None)
    optimizer = Adam([parameter], **settings)
    for gradient in gradients:
        parameter.grad = np.array([gradient])
        optimizer.step()
    return parameter.data[0]


def test_adam_is_the_formula():
    lr, (beta1, beta2), eps, decay = 0.1, (0.8, 0.95), 1e-3, 0.02
    place, mean, square = 1.0, 0.0, 0.0
    for step, gradient in enumerate([3.0, -1.0, 0.5, 0.0], start=1):
        gradient = gradient + decay * place
        mean = beta1 * mean + (1 - beta1) * gradient
        square = beta2 * square + (1 - beta2) * gradient**2
        place -= lr * (mean / (1 - beta1**step)) / (math.sqrt(square / (1 - beta2**step)) + eps)
    found = moved_by_adam([3.0, -1.0, 0.5, 0.0], lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=decay)
    assert found == pytest.approx(place, rel=1e-14)


@pytest.mark.parametrize("gradient", [1e-4, -3.0, 1e8])
def test_the_first_step_of_adam_has_the_length_of_the_learning_rate(gradient):
    assert moved_by_adam([gradient], lr=0.01) == pytest.approx(1 - math.copysign(0.01, gradient), abs=1e-5)


def test_where_there_is_no_gradient_adam_stays():
    assert moved_by_adam([0.0, 0.0]) == 1


@pytest.mark.parametrize(("settings", "error", "message"), [
    ({"lr": 0}, ValueError, "lr: expected a number above 0, got 0"),
    ({"lr": np.nan}, ValueError, "lr: expected a number above 0, got nan"),
    ({"lr": "0.1"}, TypeError, "lr: expected a number, got '0.1'"),
    ({"betas": (1, 0.9)}, ValueError, "beta1: expected a number 0 or more and below 1, got 1"),
    ({"betas": (0.9, -0.1)}, ValueError, "beta2: expected a number 0 or more and below 1, got -0.1"),
    ({"betas": 0.9}, ValueError, "betas: expected two numbers, got 0.9"),
    ({"eps": 0}, ValueError, "eps: expected a number above 0, got 0"),
    ({"weight_decay": -1}, ValueError, "weight_decay: expected a number 0 or more, got -1"),
])
def test_adam_refuses(settings, error, message):
    with pytest.raises(error, match=message):
        Adam(small_model().parameters(), **settings)


# Dropout ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_drops_its_share_and_keeps_the_mean(p, dtype):
    layer, ones = Dropout(p, rng=0), np.ones((200, 300), dtype)
    output = layer(ones)
    assert output.dtype == dtype
    assert np.unique(output).tolist() == [0, dtype(1 / (1 - p))]
    assert (output == 0).mean() == pytest.approx(p, abs=0.01)
    assert output.mean() == pytest.approx(1, abs=0.05)
    assert not np.array_equal(layer(ones), output)


def test_the_flow_passes_where_the_number_did():
    random, layer = np.random.default_rng(0), Dropout(0.4, rng=3)
    image, flow = random.normal(size=(2, 4, 5, 3))
    output, told = layer(image), layer.backward(flow)
    np.testing.assert_allclose(told, flow * output / image, rtol=1e-13, atol=0)
    masked = (output != 0) / 0.6
    assert check_gradient(lambda x: x * masked, image, told, flow) < 1e-9


@pytest.mark.slow
def test_the_flow_through_a_whole_model_with_dropout_is_the_numerical_derivative():
    model, random = small_model(), np.random.default_rng(2)
    state = model[4].rng.bit_generator.state

    def forward(images):
        model[4].rng.bit_generator.state = state  # the same outputs are dropped at every call
        return model(images)

    images = random.normal(size=(4, 1, 6, 6))
    flow = random.normal(size=forward(images).shape)
    assert check_gradient(forward, images, model.backward(flow), flow, tolerance=1e-8) < 1e-8


def test_in_use_nothing_is_dropped_and_no_chance_is_spent():
    layer, image = Dropout(0.5, rng=0), np.arange(12.0).reshape(3, 4)
    layer.eval()
    state = layer.rng.bit_generator.state
    assert np.array_equal(layer(image), image) and layer(image) is not image
    assert np.array_equal(layer.backward(image), image)
    assert layer.rng.bit_generator.state == state


@pytest.mark.parametrize(("p", "error"), [
    (1, ValueError), (-0.1, ValueError), (np.nan, ValueError), ("half", TypeError), (True, TypeError),
    (None, TypeError), ([0.5], TypeError),
])
def test_dropout_refuses(p, error):
    with pytest.raises(error, match="p: expected a number"):
        Dropout(p)


# Jiggling and schedule --------------------------------------------------------------------------------------


def test_without_chance_nothing_is_jiggled():
    still = jiggle(IMAGES[:50], np.random.default_rng(0), turn=0, shift=0, stretch=0)
    np.testing.assert_allclose(still, IMAGES[:50], atol=1e-15)


def test_whole_pixels_are_moved_as_they_are():
    image = np.random.default_rng(0).normal(size=(1, 2, 5, 6))
    rows, columns = np.indices((5, 6), dtype=float)[:, np.newaxis]
    moved = training._read_between(image, rows + 1, columns - 2)
    assert np.array_equal(moved[:, :, :4, 2:], image[:, :, 1:, :4])
    assert not moved[:, :, 4].any() and not moved[:, :, :, :2].any()


def test_between_pixels_the_neighbours_are_mixed():
    image = np.arange(20.0).reshape(1, 1, 4, 5) ** 2
    (a, b), (c, d) = image[0, 0, 1:3, 2:4]
    found = training._read_between(image, np.array([[[1.25]]]), np.array([[[2.5]]])).item()
    assert found == pytest.approx(0.75 * (a + b) / 2 + 0.25 * (c + d) / 2)
    far = training._read_between(image, np.array([[[-7.0, 99.0]]]), np.array([[[2.0, 1.0]]]))
    assert far.tolist() == [[[[0, 0]]]]


def test_a_quarter_turn_is_a_quarter_turn():
    image = np.random.default_rng(1).normal(size=(1, 1, 8, 8))
    always = SimpleNamespace(uniform=lambda low, high, size: np.full(size, high))
    turned = jiggle(image, always, turn=90, shift=0, stretch=0)
    np.testing.assert_allclose(turned[0, 0], np.rot90(image[0, 0], -1), atol=1e-12)


def test_jiggling_keeps_type_and_ink():
    images = IMAGES[:300].astype(np.float32)
    found = jiggle(images, np.random.default_rng(0))
    assert found.dtype == np.float32 and found.shape == images.shape
    assert found.min() >= 0 and found.max() <= 1
    assert found.sum() == pytest.approx(images.sum(), rel=0.1)
    assert np.array_equal(found, jiggle(images, np.random.default_rng(0)))
    with pytest.raises(ValueError, match=r"images: expected shape \(N, C, H, W\), got \(8, 8\)"):
        jiggle(images[0, 0], np.random.default_rng(0))


def test_the_cosine_falls_from_the_rate_to_nothing():
    rates = [cosine(0.4, 10)(epoch) for epoch in range(11)]
    assert rates[0] == 0.4 and rates[5] == pytest.approx(0.2) and rates[10] == pytest.approx(0)
    assert rates == sorted(rates, reverse=True)


# Epochs -----------------------------------------------------------------------------------------------------


class Listed(CrossEntropyLoss):
    """Remembers the loss of each step."""

    def __init__(self):
        super().__init__()
        self.values = []

    def __call__(self, output, target):
        self.values.append(super().__call__(output, target))
        return self.values[-1]


@compiled_only
def test_the_losses_of_three_epochs_are_those_of_pytorch():
    model, loss = digit_reader(dropout=0, dtype=np.float64, rng=0), Listed()
    history = fit(model, loss, Adam(model.parameters(), lr=0.01), IMAGES[:1157], LABELS[:1157], epochs=3, rng=0,
                  progress=False)
    np.testing.assert_allclose(loss.values, np.concatenate(PYTORCH["steps"]), rtol=1e-9)
    np.testing.assert_allclose(history.losses, PYTORCH["losses"], rtol=1e-9)


def test_each_image_is_shown_once_an_epoch_with_its_own_class():
    seen = []

    def watch(images, rng):
        seen.append(images[:, 0, 0, 0].tolist())
        return images

    images, labels = np.arange(20.0).reshape(-1, 1, 1, 1) * np.ones((20, 1, 6, 6)), np.arange(20) % 3
    loss = SimpleNamespace(batches=[])
    trained = trainer(augment=watch)

    class Watched(CrossEntropyLoss):
        def __call__(self, output, target):
            loss.batches.append(target.tolist())
            return super().__call__(output, target)

    trained.loss = Watched()
    trained.fit(images, labels, epochs=2, progress=False)
    assert [len(batch) for batch in seen] == [8, 8, 4] * 2
    first, second = sum(seen[:3], []), sum(seen[3:], [])
    assert sorted(first) == sorted(second) == list(range(20)) and first != second
    assert sum(loss.batches, []) == [number % 3 for number in map(int, first + second)]


def test_the_history_is_the_mean_over_images_and_validation_changes_nothing():
    images, labels = examples()
    plain, checked = trainer(), trainer()
    plain.fit(images, labels, epochs=3, progress=False)
    checked.fit(images, labels, epochs=3, progress=False, validation=(images[:7], labels[:7]))
    assert bits_of(plain)[:2] == bits_of(checked)[:2]
    assert np.isnan(plain.history.validation_losses).all() and len(plain.history.losses) == 3
    scores = predict(checked.model, images[:7])
    assert checked.history.validation_losses[-1] == CrossEntropyLoss()(scores, labels[:7])
    assert checked.history.validation_accuracies[-1] == accuracy(scores, labels[:7])
    assert checked.model.training

    frozen = Trainer(small_model(), Listed(), SGD(small_model().parameters(), lr=1e-9), batch_size=8, rng=0)
    frozen.optimizer = SimpleNamespace(zero_grad=lambda: None, step=lambda: None, lr=1)
    frozen.fit(images, labels, epochs=1, progress=False)
    assert frozen.history.losses == [pytest.approx(np.average(frozen.loss.values, weights=[8, 8, 4]))]


def test_a_model_that_was_in_use_learns_with_its_chances_again():
    one, other = trainer(), trainer()
    other.model.eval()
    for each in (one, other):
        each.fit(*examples(), epochs=2, progress=False)
    assert bits_of(one)[:2] == bits_of(other)[:2] and one.history.losses == other.history.losses


def test_each_epoch_has_the_learning_rate_of_the_schedule():
    rates = []
    trained = trainer(schedule=lambda epoch: 0.1 / (1 + epoch))
    step = trained.optimizer.step
    trained.optimizer.step = lambda: (rates.append(trained.optimizer.lr), step())
    trained.fit(*examples(), epochs=2, progress=False)
    assert rates == [0.1] * 3 + [0.05] * 3


@pytest.mark.parametrize("rate", [-0.1, np.nan, np.inf])
def test_a_schedule_that_returns_no_rate_is_refused_before_anything_moves(rate):
    trained = trainer(schedule=lambda epoch: rate)
    before = bits_of(trained)
    with pytest.raises(ValueError, match="schedule: expected to return a number from 0 on, got"):
        trained.fit(*examples(), epochs=1, progress=False)
    assert bits_of(trained) == before


def test_gradients_do_not_add_up_over_the_batches():
    images, labels = examples(16)
    trained = trainer(optimizer=SGD, augment=None)
    told = []
    trained.optimizer.step = lambda: told.append(trained.model[0].weight.grad.copy())
    trained.model.eval = trained.model.train = lambda: trained.model  # the same model at each step
    trained.model[4].p = 0.0
    trained.fit(images, labels, epochs=3, progress=False)
    assert abs(np.sum(told[:2], axis=0)) == pytest.approx(abs(np.sum(told[2:4], axis=0)))


def test_other_losses_learn_too_and_have_no_accuracy():
    random = np.random.default_rng(0)
    inputs = random.normal(size=(40, 3))
    targets = inputs @ random.normal(size=(3, 2))
    model = Linear(3, 2, dtype=np.float64, rng=0)
    history = fit(model, MSELoss(), SGD(model.parameters(), lr=0.1), inputs, targets, epochs=60, rng=0,
                  progress=False)
    assert history.losses[-1] < 1e-4 * history.losses[0] and np.isnan(history.accuracies).all()


@compiled_only
def test_it_learns_to_read():
    model = digit_reader(rng=0)
    fit(model, CrossEntropyLoss(), Adam(model.parameters(), lr=0.01), IMAGES[:400].astype(np.float32), LABELS[:400],
        epochs=5, rng=0, progress=False)
    scores = predict(model, IMAGES[400:600].astype(np.float32))
    assert scores.dtype == np.float32 and accuracy(scores, LABELS[400:600]) > 0.8


def test_predict_uses_the_model_and_leaves_it_as_it_was():
    model, (images, _) = small_model(), examples()
    expected = model.eval()(images)
    for state in (True, False):
        model.train(state)
        assert np.array_equal(predict(model, images, batch_size=20), expected)
        np.testing.assert_allclose(predict(model, images, batch_size=3), expected, atol=1e-12)
        assert model.training is state and model[4].training is state
    with pytest.raises(ValueError, match=r"got \(2, 5, 6, 6\)"):
        predict(model.train(), np.zeros((2, 5, 6, 6)))
    assert model.training


def test_accuracy_counts_and_says_when_there_is_nothing_to_count():
    scores = np.array([[0, 2, 1], [5, 0, 0], [0, 0, 3]])
    assert accuracy(scores, [1, 0, 2]) == 1 and accuracy(scores, [1, 1, 1]) == pytest.approx(1 / 3)
    for labels in ([1.0, 0.0, 2.0], [1, 0], [[1], [0], [2]]):
        assert math.isnan(accuracy(scores, labels))


# Refusals ---------------------------------------------------------------------------------------------------


def with_number(number):
    """Return images in which one number is another."""
    images = np.zeros((4, 1, 6, 6))
    images[2, 0, 3, 3] = number
    return images


@pytest.mark.parametrize(("images", "targets", "options", "error", "message"), [
    (np.zeros((4, 1, 6, 6), dtype=np.uint8), [0] * 4, {}, TypeError,
     "images: expected floating numbers, got dtype uint8"),
    (np.zeros((0, 1, 6, 6)), [], {}, ValueError,
     r"images: expected at least one, in shape \(N, ...\), got \(0, 1, 6, 6\)"),
    (with_number(np.nan), [0] * 4, {}, ValueError, "images: expected finite numbers, got nan or infinity"),
    (with_number(np.inf), [0] * 4, {}, ValueError, "images: expected finite numbers, got nan or infinity"),
    (with_number(0), [0] * 3, {}, ValueError, r"targets: expected 4, one for each image, got shape \(3,\)"),
    (with_number(0), [0, 1, np.nan, 0], {}, ValueError, "targets: expected finite numbers"),
    (with_number(0), [0] * 4, {"epochs": 0}, ValueError, "epochs: expected a whole number above 0, got 0"),
    (with_number(0), [0] * 4, {"epochs": 1.5}, TypeError, "epochs: expected a whole number, got 1.5"),
    (with_number(0), [0] * 4, {"validation": (with_number(np.nan), [0] * 4)}, ValueError, "images: expected finite"),
    (with_number(0), [0] * 4, {"validation": (with_number(0), [0])}, ValueError, "targets: expected 4"),
    (with_number(0), [0, 1, 2, 3], {}, ValueError, "target: expected classes from 0 to 2, got 3"),
])
def test_fit_refuses_and_nothing_has_moved(images, targets, options, error, message):
    trained = trainer(augment=None)
    before = trained.model.state_dict()
    with pytest.raises(error, match=message):
        trained.fit(images, targets, **{"epochs": 1, "progress": False} | options)
    assert all(np.array_equal(array, before[name]) for name, array in trained.model.state_dict().items())
    assert trained.history == History()


@pytest.mark.parametrize(("settings", "error", "message"), [
    ({"batch_size": 0}, ValueError, "batch_size: expected a whole number above 0, got 0"),
    ({"batch_size": 2.0}, TypeError, "batch_size: expected a whole number, got 2.0"),
    ({"augment": 3}, TypeError, "augment: expected a function or None, got 3"),
    ({"schedule": 0.1}, TypeError, "schedule: expected a function or None, got 0.1"),
])
def test_trainers_refuse(settings, error, message):
    with pytest.raises(error, match=message):
        trainer(**settings)
    model = small_model()
    with pytest.raises(error, match=message):
        fit(model, CrossEntropyLoss(), Adam(model.parameters()), *examples(), epochs=1, **settings)


def test_a_loss_that_is_no_number_stops_the_training():
    trained = trainer(optimizer=SGD, schedule=None)
    trained.optimizer.lr = 1e200
    with pytest.raises(FloatingPointError, match=r"the loss is (nan|inf) in epoch 0: try a smaller learning rate"), \
            np.errstate(all="ignore"):
        trained.fit(*examples(), epochs=9, progress=False)


# The progress bar and the plot ------------------------------------------------------------------------------


def test_a_bar_is_shown_if_it_is_wanted_and_tqdm_is_there(capsys, monkeypatch):
    pytest.importorskip("tqdm")
    trainer().fit(*examples(), epochs=2)
    assert "2/2" in capsys.readouterr().err
    trainer().fit(*examples(), epochs=2, progress=False)
    assert capsys.readouterr().err == ""
    real = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", lambda name, *rest: real("no " * (name == "tqdm") + name, *rest))
    monkeypatch.delitem(sys.modules, "tqdm", raising=False)
    assert len(trainer().fit(*examples(), epochs=2).losses) == 2
    assert capsys.readouterr().err == ""


def test_the_history_plots_itself():
    pytest.importorskip("matplotlib").use("Agg")
    import matplotlib.pyplot as plt

    history = History([2.0, 1.0], [0.3, 0.6], [2.5, 1.5], [0.2, 0.5])
    figure = history.plot()
    lines = [line.get_ydata().tolist() for axis in figure.axes for line in axis.lines]
    assert lines == [[2, 1], [2.5, 1.5], [0.3, 0.6], [0.2, 0.5]]
    assert [axis.get_title() for axis in figure.axes] == ["losses", "accuracies"]
    plt.close(figure)


# Stopped and resumed ----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("optimizer", [Adam, SGD])
@pytest.mark.parametrize("stop", [1, 3])
def test_resumed_training_gives_the_same_bits(tmp_path, dtype, optimizer, stop):
    images, labels = examples(dtype=dtype)
    held = images[:5], labels[:5]
    straight, before, after = (trainer(rng, dtype, optimizer) for rng in (0, 0, 7))
    straight.fit(images, labels, epochs=5, validation=held, progress=False)
    before.fit(images, labels, epochs=stop, validation=held, progress=False)
    save_checkpoint(tmp_path / "stopped.npz", before)
    load_checkpoint(tmp_path / "stopped.npz", after)
    assert bits_of(after) == bits_of(before)
    after.fit(images, labels, epochs=5, validation=held, progress=False)
    assert bits_of(after) == bits_of(straight) and len(after.history.losses) == 5


def test_a_new_training_can_be_saved(tmp_path):
    save_checkpoint(tmp_path / "new.npz", trainer(0))
    loaded = trainer(1)
    load_checkpoint(tmp_path / "new.npz", loaded)
    assert bits_of(loaded) == bits_of(trainer(0))


@pytest.mark.parametrize("kind", [np.random.MT19937, np.random.Philox, np.random.SFC64, np.random.PCG64DXSM])
def test_generators_of_other_kinds_are_kept_too(tmp_path, kind):
    one, other = (trainer(rng=0) for _ in range(2))
    one.rng, other.rng = (np.random.Generator(kind(seed)) for seed in (1, 2))
    one.rng.random(5)
    save_checkpoint(tmp_path / "kind.npz", one)
    load_checkpoint(tmp_path / "kind.npz", other)
    assert np.array_equal(one.rng.random(9), other.rng.random(9))


def changed(tmp_path, change):
    """Write a checkpoint of a trained trainer whose arrays a function has changed; return its path."""
    path, trained = tmp_path / "changed.npz", trainer()
    trained.fit(*examples(), epochs=2, progress=False)
    save_checkpoint(path, trained)
    arrays = load(path)
    change(arrays)
    save(path, arrays)
    return path


def text(array):
    return np.frombuffer(array, dtype=np.uint8)


@pytest.mark.parametrize("change", [
    lambda a: a.pop("model.0.weight"),
    lambda a: a.update({"model.0.weight": np.zeros((3, 1, 3, 2))}),
    lambda a: a.update({"model.9.weight": np.zeros(3)}),
    lambda a: a.pop("optimizer.lr"),
    lambda a: a.update({"optimizer.lr": np.array(-1.0)}),
    lambda a: a.update({"optimizer.0.exp_avg": np.zeros(3)}),
    lambda a: a.update({"optimizer.more": np.zeros(3)}),
    lambda a: a.pop("rng.1"),
    lambda a: a.update({"rng.2": a["rng.0"]}),
    lambda a: a.update({"rng.0": text(b"no JSON")}),
    lambda a: a.update({"rng.0": text(b"{}")}),
    lambda a: a.update({"rng.0": text(b"[1, 2]")}),
    lambda a: a.update({"rng.0": text(b"\xff\xfe")}),
    lambda a: a.update({"rng.0": text(a["rng.0"].tobytes().replace(b"PCG64", b"SFC64"))}),
    lambda a: a.update({"rng.0": text(a["rng.0"].tobytes().replace(b'"inc": ', b'"inc": -'))}),
    lambda a: a.pop("history.losses"),
    lambda a: a.update({"history.losses": np.zeros(3)}),
    lambda a: a.update({"history.losses": np.zeros((2, 1))}),
    lambda a: a.update({"history.losses": np.zeros(2, dtype=int)}),
    lambda a: a.update({"something": np.zeros(2)}),
    lambda a: a.clear(),
])
def test_a_checkpoint_that_does_not_fit_changes_nothing(tmp_path, change):
    path, trained = changed(tmp_path, change), trainer(rng=3)
    trained.fit(*examples(), epochs=1, progress=False)
    before = bits_of(trained)
    with pytest.raises(ValueError, match=r"changed\.npz"):
        load_checkpoint(path, trained)
    assert bits_of(trained) == before


@pytest.mark.parametrize("cut", [0, 1, 100, 2000])
def test_a_damaged_checkpoint_changes_nothing(tmp_path, cut):
    path, trained = changed(tmp_path, lambda arrays: None), trainer(rng=3)
    path.write_bytes(path.read_bytes()[:cut] if cut else b"")
    before = bits_of(trained)
    with pytest.raises(ValueError, match=r"changed\.npz"):
        load_checkpoint(path, trained)
    assert bits_of(trained) == before


def test_any_turned_bit_is_noticed_or_harmless(tmp_path):
    path = changed(tmp_path, lambda arrays: None)
    content, random = path.read_bytes(), np.random.default_rng(0)
    for place in random.integers(0, len(content), 150):
        path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1:])
        trained = trainer(rng=3)
        before = bits_of(trained)
        try:
            load_checkpoint(path, trained)
        except ValueError:
            assert bits_of(trained) == before
