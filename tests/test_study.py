"""The store: every run is trained once, found by its description, whole or not there at all."""

import dataclasses
import json
import os
import random
import subprocess
import sys
import time

import pytest
import torch

from gvstudy import Run, evaluate, load_images, study
from gvstudy import training as tr
from gvstudy.store import run_id

TINY = Run(model="espcn", steps=6, batch_size=2, crop_size=24)


@pytest.fixture
def trainings(monkeypatch):
    """The runs that were really trained."""
    seen = []
    real = study.train

    def counted(run, *arguments, **options):
        seen.append(run)
        return real(run, *arguments, **options)

    monkeypatch.setattr(study, "train", counted)
    return seen


def finished(run=TINY):
    return study.trained(run, progress=False)


def same(one, other):
    pairs = zip(one.model.state_dict().values(), other.model.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.usefixtures("store")
def test_no_run_is_trained_twice(trainings):
    first, second = finished(), finished()
    assert trainings == [TINY]
    assert same(first, second)
    assert first.history.equals(second.history)
    assert not second.model.training


@pytest.mark.usefixtures("store")
def test_the_run_that_others_start_from_is_trained_once(trainings):
    base, other = (
        dataclasses.replace(TINY, loss=loss, steps=3, start_steps=6, start_learning_rate=2e-3)
        for loss in ("l2", "l2+gv")
    )
    assert not same(finished(base), finished(other))
    assert trainings == [TINY, base, other]


@pytest.mark.usefixtures("store")
def test_what_is_read_back_is_what_was_trained():
    model, history = tr.train(TINY, progress=False)
    kept = finished()
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), kept.model.parameters(), strict=True)
    )
    assert (kept.history - history).abs().max().max() < 1e-12


@pytest.mark.usefixtures("store")
def test_weights_that_the_loss_does_not_use_do_not_count(trainings):
    finished()
    finished(dataclasses.replace(TINY, gv_weight=0.5, tv_weight=0.5, patch_size=4))
    assert len(trainings) == 1
    finished(dataclasses.replace(TINY, seed=1))
    assert len(trainings) == 2


def test_the_name_hangs_on_description_data_and_version(monkeypatch):
    name = run_id(TINY, "data")
    assert name == run_id(dataclasses.replace(TINY), "data")
    assert name != run_id(dataclasses.replace(TINY, steps=7), "data")
    assert name != run_id(TINY, "other data")
    monkeypatch.setattr("gvstudy.store.TRAINING_VERSION", 99)
    assert name != run_id(TINY, "data")


def test_every_field_counts_when_it_is_used():
    base = Run(loss="l2+gv", precision="float32")
    changes = {
        "model": "edsr", "scale": 3, "loss": "l1+gv", "seed": 1, "size": "paper",
        "channels": "luma", "upsample": "bilinear", "downsample": "bilinear",
        "train_set": "BSDS500", "valid_set": "Set5", "steps": 7, "batch_size": 3,
        "crop_size": 96, "learning_rate": 1e-4, "gv_weight": 0.1, "patch_size": 4,
        "padding": "valid", "precision": "bfloat16", "recipe": "official",
        "start_steps": 9,
    }  # fmt: skip
    names = {run_id(dataclasses.replace(base, **{k: v}), "") for k, v in changes.items()}
    assert len(names | {run_id(base, "")}) == len(changes) + 1
    untried = {field.name for field in dataclasses.fields(Run)} - changes.keys()
    assert untried == {"tv_weight", "start_learning_rate"}  # no TV in this loss, and no start
    goes_on = [Run(start_steps=9, start_learning_rate=rate) for rate in (1e-3, 1e-4)]
    assert len({run_id(run, "") for run in goes_on}) == 2


def test_what_lies_in_the_store(store):
    finished()
    (folder,) = store.glob("[!.]*")
    assert {path.name for path in folder.iterdir()} == {
        "run.json", "history.csv", "model.safetensors", "checksums.json",
    }  # fmt: skip
    record = json.loads((folder / "run.json").read_text())
    assert record["run"] == TINY.description()
    assert record["trained"].keys() >= {"revision", "torch", "device", "seconds"}


def test_an_interrupted_run_is_taken_up(store, interrupt_at):
    run = dataclasses.replace(TINY, steps=40)
    steps = interrupt_at(15)
    with pytest.raises(KeyboardInterrupt):
        finished(run)
    assert [path.suffix for path in store.glob("[!.]*")] == [".unfinished"]
    resumed = finished(run)
    assert len(steps) == 15 + 26
    assert [path.suffix for path in store.glob("[!.]*")] == [""]
    undisturbed, _ = tr.train(run, progress=False)
    pairs = zip(undisturbed.parameters(), resumed.model.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_a_store_that_cannot_be_written(tmp_path, monkeypatch, trainings):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GVSTUDY_RUNS", str(tmp_path / "file" / "runs"))
    with pytest.raises(ValueError, match=r"can't write to the store .*runs"):
        finished()
    assert not trainings


def test_a_damaged_run_is_set_aside_and_trained_again(store, trainings):
    first = finished()
    (entry,) = store.glob("[!.]*")
    weights = entry / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.warns(UserWarning, match=r"model\.safetensors damaged; set aside as .*\.damaged"):
        again = finished()
    assert trainings == [TINY, TINY]
    assert same(first, again)
    assert {path.name for path in store.glob("[!.]*")} == {entry.name, f"{entry.name}.damaged"}


def test_a_diverged_run_is_kept_as_such(store, monkeypatch):
    def diverges(*_, **__):
        raise tr.DivergedError("at step 3")

    monkeypatch.setattr(study, "train", diverges)
    for _ in range(2):
        with pytest.raises(tr.DivergedError, match="at step 3"):
            finished()
    monkeypatch.undo()
    monkeypatch.setenv("GVSTUDY_RUNS", str(store))
    rows = study.results([TINY], ["builtin-valid"], progress=False)
    assert list(rows["image"]) == ["chelsea", "ihc"]
    assert rows["psnr_y"].isna().all()


GRID = [dataclasses.replace(TINY, loss=loss, seed=seed) for seed in (0, 1) for loss in ("l2", "l1")]


@pytest.mark.usefixtures("store")
def test_results_are_tidy_and_computed_once(trainings, monkeypatch):
    rows = study.results(GRID, ["builtin-valid"], progress=False)
    assert len(rows) == 4 * 2
    assert rows.groupby(["loss", "seed"], sort=False).ngroups == 4
    assert set(rows["set"]) == {"builtin-valid"}
    model = study.trained(GRID[1]).model
    expected = evaluate(model, load_images("builtin-valid"), 2)["psnr_y"]
    ours = rows.query("loss == 'l1' and seed == 0")["psnr_y"]
    assert ours.to_numpy() == pytest.approx(expected.to_numpy(), abs=1e-4)
    monkeypatch.setattr(study, "evaluate", None)  # nothing is measured again either
    assert study.results(GRID, ["builtin-valid"], progress=False).equals(rows)
    assert len(trainings) == 4


@pytest.mark.usefixtures("store")
def test_another_set_is_measured_without_training(trainings):
    study.results(GRID[:1], ["builtin-valid"], progress=False)
    rows = study.results(GRID[:1], ["builtin-valid", "builtin-test"], progress=False)
    assert list(rows["set"].unique()) == ["builtin-valid", "builtin-test"]
    assert len(trainings) == 1


WORKER = """
import sys
sys.path.insert(0, sys.argv[1])
import test_study as t
t.study.results(t.LONG, ["builtin-valid"], progress=False)
"""
LONG = [dataclasses.replace(run, steps=400, loss=f"{run.loss}+gv") for run in GRID]


def worker(folder):
    environment = os.environ | {"GVSTUDY_RUNS": str(folder), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", WORKER, os.path.dirname(__file__)]
    return subprocess.Popen(command, env=environment)


def contents(folder):
    """Every file of a store that says what came out, by name."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.glob("[!.]*/*"))
        if path.name not in ("run.json", "checksums.json")
    }


def test_a_grid_killed_again_and_again_ends_as_if_undisturbed(tmp_path):
    undisturbed, disturbed = tmp_path / "one", tmp_path / "other"
    assert worker(undisturbed).wait() == 0
    chance = random.Random(0)
    kept = {}
    for _ in range(5):
        process = worker(disturbed)
        time.sleep(2.5 + 2 * chance.random())  # importing takes about two seconds
        process.kill()
        process.wait()
        for path in disturbed.glob("[!.]*/model.safetensors"):
            if path.parent.suffix == "":
                assert kept.setdefault(path, path.stat().st_mtime_ns) == path.stat().st_mtime_ns
    assert worker(disturbed).wait() == 0
    assert contents(disturbed) == contents(undisturbed)
    assert all(path.stat().st_mtime_ns == when for path, when in kept.items())


def test_two_processes_share_a_store(tmp_path):
    processes = [worker(tmp_path / "runs") for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    entries = list((tmp_path / "runs").glob("[!.]*"))
    assert sorted(path.suffix for path in entries) == [""] * 4
    by = {json.loads((path / "run.json").read_text())["trained"]["process"] for path in entries}
    assert len(by) == 2, "both took part, and each entry is one process's work"


def test_the_line_at_the_top_of_a_notebook():
    assert study.about(3).endswith("seed 3")
