"""Charts show the data they are given, in the right place."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba

from gvstudy import plots
from gvstudy.study import statistics


def effects():
    rows = [
        {"model": model, "scale": scale, "set": name, "image": str(image), "seed": seed,
         "psnr_y": len(model) + scale + seed / 100 + image / 1000}
        for model in ("vdsr", "espcn") for scale in (2, 3) for name in ("A", "B")
        for image in range(6) for seed in range(3)
    ]  # fmt: skip
    ours = pd.DataFrame(rows)
    return statistics.tabulate(statistics.compare(ours, ours.assign(psnr_y=0.0), "psnr_y"))


def test_a_forest_has_one_panel_per_model_and_one_line_per_cell():
    table = effects()
    figure = plots.forest(table.assign(paper=1.5), "dB")
    assert [ax.get_title() for ax in figure.axes] == list(table.index.unique("model"))
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert labels == ["x2 A", "x2 B", "x3 A", "x3 B"]
    for ax in figure.axes:
        shown = np.concatenate([dots.get_offsets().data for dots in ax.collections])
        lines = shown[shown[:, 1] == 3]  # x3 B: three seeds, the mean, the paper's figure
        row = table.loc[(ax.get_title(), 3, "B")]
        assert sorted(lines[:, 0]) == pytest.approx(sorted([*row["by_seed"], row["mean"], 1.5]))


def test_a_forest_without_the_paper_explains_no_cross():
    figure = plots.forest(effects(), "dB")
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "mean", "interval over images", "one seed",
    ]  # fmt: skip


def test_gains_are_in_the_order_of_l2_s_level_with_every_seed():
    points = pd.DataFrame(
        {"level": [32.0, 30.0], "mean": [-0.1, 0.3], "seeds": [(-0.2, 0.0), (0.1, 0.5)],
         "by_seed": [(-0.1, -0.1), (0.2, 0.4)]},
        index=pd.MultiIndex.from_product([["long", "short"], ["psnr_y"]]),
    )  # fmt: skip
    (ax,) = plots.gain_by_level(points, {"psnr_y": "PSNR"}).axes
    assert [text.get_text() for text in ax.get_yticklabels()] == [
        "short: L2 at 30.00", "long: L2 at 32.00"
    ]  # fmt: skip
    shown = np.concatenate([dots.get_offsets().data for dots in ax.collections])
    assert sorted(map(tuple, shown)) == [
        (-0.1, 1), (-0.1, 1), (-0.1, 1), (0.2, 0), (0.3, 0), (0.4, 0)
    ]  # fmt: skip
    assert [tuple(line.get_xdata()) for line in ax.lines[1:]] == [(0.1, 0.5), (-0.2, 0.0)]


def test_claims_are_coloured_by_verdict_and_gaps_stay_empty():
    cells = pd.DataFrame(
        {"effect": ["+0.35", "-0.16", "+0.02"],
         "verdict": ["confirmed", "contradicted", "undecided"]},
        index=pd.MultiIndex.from_tuples([("PSNR", "x2"), ("PSNR", "x3"), ("SSIM", "x3")]),
    )  # fmt: skip
    figure = plots.claims(cells, ["x2", "x3"])
    (ax,) = figure.axes
    shown = {patch.get_xy(): to_rgba(patch.get_facecolor()) for patch in ax.patches}
    assert shown == {
        (0, 0): to_rgba(plots.VERDICTS["confirmed"]),
        (1, 0): to_rgba(plots.VERDICTS["contradicted"]),
        (1, 1): to_rgba(plots.VERDICTS["undecided"]),
    }
    assert [text.get_text() for text in ax.texts] == ["+0.35", "-0.16", "+0.02"]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["confirmed", "undecided", "contradicted"]


def test_dots_show_every_seed_and_the_mean_of_each_variant():
    rows = pd.DataFrame(
        {"variant": ["10 x L2"] * 2 + ["L2"] * 2, "loss": "l2", "seed": [0, 1] * 2,
         "psnr_y": [31.0, 33.0, 29.0, 30.0], "ssim_y": [0.9, 0.9, 0.8, 0.8]}
    )  # fmt: skip
    psnr, ssim = plots.dots(rows, {"psnr_y": "PSNR", "ssim_y": "SSIM"}).axes
    assert [text.get_text() for text in psnr.get_xticklabels()] == [
        "10 x L2\n32.00", "L2\n29.50"
    ]  # fmt: skip
    shown = np.concatenate([dots.get_offsets().data for dots in psnr.collections])
    assert sorted(map(tuple, shown)) == [(0, 31), (0, 33), (1, 29), (1, 30)]
    assert [line.get_ydata()[0] for line in psnr.lines] == [32, 29.5]
    assert [text.get_text() for text in ssim.get_xticklabels()][1] == "L2\n0.8000"


def points(*lines):
    return pd.DataFrame(
        {"family": family, "padding": padding, "weight": weight, "psnr_y": 30 - weight,
         "ssim_y": 0.9 - weight / 100, "variance_ratio": 0.8 + weight / 10}
        for family, padding in lines for weight in (0.1, 1)
    )  # fmt: skip


ALONE = pd.Series({"variance_ratio": 0.8, "psnr_y": 30, "ssim_y": 0.9})


def test_a_sweep_has_one_row_per_padding_and_tv_in_both():
    shown = points(("GV, patch 8", "zeros"), ("GV, patch 8", "valid"), ("TV", ""))
    figure = plots.sweep(shown, ALONE, shown.iloc[1])
    titles = [ax.get_title() for ax in figure.axes]
    assert titles == ["padding zeros"] * 2 + ["padding valid"] * 2
    for ax in figure.axes:
        assert [line.get_label() for line in ax.lines] == ["GV, patch 8", "TV"]
    assert figure.axes[0].lines[0].get_ydata() == pytest.approx([29.9, 29])
    rings = [len(ax.collections) for ax in figure.axes]
    assert rings == [2, 2, 1, 1]  # the star, and the paper's setting with its own padding
    (legend,) = figure.legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == ["GV, patch 8", "TV", "L2 alone", "the paper's setting"]


def test_a_sweep_without_paddings_is_one_row():
    shown = points(("GV", ""), ("maps", ""))
    figure = plots.sweep(shown, ALONE, shown.iloc[1])
    assert [ax.get_ylabel() for ax in figure.axes] == ["PSNR (luma, dB)", "SSIM (luma)"]
    assert [len(ax.lines) for ax in figure.axes] == [2, 2]


def test_a_figure_is_saved_for_screen_and_print(tmp_path):
    figure = plots.edge_profile(pd.DataFrame({"HR": [0.0, 1.0], "bicubic": [0.2, 0.6]}))
    for name in ("one", "again"):
        plots.save(figure, tmp_path, name)
    assert {path.name for path in tmp_path.iterdir()} == {
        "one.png", "one.pdf", "again.png", "again.pdf",
    }  # fmt: skip
    assert (tmp_path / "one.pdf").read_bytes() == (tmp_path / "again.pdf").read_bytes()
    plots.save(figure, "", "nowhere")
