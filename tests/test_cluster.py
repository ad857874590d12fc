"""Runs on other processes: the same results, and one worker may die."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import psutil
import pytest
import torch
from distributed import KilledWorker, LocalCluster

from gvstudy import Run, config, register_loss, train
from gvstudy.study import cluster
from gvstudy.study import store as st
from gvstudy.study.store import Store

RUN = Run(model="espcn", steps=100, batch_size=2, crop_size=24)
RUNS = [dataclasses.replace(RUN, loss=loss, seed=seed) for seed in (0, 1) for loss in ("l2", "l1")]
SETS = ["builtin-valid"]

pytestmark = pytest.mark.slow  # starting workers takes seconds


def here(folder):
    """The results of this machine alone, with as many threads as a worker has."""
    code = f"import test_cluster as t; t.Store().results(t.RUNS, {SETS}, progress=False)"
    environment = {"GVSTUDY_RUNS": str(folder), "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.path.dirname(__file__)
    subprocess.run([sys.executable, "-c", code], env=os.environ | environment, check=True)


@pytest.fixture
def two_workers():
    """A cluster of two processes that talk over TCP."""
    options = {"threads_per_worker": 1, "dashboard_address": None, "env": {"OMP_NUM_THREADS": "1"}}
    with cluster._same_environment(), LocalCluster(n_workers=2, **options) as local:
        yield local


def test_a_cluster_gives_the_same_results_and_survives_a_worker(
    store, two_workers, tmp_path, monkeypatch
):
    address = two_workers.scheduler_address
    assert address.startswith("tcp://")
    doomed = next(iter(two_workers.workers.values()))
    killer = subprocess.Popen([sys.executable, "-c", KILLER, str(doomed.pid), doomed.worker_dir])
    cluster.compute(Store(), RUNS, SETS, scheduler=address, progress=False)
    assert killer.wait(timeout=60) == 0
    remote = Store().results(RUNS, SETS, progress=False)
    pids = {
        json.loads((e / "run.json").read_text())["trained"]["process"] for e in store.glob("[!.]*")
    }
    assert os.getpid() not in pids, "nothing was trained here"
    here(tmp_path / "alone")
    monkeypatch.setenv("GVSTUDY_RUNS", str(tmp_path / "alone"))
    assert Store().results(RUNS, SETS, progress=False).equals(remote)


KILLER = """
import os, sys, time
from pathlib import Path

while not list(Path(sys.argv[2]).glob("*/*.unfinished/checkpoint.pt")):
    time.sleep(0.01)
os.kill(int(sys.argv[1]), 9)  # in the middle of a training
"""


# A shell's background jobs, and all that they start, ignore Ctrl-C; this takes it back.
INTERRUPTIBLE = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("gvstudy", run_name="__main__")
"""


@pytest.mark.skipif(os.name != "posix", reason="other systems have no groups of processes")
@pytest.mark.parametrize("moment", ["workers start", "workers train"])
def test_ctrl_c_ends_in_one_line_and_leaves_nothing(moment, tmp_path):
    runs, temporary = tmp_path / "runs", tmp_path / "temporary"
    temporary.mkdir()
    sign = {"workers start": "*/dask-scratch-space", "workers train": "**/*.unfinished"}[moment]
    options = ["--size", "quick", "--test-set", "builtin-valid", "--workers", "2"]
    command = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTIBLE, "grid", "headline", *options],
        env=os.environ | {"GVSTUDY_RUNS": str(runs), "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    while not list(temporary.glob(sign)):
        assert command.poll() is None
        time.sleep(0.01)
    children = psutil.Process(command.pid).children(recursive=True)
    os.killpg(command.pid, signal.SIGINT)  # as a terminal does
    printed, told = command.communicate(timeout=120)
    assert command.returncode == 1
    assert printed == ""
    lines = [line for line in told.splitlines() if line.strip() and "run/s" not in line]
    kept = "finished runs are kept, and the same command goes on from there"
    announced, *ended = lines
    assert announced.startswith("4 runs of size quick: 0 finished")
    assert ended == [f"Error: interrupted; {kept}"]
    assert children
    psutil.wait_procs(children, timeout=1)
    assert not [one for one in children if one.is_running() and one.status() != "zombie"]
    assert not list(temporary.rglob("*.unfinished")), "nothing of the runs is left there"


def test_a_start_is_trained_once_and_sent_along(store, two_workers):
    runs = [dataclasses.replace(RUN, loss=loss, steps=3, start_steps=5) for loss in ("l2", "l2+gv")]
    cluster.compute(Store(), runs, SETS, scheduler=two_workers.scheduler_address, progress=False)
    assert len(list(store.glob("[!.]*"))) == 3
    (start,) = {store / Store().id(run.start) for run in runs}
    seconds = json.loads((start / "run.json").read_text())["trained"]
    Store().results(runs, SETS, progress=False)
    assert json.loads((start / "run.json").read_text())["trained"] == seconds


def test_a_partner_is_trained_once_and_sent_along(store, two_workers):
    yoked = dataclasses.replace(RUN, loss="l2", steps=3, lengths_from="l2+gv")
    cluster.compute(Store(), [yoked], SETS, scheduler=two_workers.scheduler_address, progress=False)
    assert {entry.name for entry in store.glob("[!.]*")} == {
        Store().id(run) for run in (yoked, yoked.partner)
    }


def test_a_run_that_is_asked_for_and_needed_is_sent_out_once(store, two_workers, monkeypatch):
    sent, submit = [], cluster.Client.submit

    def counted(self, function, run, *arguments, **options):
        sent.append(run)
        return submit(self, function, run, *arguments, **options)

    monkeypatch.setattr(cluster.Client, "submit", counted)
    yoked = dataclasses.replace(RUN, loss="l2", steps=3, lengths_from="l2+gv")
    runs = [yoked.partner, yoked]
    cluster.compute(Store(), runs, SETS, scheduler=two_workers.scheduler_address, progress=False)
    assert [run.label for run in sent] == [run.label for run in runs]


def test_a_worker_computes_in_this_machine_s_precision(store, two_workers, monkeypatch):
    run = dataclasses.replace(RUN, model="vdsr", steps=3)
    here = not config.computes_bfloat16()  # as if this were another kind of machine
    monkeypatch.setattr(config, "computes_bfloat16", lambda: here)
    cluster.compute(Store(), [run], SETS, scheduler=two_workers.scheduler_address, progress=False)
    entry = store / Store().id(run)
    told = json.loads((entry / "run.json").read_text())["run"]
    assert told["precision"] == ("bfloat16" if here else "float32")


def test_what_comes_back_as_another_run_is_not_kept(store, two_workers, monkeypatch):
    load = st.load_set
    monkeypatch.setattr(st, "load_set", lambda name: replace(load(name), digest="other pixels"))
    with pytest.raises(ValueError, match="the worker's pictures of builtin-train"):
        cluster.compute(
            Store(), RUNS[:1], SETS, scheduler=two_workers.scheduler_address, progress=False
        )
    assert not list(store.glob("[!.]*"))


def test_workers_that_die_one_after_another_end_in_one_line(store, two_workers, monkeypatch):
    def gone(*arguments, **options):
        state = SimpleNamespace(address="tcp://10.0.0.1:1")
        raise KilledWorker("work-1", state, 3)

    monkeypatch.setattr(cluster, "as_completed", gone)
    with pytest.raises(ValueError, match="died one after another, perhaps for lack of memory"):
        cluster.compute(
            Store(), RUNS[:1], SETS, scheduler=two_workers.scheduler_address, progress=False
        )


def test_what_is_finished_is_not_sent_out(store, monkeypatch):
    Store().results(RUNS[:1], SETS, progress=False)
    monkeypatch.setattr(cluster, "connection", None)
    cluster.compute(Store(), RUNS[:1], SETS, scheduler="tcp://gone:1", progress=False)


def test_workers_leave_the_environment_as_it_was():
    environment = dict(os.environ)
    with cluster.connection("", 1):
        pass
    assert dict(os.environ) == environment, "other processes would train with fewer threads"


@pytest.mark.usefixtures("registries")
def test_a_worker_that_lacks_a_loss_says_so(store, two_workers):
    register_loss("here-only", lambda sr, hr: (sr - hr).abs().mean())
    run = dataclasses.replace(RUN, loss="l2+here-only", steps=3)
    with pytest.raises(
        ValueError, match=r"a worker can't train espcn.*unknown loss 'l2\+here-only'"
    ):
        cluster.compute(
            Store(), [run], SETS, scheduler=two_workers.scheduler_address, progress=False
        )
    assert not list(store.glob("[!.]*"))


def test_two_threads_of_one_worker_and_two_stores(store, tmp_path):
    """`work` leaves the process's environment and default store alone."""
    options = {"threads_per_worker": 2, "dashboard_address": None, "processes": False}
    grids = [RUNS[:2], RUNS[2:]]
    kept = [Store(tmp_path / name) for name in ("one", "other")]
    with (
        cluster._same_environment(),
        LocalCluster(n_workers=1, **options) as local,
        ThreadPoolExecutor(2) as pool,
    ):
        send = partial(
            cluster.compute, sets=SETS, scheduler=local.scheduler_address, progress=False
        )
        jobs = [pool.submit(send, *pair) for pair in zip(kept, grids, strict=True)]
        for job in jobs:
            job.result()
    for mine, grid in zip(kept, grids, strict=True):
        assert {path.name for path in mine.folder.glob("[!.]*")} == {mine.id(run) for run in grid}
        for run in grid:
            expected, _ = train(run, progress=False)
            weights = mine.load_weights(mine.id(run))
            assert all(torch.equal(weights[k], v) for k, v in expected.state_dict().items())
    assert not store.exists()
