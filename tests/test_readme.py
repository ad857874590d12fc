"""The README is short, and its figures follow from the reference results, to the digit."""

import re
from pathlib import Path

import pandas as pd
import pytest
from effects import DIV2K, by_factor, by_loss, from_script_weights, mean, rows, with_gmsd

from gvstudy.study import reference, statistics
from gvstudy.study.common import SEEDS_NEW
from gvstudy.study.planned_official import SEEDS_FAN_OUT

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
FINDINGS = README.partition("## What we found")[2].partition("\n## ")[0]


def test_it_is_short():
    """Without the targets of links and the lines of tables."""
    words = re.sub(r"\]\(.*?\)", "]", README).split()
    assert sum(re.search(r"\w", word) is not None for word in words) <= 600


@pytest.fixture(scope="module")
def deciding():
    """Sixteen seeds from the script's initial weights, by the factor on the loss and the loss."""
    by = from_script_weights()
    assert all(set(some["seed"]) == set(SEEDS_FAN_OUT) for some in by.values())
    return by


def of_gv(by, factor=1, *, recipe="official", equivalence=False, others=()):
    """The cells of the table's row: what GV changes, bold where the family of the plan is sure.

    `others` are the family's other pairs of factors and losses, `factor` the loss's.
    """
    pairs = {factor: (by[factor, "l2+gv"], by[factor, "l2"])}
    pairs |= {pair: (by[pair[0]], by[pair[1]]) for pair in others}
    effects = statistics.changes(pairs, ["psnr_y", "ssim_y"])
    verdicts = statistics.judge(effects, recipe, equivalence=equivalence)
    shown = []
    for metric, digits in (("psnr_y", 2), ("ssim_y", 3)):
        text = f"{effects[factor, metric].mean:+.{digits}f}"
        sure = verdicts[factor, metric] in ("confirmed", "contradicted")
        assert sure or verdicts[factor, metric] == "undecided", "as the text above the table says"
        shown.append(f"**{text}**" if sure else text)
    return " | ".join(shown)


def gv_at(factor):
    return ((factor, "l2+gv"), (factor, "l2"))


def test_the_table(deciding):
    constant = [((300, "l2"), (1, loss)) for loss in ("l2", "l2+gv")]
    lines = {"Authors' recipe, scaled down": of_gv(deciding, others=constant)}
    fan_in = rows("constants", "constants", set=DIV2K)
    fan_in = by_factor(fan_in[fan_in["seed"].isin(SEEDS_NEW)])
    lines["From other initial weights"] = of_gv(fan_in, others=constant)
    lines["The loss times 300"] = of_gv(deciding, 300)
    longer = rows("longer", "longer", set=DIV2K, steps=3750)
    longer = by_factor(longer[longer["lengths_from"].isna()])
    both = {"others": [gv_at(100)], "equivalence": True}
    lines["Ten times the steps"] = of_gv(longer, **both)
    both = {"others": [gv_at(1)], "equivalence": True}
    lines["Ten times the steps, the loss times 100"] = of_gv(longer, 100, **both)
    exact = by_factor(rows("exact", "exact", set=DIV2K))
    lines["In full, as the authors train"] = of_gv(exact, others=[gv_at(300)])
    lines["In full, the loss times 300"] = of_gv(exact, 300, others=[gv_at(1)])
    under_adam = {"recipe": "tuned", "equivalence": True}
    tuned = rows("reduced", "headline", set=DIV2K, model="vdsr", scale=2)
    tuned = by_factor(tuned.assign(pixel_weight=1))
    older = "Adam, scaled down (older: what the rule would say)"
    lines[older] = of_gv(tuned, **under_adam)
    seeds = [longer, exact, tuned, deciding, fan_in]
    assert {some["seed"].nunique() for by in seeds for some in by.values()} == {6, 8, 16}
    for name, cells in lines.items():
        assert f"| {name} | {cells} |" in FINDINGS


def test_a_constant(deciding):
    l2, scaled = deciding[1, "l2"], deciding[300, "l2"]
    gain = mean(scaled, l2, "psnr_y")
    said = f"300 times L2 gains {gain:.2f} dB and {mean(scaled, l2, 'ssim_y'):.3f} of SSIM over L2"
    exact = by_factor(rows("exact", "exact", set=DIV2K))
    in_full = mean(exact[300, "l2"], exact[1, "l2"], "psnr_y")
    assert f"{said}, in full {in_full:.2f} dB" in FINDINGS


def test_a_constant_with_edsr():
    found = rows("other_constants", "other-constants", set=DIV2K, model="edsr")
    by = by_loss(found)
    gain = mean(by["l1+gv"], by["l1"], "psnr_y")
    assert f"At the best constants GV gains EDSR {gain:.2f} dB" in FINDINGS
    found = rows("other_constants", "other-constants", set=DIV2K, model="vdsr", scale=4)
    by = by_loss(found)
    assert f"costs VDSR {-mean(by['l2+gv'], by['l2'], 'psnr_y'):.2f} at x4." in FINDINGS


def test_large_crops():
    """With crops as large as the authors' SSIM is confirmed at x2, and nothing else."""
    found = rows("large_crops", "large-crops", set=DIV2K)
    found = found[found["pixel_weight"].isna()]
    pairs = {}
    for scale, some in found.groupby("scale"):
        by = by_loss(some)
        pairs[f"x{scale}"] = (by["l2+gv"], by["l2"])
    verdicts = statistics.judge_planned(statistics.changes(pairs))
    sure = [pair for pair, verdict in verdicts.items() if verdict != "undecided"]
    assert sure == [("x2", "ssim_y")]
    assert "two large crops a step only SSIM at x2 is confirmed; at x3 and x4 neither" in FINDINGS


def test_the_step_lengths(deciding):
    yoked = rows("fan_out_lengths", "fan-out-lengths", set=DIV2K, lengths_from="l2+gv")
    gain = mean(yoked, deciding[1, "l2"], "psnr_y")
    assert f"L2 with the same step lengths gains {gain:.2f} dB" in FINDINGS
    (rest,) = statistics.compare(deciding[1, "l2+gv"], yoked, "psnr_y").values()
    low, high = rest.seeds
    assert low < 0 < high
    assert "direction adds is undecided" in FINDINGS
    more = mean(deciding[1, "l2+gv"], yoked, "ssim_y")
    assert f"In SSIM it adds {more:.3f}, confirmed; undecided from" in FINDINGS


def test_ten_times_the_steps():
    found = rows("longer", "longer", set=DIV2K)
    found = found[found["steps"] == 3750]
    of_gv = found["lengths_from"].notna()
    yoked, plain = found[of_gv], found[~of_gv]
    constant = plain["pixel_weight"].fillna(1)
    by = dict(iter(plain.groupby([constant, plain["loss"]])))
    l2, gv, scaled, with_gv = (by[k, loss] for k in (1, 100) for loss in ("l2", "l2+gv"))
    sure = statistics.changes({"own": (gv, yoked)}, ["psnr_y", "ssim_y"])
    assert [*statistics.judge(sure, "official").values()] == ["contradicted", "confirmed"]
    gain = mean(with_gv, scaled, "ssim_y")
    said = f"With 100 times the loss and ten times the steps GV gains {gain:.4f} of SSIM, below"
    assert said in FINDINGS
    assert gain < statistics.MARGINS["ssim_y"]
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
    said = f"Under Adam VDSR and ESPCN lose {min(costs):.2f} to {max(costs):.2f} dB at every scale"
    assert said in FINDINGS


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
    of_espcn = -rated[0.01, "psnr_y"].mean
    assert set(again[0]["steps"]) == {30_000}
    assert f"ESPCN loses {of_espcn:.2f} dB in long trainings, too" in FINDINGS
    psnr, ssim = at_the_authors.mean, family[("vdsr", 0.01), "ssim_y"].mean
    assert f"| Adam, ten times the steps | **{psnr:+.2f}** | **{ssim:+.3f}** |" in FINDINGS
    assert verdicts[("vdsr", 0.01), "ssim_y"] == "contradicted"
    assert set(by["vdsr", 0]["steps"]) == {20_000}
    assert verdicts[("vdsr", 0.01), "psnr_y"] == "contradicted"
    assert {verdicts[("vdsr", 0.001), one] for one in ("psnr_y", "ssim_y")} == {"no difference"}


def test_at_equal_variance():
    """By the plan's family of experiment 19, in which GMSD's sign is turned."""
    by = by_loss(with_gmsd("equal_variance"))
    with_gv = by.pop("l2+gv")
    del by["l2"]
    sharp = reference.load_sharpened("equal_variance")
    by["sharpened"] = sharp.assign(gmsd=-sharp["gmsd"])
    pairs = {loss: (some, with_gv) for loss, some in by.items()}
    family = statistics.changes(pairs, ["psnr_y", "gmsd"])
    assert len(family) == 10
    verdicts = statistics.judge(family)
    assert {verdicts["l2+gv-charbonnier", one] for one in ("psnr_y", "gmsd")} == {"confirmed"}
    ratios = statistics.changes(pairs, ["variance_ratio"])
    matched = {loss for (loss, _), ratio in ratios.items() if ratio.seeds[0] > -0.01}
    assert matched == {"l2+gv-charbonnier", "l2+gv-laplacian", "l2+gv-multiscale"}
    less = family["l2+gv-charbonnier", "psnr_y"].mean
    said = "At about GV's ratio *Charbonnier's distance* of the variances costs"
    assert f"{said} {less:.2f} dB less than GV's squared one" in FINDINGS


def test_what_instead():
    """By the plan's families of experiment 10, in which GMSD's sign is turned."""
    of_loss = by_loss(with_gmsd("rivals"))
    alone = of_loss.pop("l2")
    pairs = {loss: (some, alone) for loss, some in of_loss.items()}
    verdicts = statistics.judge(statistics.changes(pairs, ["psnr_y", "gmsd"]))
    worse = [loss for loss in of_loss if verdicts[loss, "gmsd"] == "contradicted"]
    assert (len(worse), len(of_loss)) == (5, 6)
    assert "confirmed" not in verdicts.values()
    assert "Of six losses that raise variance none is shown to improve GMSD" in FINDINGS


OF_THE_GRADIENT_LOSS = ["psnr_rgb", "psnr_y", "ssim_y", "gmsd"]  # the metrics of its plans


def test_the_gradient_loss():
    found, metrics = with_gmsd("colour_best_rate"), OF_THE_GRADIENT_LOSS
    by = by_loss(found)
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
        found, metrics = with_gmsd(name), OF_THE_GRADIENT_LOSS
        by = by_loss(found)
        family = statistics.changes({"": (by["l1+maps-charbonnier-rgb"], by["l1"])}, metrics)
        assert statistics.judge(family)["", "psnr_rgb"] == "confirmed"
        assert set(found["steps"]) == {10_000}
        gains[name] = family["", "psnr_rgb"].mean
    assert f"in full size, after 10,000 steps, {gains['colour_full']:.2f}. " in FINDINGS
    found, metrics = with_gmsd("colour_elsewhere"), OF_THE_GRADIENT_LOSS
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
            by = by_loss(at)
            (effect,) = statistics.compare(by["l2+gv"], by["l2"], "gmsd").values()
            rises[name, scale] = effect.seeds[0] > 0
    worse = {key for key, one in rises.items() if one}
    assert worse == {("Adam", 2), ("Adam", 3), ("Adam", 4), ("best k", 2)}
    assert "By GMSD worse under Adam, and with the best constant at x2; else undecided" in FINDINGS
