"""Saved results read back as they were; the reference results are whole, their models load."""

import dataclasses

import pandas as pd
import pytest
import torch

from gvstudy import Run
from gvstudy.evaluation import METRICS
from gvstudy.paths import package_data
from gvstudy.perceptual import PERCEPTUAL_METRICS
from gvstudy.study import common, reference
from gvstudy.study.entry import description_of
from gvstudy.study.grids import GRIDS, runs_of
from gvstudy.study.store import Store

TINY = Run(model="espcn", steps=3, batch_size=2, crop_size=24)
PAIR = {TINY: "tiny pair", dataclasses.replace(TINY, loss="l2+gv"): "pair"}


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A store with two tiny runs, and their rows."""
    store = Store(tmp_path_factory.mktemp("runs"))
    return store, store.results(list(PAIR), ["builtin-valid"], progress=False)


@pytest.fixture
def saved(measured, tmp_path, monkeypatch):
    """The rows, which are saved as the results "tiny" with the weights of the first run."""
    store, rows = measured
    monkeypatch.setenv("GVSTUDY_RUNS", str(store.folder))
    monkeypatch.setattr(reference, "keeps_weights", lambda run: run == TINY)
    reference.save(tmp_path / "reference" / "tiny", store, PAIR, rows)
    monkeypatch.setattr(reference, "package_data", lambda name: tmp_path / name)
    return rows


def test_what_is_saved_is_what_was_measured(saved):
    rows = reference.load("tiny")
    order = ["run", "set", "image"]
    ours, theirs = (r.sort_values(order).reset_index(drop=True) for r in (rows, saved))
    assert set(saved) < set(rows)
    for column in ("psnr_y", "variance_ratio", "gv_weight", "loss", "image"):
        assert ours[column].equals(theirs[column])
    assert reference.describe_results(rows).startswith("2 runs, 3 steps or more on builtin-train; ")


@pytest.mark.usefixtures("saved")
@pytest.mark.parametrize(
    ("column", "text"),
    [("revision", "0726132"), ("source", "0123456789012345"), ("source", "12345e6789012345")],
)
def test_text_that_looks_like_a_number_stays_text(column, text, tmp_path):
    path = tmp_path / "reference" / "tiny" / reference.RUNS
    pd.read_csv(path).assign(**{column: text}).to_csv(path, index=False)
    assert set(reference.load("tiny")[column]) == {text}


@pytest.mark.parametrize("add", [False, True])
def test_names_that_are_not_utf8_are_kept(add, saved, measured, tmp_path):
    store, _ = measured
    odd = saved.assign(image="\udcff", set="folder:\udcff", train_set="folder:\udcff")
    for _ in range(2):  # with add, the second time reads the first
        reference.save(tmp_path / "reference" / "odd", store, PAIR, odd, add=add)
    rows = reference.load("odd")
    for column in ("image", "set", "train_set"):
        assert set(rows[column]) == set(odd[column])


def test_added_results_keep_grids_and_sets(saved, measured, tmp_path):
    store, _ = measured
    folder = tmp_path / "reference" / "tiny"
    run = next(iter(PAIR))
    other = saved[saved["run"] == store.id(run)].assign(set="other")
    reference.save(folder, store, {run: "alone"}, other, add=True)
    rows = reference.load("tiny", ["alone"])
    assert set(rows["set"]) == {*saved["set"], "other"}
    assert set(rows["grids"]) == {"tiny pair alone"}
    assert len(reference.load("tiny")) == len(saved) + len(other)


@pytest.mark.usefixtures("saved")
def test_only_the_runs_of_the_grids_that_are_named():
    assert set(reference.load("tiny", ["pair"])["loss"]) == {"l2", "l2+gv"}
    assert set(reference.load("tiny", ["tiny"])["loss"]) == {"l2"}
    with pytest.raises(
        ValueError, match="unknown grid of the results 'tiny' 'other'; known: pair, "
    ):
        reference.load("tiny", ["other"])
    with pytest.raises(ValueError, match="unknown grid 'other'; known: headline"):
        reference.load("fresh:smoke", ["other"])


def test_only_the_rows_of_the_sets_that_are_named():
    assert set(reference.load("official", sets=["Set5"])["set"]) == {"Set5"}
    with pytest.raises(ValueError, match=r"set of the results 'official' 'Set6'; known: .*Set14"):
        reference.load("official", sets=["Set6"])


def test_saved_twice_it_is_the_same_file(saved, tmp_path):
    folder = tmp_path / "reference" / "tiny"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert len(before) == 3
    origin = ["seconds", "revision", "torch", "python", "device", "threads", "grids"]
    origin += ["gradient_norm", "clipped_share"]
    for rows in (saved, reference.load("tiny").drop(columns=origin)):
        reference.save(folder, Store(), PAIR, rows)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_results_that_are_saved_in_parts_are_those_saved_at_once(saved, measured, tmp_path):
    store, _ = measured
    folder = tmp_path / "parts"
    for run, grids_of_run in PAIR.items():
        part = saved[saved["run"] == store.id(run)].dropna(axis=1, how="all")
        reference.save(folder, store, {run: grids_of_run}, part, add=True)
    for name in (reference.RUNS, reference.ROWS):
        once, parts = (pd.read_csv(tmp_path / f / name) for f in ("reference/tiny", "parts"))
        assert parts[once.columns].equals(once)
    reference.save(folder, store, {TINY: "pair"}, saved[saved["run"] == store.id(TINY)])
    assert len(pd.read_csv(folder / reference.RUNS)) == 1, "without add, the folder is replaced"


def test_perceptual_results_are_a_file_of_their_own(saved, measured, tmp_path):
    store, _ = measured
    with pytest.raises(ValueError, match="the results 'tiny' have no perceptual metrics"):
        reference.load("tiny", perceptual=True)
    looks = store.results(list(PAIR), ["builtin-valid"], perceptual=True, progress=False)
    folder = tmp_path / "reference" / "tiny"
    before = (folder / reference.ROWS).read_bytes()
    reference.save(folder, store, PAIR, saved, looks)
    assert (folder / reference.ROWS).read_bytes() == before
    rows = reference.load("tiny", ["pair"], perceptual=True).sort_values(["run", "image"])
    expected = looks.sort_values(["run", "image"])
    for metric in PERCEPTUAL_METRICS:
        assert rows[metric].to_list() == pytest.approx(expected[metric].to_list(), nan_ok=True)
    assert not set(METRICS) & set(rows)


@pytest.mark.usefixtures("saved")
def test_unknown_results_list_the_known():
    with pytest.raises(ValueError, match="'full'; known: tiny, fresh:smoke, fresh:quick, "):
        reference.load("full")
    with pytest.raises(ValueError, match="'fresh:tiny'; known: tiny, fresh:smoke, fresh:quick, "):
        reference.load("fresh:tiny")


def test_newly_trained_results_read_like_saved_ones(saved, monkeypatch):
    monkeypatch.setitem(GRIDS, "tiny", lambda size: [TINY] if size == "smoke" else [])
    rows = reference.load("fresh:smoke", ["tiny"], ["builtin-valid"])
    assert set(rows["grids"]) == {"tiny"}
    assert set(rows) == set(reference.load("tiny")) - {"gv_weight", "patch_size", "padding"}
    assert rows["psnr_y"].to_list() == saved.loc[saved["loss"] == "l2", "psnr_y"].to_list()
    lr = torch.rand(1, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    model = reference.load_model("fresh:smoke", rows.iloc[0])
    expected = Store().train_or_load(TINY, progress=False).model(lr)
    torch.testing.assert_close(model(lr), expected)  # up to the order of channels in memory


@pytest.mark.usefixtures("saved")
def test_saved_weights_are_the_model_s_to_half_precision():
    rows = reference.load("tiny").drop_duplicates("run").set_index("loss", drop=False)
    model = reference.load_model("tiny", rows.loc["l2"])
    lr = torch.rand(1, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    theirs = Store().train_or_load(TINY, progress=False).model(lr)
    assert torch.allclose(model(lr), theirs, atol=2e-3)
    assert not torch.equal(model(lr), theirs)
    with pytest.raises(ValueError, match=r"weights of run .* are not in the results 'tiny'"):
        reference.load_model("tiny", rows.loc["l2+gv"])


@pytest.mark.usefixtures("saved")
def test_saved_weights_tell_which_run_they_are_of(tmp_path):
    (path,) = (tmp_path / "reference" / "tiny").glob("*.safetensors")
    assert path.stem == Store().id(TINY)
    assert description_of(path) == TINY.description()


@pytest.mark.usefixtures("store")
def test_the_weights_of_a_run_that_is_not_in_the_store():
    row = pd.Series({"run": "0123456789abcdef", "model": "espcn", "scale": 2})
    with pytest.raises(ValueError, match="0123456789abcdef"):
        reference.load_model("fresh:smoke", row)


def test_the_models_of_figures_are_kept():
    rows = reference.load("reduced").drop_duplicates("run")
    pairs = rows[rows["model"].eq("vdsr") & rows["scale"].isin([2, 3]) & rows["seed"].eq(0)]
    pairs = pairs[pairs["loss"].isin(common.GV_PAIR)]
    assert len(pairs) == 4
    for _, run in pairs.iterrows():
        assert reference.load_model("reduced", run)(torch.rand(1, 3, 8, 8)).isfinite().all()


def test_the_official_pair_is_the_authors_training_and_its_protocols_are_of_it():
    rows = reference.load("official", ["official"])
    described = rows.drop_duplicates("run").set_index("loss")
    assert set(described.index) == {"l2", "l2+gv"}
    for run in runs_of(["official"], "full", seeds=1):
        expected = run.description()
        for field in ("size", "channels", "upsample", "steps", "batch_size", "recipe", "seed"):
            assert described.loc[run.loss, field] == expected[field]
    protocols = pd.read_csv(package_data("reference/official/protocols.csv").open())
    paper = protocols[protocols["variant"] == "paper"].set_index(["set", "image", "loss"])["psnr"]
    measured = rows.set_index(["set", "image", "loss"])["psnr_rgb"].loc[paper.index]
    assert (paper - measured).abs().max() < 0.01
    for _, run in rows.drop_duplicates("run").iterrows():
        assert reference.load_model("official", run)(torch.rand(1, 3, 8, 8)).isfinite().all()


def test_a_single_text_is_no_list_of_names():
    with pytest.raises(ValueError, match=r"grids 'table1' is not allowed; a list of names is"):
        reference.load("reduced", "table1")
    with pytest.raises(ValueError, match="sets 'Set5' is not allowed"):
        Store().results([Run()], "Set5")


def test_new_results_need_grids():
    with pytest.raises(ValueError, match="need the names of grids"):
        reference.load("fresh:smoke")


SAVED = [name for name in reference.known_results() if not name.startswith(reference.FRESH)]


@pytest.mark.parametrize("name", SAVED)
def test_saved_results_come_from_committed_code(name):
    revisions = pd.read_csv(package_data(f"reference/{name}/runs.csv"), dtype=str)["revision"]
    assert revisions.str.fullmatch("[0-9a-f]{7,}").all()
