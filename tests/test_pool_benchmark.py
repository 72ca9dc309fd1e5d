"""benchmarks/pool.py: the board beside the executor; what it counts, with functions whose time is known."""

import json

import numpy as np
import pytest

pytest.importorskip("numba")

from benchmarks import measure, pool  # noqa: E402
from convlib import functional, parallel  # noqa: E402


@pytest.fixture(autouse=True)
def put_back(monkeypatch):
    threads = parallel.get_num_threads()
    monkeypatch.setattr(functional, "ENOUGH", 1000)
    yield
    parallel.set_num_threads(threads)
    assert parallel._failed is pool.OWN


def note(done):
    from numba import njit

    @njit(nogil=True)
    def kernel(job, jobs, done, workspace):
        workspace[:] = job
        done[job] += workspace[0] + jobs

    return kernel


@pytest.mark.skipif(parallel.board is None or pool.OWN is None, reason="no board")
def test_both_ways_do_each_job_once_in_its_own_workspace():
    kernel = note(None)
    for way in pool.WAYS.values():
        with pool.shared(way) as jobs:
            done = np.zeros(4)
            parallel.run(kernel, 4, 10, np.float32, done)
            parallel.run(kernel, 1, 10, np.float32, done)
        assert done.tolist() == [5, 5, 6, 7] and jobs == [4]


def test_an_executor_that_computes_something_else_is_not_timed(monkeypatch):
    monkeypatch.setitem(pool.WAYS, "executor", lambda kernel, jobs, spaces, room, arguments: False)
    seen = iter((np.zeros(3), np.ones(3)))
    with pytest.raises(measure.WrongResult, match="other numbers than the board"):
        pool.same_bits(lambda: next(seen))


def test_means_count_what_is_won_lost_and_alone():
    rows = [{"images": 1, "direction": "forward", **({"ratio": {"median": ratio}} if ratio else {})}
            for ratio in (1.21, 1.0, 0.9, None)]
    rows += [{"images": 4, "direction": "forward", "ratio": {"median": 1.0}}]
    by_batch = {mean["images"]: mean for mean in pool.means(rows) if mean["direction"] == "all"}
    assert by_batch[1]["ratio"] == pytest.approx((1.21 * 0.9) ** (1 / 3))
    assert by_batch[1]["ratio_of_all"] == pytest.approx((1.21 * 0.9) ** (1 / 4))
    assert [by_batch[1][name] for name in ("layers", "shared", "won", "lost", "worst")] == [4, 3, 1, 1, 0.9]
    assert by_batch["all"]["layers"] == 5


def test_a_glance_writes_what_it_found(tmp_path, monkeypatch, capsys):
    case = pool.zoo.networks.sample(1, 3)[0].case._replace(channels=8, filters=8, height=12, width=12, groups=1,
                                                          kernel=1, stride=1, padding=0, dilation=1)
    monkeypatch.setattr(pool.zoo, "sample", lambda options: [(case, "1x1")])
    monkeypatch.setattr(pool.run, "circumstances", lambda *given: {"machine": {"cpu": "some"}})
    monkeypatch.setattr(pool, "QUICK", measure.Settings(rounds=1, block_seconds=0.001, lead_seconds=0, others=99))
    output = tmp_path / "found" / "pool.json"
    assert pool.main(["--quick", "--output", str(output)]) == 0
    found = json.loads(output.read_text())
    assert found["machine"] and found["settings"]["threads"] == [2] and len(found["layers"]) == 1
    assert {cost["way"] for cost in found["costs"]} == {"board", "executor"}
    assert all(0 < cost["call"] < 1 and cost["burned"] >= 0 for cost in found["costs"])
    assert "two empty jobs by board" in capsys.readouterr().out
