"""The store: every run is trained once, found by its description, whole or not there at all."""

import dataclasses
import json

import pytest
import torch

from gvstudy import Run, study
from gvstudy import training as tr

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
    name = study.run_id(TINY, "data")
    assert name == study.run_id(dataclasses.replace(TINY), "data")
    assert name != study.run_id(dataclasses.replace(TINY, steps=7), "data")
    assert name != study.run_id(TINY, "other data")
    monkeypatch.setattr(study, "_revision", lambda: "another")
    assert name == study.run_id(TINY, "data")
    monkeypatch.setattr(study, "TRAINING_VERSION", 99)
    assert name != study.run_id(TINY, "data")


def test_every_field_counts_when_it_is_used():
    base = Run(loss="l2+gv", precision="float32")
    changes = {
        "model": "edsr", "scale": 3, "loss": "l1+gv", "seed": 1, "size": "paper",
        "channels": "luma", "upsample": "bilinear", "downsample": "bilinear",
        "train_set": "BSDS500", "valid_set": "Set5", "steps": 7, "batch_size": 3,
        "crop_size": 96, "learning_rate": 1e-4, "gv_weight": 0.1, "patch_size": 4,
        "padding": "valid", "precision": "bfloat16",
    }  # fmt: skip
    names = {study.run_id(dataclasses.replace(base, **{k: v}), "") for k, v in changes.items()}
    assert len(names | {study.run_id(base, "")}) == len(changes) + 1
    untried = {field.name for field in dataclasses.fields(Run)} - changes.keys()
    assert untried == {"recipe", "tv_weight"}  # one recipe so far; TV is not in this loss


def test_what_lies_in_the_store(store):
    finished()
    (folder,) = store.iterdir()
    assert {path.name for path in folder.iterdir()} == {
        "run.json", "history.csv", "model.safetensors",
    }  # fmt: skip
    record = json.loads((folder / "run.json").read_text())
    assert record["run"] == TINY.description()
    assert record["trained"].keys() >= {"revision", "torch", "device", "seconds"}


def test_an_interrupted_run_is_taken_up(store, interrupt_at):
    run = dataclasses.replace(TINY, steps=40)
    steps = interrupt_at(15)
    with pytest.raises(KeyboardInterrupt):
        finished(run)
    assert [path.suffix for path in store.iterdir()] == [".unfinished"]
    resumed = finished(run)
    assert len(steps) == 15 + 26
    assert [path.suffix for path in store.iterdir()] == [""]
    undisturbed, _ = tr.train(run, progress=False)
    pairs = zip(undisturbed.parameters(), resumed.model.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_a_store_that_cannot_be_written(tmp_path, monkeypatch, trainings):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GVSTUDY_RUNS", str(tmp_path / "file" / "runs"))
    with pytest.raises(ValueError, match=r"can't write to the store .*runs"):
        finished()
    assert not trainings


def test_the_line_at_the_top_of_a_notebook():
    assert study.about(3).endswith("seed 3")
