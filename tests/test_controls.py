"""The controls: paired, with as many trials for every arm, and no trial's seed in a result."""

from collections import Counter

import pytest

from gvstudy import controls, reference
from gvstudy.evaluation import METRICS
from gvstudy.grids import AUTHORS_GV, AUTHORS_TV2, SIZES, TRIAL_SEED, TRIAL_SET
from gvstudy.training import RECIPES

TRIALS = ("rates", "sweep")
RESULTS = sorted(set(controls.CONTROLS) - set(TRIALS))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", controls.CONTROLS)
def test_every_grid_is_there_in_every_size(name, size):
    runs = controls.GRIDS[name](size)
    assert len(set(runs)) == len(runs) > 0
    assert {run.recipe for run in runs} <= set(RECIPES)


@pytest.mark.parametrize("name", RESULTS)
def test_both_arms_have_the_same_seeds(name):
    runs = controls.GRIDS[name]("reduced")
    seeds = {}
    for run in runs:
        seeds.setdefault((run.loss, run.recipe, run.steps), []).append(run.seed)
    by_steps = {}
    for (*_, steps), some in seeds.items():
        by_steps.setdefault(steps, set()).add(tuple(some))
    assert all(len(some) == 1 for some in by_steps.values())
    fewest = min(len(one) for some in by_steps.values() for one in some)
    assert fewest >= {"budget": 6, "adam": 6, "own": 6, "finetuned": 6}.get(name, 8)
    assert not any(run.seed >= TRIAL_SEED for run in runs)


@pytest.mark.parametrize("name", TRIALS)
def test_trials_have_seeds_of_their_own(name):
    assert all(run.seed >= TRIAL_SEED for run in controls.GRIDS[name]("reduced"))


def test_every_arm_gets_as_many_rates():
    counts = Counter((run.recipe, run.loss) for run in controls.rates("reduced"))
    assert set(counts) == set(controls.BEST)
    assert all(count == 2 * len(controls.RATES[recipe]) for (recipe, _), count in counts.items())


def test_the_best_rates_are_among_those_tried():
    assert all(rate in controls.RATES[recipe] for (recipe, _), rate in controls.BEST.items())


@pytest.mark.parametrize(
    ("name", "grids", "sets"),
    [
        ("controls", RESULTS, ["DIV2K_valid_centre256", "Set14"]),
        ("trials", TRIALS, [TRIAL_SET]),
    ],
)
def test_the_kept_runs_are_those_of_the_grids(name, grids, sets):
    kept = reference.load(name)
    assert kept.drop_duplicates("run").set_index("run")["grids"].value_counts().to_dict() == (
        Counter(controls.runs_of(grids, "reduced").values())
    )
    seen = kept.groupby("run")["set"].unique().map(sorted)
    assert all(some == sets for some in seen)
    assert not kept["revision"].str.contains("dirty").any()
    assert not kept[list(METRICS)].isna().any(axis=None)


def test_the_best_rates_are_those_of_the_trials():
    trials = reference.load("trials", ["rates"])
    mean = trials.groupby(["recipe", "loss", "learning_rate"])["psnr_y"].mean().unstack()
    assert mean.idxmax(axis=1).to_dict() == controls.BEST
    tried = mean.notna().groupby("recipe").sum().gt(0)
    for recipe, some in tried.iterrows():
        assert tuple(some[some].index) == controls.RATES[recipe]


def test_the_sweep_has_the_authors_setting_and_five_decades():
    runs = controls.sweep("reduced")
    gv = [run for run in runs if run.loss == "l2+gv"]
    assert len(gv) == 5 * 4 * 2
    assert {run.gv_weight for run in gv} == {AUTHORS_GV * 10.0**k for k in (-2, -1, 0, 1, 2)}
    tv = [run for run in runs if run.loss == "l2+tv2"]
    pixels = tv[0].batch_size * tv[0].crop_size ** 2
    assert [run.tv_weight * pixels / AUTHORS_TV2 for run in tv] == pytest.approx(
        [0.01, 0.1, 1, 10, 100]
    )


def test_a_grid_of_several_names_has_each_run_once():
    told = controls.runs_of(["headline", "table1"], "reduced")
    assert set(told.values()) == {"table1", "headline table1"}
    assert len(controls.runs_of(["arms"], "reduced", seeds=2)) == 10
    told = controls.runs_of(["sweep", "weights"], "smoke")
    described = [str(run.description()) for run in told]
    assert len(described) == len(set(described)), "by what counts in a run, not by its fields"
    assert "sweep weights" in told.values()
