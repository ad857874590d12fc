"""The README is short, and its figures follow from the reference results, to the digit."""

import re
from pathlib import Path

import pytest

from gvstudy.study import reference, statistics

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
FINDINGS = README.partition("## What we found")[2].partition("\n## ")[0]
DIV2K = "DIV2K_valid_centre256"


def rows(name, *grids, **fields):
    found = reference.load(name, list(grids))
    for field, value in fields.items():
        found = found[found[field] == value]
    return found


def mean(ours, base, metric):
    (effect,) = statistics.compare(ours, base, metric).values()
    return effect.mean


def test_it_is_short():
    assert len(re.findall(r"\w+", re.sub(r"\]\(.*?\)", "]", README))) <= 800
    prose = re.sub(r"```.*?```|^\|.*$|\(.*?\)", "", README, flags=re.MULTILINE | re.DOTALL)
    assert len(prose.split()) <= 600


@pytest.fixture(scope="module")
def short():
    """All 24 seeds of the authors' recipe at x2 on DIV2K's crops, by recipe and loss."""
    found = rows("controls", "arms", "again", "pixel-only", set=DIV2K, scale=2)
    return dict(iter(found.groupby(["recipe", "loss"])))


def test_the_authors_recipe(short):
    l2, gv = short["official", "l2"], short["official", "l2+gv"]
    longer = short["official-pixel-only", "l2+gv"]
    assert l2["seed"].nunique() == gv["seed"].nunique() == longer["seed"].nunique() == 24
    assert f"{mean(gv, l2, 'psnr_y'):+.2f} dB of PSNR" in FINDINGS
    assert f"{mean(gv, l2, 'ssim_y'):+.3f} of SSIM over 24 seeds" in FINDINGS
    assert f"in longer steps, gains {mean(longer, l2, 'psnr_y'):+.2f} dB" in FINDINGS
    assert abs(mean(longer, gv, "ssim_y")) < 0.002, "as much SSIM"


def test_longer_trainings():
    found = rows("controls", "budget", set=DIV2K)
    for steps in (3750, 11250):
        by = dict(iter(found[found["steps"] == steps].groupby("loss")))
        assert abs(mean(by["l2+gv"], by["l2"], "psnr_y")) < 0.05
        assert f"{mean(by['l2+gv'], by['l2'], 'ssim_y'):+.3f};" in FINDINGS


def test_adam_s_costs():
    found = rows("reduced", "table1", set=DIV2K)
    found = found[found["model"].isin(["vdsr", "espcn"])]
    with_gv, base = (found[found["loss"] == loss] for loss in ("l2+gv", "l2"))
    costs = [-e.mean for e in statistics.compare(with_gv, base, "psnr_y").values()]
    assert f"costs VDSR and ESPCN {min(costs):.2f} to {max(costs):.2f} dB" in FINDINGS


def test_the_trials_of_a_constant():
    found = rows("constant_trials", "constant-trials")
    factor = found["pixel_weight"].fillna(1)
    level = found.groupby([factor, "loss"])["psnr_y"].mean()
    assert f"gained {level[300, 'l2'] - level[1, 'l2']:.1f} dB" in FINDINGS
    assert f"cost {level[300, 'l2'] - level[300, 'l2+gv']:.2f} dB" in FINDINGS
