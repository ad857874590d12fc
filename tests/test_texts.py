"""What the start page and the notebooks say of results that they don't show, to the digit."""

import inspect
import math
import re
from functools import cache
from pathlib import Path
from string import Formatter

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from effects import DIV2K, by_factor, by_loss, effect, from_script_weights, mean, rows

from gvstudy import load_images
from gvstudy.gradients import variance_maps
from gvstudy.images import make_pair
from gvstudy.paths import package_data

FOLDER = Path(__file__).parent.parent / "notebooks"
LINKS = re.compile(r"\[[^]]*\]\([^)]*\)")
NUMBER = r"[-+]?\d+\.\d+"
SOBEL = torch.tensor([[1, 0, -1], [2, 0, -2], [1, 0, -1]])


@cache
def notebook(name):
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


@cache
def text_of(name):
    """The prose of a notebook, or of a page."""
    if (FOLDER / f"{name}.md").is_file():
        return (FOLDER / f"{name}.md").read_text(encoding="utf-8")
    cells = notebook(name).cells
    return "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def lines(name):
    """What a notebook shows as text, line by line."""
    outputs = [output for cell in notebook(name).cells for output in cell.get("outputs", [])]
    texts = [one.get("text") or one.get("data", {}).get("text/plain", "") for one in outputs]
    return [line.strip() for line in "\n".join(texts).splitlines()]


def printed(name, start):
    """The numbers in the first line of a notebook's outputs that begins with `start`."""
    line = next(line for line in lines(name) if line.startswith(start))
    return [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", line.removeprefix(start))]


def paper(name, **fields):
    """A row of a table as published."""
    found = pd.read_csv(package_data(f"paper/{name}.csv").open())
    for field, value in fields.items():
        found = found[found[field] == value]
    (row,) = found.to_dict("records")
    return row


def at_375_steps(ours, base, metric="psnr_y"):
    """A mean change from the script's weights; a variant is its factor and its loss."""
    by = from_script_weights()
    return mean(by[ours], by[base], metric)


def of_step_lengths():
    yoked = rows("fan_out_lengths", "fan-out-lengths", set=DIV2K, lengths_from="l2+gv")
    return mean(yoked, from_script_weights()[1, "l2"])


def extremes_in_full():
    by = by_factor(rows("exact", "exact", set=DIV2K))
    each = effect(by[1, "l2+gv"], by[1, "l2"]).by_seed
    assert len(each) == 8
    return min(each), max(each)


def of_ten_times_the_steps():
    found = rows("longer", "longer", set=DIV2K, steps=3750)
    by = by_factor(found[found["lengths_from"].isna()])
    return mean(by[1, "l2+gv"], by[1, "l2"], "ssim_y")


def costs_of_long_trainings():
    """VDSR's after ten times the steps, and ESPCN's at the rates that long trials chose."""
    long = rows("to_the_end", "to-the-end", set=DIV2K, model="vdsr")
    rated = rows("long_best_rate", "long-best-rate", set=DIV2K, model="espcn")
    for found in (long, rated):
        by = dict(iter(found.groupby(found["gv_weight"].fillna(0))))
        yield -mean(by[0.01], by[0])


def under_adam(metric):
    """What standard deviations and GV change at the authors' weight, VDSR at x2."""
    losses = by_loss(rows("reduced", "headline", set=DIV2K))
    deviation = rows("readings", set=DIV2K, loss="l2+deviation", gv_weight=0.01)
    return [mean(ours, losses["l2"], metric) for ours in (deviation, losses["l2+gv"])]


def prices_under_adam():
    (of_deviation, of_gv), costs = (under_adam(one) for one in ("variance_ratio", "psnr_y"))
    return of_deviation, -costs[0], of_gv, -costs[1]


def with_l1():
    """Table 2's pair with L1 under the authors' recipe."""
    by = by_factor(rows("table2_official", "table2-official", set=DIV2K))
    return [mean(by[1, "l1+gv"], by[1, "l1"], metric) for metric in ("psnr_y", "ssim_y")]


def betas():
    """Between which values the schedule of rates moves Adam's first beta, where nobody says so."""
    known = inspect.signature(torch.optim.lr_scheduler.OneCycleLR).parameters
    return known["max_momentum"].default, known["base_momentum"].default


def peak_of_noise():
    """The commonest of HR's small patch variances: the middle of a bar as wide as the figure's."""
    pictures = load_images("builtin-test").values()
    found = [variance_maps(make_pair(one, 2)[1], 8).flatten() for one in pictures]
    counts, edges = np.histogram(torch.cat(found), np.geomspace(1e-4, 2e-3, 11))
    return math.sqrt(math.prod(edges[counts.argmax() :][:2]))


def of_rounding():
    """The variance of a gradient of values that are off by up to half a step of 255."""
    return float(SOBEL.square().sum()) / 12 / 255**2


def gains_by_fifth():
    fifths = ("weakest ", "weak ", "medium ", "strong ", "strongest ")
    gained = []
    for fifth in fifths:
        _, alone, with_gv = printed("05_variance_histograms", fifth)
        gained.append(with_gv - alone)
    return min(gained), max(gained)


def vdsr_and_bicubic():
    known = {"dataset": "Set5", "scale": 2}
    published = [
        paper("published_y_psnr_ssim", model=model, **known) for model in ("VDSR", "bicubic")
    ]
    ours = paper("table1", model="VDSR", loss="base", **known)
    return ours["psnr_db"], *(row["psnr_y_db"] for row in published)


def of_the_border():
    found = pd.read_csv(package_data("reference/protocols.csv").open()).query("set == 'Set14'")
    by_scale = found.groupby(["variant", "scale"])["psnr"].mean().unstack(0)
    worth = set((by_scale["standard"] - by_scale["no border cut"]).round(1))
    (same,) = worth  # at every scale
    return same


def of_espcn_on_div2k():
    known = {"dataset": "DIV2K validation", "model": "ESPCN", "loss": "base"}
    at_x3, at_x4 = (paper("table1", scale=scale, **known)["psnr_db"] for scale in (3, 4))
    return at_x3 - at_x4


def misprint():
    """An SSIM with a digit too many, and the gain with it and without."""
    known = {"dataset": "DIV2K validation", "model": "EDSR", "scale": 4}
    base, with_gv = (paper("table1", loss=loss, **known)["ssim"] for loss in ("base", "gv"))
    read = float(str(with_gv).replace("5", "", 1))
    return with_gv, read, with_gv - base, read - base


def of_pixels_moved():
    """After 200 steps down L2 + GV, from bicubic: PSNR at 0, 20 and 200 steps, then ratios."""
    start, _, end, *_ = printed("solutions/02_gradient_variance_loss", "1.00 ")
    return end - start


def of_tv(weight, column):
    """What TV changes in a column: PSNR, SSIM, variance ratio."""
    name = "solutions/04_loss_comparison"
    return printed(name, f"l2+tv, {weight}")[column] - printed(name, "l2  ")[column]


def falls_of_a_small_pair():
    """L2's PSNR comes before L2+GV's. The second of three seeds stays."""
    each = [printed("solutions/06_benchmark", f"{seed}  ")[:2] for seed in range(3)]
    first, second, third = (alone - with_gv for alone, with_gv in each)
    assert f"{abs(second):.2f}" == "0.00"
    return first, third


def fall_of_the_reference_pair():
    alone, with_gv = (printed("solutions/06_benchmark", loss)[0] for loss in ("l2  ", "l2+gv  "))
    return alone - with_gv


def of_grey_as_rgb():
    """What SSIM gains, least and most: columns are PSNR as grey and as RGB, then SSIM."""
    found = [line.split() for line in lines("solutions/A1_protocols") if line.endswith(" 1.322")]
    gained = [float(rgb) - float(grey) for *_, grey, rgb, _ in found]
    assert len(gained) == 6
    return min(gained), max(gained)


# A page, how it says something, and what that should be.
TEXTS = {
    "00_start_here": {
        "PSNR by {:.2f} dB": lambda: at_375_steps((1, "l2+gv"), (1, "l2")),
        "L2 with the same step lengths gains {:.2f} dB": of_step_lengths,
        "L2 multiplied by 300 gains {:.2f} dB": lambda: at_375_steps((300, "l2"), (1, "l2")),
        "eight seeds go from {:.2f} to {:+.2f} dB": extremes_in_full,
        "gains a little SSIM ({:.3f})": of_ten_times_the_steps,
        "loses {:.2f} dB after ten times the steps, and ESPCN {:.2f}": costs_of_long_trainings,
    },
    "03_training_with_gv": {"Adam's first beta, from {:.2f} to {:.2f}": betas},
    "05_variance_histograms": {
        "narrow peak near {:.4f}": peak_of_noise,
        "rounding alone gives {:.6f}": of_rounding,
        "GV adds {:.2f} to {:.2f} of HR's variance": gains_by_fifth,
    },
    "09_claims": {"by {:.2f} dB and {:.3f}. With the best": with_l1},
    "A1_protocols": {
        "The paper reports {:.2f} dB for VDSR on Set5 at x2. "
        "The paper that introduced VDSR reports {:.2f} dB, "
        "and plain bicubic has {:.2f} dB": vdsr_and_bicubic,
        "On Set14 the border is worth {:.1f} dB": of_the_border,
    },
    "A2_gv_in_your_training": {
        "by {:.2f} for {:.2f} dB, where GV raised it by {:.2f} for {:.1f} dB": prices_under_adam,
        "cost {:.2f} dB instead of {:.2f} dB": lambda: prices_under_adam()[1::2],
        "gained {:.1f} dB where GV gained {:.2f}": lambda: [
            at_375_steps(ours, (1, "l2")) for ours in ((300, "l2"), (1, "l2+gv"))
        ],
        "ended {:.2f} dB below": lambda: at_375_steps((300, "l2"), (300, "l2+gv")),
    },
    "A4_oddities_of_table_1": {
        "against {:.2f} dB on DIV2K": of_espcn_on_div2k,
        "five digits, {}. Read as {} its gain shrinks from {:.4f} to {:.4f}": misprint,
    },
    "solutions/02_gradient_variance_loss": {
        "At 1 they have gained only {:.1f} dB": of_pixels_moved,
    },
    "solutions/04_loss_comparison": {
        "falls by {:.2f} and the SSIM by {:.3f}": lambda: [-of_tv(0.01, n) for n in (2, 1)],
        "({:.3f} of the ratio, {:.2f} dB)": lambda: [abs(of_tv(0.001, n)) for n in (2, 0)],
    },
    "solutions/06_benchmark": {
        "with two seeds, by {:.2f} and {:.2f} dB": falls_of_a_small_pair,
        "In the reference pair it falls by {:.2f} dB": fall_of_the_reference_pair,
    },
    "solutions/07_when_does_gv_help": {
        "the usual rate reaches {:.1f}": lambda: printed("07_when_does_gv_help", "1 x L2:")[0],
        "in notebook 7 reached {:.2f}": lambda: printed("07_when_does_gv_help", "10 x L2:")[0],
    },
    "solutions/A1_protocols": {
        "SSIM rises as well, by {:.3f} to {:.3f}": of_grey_as_rgb,
        "1.32 / 14 = {:.2f} dB": lambda: 20 * math.log10(255 / 219) / 14,
    },
}


def pattern(template):
    """The template with any numbers."""
    parts = Formatter().parse(template)
    return "".join(re.escape(text) + NUMBER * (field is not None) for text, field, *_ in parts)


def without_recomputed(name, prose):
    """The prose without the texts above, whatever their numbers are."""
    for template in TEXTS.get(name, ()):
        prose = re.sub(pattern(template), "", prose)
    return prose


@pytest.mark.parametrize(
    ("name", "template"), [(name, template) for name, told in TEXTS.items() for template in told]
)
def test_a_text_says_what_the_results_do(name, template):
    value = TEXTS[name][template]()
    values = [value] if isinstance(value, float) else value
    assert set(re.findall(pattern(template), text_of(name))) == {template.format(*values)}


def test_all_decimals_of_the_start_page_are_recomputed():
    prose = without_recomputed("00_start_here", text_of("00_start_here"))
    assert re.findall(NUMBER, LINKS.sub("", prose)) == []
