"""The weights that fitted curves choose are those of the plan's rule."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from gvstudy import load_images
from gvstudy.study import common, fronts, planned_adam, reference
from gvstudy.study.store import Store

WEIGHTS = (1e-3, 1e-2, 1e-1)


def rows(change=lambda weight: (0.0, 0.0, 0.0), weights=WEIGHTS, seeds=(100, 101)):
    """Rows of three images, whose metrics differ from image to image and from seed to seed."""
    made = []
    for weight in weights:
        for seed in seeds:
            for image in range(3):
                base = (30 + image + seed, 0.8 + image / 10 + seed, 0.05 + image + seed)
                values = (b + c for b, c in zip(base, change(weight), strict=True))
                keys = {"model": "vdsr", "scale": 2, "set": "A", "image": str(image), "seed": seed}
                made.append(
                    {**keys, "weight": weight, **dict(zip(fronts.METRICS, values, strict=True))}
                )
    return pd.DataFrame(made)


ALONE = rows(weights=(0,)).drop(columns="weight")


def parabola(weight):
    """Known changes: -0.01 x, 0.02 x and -0.001 (4 x - x^2), with x from 0 to 2 decades."""
    x = np.log10(weight / 1e-3)
    return -0.04 * x, 0.02 * x, -0.001 * (4 * x - x**2)


def test_changes_are_means_over_images_minus_the_same_seed_of_l2():
    found = fronts.trial_changes(rows(parabola), ALONE)
    assert len(found) == len(WEIGHTS) * 2
    for row in found.itertuples():
        changed = (row.psnr_y, row.variance_ratio, row.variance_distance)
        assert changed == pytest.approx(parabola(row.weight))


def test_a_seed_that_diverged_is_left_out():
    trials = rows(parabola)
    lost = (trials["weight"] == 1e-1) & (trials["seed"] == 101)
    trials.loc[lost, list(fronts.METRICS)] = np.nan
    found = fronts.trial_changes(trials, ALONE)
    assert len(found) == len(WEIGHTS) * 2 - 1
    assert found[found["weight"] == 1e-1]["seed"].to_list() == [100]


def test_a_parabola_in_log_weight_is_found_again():
    fitted = fronts.curve(fronts.trial_changes(rows(parabola), ALONE))
    assert len(fitted) == fronts.POINTS
    assert fitted["weight"].iloc[[0, -1]].to_list() == pytest.approx([1e-3, 1e-1])
    ratios = fitted["weight"].to_numpy()[1:] / fitted["weight"].to_numpy()[:-1]
    assert ratios == pytest.approx(ratios[0])
    expected = np.array([parabola(weight) for weight in fitted["weight"]])
    assert fitted[list(fronts.METRICS)].to_numpy() == pytest.approx(expected)


def test_the_chosen_weight_costs_at_most_what_the_plan_allows():
    fitted = fronts.curve(fronts.trial_changes(rows(parabola), ALONE))
    weight = fronts.chosen(fitted)  # the distance falls to the end, but 0.05 dB are spent before
    assert fronts.at(fitted, weight)["psnr_y"] == pytest.approx(-0.05, abs=1e-4)
    assert weight == pytest.approx(1e-3 * 10**1.25, rel=0.01)
    free = fitted.assign(psnr_y=0.0)
    assert fronts.chosen(free) == pytest.approx(1e-1)
    dear = fitted.assign(psnr_y=-1.0)
    assert fronts.chosen(dear) == pytest.approx(1e-3), "the smallest, if all cost too much"


def test_the_matched_weight_raises_the_ratio_as_much_or_there_is_none():
    fitted = fronts.curve(fronts.trial_changes(rows(parabola), ALONE))
    assert fronts.matched(fitted, 0.03) == pytest.approx(1e-3 * 10**1.5, rel=0.01)
    assert fronts.matched(fitted, 0.05) is None


def test_an_amount_has_a_parabola_in_itself():
    amounts = (0.0, 0.5, 1.0)
    changed = fronts.trial_changes(rows(lambda a: (-(a**2), a, 1 - a), weights=amounts), ALONE)
    fitted = fronts.curve(changed, logarithmic=False)
    assert fitted["psnr_y"].to_numpy() == pytest.approx(-(fitted["weight"] ** 2).to_numpy())


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="the rows don't pair up"):
        fronts.trial_changes(rows(seeds=(102,)), ALONE)
    changed = fronts.trial_changes(rows(parabola), ALONE)
    with pytest.raises(ValueError, match="through 2 weights; expected 3"):
        fronts.curve(changed[changed["weight"] > 1e-3])
    with pytest.raises(ValueError, match="a weight of 0; expected positive"):
        fronts.curve(changed.replace({"weight": {1e-3: 0.0}}))


def test_choices_are_what_the_rule_says_of_each_rival():
    changed = fronts.trial_changes(rows(parabola), ALONE)
    half = changed.assign(**changed[list(fronts.METRICS)] / 2)
    found = fronts.choices(fronts.curves({"gv": changed, "half": half}))
    assert list(found.index) == ["gv", "half"], "in the order of the distance"
    fitted = fronts.curve(changed)
    for name, scaled in (("gv", 1), ("half", 0.5)):
        expected = fronts.curve(changed.assign(**changed[list(fronts.METRICS)] * scaled))
        assert found.loc[name, "weight"] == fronts.chosen(expected)
        rise = fronts.at(fitted, 0.01)["variance_ratio"]
        assert found.loc[name, "matched"] == fronts.matched(expected, rise)
    assert not found.loc["gv", "at_end"]
    assert found.loc["half", "at_end"]


def test_a_rival_that_never_gets_there_has_no_matched_weight():
    changed = fronts.trial_changes(rows(parabola), ALONE)
    weak = changed.assign(variance_ratio=changed["variance_ratio"] / 10)
    found = fronts.choices(fronts.curves({"gv": changed, "weak": weak}))
    assert np.isnan(found.loc["weak", "matched"])


def test_every_rival_s_changes_and_their_means_are_found_by_name():
    tried = rows(parabola)
    trials = pd.concat(
        [
            ALONE.assign(loss="l2", gv_weight=np.nan, tv_weight=np.nan),
            tried.assign(loss="l2+gv", gv_weight=tried["weight"], tv_weight=np.nan),
            tried.assign(loss="l2+tv", gv_weight=np.nan, tv_weight=tried["weight"]),
        ]
    ).drop(columns="weight")
    found = fronts.rival_changes(trials, tried.rename(columns={"weight": "amount"}))
    assert list(found) == ["gv", "tv", "sharpened"]
    expected = fronts.trial_changes(tried, ALONE)
    for one in found.values():
        pd.testing.assert_frame_equal(one, expected)
    for row in fronts.points(found).itertuples():
        changed = (row.psnr_y, row.variance_ratio, row.variance_distance)
        assert changed == pytest.approx(parabola(row.weight))


@pytest.mark.parametrize(("place", "expected"), [(2, "abgcde"), (7, "abcdefg")])
def test_six_better_than_tv_are_tested_and_gv_in_any_case(place, expected):
    order = list("abcdefh")
    order.insert(place, "gv")
    order = ["sharpened", *order, "tv", "z"]
    found = pd.DataFrame({"variance_distance": np.arange(len(order))}, index=order)
    assert fronts.to_test(found) == [{"g": "gv"}.get(name, name) for name in expected]


def test_every_rival_has_a_name_for_readers():
    assert fronts.NAMES.keys() == {*planned_adam.RIVALS, fronts.SHARPENED}


@pytest.fixture
def small_set(tmp_path):
    """The name of a set of one small picture."""
    picture = load_images("builtin-valid")["chelsea"][:, 100:196, 100:196]
    (tmp_path / "small").mkdir()
    Image.fromarray(picture.permute(1, 2, 0).numpy()).save(tmp_path / "small" / "cat.png")
    return f"folder:{tmp_path / 'small'}"


def test_sharpened_rows_are_those_of_the_run_with_its_images_sharpened(store, small_set):
    run = next(run for run in planned_adam.fronts("smoke") if run.loss == "l2")
    found = fronts.sharpened(Store(store), [run], (0.0, 0.5), small_set, perceptual=True)
    plain = Store(store).results([run], [small_set])
    unchanged, steeper = (found[found["amount"] == amount] for amount in (0.0, 0.5))
    assert len(found) == 2 * len(plain)
    assert unchanged["psnr_y"].to_list() == pytest.approx(plain["psnr_y"].to_list(), rel=1e-5)
    more = steeper["variance_ratio"].to_numpy() > unchanged["variance_ratio"].to_numpy()
    assert more.all()
    assert steeper["gmsd"].notna().all()


def test_saved_sharpened_rows_are_loaded_with_their_runs(store, small_set, tmp_path, monkeypatch):
    runs = {run: "fronts" for run in planned_adam.fronts("smoke") if run.loss == "l2"}
    folder = tmp_path / "reference" / "some"
    folder.mkdir(parents=True)
    monkeypatch.setattr(reference, "package_data", lambda path: tmp_path / path)
    rows = Store(store).results(list(runs), [small_set])
    reference.save(folder, Store(store), runs, rows)
    with pytest.raises(ValueError, match="'some' have no sharpened images"):
        reference.load_sharpened("some")
    sharp = fronts.sharpened(Store(store), runs, (0.3,), small_set)
    reference.save_sharpened(folder, sharp)
    found = reference.load_sharpened("some")
    assert found["psnr_y"].to_list() == pytest.approx(sharp["psnr_y"].to_list())
    assert set(found["loss"]) == {"l2"}


@pytest.fixture(scope="module")
def trials():
    """The reference trials: what each rival's weights change, and what the rule chooses."""
    tried, sharp = reference.load("fronts", ["fronts"]), reference.load_sharpened("fronts")
    assert set(tried["set"]) == set(sharp["set"]) == {common.TRIAL_SET}
    return fronts.rival_changes(tried, sharp)


def test_the_trials_are_complete_and_no_seed_diverged(trials):
    assert trials.keys() == fronts.NAMES.keys()
    for name, some in trials.items():
        assert len(some) == 4 * (len(fronts.AMOUNTS) if name == fronts.SHARPENED else 5), name


def test_the_weights_that_are_tested_are_those_that_the_trials_chose(trials):
    found = fronts.choices(fronts.curves(trials))
    assert list(planned_adam.RIVALS_CHOSEN) == fronts.to_test(found)
    chosen = planned_adam.RIVALS_CHOSEN | {fronts.SHARPENED: fronts.CHOSEN_AMOUNT}
    for name, weight in chosen.items():
        assert weight == float(f"{found.loc[name, 'weight']:.3g}"), name


def test_so_are_the_weights_at_which_the_ratio_rises_as_far_as_with_gv(trials):
    reached = fronts.choices(fronts.curves(trials))["matched"].dropna().drop("gv")
    matched = planned_adam.RIVALS_MATCHED | {fronts.SHARPENED: fronts.MATCHED_AMOUNT}
    assert matched.pop("gv") == common.AUTHORS_GV
    assert {name: float(f"{weight:.3g}") for name, weight in reached.items()} == matched


def test_so_are_those_with_edsr():
    trials = fronts.rival_changes(reference.load("edsr_fronts", ["edsr-fronts"]))
    assert set(trials) == set(planned_adam.RIVALS_FIRST)
    for name, fitted in fronts.curves(trials).items():
        assert planned_adam.RIVALS_CHOSEN_EDSR[name] == pytest.approx(fronts.chosen(fitted)), name


def test_changes_are_of_the_metrics_that_are_named():
    rows = reference.load("edsr_fronts", ["edsr-fronts"])
    found = fronts.rival_changes(rows, metrics=["ssim_y"])
    assert [*found["deviation"]] == ["weight", "seed", "ssim_y"]
    assert [*fronts.points(found)] == ["rival", "weight", "ssim_y"]
    alone, ours = (rows[rows["loss"] == loss] for loss in ("l1", "l1+deviation"))
    expected = ours.groupby("gv_weight")["ssim_y"].mean() - alone["ssim_y"].mean()
    seen = fronts.points(found).query("rival == 'deviation'").set_index("weight")["ssim_y"]
    assert seen.to_numpy() == pytest.approx(expected.to_numpy())


def test_so_is_the_rate():
    rows = reference.load("rival_rates", ["rival-rates"])
    psnr = rows.groupby(["loss", "learning_rate"])["psnr_y"].mean().unstack()
    assert set(psnr.columns) == set(planned_adam.RIVAL_RATES)
    assert set(psnr.idxmax(axis=1)) == {planned_adam.BEST_RIVAL_RATE}
