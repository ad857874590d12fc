"""The README is short, and its figures follow from the reference results, to the digit."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from effects import DIV2K, by_factor, from_script_weights, mean, rows

from gvstudy.study import reference, statistics
from gvstudy.study.planned_official import SEEDS_FAN_OUT

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
FINDINGS = README.partition("## What we found")[2].partition("\n## ")[0]


def test_it_is_short():
    assert len(re.sub(r"\]\(.*?\)", "]", README).split()) <= 600


@pytest.fixture(scope="module")
def deciding():
    """Sixteen seeds from the script's initial weights, by the factor on the loss and the loss."""
    by = from_script_weights()
    assert all(set(some["seed"]) == set(SEEDS_FAN_OUT) for some in by.values())
    return by


def test_the_authors_recipe(deciding):
    l2, gv = deciding[1, "l2"], deciding[1, "l2+gv"]
    assert f"{mean(gv, l2, 'psnr_y'):+.2f} dB and" in FINDINGS
    assert f"{mean(gv, l2, 'ssim_y'):+.3f} of SSIM with sixteen new seeds" in FINDINGS


def test_a_constant(deciding):
    l2, scaled, with_gv = deciding[1, "l2"], deciding[300, "l2"], deciding[300, "l2+gv"]
    gain = mean(scaled, l2, "psnr_y")
    assert f"gains {gain:.2f} dB and {mean(scaled, l2, 'ssim_y'):+.3f} of SSIM" in FINDINGS
    (cost,) = statistics.compare(with_gv, scaled, "psnr_y").values()
    assert f"GV then costs {-cost.mean:.2f} dB." in FINDINGS


def test_in_full():
    by = by_factor(rows("exact", "exact", set=DIV2K))
    (gain,) = statistics.compare(by[1, "l2+gv"], by[1, "l2"], "psnr_y").values()
    low, high = gain.seeds
    assert f"undecided**: {gain.mean:+.2f} dB ({low:.2f} to {high:+.2f}, eight seeds; " in FINDINGS
    assert low < 0 < high
    assert len(gain.by_seed) == 8
    assert f"{np.mean(gain.by_seed[:7]):.2f} with seven)" in FINDINGS
    more = mean(by[300, "l2"], by[1, "l2"], "psnr_y")
    cost = -mean(by[300, "l2+gv"], by[300, "l2"], "psnr_y")
    assert f"In full it gains {more:.2f} dB, and GV costs {cost:.2f}." in FINDINGS


def test_a_constant_with_edsr():
    found = rows("other_constants", "other-constants", set=DIV2K, model="edsr")
    by = dict(iter(found.groupby("loss")))
    gain = mean(by["l1+gv"], by["l1"], "psnr_y")
    assert f"At the best constants GV gains EDSR {gain:.2f} dB" in FINDINGS
    found = rows("other_constants", "other-constants", set=DIV2K, model="vdsr", scale=4)
    by = dict(iter(found.groupby("loss")))
    assert f"costs VDSR {-mean(by['l2+gv'], by['l2'], 'psnr_y'):.2f} at x4." in FINDINGS


def test_large_crops():
    """With crops as large as the authors' SSIM is confirmed at x2, and nothing else."""
    found = rows("large_crops", "large-crops", set=DIV2K)
    found = found[found["pixel_weight"].isna()]
    pairs = {}
    for scale, some in found.groupby("scale"):
        by = dict(iter(some.groupby("loss")))
        pairs[f"x{scale}"] = (by["l2+gv"], by["l2"])
    verdicts = statistics.judge_planned(statistics.changes(pairs))
    sure = [pair for pair, verdict in verdicts.items() if verdict != "undecided"]
    assert sure == [("x2", "ssim_y")]
    assert "two large crops a step only SSIM is confirmed; at x3 and x4 neither" in FINDINGS


def test_the_step_lengths(deciding):
    yoked = rows("fan_out_lengths", "fan-out-lengths", set=DIV2K, lengths_from="l2+gv")
    gain = mean(yoked, deciding[1, "l2"], "psnr_y")
    assert f"L2 with the same step lengths gains {gain:.2f} dB" in FINDINGS
    (rest,) = statistics.compare(deciding[1, "l2+gv"], yoked, "psnr_y").values()
    low, high = rest.seeds
    assert low < 0 < high
    assert "direction adds is undecided" in FINDINGS
    more = mean(deciding[1, "l2+gv"], yoked, "ssim_y")
    assert f"It adds {more:.3f} of SSIM, confirmed, but undecided from" in FINDINGS


def test_ten_times_the_steps():
    found = rows("longer", "longer", set=DIV2K)
    found = found[found["steps"] == 3750]
    of_gv = found["lengths_from"].notna()
    yoked, plain = found[of_gv], found[~of_gv]
    constant = plain["pixel_weight"].fillna(1)
    by = dict(iter(plain.groupby([constant, plain["loss"]])))
    l2, gv, scaled, with_gv = (by[k, loss] for k in (1, 100) for loss in ("l2", "l2+gv"))
    gain, own = mean(gv, l2, "ssim_y"), mean(gv, yoked, "ssim_y")
    said = f"GV gains {gain:.3f} of SSIM**, {own:.4f} of it over its step lengths"
    assert f"{said}; PSNR is undecided" in FINDINGS
    sure = statistics.changes({"own": (gv, yoked)}, ["psnr_y", "ssim_y"])
    assert [*statistics.judge(sure, "official").values()] == ["contradicted", "confirmed"]
    cost = -mean(with_gv, scaled, "psnr_y")
    said = f"With 100 times the loss it adds less than our margin, and costs {cost:.2f} dB"
    assert said in FINDINGS
    assert mean(with_gv, scaled, "ssim_y") < statistics.MARGINS["ssim_y"]
    family = statistics.changes({"1": (gv, l2), "100": (with_gv, scaled)}, ["psnr_y", "ssim_y"])
    assert statistics.judge(family, "official") == {
        ("1", "psnr_y"): "undecided",
        ("1", "ssim_y"): "confirmed",
        ("100", "psnr_y"): "contradicted",
        ("100", "ssim_y"): "confirmed",
    }


def test_adam_s_costs():
    found = rows("reduced", "table1", set=DIV2K)
    found = found[found["model"].isin(["vdsr", "espcn"])]
    with_gv, base = (found[found["loss"] == loss] for loss in ("l2+gv", "l2"))
    costs = [-e.mean for e in statistics.compare(with_gv, base, "psnr_y").values()]
    assert f"costs VDSR and ESPCN {min(costs):.2f} to {max(costs):.2f} dB" in FINDINGS


def test_ten_times_the_steps_under_adam():
    """Three models and two weights of GV are a family of the plan, ESPCN's better rates another."""
    found = rows("to_the_end", "to-the-end", set=DIV2K)
    by = dict(iter(found.groupby(["model", found["gv_weight"].fillna(0)])))
    pairs = {key: (some, by[key[0], 0]) for key, some in by.items() if key[1]}
    assert len(pairs) == 6
    family = statistics.changes(pairs, ["psnr_y", "ssim_y"])
    verdicts = statistics.judge(family)
    at_the_authors = family[("vdsr", 0.01), "psnr_y"]
    assert len(at_the_authors.by_seed) == 6
    again = rows("long_best_rate", "long-best-rate", set=DIV2K)
    again = dict(iter(again.groupby(again["gv_weight"].fillna(0))))
    rated = {gv: (again[gv], again[0]) for gv in (0.001, 0.01)}  # ESPCN: also a family of the plan
    rated = statistics.changes(rated, ["psnr_y", "ssim_y"])
    judged = statistics.judge(rated)
    assert (judged[0.01, "psnr_y"], judged[0.001, "psnr_y"]) == ("contradicted", "undecided")
    of_vdsr, of_espcn = -at_the_authors.mean, -rated[0.01, "psnr_y"].mean
    assert set(again[0]["steps"]) == {30_000}
    said = f"With 20,000 or 30,000 steps at x2 VDSR loses {of_vdsr:.2f}, ESPCN {of_espcn:.2f}"
    tenth = "A tenth of the weight: no difference with VDSR, undecided with ESPCN"
    assert f"{said}. {tenth}" in FINDINGS
    assert set(by["vdsr", 0]["steps"]) == {20_000}
    assert verdicts[("vdsr", 0.01), "psnr_y"] == "contradicted"
    assert {verdicts[("vdsr", 0.001), one] for one in ("psnr_y", "ssim_y")} == {"no difference"}


def test_what_gradient_variance_costs():
    tuned = rows("reduced", "headline", set=DIV2K, model="vdsr", scale=2)
    l2, gv = (tuned[tuned["loss"] == loss] for loss in ("l2", "l2+gv"))
    ratio, psnr = (mean(gv, l2, metric) for metric in ("variance_ratio", "psnr_y"))
    assert f"raises VDSR's gradient variance by {ratio:.2f} of the real images'" in FINDINGS
    assert psnr < 0


def test_what_instead():
    """By the plan's families of experiment 10, in which GMSD's sign is turned."""
    found = rows("rivals", "rivals", set=DIV2K)
    looks = reference.load("rivals", ["rivals"], [DIV2K], perceptual=True)
    found = found.merge(looks[["run", "image", "gmsd"]], on=["run", "image"])
    of_loss = dict(iter(found.assign(gmsd=-found["gmsd"]).groupby("loss")))
    alone = of_loss.pop("l2")
    pairs = {loss: (some, alone) for loss, some in of_loss.items()}
    verdicts = statistics.judge(statistics.changes(pairs, ["psnr_y", "gmsd"]))
    worse = [loss for loss in of_loss if verdicts[loss, "gmsd"] == "contradicted"]
    assert (len(worse), len(of_loss)) == (5, 6)
    assert "confirmed" not in verdicts.values()
    assert "Of six losses that raise variance none is shown to improve GMSD" in FINDINGS


def of_the_gradient_loss(name):
    """Results of the gradient loss by channel, and the four metrics of its plan."""
    grid = name.replace("_", "-")
    looks = reference.load(name, [grid], [DIV2K], perceptual=True)
    found = rows(name, grid, set=DIV2K).merge(looks[["run", "image", "gmsd"]], on=["run", "image"])
    return found.assign(gmsd=-found["gmsd"]), ["psnr_rgb", "psnr_y", "ssim_y", "gmsd"]


def test_the_gradient_loss():
    found, metrics = of_the_gradient_loss("colour_best_rate")
    by = dict(iter(found.groupby("loss")))
    for base, said in (
        ("l2", "{:.2f} dB over L2 in RGB"),
        ("l1", ", {:.2f} over L1; in full size"),
    ):
        family = statistics.changes({base: (by["l1+maps-charbonnier-rgb"], by[base])}, metrics)
        assert said.format(family[base, "psnr_rgb"].mean) in FINDINGS
        assert len(family[base, "psnr_rgb"].by_seed) == 6
        assert set(statistics.judge(family).values()) == {"confirmed"}


def test_the_gradient_loss_elsewhere():
    gains = {}
    for name in ("colour_longer", "colour_full"):
        found, metrics = of_the_gradient_loss(name)
        by = dict(iter(found.groupby("loss")))
        family = statistics.changes({"": (by["l1+maps-charbonnier-rgb"], by["l1"])}, metrics)
        assert statistics.judge(family)["", "psnr_rgb"] == "confirmed"
        assert set(found["steps"]) == {10_000}
        gains[name] = family["", "psnr_rgb"].mean
    assert f"in full size, after 10,000 steps, {gains['colour_full']:.2f}. " in FINDINGS
    found, metrics = of_the_gradient_loss("colour_elsewhere")
    pairs = {
        cell: (some[some["loss"] != "l1"], some[some["loss"] == "l1"])
        for cell, some in found.groupby(["model", "scale"])
    }
    verdicts = statistics.judge(statistics.changes(pairs, metrics))
    by_scale = {}
    for (cell, _), said in verdicts.items():
        by_scale.setdefault(cell[1], set()).add(said)
    assert by_scale == {2: {"confirmed"}, 3: {"undecided"}, 4: {"undecided"}}
    assert "At x3 and x4 it is undecided" in FINDINGS


def test_looks():
    """GMSD, where smaller is better: worse under Adam, and at x2 with the best constant."""
    names = ("fan_out_lengths", "fan_out_constants", "large_crops")
    parts = [reference.load(name, [], [DIV2K], perceptual=True) for name in names]
    found = pd.concat(parts)
    factor = found["pixel_weight"].notna().map({False: "k = 1", True: "best k"})
    trainings = dict(iter(found.groupby(factor)))
    trainings["Adam"] = reference.load("reduced", [], [DIV2K], perceptual=True)
    rises = {}
    for name, some in trainings.items():
        for scale, at in some.groupby("scale"):
            by = dict(iter(at.groupby("loss")))
            (effect,) = statistics.compare(by["l2+gv"], by["l2"], "gmsd").values()
            rises[name, scale] = effect.seeds[0] > 0
    worse = {key for key, one in rises.items() if one}
    assert worse == {("Adam", 2), ("Adam", 3), ("Adam", 4), ("best k", 2)}
    assert "By GMSD worse under Adam, and with the best constant at x2; else undecided" in FINDINGS
