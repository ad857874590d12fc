"""The grids: the tables have all their cells, the controls are paired, trials stay apart."""

from collections import Counter
from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch

from gvstudy import build_loss, build_model, load_images
from gvstudy.config import RECIPES
from gvstudy.data.sets import registry
from gvstudy.evaluation import METRICS
from gvstudy.images import centre, make_lr, to_float
from gvstudy.study import common, planned_adam, planned_official, reference, statistics, tables
from gvstudy.study.common import (
    AUTHORS_GV,
    AUTHORS_TV2,
    GRID_SIZES,
    TESTS,
    TRIAL_SEED,
    TRIAL_SET,
    factors,
    trial_and_test_set,
)
from gvstudy.study.grids import GRIDS, runs_of
from gvstudy.study.tables import BEST, CHOSEN, RATES, table1, table2

TABLES = ("headline", "table1", "table2", "official", "weights", "chosen")
PLANNED = (  # the experiments of PLAN.md
    "constant-trials",
    "constants",
    "small-constants",
    "other-constant-trials",
    "other-constants",
    "lengths",
    "lengths-checks",
    "large-crops",
    "valid-padding",
    "full-size",
    "fan-out-trials",
    "larger-constant-trials",
    "larger-constants",
    "fan-out-lengths",
    "fan-out-constants",
    "fan-out-small-constants",
    "table2-constant-trials",
    "table2-official",
    "longer-trials",
    "longer",
    "exact",
)
RIVALS = {"fronts", "rivals", "rival-rates", "edsr-fronts", "other-rivals", "longer-rivals"}
RIVALS |= {"rivals-best-rate", "edge-trials", "edge-loss"}
RIVALS |= {"colour-trials", "colour-loss", "colour-elsewhere", "colour-longer"}
RIVALS |= {"to-the-end-rates", "to-the-end", "long-rates", "long-best-rate", "equal-variance"}
RIVALS |= {"colour-rates", "colour-best-rate"}
RIVALS |= {"colour-model-rates", "colour-models", "colour-full-rates", "colour-full"}
CONTROLS = sorted(set(GRIDS) - set(TABLES) - set(PLANNED) - RIVALS)
TRIALS = ("rates", "sweep")
RESULTS = sorted(set(CONTROLS) - set(TRIALS))


@pytest.mark.parametrize("size", GRID_SIZES)
@pytest.mark.parametrize("name", GRIDS)
def test_every_grid_is_there_in_every_size(name, size):
    runs = GRIDS[name](size)
    assert len(set(runs)) == len(runs) > 0
    assert {run.recipe for run in runs} <= set(RECIPES)


def test_the_tables_have_all_their_cells():
    cells = {(run.model, run.scale, run.loss) for run in table1("reduced")}
    assert len(cells) == 18
    assert len(table1("reduced")) == 6 * 18
    expected = set(product(("l2", "l1", "ssim"), ("", "+tv2", "+gv")))
    assert {(r.loss.split("+")[0], r.loss[len(r.loss.split("+")[0]):]) for r in table2("reduced")} \
        == expected  # fmt: skip
    assert len(table2("reduced")) == 6 * 9
    assert len(runs_of(("headline", "table1", "table2"), "reduced")) == 6 * (18 + 9 - 2)


def test_the_reference_results_fill_both_tables():
    """72 cells of Table 1 and 9 of Table 2, by six seeds: a verdict depends on each."""
    rows = reference.load("reduced")
    by_set = rows.groupby(["model", "scale", "loss", "set"])["seed"].nunique()
    expected = {(r.model, r.scale, r.loss) for r in (*table1("reduced"), *table2("reduced"))}
    assert len(expected) == 18 + 9 - 2  # VDSR's pair at x2 is in both
    cells = set(product(expected, TESTS))
    assert {((model, scale, loss), name) for model, scale, loss, name in by_set.index} == cells
    assert by_set.min() >= statistics.FEWEST_SEEDS
    counts = rows.groupby(["run", "set"])["image"].nunique().unstack()
    assert (counts == [100, 14, 5, 20]).all(axis=None)
    assert not rows[list(METRICS)].isna().any(axis=None)


def test_the_reference_runs_are_those_of_the_tables():
    reduced = reference.load("reduced").drop_duplicates("run")
    runs = runs_of(("headline", "table1", "table2"), "reduced")
    fields = ["model", "scale", "loss", "seed", "size", "steps", "train_set", "recipe"]
    assert set(reduced[fields].itertuples(index=False, name=None)) >= {
        tuple(run.description()[field] for field in fields) for run in runs
    }
    origin = ["seconds", "revision", "torch", "python", "device", "threads"]
    assert not reduced[origin].isna().any(axis=None)


@pytest.mark.parametrize(
    ("name", "names", "sets"),
    [
        ("controls", RESULTS, ["DIV2K_valid_centre256", "Set14"]),
        ("trials", TRIALS, [TRIAL_SET]),
    ],
)
def test_the_reference_runs_are_those_of_the_controls(name, names, sets):
    rows = reference.load(name)
    assert rows.drop_duplicates("run").set_index("run")["grids"].value_counts().to_dict() == (
        Counter(runs_of(names, "reduced").values())
    )
    seen = rows.groupby("run")["set"].unique().map(sorted)
    assert all(some == sets for some in seen)
    assert not rows[list(METRICS)].isna().any(axis=None)


def test_every_pixel_loss_gets_as_many_trials_of_tv_as_of_gv():
    trials = [run for run in GRIDS["weights"]("reduced") if "+" in run.loss]
    counts = Counter(run.loss for run in trials)
    assert counts == dict.fromkeys(
        [f"{pixel}+{added}" for pixel in ("l2", "l1", "ssim") for added in ("tv2", "gv")], 4
    )
    seeds = {run.seed for name in ("headline", "table2", "official") for run in GRIDS[name]("full")}
    assert not seeds & {run.seed for run in trials}
    authors = {run.loss: run for run in table2("reduced")}
    for run in trials:
        own = authors[run.loss]
        weight = "gv_weight" if run.loss.endswith("gv") else "tv_weight"
        assert getattr(run, weight) / getattr(own, weight) == pytest.approx(
            {0: 0.01, 1: 0.1, 2: 1, 3: 10}[trials.index(run) // 6]
        )


def test_the_chosen_weights_are_those_of_the_trials():
    trials = reference.load("weights")
    assert set(trials["set"]) == {TRIAL_SET}
    mean = trials.assign(factor=factors(trials)).groupby(["loss", "factor"])["psnr_y"].mean()
    table = mean.unstack().drop(columns=0).loc[list(CHOSEN)]
    assert table.notna().all(axis=None)
    assert table.idxmax(axis=1).to_dict() == CHOSEN
    runs = {(run.loss, run.gv_weight if "gv" in run.loss else run.tv_weight)
            for run in GRIDS["chosen"]("reduced")}  # fmt: skip
    tried = {(row.loss, row.gv_weight if "gv" in row.loss else row.tv_weight)
             for row in trials.itertuples() if "+" in row.loss}  # fmt: skip
    assert runs <= tried


def test_size_full_is_trained_as_published():
    runs = table1("full")
    assert {(run.model, run.recipe) for run in runs} == {
        (model, f"published-{model}") for model in ("vdsr", "edsr", "espcn")
    }
    assert {run.size for run in runs} == {"paper"}
    assert {(r.scale, r.crop_size) for r in runs if r.model == "edsr"} == {
        (2, 96),
        (3, 144),
        (4, 192),
    }


@pytest.mark.parametrize("name", RESULTS)
def test_all_variants_have_the_same_seeds(name):
    runs = GRIDS[name]("reduced")
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


@pytest.mark.parametrize("name", PLANNED)
def test_planned_variants_share_seeds_precision_and_all_but_what_they_name(name):
    runs = GRIDS[name]("reduced")
    variants = {}
    for run in runs:
        label = (
            run.model,
            run.scale,
            run.loss,
            run.recipe,
            run.steps,
            run.pixel_weight,
            run.lengths_from,
            run.lengths_of,
        )
        variants.setdefault(label, []).append(run.seed)
    assert len({tuple(seeds) for seeds in variants.values()}) == 1
    seeds = next(iter(variants.values()))
    assert {run.precision for run in runs} == {"float32"}
    if name.endswith("trials"):
        assert seeds == [100, 101][: 1 if name == "longer-trials" else 2]
    elif name.startswith("fan-out"):
        assert seeds == list(range(40, 56))
    elif name in ("exact", "larger-constants"):
        assert seeds == list(range(1, 9) if name == "exact" else range(86, 94))
    else:
        assert seeds[:8] == list(range(24, 32))  # those that decide
        assert max(seeds) < TRIAL_SEED


def psnr_by_constant(trials, *cell):
    """The trials' mean PSNR by cell, constant and seed."""
    assert set(trials["set"]) == {TRIAL_SET}
    keys = [*cell, trials["pixel_weight"].fillna(1), "seed"]
    return trials.groupby(keys)["psnr_y"].mean().unstack()


def best_constants(tried, constants=planned_official.CONSTANTS):
    """By cell the constant of highest mean, among those at which no seed diverged."""
    mean = tried.dropna().mean(axis=1).unstack()
    assert tuple(mean.columns) == constants
    return mean.idxmax(axis=1).to_dict()


def test_the_best_constants_are_those_of_the_trials():
    """At VDSR's x2 every constant counts; elsewhere those at which no seed diverged."""
    both = ("constant_trials", "other_constant_trials")
    trials = pd.concat([reference.load(name, [name.replace("_", "-")]) for name in both])
    tried = psnr_by_constant(trials, "model", "scale", "loss")
    assert tried.loc["vdsr", 2].notna().all(axis=None)
    assert tried.columns.to_list() == [100, 101]
    best = best_constants(tried)
    del best["vdsr", 2, "l1"]
    assert best == planned_official.BEST_CONSTANT


def test_the_best_constants_from_the_script_s_initial_weights_are_those_of_the_trials():
    longer = reference.load("longer_trials", ["longer-trials"])
    tried = psnr_by_constant(longer, "loss")
    assert (
        best_constants(tried, planned_official.LONGER_CONSTANTS)
        == planned_official.BEST_CONSTANT_LONGER
    )
    names = ("fan_out_trials", "table2_constant_trials")
    trials = pd.concat([reference.load(name, [name.replace("_", "-")]) for name in names])
    assert set(trials["fan"]) == {"fan_out"}
    tried = psnr_by_constant(trials, "loss")
    assert tried.columns.to_list() == [100, 101]
    assert best_constants(tried) == planned_official.BEST_CONSTANT_FAN_OUT


def test_of_larger_constants_the_best_is_that_of_the_trials():
    names = ("fan_out_trials", "larger_constant_trials")
    trials = pd.concat([reference.load(name, [name.replace("_", "-")]) for name in names])
    every = (*planned_official.CONSTANTS, *planned_official.LARGER_CONSTANTS)
    chosen = best_constants(psnr_by_constant(trials, "loss"), every)
    assert chosen == dict.fromkeys(("l2", "l2+gv"), planned_official.BEST_CONSTANT_LARGER)


@pytest.mark.parametrize(
    "name",
    [
        "constants",
        "small-constants",
        "other-constants",
        "lengths",
        "lengths-checks",
        "valid-padding",
        "large-crops",
        "fan-out-lengths",
        "fan-out-constants",
        "fan-out-small-constants",
        "larger-constants",
        "table2-official",
        "full-size",
        "longer",
        "exact",
        "to-the-end",
        "long-best-rate",
        "rivals",
        "equal-variance",
        "other-rivals",
        "edge-loss",
        "colour-loss",
        "colour-best-rate",
        "colour-elsewhere",
        "colour-longer",
        "colour-models",
        "colour-full",
    ],
)
def test_the_seeds_of_a_planned_grid_are_complete_and_on_one_type_of_machine(name):
    """Rows come in parts, but a seed with one number of steps comes as a whole."""
    rows = reference.load(name.replace("-", "_"), [name])
    expected = runs_of([name], "reduced")
    variants = Counter((run.seed, run.steps) for run in expected)
    runs = rows.drop_duplicates("run")
    parts = runs.groupby(["seed", "steps"])
    assert parts.size().to_dict() == {part: variants[part] for part in parts.groups}
    # Of experiment 8 a CPU computed EDSR's seed 29, all three variants (plan, amendments).
    compared = ["seed", "steps", *(["model"] if name == "to-the-end" else [])]
    assert (runs.groupby(compared)["device"].nunique() == 1).all()
    assert set(rows["precision"]) == {"float32"}
    sets = {"rivals": 4, "other-rivals": 3, "to-the-end": 3, "long-best-rate": 3}
    sets["equal-variance"] = 1
    assert (rows.groupby("run")["set"].nunique() == sets.get(name, 2)).all()


def test_the_controls_of_lengths_do_what_their_names_say():
    plain = [run for run in planned_official.lengths("quick") if run.recipe == "official"]
    runs = {(run.loss, run.lengths_from): run for run in plain}
    yoked, mirror = runs["l2", "l2+gv"], runs["l2+gv", "l2"]
    assert yoked.partner.key == runs["l2+gv", ""].key
    assert mirror.partner.key == runs["l2", ""].key


def test_long_trainings_get_three_rates_for_the_pixel_loss_and_both_weights_of_gv():
    """The trials take a quarter of the steps; the rate of the run's own recipe is among them."""
    trials = planned_adam.to_the_end_rates("reduced")
    cells = Counter((run.model, run.gv_weight if "gv" in run.loss else 0) for run in trials)
    assert cells == dict.fromkeys(product(common.BASES, planned_adam.END_WEIGHTS), 3)
    own = {"vdsr": 2e-3, "edsr": 2e-3, "espcn": tables.PUBLISHED["espcn"]["learning_rate"]}
    assert all(own[model] in rates for model, rates in planned_adam.END_RATES.items())
    assert {run.seed for run in trials} == {TRIAL_SEED}
    runs = planned_adam.to_the_end("reduced")
    assert len(runs) == 6 * 3 * 3
    assert {(run.model, run.recipe, run.steps) for run in runs} == {
        ("vdsr", "tuned", 20000),
        ("edsr", "tuned", 20000),
        ("espcn", "published-espcn", 30000),
    }
    assert {(run.model, 4 * run.steps) for run in trials} == {
        (run.model, run.steps) for run in runs
    }


def test_the_rates_of_long_trainings_are_the_best_of_their_trials():
    trials = reference.load("to_the_end_rates", ["to-the-end-rates"])
    weight = trials["gv_weight"].fillna(0)
    mean = trials.groupby(["model", weight, "learning_rate"])["psnr_y"].mean()
    assert trials["image"].nunique() == 40
    for model, rates in planned_adam.END_RATES.items():
        tried = mean.loc[model].unstack()
        assert tuple(tried.columns) == rates
        for chosen_for in planned_adam.END_WEIGHTS:
            assert tried.loc[chosen_for].idxmax() == planned_adam.BEST_END_RATE[model, chosen_for]
    for run in planned_adam.to_the_end("reduced"):
        weight = run.gv_weight if "gv" in run.loss else 0
        assert run.learning_rate == planned_adam.BEST_END_RATE[run.model, weight]


def test_so_are_those_of_full_length():
    trials = reference.load("long_rates", ["long-rates"])
    assert (
        trials["steps"] == trials["model"].map(lambda m: planned_adam.TO_THE_END[m]["steps"])
    ).all()
    weight = trials["gv_weight"].fillna(0)
    mean = trials.groupby(["model", weight, "learning_rate"])["psnr_y"].agg(["mean", "size"])
    assert set(mean["size"]) == {2 * 40}, "two seeds, forty pictures"
    assert trials["psnr_y"].notna().all(), "no seed diverged"
    assert {model for model, _ in planned_adam.BEST_LONG_RATE} == set(trials["model"])
    for model in trials["model"].unique():
        tried = mean["mean"].loc[model].unstack()
        assert tuple(tried.columns) == planned_adam.LONG_RATES[model]
        for chosen_for in planned_adam.END_WEIGHTS:
            assert tried.loc[chosen_for].idxmax() == planned_adam.BEST_LONG_RATE[model, chosen_for]


def test_long_trainings_at_these_rates_have_six_seeds_that_were_never_used():
    runs = planned_adam.long_best_rate("reduced")
    found = Counter((run.model, run.gv_weight if "gv" in run.loss else 0) for run in runs)
    assert found == dict.fromkeys(planned_adam.BEST_LONG_RATE, 6)
    assert {run.seed for run in runs} == set(range(72, 78))
    assert {(run.recipe, run.steps, run.precision) for run in runs} == {
        ("published-espcn", 30000, "float32")
    }


def test_losses_at_equal_variance_are_trained_from_eight_seeds_that_were_never_used():
    runs = planned_adam.equal_variance("reduced")
    losses = ["l2", *(f"l2+{rival}" for rival in planned_adam.RIVALS_MATCHED)]
    assert [(run.seed, run.loss) for run in runs] == list(product(range(78, 86), losses))
    assert {(run.recipe, run.precision, run.steps) for run in runs} == {("tuned", "float32", 1000)}


def test_every_rival_is_tried_at_as_many_weights_on_the_same_seeds():
    runs = planned_adam.fronts("reduced")
    counts = Counter((run.loss, run.seed) for run in runs)
    losses = ["l2", *(f"l2+{rival}" for rival in planned_adam.RIVALS)]
    assert set(counts) == {(loss, seed) for loss in losses for seed in range(100, 104)}
    assert {count for (loss, _), count in counts.items() if loss != "l2"} == {5}
    assert len(runs_of(["fronts"], "reduced")) == len(runs) == 4 * (1 + 11 * 5)
    assert {(run.recipe, run.precision, run.steps) for run in runs} == {("tuned", "bfloat16", 1000)}


def test_the_chosen_rivals_are_tested_on_six_new_seeds():
    runs = planned_adam.rivals("reduced")
    losses = ["l2", *(f"l2+{rival}" for rival in planned_adam.RIVALS_CHOSEN)]
    assert [(run.seed, run.loss) for run in runs] == list(product(range(24, 30), losses))
    assert {(run.recipe, run.precision, run.steps) for run in runs} == {("tuned", "float32", 1000)}


def test_the_first_three_rivals_are_tested_elsewhere_as_well():
    runs = [*planned_adam.other_rivals("reduced"), *planned_adam.longer_rivals("reduced")]
    cells = Counter((run.model, run.scale, run.steps) for run in runs)
    assert set(cells) == {
        ("vdsr", 3, 1000),
        ("vdsr", 4, 1000),
        ("espcn", 2, 1000),
        ("edsr", 2, 1000),
        ("vdsr", 2, 10000),
    }
    assert set(cells.values()) == {6 * 4}
    for run in runs:
        pixel, _, rival = run.loss.partition("+")
        assert pixel == common.BASES[run.model]
        assert rival in ("", *planned_adam.RIVALS_FIRST)
    assert {run.seed for run in runs} == set(range(24, 30))


def test_the_edge_loss_s_weight_is_the_best_of_its_trials():
    trials = reference.load("edge_trials", ["edge-trials"])
    mean = trials[trials["loss"] != "l2"].groupby("gv_weight")["psnr_y"].mean()
    assert mean.index.to_list() == list(planned_adam.EDGE_WEIGHTS)
    assert mean.idxmax() == planned_adam.EDGE_CHOSEN


def test_the_edge_loss_is_tested_beside_both_pixel_losses_on_seeds_of_its_own():
    runs = planned_adam.edge_loss("reduced")
    losses = ["l2", "l2+maps-charbonnier", "l1"]
    assert [(run.seed, run.loss) for run in runs] == list(product(range(30, 40), losses))
    assert {run.gv_weight for run in runs if "+" in run.loss} == {planned_adam.EDGE_CHOSEN}
    assert {(run.recipe, run.precision, run.steps) for run in runs} == {("tuned", "float32", 1000)}


def test_the_edge_loss_by_channel_has_the_best_setting_of_its_trials():
    trials = reference.load("colour_trials", ["colour-trials"])
    mean = trials[trials["loss"].str.endswith("-rgb")].groupby(["loss", "gv_weight"])
    mean = mean["psnr_rgb"].mean()
    tried = product(("l1", "l2"), planned_adam.COLOUR_WEIGHTS)
    assert mean.index.to_list() == [(f"{pixel}+maps-charbonnier-rgb", one) for pixel, one in tried]
    pixel, weight = planned_adam.COLOUR_CHOSEN
    assert mean.idxmax() == (f"{pixel}+maps-charbonnier-rgb", weight)


def test_the_edge_loss_by_channel_is_tested_on_seeds_of_its_own():
    runs = planned_adam.colour_loss("reduced")
    losses = ["l2", "l1", "l1+maps-charbonnier-rgb"]
    assert [(run.seed, run.loss) for run in runs] == list(product(range(40, 50), losses))
    elsewhere = planned_adam.colour_elsewhere("reduced")
    assert [(run.seed, run.loss) for run in elsewhere[::2]] == [
        (seed, "l1") for seed in range(50, 56) for _ in common.CELLS
    ]
    assert {run.loss for run in elsewhere[1::2]} == {losses[2]}
    every = [*runs, *elsewhere]
    assert {run.gv_weight for run in every if "+" in run.loss} == {planned_adam.COLOUR_CHOSEN[1]}
    assert {(run.recipe, run.precision, run.steps) for run in every} == {("tuned", "float32", 1000)}


def test_the_rate_of_the_gradient_loss_and_of_its_bases_is_the_best_of_their_trials():
    trials = reference.load("colour_rates", ["colour-rates"])
    mean = trials.groupby(["loss", "learning_rate"])["psnr_rgb"].mean().unstack()
    assert trials["psnr_y"].notna().all(), "no seed diverged"
    assert tuple(mean.columns) == planned_adam.COLOUR_RATES
    assert len(mean) == 3
    assert set(mean.idxmax(axis=1)) == {planned_adam.BEST_COLOUR_RATE}
    assert {run.learning_rate for run in planned_adam.colour_best_rate("reduced")} == {
        planned_adam.BEST_COLOUR_RATE
    }


def test_the_rate_with_other_models_is_the_best_of_their_trials():
    trials = reference.load("colour_model_rates", ["colour-model-rates"])
    mean = trials.groupby(["model", "loss", "learning_rate"])["psnr_rgb"].mean().unstack()
    assert trials["psnr_y"].notna().all(), "no seed diverged"
    assert tuple(mean.columns) == planned_adam.MODEL_RATES
    for model, best in planned_adam.BEST_MODEL_RATE.items():
        assert mean.loc[model].idxmax(axis=1).to_dict() == dict.fromkeys(
            ("l1", "l1+maps-charbonnier-rgb"), best
        )
    runs = planned_adam.colour_models("reduced")
    assert {(run.model, run.learning_rate) for run in runs} == set(
        planned_adam.BEST_MODEL_RATE.items()
    )
    assert {run.seed for run in runs} == set(range(66, 72))
    assert len(runs) == 6 * 2 * 2


def test_the_rate_in_full_size_is_the_best_of_its_trials():
    trials = reference.load("colour_full_rates", ["colour-full-rates"])
    assert set(trials["model"]) == {"vdsr", "edsr"}
    trials = trials[trials["model"] == "vdsr"]
    mean = trials.groupby(["loss", "learning_rate"])["psnr_rgb"].mean().unstack()
    assert tuple(mean.columns) == planned_adam.FULL_RATES
    assert mean.index.to_list() == ["l1", "l1+maps-charbonnier-rgb"]
    assert set(mean.idxmax(axis=1)) == {planned_adam.BEST_FULL_RATE}
    runs = planned_adam.colour_full("reduced")
    assert [(run.seed, run.loss) for run in runs] == list(product(range(60, 66), mean.index))
    assert {(run.model, run.size, run.steps, run.learning_rate) for run in runs} == {
        ("vdsr", "paper", 10_000, planned_adam.BEST_FULL_RATE)
    }


def test_trials_with_edsr_are_those_of_vdsr_beside_l1():
    runs = planned_adam.edsr_fronts("reduced")
    assert {run.model for run in runs} == {"edsr"}
    tried = {(run.loss.partition("+")[2], run.seed, run.gv_weight) for run in runs}
    assert {run.loss.partition("+")[0] for run in runs} == {"l1"}
    with_vdsr = {
        (run.loss.partition("+")[2], run.seed, run.gv_weight)
        for run in planned_adam.fronts("reduced")
    }
    assert tried == {one for one in with_vdsr if one[0] in ("", *planned_adam.RIVALS_FIRST)}


@pytest.mark.usefixtures("real_data")
def test_the_rivals_weights_give_gradients_as_long_as_gv_s():
    """As the plan says: the median over bicubic enlargements of the validation set's centres."""
    lengths = {rival: [] for rival in planned_adam.RIVALS}
    for picture in load_images(TRIAL_SET).values():
        hr = centre(picture, 96)
        sr = build_model("bicubic", 2)(to_float(make_lr(hr, 2, "bicubic"))).requires_grad_()
        for rival, weight in planned_adam.RIVALS.items():
            loss = build_loss(f"l2+{rival}", gv_weight=weight, tv_weight=weight)
            (gradient,) = torch.autograd.grad(loss.terms(sr, to_float(hr))[rival], sr)
            lengths[rival].append(float(gradient.norm()))
    gv = np.median(lengths["gv"])
    for rival, found in lengths.items():  # the weights are rounded to one or two digits
        assert np.median(found) / gv == pytest.approx(1, abs=0.15), rival


@pytest.mark.parametrize(
    "name",
    [
        *TRIALS,
        "fronts",
        "edsr-fronts",
        "rival-rates",
        "edge-trials",
        "colour-trials",
        "colour-rates",
        "colour-model-rates",
        "colour-full-rates",
        "to-the-end-rates",
        "long-rates",
    ],
)
def test_trials_have_seeds_of_their_own(name):
    assert all(run.seed >= TRIAL_SEED for run in GRIDS[name]("reduced"))


def test_every_loss_gets_as_many_rates():
    counts = Counter((run.recipe, run.loss) for run in tables.rates("reduced"))
    assert set(counts) == set(BEST)
    assert all(count == 2 * len(RATES[recipe]) for (recipe, _), count in counts.items())


def test_the_best_rates_are_among_those_tried():
    assert all(rate in RATES[recipe] for (recipe, _), rate in BEST.items())


def test_the_best_rates_are_those_of_the_trials():
    trials = reference.load("trials", ["rates"])
    mean = trials.groupby(["recipe", "loss", "learning_rate"])["psnr_y"].mean().unstack()
    assert mean.idxmax(axis=1).to_dict() == BEST
    tried = mean.notna().groupby("recipe").sum().gt(0)
    for recipe, some in tried.iterrows():
        assert tuple(some[some].index) == RATES[recipe]


def test_the_sweep_has_the_authors_setting_and_five_decades():
    runs = tables.sweep("reduced")
    gv = [run for run in runs if run.loss == "l2+gv"]
    assert len(gv) == 5 * 4 * 2
    assert {run.gv_weight for run in gv} == {AUTHORS_GV * 10.0**k for k in (-2, -1, 0, 1, 2)}
    tv = [run for run in runs if run.loss == "l2+tv2"]
    pixels = tv[0].batch_size * tv[0].crop_size ** 2
    assert [run.tv_weight * pixels / AUTHORS_TV2 for run in tv] == pytest.approx(
        [0.01, 0.1, 1, 10, 100]
    )


def test_a_grid_of_several_names_has_each_run_once():
    found = runs_of(["headline", "table1"], "reduced")
    assert set(found.values()) == {"table1", "headline table1"}
    assert len(runs_of(["arms"], "reduced", seeds=2)) == 10
    found = runs_of(["sweep", "weights"], "smoke")
    described = [str(run.description()) for run in found]
    assert len(described) == len(set(described)), "by what counts in a run, not by its fields"
    assert "sweep weights" in found.values()


def dots(crops, side):
    """Crops with a bright pixel in every 4 x 4: as much total variation in every one of them."""
    images = torch.zeros(crops, 3, side, side)
    images[..., 1::4, 1::4] = 0.5
    return images


def test_the_authors_tv_weighs_the_same_against_the_mean():
    """Theirs is 1e-8 of a sum over 64 crops of 128 x 128; our sum is smaller, its weight larger."""
    run = next(run for run in table2("reduced") if run.loss == "l2+tv2")
    ours, theirs = dots(run.batch_size, run.crop_size), dots(64, 128)
    squares = sum(theirs.diff(dim=dim).square().sum().item() for dim in (-2, -1))
    term = build_loss("l2+tv2", tv_weight=run.tv_weight).terms(ours, ours)["tv2"]
    assert term.item() == pytest.approx(1e-8 * squares, rel=1e-4)


def test_small_sizes_are_tried_on_small_pictures():
    assert trial_and_test_set("reduced") == (TRIAL_SET, "DIV2K_valid_centre256")
    for name in {*trial_and_test_set("smoke"), *trial_and_test_set("quick")}:
        assert name in registry()
        assert name.startswith("builtin-")
    with pytest.raises(ValueError, match="unknown size 'huge'; known: smoke, quick"):
        trial_and_test_set("huge")
