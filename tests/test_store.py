"""The store: every run is trained once, found by its description, whole or not there at all."""

import dataclasses
import errno
import json
import math
import os
import random
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from filelock import FileLock, Timeout
from safetensors.torch import save_file

from gvstudy import Run, evaluate, load_images
from gvstudy import training as tr
from gvstudy.config import LENGTHS
from gvstudy.data import sets
from gvstudy.images import write
from gvstudy.losses import ComposedLoss
from gvstudy.study import provenance
from gvstudy.study import store as st
from gvstudy.study.entry import (
    CHECKPOINT,
    CHECKSUMS,
    HISTORY,
    RECORD,
    WEIGHTS,
    description_of,
    seconds_so_far,
    write_checksums,
)
from gvstudy.study.provenance import environment_line
from gvstudy.study.store import Store, run_id

TINY = Run(model="espcn", steps=6, batch_size=2, crop_size=24)
FILES = {"run.json", "history.csv", "lengths.csv", "model.safetensors", "checksums.json"}


@pytest.fixture
def trainings(monkeypatch):
    """The runs that were really trained."""
    seen = []
    real = st.train

    def counted(run, *arguments, **options):
        seen.append(run)
        return real(run, *arguments, **options)

    monkeypatch.setattr(st, "train", counted)
    return seen


def finished(run=TINY):
    return Store().train_or_load(run, progress=False)


def same(one, other):
    pairs = zip(one.model.state_dict().values(), other.model.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.usefixtures("store")
def test_results_have_the_pictures_present_names(tmp_path):
    """Also those that pandas takes for a missing value."""
    hr = load_images("builtin-valid")
    name, picture = next(iter(hr.items()))
    for folder, file in (("before", name), ("after", "NA")):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / f"{file}.png", picture)
        rows = Store().results([TINY], [f"folder:{tmp_path / folder}"], progress=False)
        assert rows["image"].to_list() == [file]


def rows_file(name):
    return st._rows_file(sets.ImageSet(name, {}, "digest"), st.STANDARD)


@pytest.mark.parametrize("name", sets.registry())
def test_rows_on_a_registered_set_are_in_a_file_of_its_name(name):
    """A change would measure every finished run again."""
    assert rows_file(name) == f"{name}-e7d337b8.csv"


@pytest.mark.parametrize("path", [r"C:\my pictures?", "a:b*c|d", "ä" * 300, "x/" * 200, "\udcff"])
def test_rows_on_a_folder_are_in_a_file_that_every_system_allows(path):
    assert re.fullmatch(r"[\w-]{1,80}-[0-9a-f]{8}\.csv", rows_file(f"folder:{path}"), re.ASCII)


@pytest.mark.usefixtures("store")
@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_picture_s_name_that_is_not_utf8_is_kept(tmp_path):
    odd = os.fsdecode(b"\xff")
    folder = tmp_path / odd
    write(folder / f"{odd}.png", load_images("builtin-valid")["chelsea"])
    for _ in range(2):  # the second time from the store
        rows = Store().results([TINY], [f"folder:{folder}"], progress=False)
        assert rows["image"].to_list() == [odd]
        assert rows["set"].to_list() == [f"folder:{folder}"]


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
def test_the_run_that_others_take_their_lengths_from_is_trained_once(trainings):
    yoked, again = (
        dataclasses.replace(TINY, lengths_from="l2+gv", lengths_of=kind) for kind in LENGTHS
    )
    finished(yoked)
    finished(again)
    assert trainings == [yoked.partner, yoked, again]
    taken, given = (Store().lengths(run)["update"] for run in (yoked, yoked.partner))
    assert taken.to_numpy() == pytest.approx(given.to_numpy(), rel=1e-5)
    assert len(trainings) == 3


@pytest.mark.usefixtures("store")
def test_what_is_told_of_a_run_s_steps():
    run = dataclasses.replace(TINY, recipe="official", pixel_weight=30.0)
    Store().results([run], ["builtin-valid"], progress=False)
    lengths = Store().lengths(run)
    (told,) = Store().origins([run])[["gradient_norm", "clipped_share"]].itertuples(index=False)
    assert told.gradient_norm == pytest.approx(lengths["gradient"].median(), rel=1e-3)
    assert told.clipped_share == pytest.approx((lengths["gradient"] > 0.4).mean(), abs=1e-3)
    assert told.clipped_share > 0


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


def test_the_id_depends_on_description_data_and_version(monkeypatch):
    name = run_id(TINY, "data")
    assert name == run_id(dataclasses.replace(TINY), "data")
    assert name != run_id(dataclasses.replace(TINY, steps=7), "data")
    assert name != run_id(TINY, "other data")
    monkeypatch.setattr("gvstudy.study.store.TRAINING_VERSION", 99)
    assert name != run_id(TINY, "data")


def test_every_field_counts_when_it_is_used():
    base = Run(loss="l2+gv", precision="float32")
    changes = {
        "model": "edsr", "scale": 3, "loss": "l1+gv", "seed": 1, "size": "paper",
        "channels": "luma", "upsample": "bilinear", "downsample": "bilinear",
        "train_set": "BSDS500", "valid_set": "Set5", "steps": 7, "batch_size": 3,
        "crop_size": 96, "learning_rate": 1e-4, "gv_weight": 0.1, "patch_size": 4,
        "padding": "valid", "precision": "bfloat16", "recipe": "official",
        "start_steps": 9, "pixel_weight": 10.0, "lengths_from": "l2", "fan": "fan_out",
    }  # fmt: skip
    names = {run_id(dataclasses.replace(base, **{k: v}), "") for k, v in changes.items()}
    assert len(names | {run_id(base, "")}) == len(changes) + 1
    untried = {field.name for field in dataclasses.fields(Run)} - changes.keys()
    unused = {"tv_weight", "start_learning_rate", "lengths_of"}  # no TV, no start, no partner
    assert untried == unused
    goes_on = [Run(start_steps=9, start_learning_rate=rate) for rate in (1e-3, 1e-4)]
    assert len({run_id(run, "") for run in goes_on}) == 2
    yoked = [Run(lengths_from="l2+gv", lengths_of=kind) for kind in LENGTHS]
    assert len({run_id(run, "") for run in yoked}) == 2
    weighted = dataclasses.replace(yoked[0], gv_weight=0.1)
    assert run_id(weighted, "") != run_id(yoked[0], ""), "GV's weight counts, though the loss is l2"


def test_what_lies_in_the_store(store):
    finished()
    (folder,) = store.glob("[!.]*")
    assert {path.name for path in folder.iterdir()} == FILES
    record = json.loads((folder / "run.json").read_text())
    assert record["run"] == TINY.description()
    assert record["trained"].keys() >= {"revision", "torch", "device", "seconds"}


def test_a_result_says_which_kernels_a_gpu_uses(monkeypatch):
    monkeypatch.setattr(provenance, "best_device", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a card")
    for rounds, told in ((True, "a card TF32"), (False, "a card")):
        monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", rounds)
        assert provenance.hardware() == told


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


@pytest.mark.parametrize("moment", range(10))
def test_a_kill_after_the_last_step_loses_no_step(moment, store, monkeypatch):
    """The kill comes before the first file is renamed or removed, or the second, and so on."""
    real_train, before = st.train, []

    def train(*arguments, **options):
        trained = real_train(*arguments, **options)
        for owner, name in ((os, "replace"), (Path, "unlink"), (Path, "rename")):
            kill_in(owner, name)
        return trained

    def kill_in(owner, name):
        real = getattr(owner, name)

        def counted(*arguments, **options):
            before.append(name)
            if len(before) == moment + 1:
                raise KeyboardInterrupt
            return real(*arguments, **options)

        patch.setattr(owner, name, counted)

    with monkeypatch.context() as patch:
        patch.setattr(st, "train", train)
        with pytest.raises(KeyboardInterrupt):
            finished()
    monkeypatch.setattr(ComposedLoss, "terms", None)  # not one step is made again
    assert len(finished().history) == TINY.steps
    assert [path.name for path in store.glob("[!.]*")] == [run_id_of_tiny()]
    assert {path.name for path in (store / run_id_of_tiny()).iterdir()} == FILES
    assert Store().holds(TINY)


def test_a_store_that_cannot_be_written(tmp_path, monkeypatch, trainings):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GVSTUDY_RUNS", str(tmp_path / "file" / "runs"))
    with pytest.raises(ValueError, match=r"can't write to the store .*runs"):
        finished()
    assert not trainings


def test_a_full_disk_is_reported_with_the_file(store, monkeypatch, trainings):
    write_text = Path.write_text

    def full(path, *arguments, **options):
        if path.name == RECORD:
            raise OSError(errno.ENOSPC, "No space left on device")  # a write's names no file
        return write_text(path, *arguments, **options)

    monkeypatch.setattr(Path, "write_text", full)
    record = rf"can't write to the store {store}: .*No space left on device: .*/{RECORD}'"
    with pytest.raises(ValueError, match=record):
        finished()
    assert not trainings


def test_a_store_is_where_it_is_told_to_be(tmp_path, store):
    given = Store(tmp_path / "mine")
    run = given.train_or_load(TINY, progress=False).run
    assert run == TINY
    assert given.holds(TINY)
    assert not Store().holds(TINY)
    assert Store().folder == store
    assert {path.name for path in given.folder.glob("[!.]*")} == {given.id(TINY)}


@pytest.mark.usefixtures("store")
def test_a_run_travels_from_store_to_store(tmp_path, trainings):
    first = finished()
    other = Store(tmp_path / "other")
    for _ in range(2):  # a second time changes nothing
        other.import_run(TINY, Store().export_run(TINY))
    assert same(other.train_or_load(TINY), first)
    assert len(trainings) == 1
    weights = other.load_weights(other.id(TINY))
    assert all(torch.equal(weights[k], v) for k, v in first.model.state_dict().items())
    with pytest.raises(ValueError, match="no weights of run 'nobody'"):
        other.load_weights("nobody")


def test_a_run_is_exported_while_nobody_adds_rows(store, monkeypatch):
    finished()
    locks = []
    read_bytes = Path.read_bytes

    def read(path):
        with pytest.raises(Timeout), Store()._lock(path.parent, timeout=0):
            locks.append(path)
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", read)
    assert CHECKSUMS in Store().export_run(TINY)
    assert not locks


@pytest.mark.usefixtures("store")
def test_what_arrives_is_on_the_disk_before_it_has_its_name(tmp_path, on_disk):
    finished()
    files = Store().export_run(TINY)
    other = Store(tmp_path / "other")
    other.import_run(TINY, files)
    assert on_disk(other.folder / other.id(TINY))


def test_damaged_files_are_not_imported(store):
    with pytest.raises(ValueError, match=r"arrived with damaged files: checksums\.json"):
        Store().import_run(TINY, {"run.json": b"{}"})
    assert not Store().holds(TINY)


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("content", ["null", "{}", "[]", '""', '{"run.json": 3}', "no json"])
def test_odd_checksums_are_damage(content, store, trainings):
    finished()
    (store / run_id_of_tiny() / CHECKSUMS).write_text(content)
    with pytest.warns(UserWarning, match="set aside"):
        finished()
    assert len(trainings) == 2


@pytest.mark.parametrize("text", ["3", "plain text", "null", "[]", '"text"'])
def test_what_is_no_run_s_description_tells_nothing(text, tmp_path):
    weights = tmp_path / WEIGHTS
    save_file({"bias": torch.zeros(1)}, weights, {"run": text})
    assert description_of(weights) == {}
    save_file({"bias": torch.zeros(1)}, weights)
    assert description_of(weights) == {}


def run_id_of_tiny():
    return Store().id(TINY)


def test_a_flipped_byte_is_noticed_in_every_file(store):
    Store().results([TINY], ["builtin-valid"], progress=False)
    paths = list((store / run_id_of_tiny()).iterdir())
    assert {path.name for path in paths} > FILES
    for path in paths:
        content = path.read_bytes()
        for place in (0, len(content) // 2, -1):
            damaged = bytearray(content)
            damaged[place] ^= 1
            path.write_bytes(damaged)
            assert not Store().holds(TINY), (path.name, place)
        path.write_bytes(content)
    assert Store().holds(TINY)


@pytest.mark.usefixtures("store")
def test_an_entry_that_is_a_file_is_damage(store, trainings):
    store.mkdir()
    (store / run_id_of_tiny()).write_text("no folder")
    with pytest.warns(UserWarning, match="set aside"):
        finished()
    (store / f"{run_id_of_tiny()}.damaged").unlink()
    assert Store().holds(TINY)
    assert len(trainings) == 1


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("lost", [False, True])
def test_weights_that_are_none_are_damage_whatever_the_checksums_say(lost, store, trainings):
    finished()
    entry = store / run_id_of_tiny()
    (entry / WEIGHTS).write_text("no weights")
    if lost:
        (entry / WEIGHTS).unlink()
    write_checksums(entry)
    with pytest.warns(UserWarning, match=r"model\.safetensors damaged; set aside"):
        finished()
    assert len(trainings) == 2


def test_a_damaged_run_is_set_aside_only_under_its_lock(store, trainings):
    finished()
    entry = store / run_id_of_tiny()
    (entry / HISTORY).write_text("")
    with Store()._lock(entry):  # as another process that is about to train it anew
        assert not Store().holds(TINY)
        with pytest.raises(Timeout):
            Store()._result_rows(TINY, [sets.load_set("builtin-valid")], st.STANDARD)
        assert [path.name for path in store.glob("[!.]*")] == [entry.name]
    with pytest.warns(UserWarning, match=r"history\.csv damaged; set aside"):
        finished()
    assert len(trainings) == 2


def test_a_damaged_run_gives_way_to_one_that_arrives(store):
    finished()
    files = Store().export_run(TINY)
    (store / run_id_of_tiny() / WEIGHTS).unlink()
    with pytest.warns(UserWarning, match=r"model\.safetensors damaged; set aside"):
        Store().import_run(TINY, files)
    assert Store().holds(TINY)


def test_a_lock_that_cannot_be_written_is_reported(store, trainings):
    (store / ".locks" / run_id_of_tiny()).mkdir(parents=True)  # a folder in place of the file
    with pytest.raises(ValueError, match=r"can't write to the store .*runs"):
        finished()
    assert not trainings


YOKED = dataclasses.replace(TINY, loss="l2", lengths_from="l2+gv")


def test_what_waits_for_a_needed_run_is_computed_last(store):
    """A run whose partner another process trains doesn't hold up the others."""
    other = dataclasses.replace(TINY, loss="l1")
    lock = store / ".locks" / Store().id(YOKED.partner)
    lock.parent.mkdir(parents=True)
    with ThreadPoolExecutor() as pool:
        with FileLock(lock):
            rows = pool.submit(Store().results, [YOKED, other], ["builtin-valid"], progress=False)
            while not Store().holds(other):
                assert not rows.done()
                time.sleep(0.05)
            assert not Store().holds(YOKED)
        assert set(rows.result()["run"]) == {Store().id(YOKED), Store().id(other)}


def test_the_seconds_of_a_run_leave_out_those_of_its_partner(store, monkeypatch):
    real = st.train

    def slow(run, **options):
        time.sleep(0 if run.lengths_from else 1)
        return real(run, **options)

    monkeypatch.setattr(st, "train", slow)
    finished(YOKED)
    seconds = Store().origins([YOKED.partner, YOKED])["seconds"]
    assert seconds[0] > 1 > seconds[1]


@pytest.mark.usefixtures("store")
def test_what_is_missing_includes_what_it_needs():
    assert Store().missing([TINY, YOKED, YOKED]) == [TINY, YOKED, YOKED.partner]
    finished(YOKED.partner)
    finished()
    assert Store().missing([TINY, YOKED]) == [YOKED]
    assert Store().missing([TINY]) == []


@pytest.mark.usefixtures("store")
def test_the_time_to_train_is_known_only_from_runs_like_these(monkeypatch):
    """Six steps took three seconds, so four and eight more of the kind take six."""
    finished()
    here = {"seconds": 3.0, "device": provenance.hardware(), "threads": torch.get_num_threads()}
    like_it = [dataclasses.replace(TINY, seed=1, steps=4), dataclasses.replace(TINY, steps=8)]
    other = dataclasses.replace(TINY, crop_size=48)
    for record, missing, seconds in (
        ({"trained": here}, like_it, 6.0),
        ({"trained": here}, [], 0.0),
        ({"trained": here}, [*like_it, other], None),
        ({"trained": here | {"device": "another"}}, like_it, None),
        ({"trained": here | {"threads": 64}}, like_it, None),
        ({"trained": here, "diverged": "at step 1"}, like_it, None),
    ):
        monkeypatch.setattr(st, "read_record", lambda entry, record=record: record)
        found = Store().seconds_to_train(missing, [TINY])
        assert found == seconds if seconds is not None else math.isnan(found)


def test_rows_without_flip_are_measured_again_with_it(store):
    """Their file has another name."""
    finished()
    with_flip = st.PERCEPTUAL._replace(prefix="perceptual-")
    without = with_flip._replace(
        prefix="perceptual-without-flip-", measure=lambda *_: dict.fromkeys(with_flip.metrics, 0.0)
    )
    measured = with_flip._replace(measure=lambda *_: dict.fromkeys(with_flip.metrics, 1.0))
    tests = [sets.load_set("builtin-valid")]
    found = [Store()._result_rows(TINY, tests, each)["flip"].mean() for each in (without, measured)]
    assert found == [0, 1]


@pytest.mark.usefixtures("store")
def test_stray_files_are_not_published(store, trainings, recwarn):
    unfinished = store / f"{run_id_of_tiny()}.unfinished"
    (unfinished / "checkpoint.pt").mkdir(parents=True)
    (unfinished / WEIGHTS).mkdir()
    (unfinished / "stray").write_text("?")
    finished()
    assert {path.name for path in (store / run_id_of_tiny()).iterdir()} == FILES
    assert any("checkpoint.pt is damaged" in str(warning.message) for warning in recwarn)


@pytest.mark.usefixtures("store")
def test_a_file_in_place_of_the_unfinished_folder(store, trainings):
    store.mkdir()
    (store / f"{run_id_of_tiny()}.unfinished").write_text("no folder")
    finished()
    assert Store().holds(TINY)


def test_seconds_of_interrupted_trainings_add_up(store, interrupt_at):
    run = dataclasses.replace(TINY, steps=60)  # which takes more than the tenth of a second
    interrupt_at(5)
    with pytest.raises(KeyboardInterrupt):
        finished(run)
    (unfinished,) = store.glob("*.unfinished")
    written = (unfinished / RECORD).stat().st_mtime
    os.utime(unfinished / "checkpoint.pt", (written + 1000, written + 1000))
    interrupt_at(2)
    with pytest.raises(KeyboardInterrupt):
        finished(run)
    assert json.loads((unfinished / RECORD).read_text())["seconds"] == pytest.approx(1000, 1e-3)
    os.utime(unfinished / "checkpoint.pt", (written, written))  # no later than the record
    finished(run)
    assert 1000 < Store().origins([run])["seconds"].item() < 1100


def test_seconds_outlast_a_kill_before_the_checksums(tmp_path):
    (tmp_path / RECORD).write_text('{"trained": {"seconds": 7.5}}')
    assert seconds_so_far(tmp_path / CHECKPOINT) == 7.5


def test_leftovers_are_removed_before_checksums_are_written(tmp_path):
    (tmp_path / RECORD).write_text("{}")
    (tmp_path / ".file").write_text("")
    (tmp_path / ".folder" / "inside").mkdir(parents=True)
    write_checksums(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {RECORD, CHECKSUMS}


@pytest.mark.usefixtures("store")
def test_origins_are_a_row_a_run():
    finished()
    table = Store().origins([TINY])
    assert list(table["run"]) == [Store().id(TINY)]
    assert table.columns.to_list() == [
        "run", "seconds", "revision", "torch", "python", "device", "threads",
        "gradient_norm", "clipped_share",
    ]  # fmt: skip


def test_no_runs_or_no_sets_are_refused(store):
    with pytest.raises(ValueError, match="no results of 0 runs on 1 sets"):
        Store().results([], ["builtin-valid"])
    with pytest.raises(ValueError, match="no results of 1 runs on 0 sets"):
        Store().results([TINY], [])
    assert not store.exists()


@pytest.mark.slow
@pytest.mark.usefixtures("store")
def test_a_set_is_decoded_once_for_many_runs(monkeypatch):
    reads = []
    sets._cached_set.cache_clear()
    real = sets.images.read
    monkeypatch.setattr(sets.images, "read", lambda path: reads.append(path) or real(path))
    Store().results(GRID, ["builtin-test"], progress=False)
    assert len(reads) == len(set(reads))


@pytest.mark.slow
def test_two_threads_and_two_stores_do_not_mix(tmp_path):
    """The global generator belongs to the process: initial weights are drawn under a lock."""
    runs = [dataclasses.replace(TINY, seed=seed, steps=3) for seed in range(8)]
    alone = {run: tr.train(run, progress=False)[0].state_dict() for run in runs}
    stores = [Store(tmp_path / str(i)) for i in range(2)]
    jobs = [(stores[i % 2], run) for i, run in enumerate(runs)]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda job: job[0].train_or_load(job[1], progress=False), jobs))
    for (store, run), trained in zip(jobs, found, strict=True):
        weights = trained.model.state_dict()
        assert all(torch.equal(weights[name], value) for name, value in alone[run].items())
        assert store.holds(run)
    for i, store in enumerate(stores):
        names = {path.name for path in store.folder.glob("[!.]*")}
        assert names == {store.id(run) for run in runs[i::2]}


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

    monkeypatch.setattr(st, "train", diverges)
    for _ in range(2):
        with pytest.raises(tr.DivergedError, match="at step 3"):
            finished()
    monkeypatch.undo()
    monkeypatch.setenv("GVSTUDY_RUNS", str(store))
    rows = Store().results([TINY], ["builtin-valid"], progress=False)
    assert list(rows["image"]) == ["chelsea", "ihc"]
    assert rows["psnr_y"].isna().all()


GRID = [dataclasses.replace(TINY, loss=loss, seed=seed) for seed in (0, 1) for loss in ("l2", "l1")]


@pytest.mark.usefixtures("store")
def test_rows_are_in_the_order_of_runs_whatever_other_processes_do():
    alone = Store().results(GRID, ["builtin-valid"], progress=False)
    busy = Store()
    first = busy._result_rows

    def once_busy(run, *arguments):
        if run == GRID[0] and not refused:
            refused.append(run)
            raise Timeout("")
        return first(run, *arguments)

    refused, busy._result_rows = [], once_busy
    rows = busy.results(GRID, ["builtin-valid"], progress=False)
    assert refused
    assert rows.equals(alone)


@pytest.mark.usefixtures("store")
def test_results_are_tidy_and_computed_once(trainings, monkeypatch):
    rows = Store().results(GRID, ["builtin-valid"], progress=False)
    assert len(rows) == 4 * 2
    assert rows.groupby(["loss", "seed"], sort=False).ngroups == 4
    assert set(rows["set"]) == {"builtin-valid"}
    model = Store().train_or_load(GRID[1]).model
    expected = evaluate(model, load_images("builtin-valid"), 2)["psnr_y"]
    ours = rows.query("loss == 'l1' and seed == 0")["psnr_y"]
    assert ours.to_numpy() == pytest.approx(expected.to_numpy(), abs=1e-4)
    monkeypatch.setattr(st, "evaluate", None)  # nothing is measured again either
    assert Store().results(GRID, ["builtin-valid"], progress=False).equals(rows)
    assert len(trainings) == 4


@pytest.mark.usefixtures("store")
def test_another_set_is_measured_without_training(trainings):
    Store().results(GRID[:1], ["builtin-valid"], progress=False)
    rows = Store().results(GRID[:1], ["builtin-valid", "builtin-test"], progress=False)
    assert list(rows["set"].unique()) == ["builtin-valid", "builtin-test"]
    assert len(trainings) == 1


WORKER = """
import sys
sys.path.insert(0, sys.argv[1])
import test_store as t
t.Store().results(t.longer(int(sys.argv[2])), ["builtin-valid"], progress=False)
"""


def longer(steps):
    return [dataclasses.replace(run, steps=steps, loss=f"{run.loss}+gv") for run in GRID]


def worker(folder, steps):
    environment = os.environ | {"GVSTUDY_RUNS": str(folder), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", WORKER, os.path.dirname(__file__), str(steps)]
    return subprocess.Popen(command, env=environment)


def contents(folder):
    """Every file of a store that says what came out, by name."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.glob("[!.]*/*"))
        if path.name not in ("run.json", "checksums.json")
    }


def wait_for_files(folder, count, process):
    """Wait until a process has written that many files into the store, old names included."""

    def files():
        for path in folder.glob("[!.]*/[!.]*"):
            with suppress(FileNotFoundError):  # its folder was renamed
                yield path, path.stat().st_mtime_ns

    before, written = set(files()), set()
    while len(written) < count:
        assert process.poll() is None, "it should have been killed before its end"
        written |= set(files()) - before
        time.sleep(0.01)


@pytest.mark.slow
def test_a_grid_killed_again_and_again_ends_as_if_undisturbed(tmp_path):
    """Four trainings write twenty checkpoints each; a kill comes at any moment between two."""
    undisturbed, disturbed = tmp_path / "one", tmp_path / "other"
    alone = worker(undisturbed, steps=100)
    chance = random.Random(0)
    kept = {}
    for _ in range(5):
        process = worker(disturbed, steps=100)
        wait_for_files(disturbed, chance.randint(1, 18), process)
        time.sleep(0.05 * chance.random())
        process.kill()
        process.wait()
        for path in disturbed.glob("[!.]*/model.safetensors"):
            if path.parent.suffix == "":
                assert kept.setdefault(path, path.stat().st_mtime_ns) == path.stat().st_mtime_ns
    assert 0 < len(kept) < len(GRID), "some were finished before the last kill, and some weren't"
    assert worker(disturbed, steps=100).wait() == 0
    assert alone.wait() == 0
    assert contents(disturbed) == contents(undisturbed)
    assert all(path.stat().st_mtime_ns == when for path, when in kept.items())


@pytest.mark.slow
def test_two_processes_share_a_store(tmp_path):
    processes = [worker(tmp_path / "runs", steps=400) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    entries = list((tmp_path / "runs").glob("[!.]*"))
    assert sorted(path.suffix for path in entries) == [""] * 4
    by = {json.loads((path / "run.json").read_text())["trained"]["process"] for path in entries}
    assert len(by) == 2, "both took part, and each entry is one process's work"


def test_the_line_at_the_top_of_a_notebook():
    assert environment_line(3).endswith("seed 3")


def test_a_missing_training_set_is_noticed_before_anything_is_trained(tmp_path, monkeypatch):
    monkeypatch.setattr(st, "train", None)
    runs = [Run(steps=3), Run(steps=3, train_set=f"folder:{tmp_path / 'none'}")]
    with pytest.raises(ValueError, match="none"):
        Store(tmp_path / "runs").results(runs, ["builtin-test"])
