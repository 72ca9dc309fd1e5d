"""A gradient shared out among workers: the same bits whoever computes, whoever dies; nothing left behind."""

import logging
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import convlib
from convlib import cluster
from convlib.cluster import add_in_pairs, connect, cut, shared_gradient
from convlib.layers import Conv2d, Flatten, Layer, Linear, MaxPool2d, ReLU, Sequential
from convlib.losses import CrossEntropyLoss, MSELoss
from convlib.optimizers import SGD

ROOT = Path(__file__).parents[1]
random = np.random.default_rng(11)
# 21 images make eight shares of two and of three.
IMAGES = random.normal(size=(21, 1, 6, 6))
LABELS = random.integers(0, 4, size=21)


class Chance(Layer):
    """Multiply by random numbers, and keep them."""

    def __init__(self, rng):
        self.rng = np.random.default_rng(rng)

    def compute(self, input):
        factors = self.rng.uniform(size=input.shape) if self.training else np.ones(input.shape)
        return input * factors, factors

    def flow(self, kept, grad_output):
        return grad_output * kept


class Does(Layer):
    """Hand everything on, after something has been done with the input."""

    def __init__(self, deed):
        self.deed = deed

    def compute(self, input):
        self.deed(input)
        return input, None

    def flow(self, kept, grad_output):
        return grad_output


def new_model(*more, chance=7, dtype=np.float64):
    random = np.random.default_rng(3)
    layers = [Conv2d(1, 3, 3, padding=1, dtype=dtype, rng=random), ReLU(), MaxPool2d(2), Flatten(), Chance(chance),
              Linear(27, 4, dtype=dtype, rng=random)]  # fmt: skip
    return Sequential(*layers[:3], *more, *layers[3:])


def bits(client, model, shares=8, images=IMAGES, labels=LABELS):
    """Loss and gradients of one step, to the last bit."""
    model.zero_grad()
    loss = shared_gradient(client, model, CrossEntropyLoss(), images, labels, shares=shares)
    return [np.float64(loss).tobytes(), *(each.grad.tobytes() for each in model.parameters())]


def at_once(model, images=IMAGES, labels=LABELS):
    """Loss and gradients of the whole batch, not shared out."""
    model.zero_grad()
    loss = CrossEntropyLoss()
    value = loss(model(images), labels)
    model.backward(loss.backward())
    return value, [each.grad for each in model.parameters()]


# --- the shares and their order, without any worker ---------------------------------------------------------------


@given(st.integers(1, 200), st.integers(1, 40))
def test_each_image_is_in_one_share(count, shares):
    parts = cut(count, shares)
    assert [n for part in parts for n in range(count)[part]] == list(range(count))
    sizes = [part.stop - part.start for part in parts]
    assert len(parts) == min(count, shares) and min(sizes) >= 1 and max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("terms, expected", [
    ("a", "a"), ("ab", "(ab)"), ("abc", "((ab)c)"), ("abcd", "((ab)(cd))"), ("abcde", "(((ab)(cd))e)"),
    ("abcdefg", "(((ab)(cd))((ef)g))"), ("abcdefgh", "(((ab)(cd))((ef)(gh)))"),
])  # fmt: skip
def test_the_order_of_adding(terms, expected):
    assert add_in_pairs(terms, lambda one, other: f"({one}{other})") == expected


@pytest.mark.parametrize("shares", [1, 2, 5, 8, 21, 40])
def test_the_shares_add_up_to_the_gradient_of_the_batch(shares):
    model = new_model().eval()
    value, grads = at_once(model)
    model.zero_grad()
    loss = shared_gradient(None, model, CrossEntropyLoss(), IMAGES, LABELS, shares=shares)
    assert isinstance(loss, float) and np.isclose(loss, value, rtol=1e-12)
    for parameter, grad in zip(model.parameters(), grads, strict=True):
        np.testing.assert_allclose(parameter.grad, grad, rtol=1e-10, atol=1e-13)


def test_another_number_of_shares_gives_other_bits():
    assert len({tuple(bits(None, new_model().eval(), shares)) for shares in (1, 2, 5, 8)}) == 4


def test_a_mean_over_arrays_is_shared_out_too():
    model, targets = Sequential(Conv2d(1, 2, 3, dtype=np.float64, rng=0)), random.normal(size=(21, 2, 4, 4))
    loss = MSELoss()
    value = loss(model(IMAGES), targets)
    model.backward(loss.backward())
    grads = [each.grad for each in model.parameters()]
    model.zero_grad()
    assert np.isclose(shared_gradient(None, model, loss, IMAGES, targets), value, rtol=1e-12)
    for parameter, grad in zip(model.parameters(), grads, strict=True):
        np.testing.assert_allclose(parameter.grad, grad, rtol=1e-10, atol=1e-13)


def test_gradients_grow_as_by_backward():
    model = new_model().eval()
    bits(None, model)
    once = [each.grad.copy() for each in model.parameters()]
    shared_gradient(None, model, CrossEntropyLoss(), IMAGES, LABELS)
    assert all((each.grad == 2 * grad).all() for each, grad in zip(model.parameters(), once, strict=True))


def test_a_parameter_that_is_told_nothing_has_a_gradient_of_zeros():
    class Idle(Does):
        def __init__(self):
            super().__init__(id)
            self.weight = convlib.layers.Parameter(np.ones(2))

    model = new_model(Idle())
    bits(None, model)
    assert model[3].weight.grad.tolist() == [0, 0]


def test_the_model_itself_is_not_used():
    model = new_model()
    before = {name: array.tobytes() for name, array in model.state_dict().items()}
    bits(None, model)
    assert {name: array.tobytes() for name, array in model.state_dict().items()} == before
    with pytest.raises(RuntimeError):
        model.backward(np.zeros((21, 4)))  # it has never been called


def test_nothing_superfluous_travels():
    model = new_model()
    size = len(pickle.dumps(cluster._without_memories(model, MSELoss())))
    at_once(model, np.tile(IMAGES, (9, 1, 1, 1)), np.tile(LABELS, 9))
    luggage, loss = cluster._without_memories(model, MSELoss())
    assert abs(len(pickle.dumps((luggage, loss))) - size) < 100  # what it remembers is many times that
    assert all(each._memory is None for each in (luggage, *luggage))
    assert all(each.grad is not None and each.data.any() for each in model.parameters())  # the model still has all


def test_a_layer_without_bias_stays_without():
    model = Sequential(Conv2d(1, 2, 3, bias=False, dtype=np.float64, rng=0), MaxPool2d(4), Flatten())
    luggage, _ = cluster._without_memories(model, MSELoss())  # where memories and gradients are None, too
    assert luggage[0].bias is None and luggage[0].weight.grad is None and luggage._memory is None
    value, [grad] = at_once(model, labels=LABELS % 2)
    model.zero_grad()
    assert np.isclose(shared_gradient(None, model, CrossEntropyLoss(), IMAGES, LABELS % 2), value, rtol=1e-12)
    np.testing.assert_allclose(model[0].weight.grad, grad, rtol=1e-10, atol=1e-13)


def test_images_of_any_memory_layout_give_the_same_bits():
    twice = np.repeat(IMAGES, 2, axis=0)[::2]
    assert bits(None, new_model(), images=twice) == bits(None, new_model(), images=np.asfortranarray(IMAGES)) == \
        bits(None, new_model())  # fmt: skip


def test_chance_has_a_seed_for_each_share():
    seen, chance = [], Chance(7)
    model = Sequential(Flatten(), chance, Does(seen.append), Linear(36, 4, dtype=np.float64, rng=0))
    bits(None, model, images=np.repeat(IMAGES[:1], 8, axis=0), labels=LABELS[:8])
    assert len({each.tobytes() for each in seen}) == 8  # of eight equal images
    generator = np.random.default_rng(7)
    generator.integers(2**63, size=8)
    assert chance.rng.bit_generator.state == generator.bit_generator.state


def test_without_training_there_is_no_chance():
    model = new_model().eval()
    state = model[4].rng.bit_generator.state
    assert bits(None, model) == bits(None, model) and model[4].rng.bit_generator.state == state
    model.train()
    assert bits(None, model) != bits(None, model) and model[4].rng.bit_generator.state != state


# --- with workers ---------------------------------------------------------------------------------------------------


def needs_dask():
    """Workers need Dask; what is defined in this file travels to them by value."""
    pytest.importorskip("distributed")
    import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture(scope="module")
def client():
    needs_dask()
    bits(None, new_model())  # what is compiled here need not be compiled in each worker
    with connect(workers=2) as client:
        yield client


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_two_workers_find_the_same_bits(client, dtype):
    images = IMAGES.astype(dtype)
    alone = bits(None, new_model(dtype=dtype), images=images)
    for _ in range(3):
        assert bits(client, new_model(dtype=dtype), images=images) == alone


@pytest.mark.parametrize("workers", [1, 5])
def test_any_number_of_workers_finds_the_same_bits(workers):
    needs_dask()
    alone = bits(None, new_model())
    with connect(workers=workers) as client:
        assert len(client.scheduler_info(n_workers=-1)["workers"]) == workers
        for _ in range(2):
            assert bits(client, new_model()) == alone


def test_the_order_of_arrival_does_not_matter(client):
    model = new_model(Does(lambda input: time.sleep(0.4 * (len(input) == 2))))
    assert bits(client, model) == bits(None, new_model())


class Recorder:
    """In the place of a client: a task is done when its result is asked for, the last share first."""

    def __init__(self):
        self.calls = []

    def submit(self, function, *arguments, pure):
        assert not pure
        self.calls.append((function, arguments))
        return Promise(function, arguments)


class Promise:
    def __init__(self, function, arguments):
        self.function, self.arguments, self.results = function, arguments, []

    def result(self):
        if not self.results:
            values = [each.result() if isinstance(each, Promise) else each for each in self.arguments[::-1]]
            self.results.append(self.function(*values[::-1]))
        return self.results[0]


def test_a_step_is_one_model_its_shares_and_their_sums(client):
    model, recorder = new_model(), Recorder()
    luggage = cluster._without_memories(model, CrossEntropyLoss())
    tasks = cluster._tasks(model, *cluster._checked(None, model, IMAGES, LABELS, 8))
    total = cluster._run_on(recorder)(luggage, tasks)
    assert [np.asarray(each).tobytes() for each in total] == bits(None, new_model())
    functions = [function for function, _ in recorder.calls]
    assert functions == [bytes] + 8 * [cluster._share] + 7 * [cluster._add]
    sent = [each for _, arguments in recorder.calls for each in arguments if isinstance(each, bytes)]
    assert len(sent) == 1  # the model goes once, not with each share


def training(client, model, steps=4):
    optimizer, losses = SGD(model.parameters(), lr=0.1, momentum=0.9), []
    for _ in range(steps):
        optimizer.zero_grad()
        losses.append(shared_gradient(client, model, CrossEntropyLoss(), IMAGES, LABELS))
        optimizer.step()
    return losses, [each.data.tobytes() for each in model.parameters()]


def test_training_gives_the_same_bits(client):
    alone = training(None, new_model())
    assert training(client, new_model()) == alone
    assert alone[0][0] != alone[0][-1]


class Kills:
    """Kill the process, as long as there is a fuse to burn."""

    def __init__(self, fuse, burns=True):
        self.fuse, self.burns = str(fuse), burns

    def __call__(self, input):
        try:
            os.unlink(self.fuse) if self.burns else os.stat(self.fuse)
        except FileNotFoundError:
            return
        os.kill(os.getpid(), signal.SIGKILL)


def survives(client, workers, fuse):
    """A worker is killed in the middle of a share: the same bits, and another one in its place."""
    before = set(client.run(os.getpid).values())
    fuse.touch()
    assert bits(client, new_model(Does(Kills(fuse)))) == bits(None, new_model())
    assert not fuse.exists()
    client.wait_for_workers(workers, timeout=60)
    after = set(client.run(os.getpid).values())
    assert len(after) == workers and len(before - after) == 1
    assert set(client.run(convlib.get_num_threads).values()) == {1}  # the new one, too
    assert bits(client, new_model()) == bits(None, new_model())


def test_one_of_two_workers_is_killed(client, tmp_path):
    survives(client, 2, tmp_path / "fuse")


def test_the_only_worker_is_killed(tmp_path):
    needs_dask()
    with connect(workers=1) as client:
        survives(client, 1, tmp_path / "fuse")


def test_a_share_that_kills_every_worker_is_given_up(tmp_path):
    needs_dask()
    import dask
    import distributed

    fuse = tmp_path / "fuse"
    fuse.touch()
    model = new_model(Does(Kills(fuse, burns=False)))
    with dask.config.set({"distributed.scheduler.allowed-failures": 0}), connect(workers=1) as client:
        with pytest.raises(distributed.KilledWorker):
            shared_gradient(client, model, CrossEntropyLoss(), IMAGES, LABELS)
        assert all(each.grad is None for each in model.parameters())
        fuse.unlink()
        client.wait_for_workers(1, timeout=60)
        assert bits(client, new_model()) == bits(None, new_model())  # and the cluster goes on


def fails(input):
    if len(input) == 3:
        raise ArithmeticError("three is too much")


@pytest.mark.parametrize("alone", [True, False])
def test_what_goes_wrong_in_a_share_is_told_in_its_own_words(client, alone):
    model = new_model(Does(fails))
    with pytest.raises(ArithmeticError, match="^three is too much") as caught:
        shared_gradient(None if alone else client, model, CrossEntropyLoss(), IMAGES, LABELS)
    assert caught.value.__notes__[0] in [f"in share {number} of the batch" for number in (2, 4, 5, 7, 8)]
    assert all(each.grad is None for each in model.parameters())
    assert bits(client, new_model()) == bits(None, new_model())  # and the workers go on


def test_large_batches_do_not_warn(client):
    model, images = Sequential(Linear(70_000, 4, dtype=np.float64, rng=0)), np.zeros((21, 70_000))  # 12 MB
    loss = shared_gradient(client, model, CrossEntropyLoss(), images, LABELS, shares=1)
    assert np.isclose(loss, np.log(4), atol=0.01)


# --- refusals ---------------------------------------------------------------------------------------------------------

GOOD = {"client": None, "model": new_model(), "loss": CrossEntropyLoss(), "images": IMAGES, "targets": LABELS}


@pytest.mark.parametrize("wrong, error, message", [
    ({"images": IMAGES[:0], "targets": LABELS[:0]}, ValueError, "images: expected at least one"),
    ({"images": LABELS}, TypeError, "images: expected floating"),
    ({"targets": LABELS[:20]}, ValueError, "targets: expected 21"),
    ({"shares": 0}, ValueError, "shares: expected a whole number above 0, got 0"),
    ({"shares": -1}, ValueError, "shares: "),
    ({"shares": 2.5}, TypeError, "shares: expected a whole number, got 2.5"),
    ({"model": len}, TypeError, "model: expected a Layer"),
    ({"model": new_model(Does(threading.Lock()))}, TypeError, "model, loss: cannot be copied"),
    ({"loss": threading.Lock()}, TypeError, "model, loss: cannot be copied"),
])  # fmt: skip
def test_refusals(wrong, error, message):
    with pytest.raises(error, match=message):
        shared_gradient(**(GOOD | wrong))
    assert all(each.grad is None for each in GOOD["model"].parameters())


def test_a_client_is_needed_that_runs(client):
    with pytest.raises(TypeError, match="client: expected one from connect, or None, got 'tcp"):
        shared_gradient(**(GOOD | {"client": "tcp://scheduler:8786"}))
    with connect(client.scheduler.address) as guest:
        pass
    with pytest.raises(ValueError, match="client: expected a running one that can wait, got closed"):
        shared_gradient(**(GOOD | {"client": guest}))


class Stays(threading.local):
    """Something that can be copied here, but cannot be sent."""

    def __deepcopy__(self, memory):
        return self


def test_a_model_that_cannot_be_sent(client):
    model = new_model()
    model[1].stays = Stays()
    with pytest.raises(TypeError, match="model, loss: cannot be sent to the workers: cannot pickle"):
        shared_gradient(client, model, CrossEntropyLoss(), IMAGES, LABELS)


@pytest.mark.parametrize("workers, error", [(0, ValueError), (1.5, TypeError), ("two", TypeError)])
def test_connect_refuses(workers, error):
    with pytest.raises(error, match="workers: expected a whole number"), connect(workers=workers):
        pass


def test_connect_without_dask(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ImportError, match=r"Dask is missing: pip install 'convlib-course\[cluster\]'"), connect():
        pass
    assert len(bits(None, new_model())) == 5  # alone it goes on


def test_nobody_at_the_address():
    needs_dask()
    import dask

    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}), pytest.raises(OSError, match="tcp://127.0.0.1:1"):
        with connect("tcp://127.0.0.1:1"):
            pass


# --- nothing is left -------------------------------------------------------------------------------------------------


def test_an_address_can_be_joined_and_left(client):
    with connect(client.scheduler.address) as guest:
        assert bits(guest, new_model()) == bits(None, new_model())
    assert (guest.status, client.status) == ("closed", "running")
    assert bits(client, new_model()) == bits(None, new_model())


def test_nothing_is_left_of_workers(capfd, monkeypatch):
    needs_dask()
    import dask

    names = dask.config.get("distributed.nanny.pre-spawn-environ")
    for name in (*names, "PYTHONHASHSEED"):  # the workers of the other tests are at work, and have set them
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    threads, environment = set(threading.enumerate()), dict(os.environ)
    level, others = logging.getLogger("distributed").level, set(multiprocessing.active_children())
    with pytest.raises(ZeroDivisionError), connect(workers=2) as client:
        pids = client.run(os.getpid).values()
        folders = client.run(lambda dask_worker: dask_worker.local_directory).values()
        assert all(Path(folder).exists() for folder in folders)
        raise ZeroDivisionError
    assert set(multiprocessing.active_children()) <= others and len(pids) == 2
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert not any(Path(folder).exists() for folder in folders)
    left = [each for each in set(threading.enumerate()) - threads if each.name != "Dask-Offload_0"]
    for each in left:  # Dask's watchers may end a moment after the process that they watched
        each.join(timeout=30)
    assert not [each.name for each in left if each.is_alive()]
    assert dict(os.environ) == environment and logging.getLogger("distributed").level == level
    assert capfd.readouterr() == ("", "")


def test_convlib_needs_no_dask():
    program = "import sys, convlib, convlib.cluster; sys.exit('dask' in sys.modules or 'distributed' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, timeout=300).returncode == 0
