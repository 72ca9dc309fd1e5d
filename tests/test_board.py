"""Threads that are awake: every job of a compiled kernel is done once, by whoever claims it first."""

import gc
import sys
import threading
import time
from typing import NamedTuple

import numpy as np
import pytest

numba = pytest.importorskip("numba")
pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="only compiled kernels are posted on the board")

class Grid(NamedTuple):
    """An array with what belongs to it."""

    data: np.ndarray
    step: int


class Layer(NamedTuple):
    """Records within records, as kernels are handed them."""

    grid: Grid
    bias: np.ndarray
    sizes: tuple
    scale: float


if not numba.config.DISABLE_JIT:
    from convlib import parallel
    from convlib.kernels import board

    @numba.njit(nogil=True)
    def count(job, jobs, counts, settings, workspace):
        """Note down who ran, in which workspace, and work for a while."""
        shift, (step, _) = settings
        counts[job * step + shift] += jobs
        workspace[:] = job
        for _ in range(100):
            workspace += 1
        counts[job * step + shift] += round(workspace[-1]) - job - 100

    @numba.njit(nogil=True)
    def pack(memory, kernel, jobs, spaces, space, arguments):
        return board._pack(memory, kernel[1], (kernel[0], jobs, spaces, space, arguments))

    @numba.njit(nogil=True)
    def fail(job, jobs, failing, done, workspace):
        if job == failing:
            raise ValueError("one job of several")
        done[job] = 1

    @numba.njit(nogil=True)
    def weigh(job, jobs, layer, pair, out, workspace):
        """Read and write through nested records."""
        grid, (other, place) = layer.grid, pair
        workspace[0] = layer.scale
        for x in range(job, out.size, jobs):
            number = grid.data[x * grid.step] * workspace[0] + layer.bias[x % layer.sizes[1]]
            out[x] = number + other.data[place, x * other.step]

    @numba.njit(nogil=True)
    def make(job, jobs, sums, numbers, workspace):
        """Kernels may make arrays, and views of the arrays they are given."""
        for k in range(200):
            sums[job] += np.arange(5.0).sum() + numbers.reshape(numbers.size)[1:].sum() * (k == 0)


def counted(jobs, dtype=np.float64, shift=0):
    counts = np.zeros(jobs + shift, np.int64)
    parallel.run(count, jobs, 50, dtype, counts, (shift, (1, 2.5)))
    return counts.tolist()


@pytest.mark.parametrize("jobs", [1, 2, 3, 7, 40])
def test_every_job_is_done_once(jobs):
    for _ in range(200):
        assert counted(jobs) == [jobs] * jobs


def test_threads_that_race_for_thousands_of_jobs_never_get_the_same():
    for _ in range(5):
        assert counted(5000) == [5000] * 5000


def test_a_notice_stays_until_the_last_job_has_ended():
    notices, taken = board.new_board(), []
    notices[board._TAKEN], notices[board._FAILED] = 1, 7
    waiting = threading.Thread(target=lambda: taken.append(board.take_down(notices, 0, 2)), daemon=True)
    waiting.start()
    notices[board._ENDED] = 1  # one of two
    time.sleep(0.2)
    assert not taken and notices[board._TAKEN] == 1
    notices[board._ENDED] = 2
    waiting.join(timeout=600)
    assert taken == [7] and notices[board._TAKEN] == 0


def test_arguments_of_other_types_get_a_kernel_of_their_own():
    for dtype in (np.float64, np.float32, np.float64):
        assert counted(3, dtype, shift=1) == [0, 3, 3, 3]
    narrow = np.zeros(3, np.int32)  # the same data type of the workspace, but not the same arguments
    for _ in range(2):
        parallel.run(count, 3, 50, np.float64, narrow, (0, (1, 2.5)))
        assert counted(3) == [3, 3, 3]
    assert narrow.tolist() == [6, 6, 6]


def test_types_that_take_turns_are_looked_up_once(monkeypatch):
    asked = []

    def address(*given):
        asked.append(given)
        return own(*given)

    own = board.address
    monkeypatch.setattr(board, "address", address)
    monkeypatch.setattr(parallel, "_addresses", {})
    counts = np.zeros(6, np.int64), np.zeros(6, np.int32)
    for turn in range(40):
        parallel.run(count, 3, 50, np.float64, counts[turn % 2], (turn % 3, (1, 2.5)))
    assert len(asked) == 2 and [each.sum() for each in counts] == [20 * 3 * 3] * 2


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arguments_may_be_records_within_tuples_and_records(dtype):
    random = np.random.default_rng(0)
    data, bias, other = (random.integers(-9, 9, size).astype(dtype) for size in (80, 3, (2, 40)))
    layer, pair = Layer(Grid(data, 2), bias, (7, 3), 2.0), (Grid(other, 1), 1)
    expected = data[::2] * 2 + np.resize(bias, 40) + other[1]
    counters = [sys.getrefcount(each) for each in (data, bias, other)]
    for jobs in (1, 2, 5):
        for _ in range(50):
            out = np.zeros(40, dtype)
            parallel.run(weigh, jobs, 1, dtype, layer, pair, out)
            np.testing.assert_array_equal(out, expected)
    assert [sys.getrefcount(each) for each in (data, bias, other)] == counters


def test_a_stamp_of_other_types_is_refused():
    spaces, memory, arguments = np.zeros(4), np.zeros(board.MEMORY, np.uint8), (np.zeros(2), 5)
    known = board.address(make, (np.zeros(2), np.zeros(2)), spaces)
    assert pack(memory, known, 2, spaces, 2, arguments) == 0
    assert pack(memory, known, 2, spaces, 2, (np.zeros(2), np.zeros(2))) != 0


def test_several_threads_post_at_once_more_than_the_board_has_room_for():
    wrong = []

    def work(jobs):
        for _ in range(150):
            if counted(jobs) != [jobs] * jobs:
                wrong.append(jobs)

    threads = [threading.Thread(target=work, args=(2 + k % 4,)) for k in range(board._NOTICES + 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=600)
    assert not any(thread.is_alive() for thread in threads) and not wrong


def test_on_a_full_board_the_caller_does_all(monkeypatch):
    full = board.new_board()
    full[board._TAKEN :: board._NUMBERS] = 1
    monkeypatch.setattr(parallel._pool, "board", full)
    assert counted(4) == [4] * 4
    assert full[: board.CLOSED].sum() == board._NOTICES


def test_without_helpers_the_caller_does_all(monkeypatch):
    monkeypatch.setattr(parallel._pool, "wake", lambda count: None)
    assert counted(5) == [5] * 5


def test_a_mistake_in_a_compiled_job_is_heard_and_the_others_end():
    for failing in range(3):
        done = np.zeros(3)
        with pytest.raises(ValueError, match="one job of several"):
            parallel.run(fail, 3, 1, np.float64, failing, done)
        assert [k for k in range(3) if not done[k]] == [failing]
        assert not parallel._pool.board[: board.CLOSED].reshape(-1, board._NUMBERS)[:, board._TAKEN].any()


def test_packed_arrays_are_neither_kept_nor_freed():
    numbers = np.ones((2, 3))
    before = sys.getrefcount(numbers)
    for _ in range(300):
        sums = np.zeros(3)
        parallel.run(make, 3, 1, np.float64, sums, numbers)
        assert sums.tolist() == [2005.0] * 3
    gc.collect()
    assert sys.getrefcount(numbers) == before


def asleep():
    """Wait until no helper is awake."""
    end = time.monotonic() + 600
    while parallel._pool.board[board.AWAKE] and time.monotonic() < end:
        time.sleep(0.001)
    return not parallel._pool.board[board.AWAKE]


def test_helpers_fall_asleep_and_are_woken_again():
    for _ in range(3):
        assert counted(3) == [3] * 3
        assert asleep()
    helpers = list(parallel._pool.helpers)
    for _ in range(30):
        counted(3)
    assert parallel._pool.helpers == helpers  # the same ones again


def test_a_helper_that_waits_burns_a_millisecond_or_two():
    """Processor time of the whole process, from the end of a call until everybody sleeps."""
    burned = []
    for _ in range(9):
        counted(2)
        start = time.process_time()
        time.sleep(0.1)  # this thread takes nothing, and a helper nothing more after its patience
        burned.append(time.process_time() - start)
        assert asleep()
    # The least of nine: other threads of the process burn, too, and a slow machine burns more.
    assert min(burned) < 0.03, burned  # a helper that is never tired burns 0.1 each time
    assert 100 < parallel._pool.board[board.PATIENCE] < 10**7


def test_an_owner_that_waits_long_does_not_burn_a_core():
    """An owner that never naps burns as long as it waits; naps are short, so waking costs something, too."""
    burned = []
    for _ in range(3):
        notices = board.new_board(10 * board.LOOKS)
        notices[board._TAKEN] = 1
        waiting = threading.Thread(target=board.take_down, args=(notices, 0, 2), daemon=True)
        start = time.process_time()
        waiting.start()
        time.sleep(0.5)
        burned.append(time.process_time() - start)
        notices[board._ENDED] = 2
        waiting.join(timeout=600)
        assert not notices[board._TAKEN]
    assert min(burned) < 0.3, burned


def test_too_many_arguments_are_refused():
    @numba.njit
    def kernel(job, jobs, many, workspace):
        workspace[0] = len(many)

    many = tuple(np.zeros((1, 1, 1, 1)) for _ in range(60))
    with pytest.raises(Exception, match="expected at most 4096 bytes"):
        parallel.run(kernel, 2, 1, np.float64, many)
