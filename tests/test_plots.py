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
    assert [ax.get_title() for ax in figure.axes] == ["ESPCN", "VDSR"]
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert labels == ["x2 A", "x2 B", "x3 A", "x3 B"]
    for ax in figure.axes:
        shown = np.concatenate([dots.get_offsets().data for dots in ax.collections])
        lines = shown[shown[:, 1] == 3]  # x3 B: three seeds, the mean, the paper's figure
        row = table.loc[(ax.get_title().lower(), 3, "B")]
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


def test_dots_have_a_row_of_panels_on_one_axis_for_each_metric():
    rows = pd.DataFrame(
        {
            "steps": ["few", "few", "many"],
            "variant": ["L2", "L2+GV", "L2"],
            "loss": ["l2", "l2+gv", "l2"],
            "seed": 0,
            "psnr_y": [30.0, 31.0, 33.0],
            "ssim_y": [0.8, 0.81, 0.9],
        }
    )
    figure = plots.dots(rows, {"psnr_y": "PSNR", "ssim_y": "SSIM"}, "steps")
    few, many, few_ssim, many_ssim = figure.axes
    assert (few.get_title(), many.get_title()) == ("few", "many")
    assert (few.get_ylabel(), few_ssim.get_ylabel()) == ("PSNR", "SSIM")
    assert few.get_ylim() == many.get_ylim() != few_ssim.get_ylim() == many_ssim.get_ylim()
    assert [tick.get_text() for tick in many.get_xticklabels()] == ["L2\n33.00"]


def points(*lines):
    return pd.DataFrame(
        {"family": family, "line": line, "weight": weight, "psnr_y": 30 - weight,
         "ssim_y": 0.9 - weight / 100, "variance_ratio": 0.8 + sign * weight / 10}
        for family, line, sign in lines for weight in (1, 0.1)
    )  # fmt: skip


ALONE = pd.Series({"variance_ratio": 0.8, "psnr_y": 30, "ssim_y": 0.9})


def test_a_sweep_draws_every_setting_and_names_a_family_where_it_is_farthest_from_l2():
    shown = points(("GV", "8 zeros", 1), ("GV", "8 valid", 1), ("maps", "", 0.5), ("TV", "", -1))
    shown.index = [0] * len(shown)  # as frames that were put together may have it
    figure = plots.sweep(shown, ALONE, shown.iloc[1])
    for ax, metric in zip(figure.axes, ("psnr_y", "ssim_y"), strict=True):
        assert ax.lines[0].get_xdata().tolist() == pytest.approx([0.81, 0.9])
        assert len(ax.lines) == 4
        hues = [line.get_color() for line in ax.lines]
        assert hues[0] == hues[1], "one family, one colour"
        assert len(set(hues)) == 3
        star, ring = (dots.get_offsets()[0] for dots in ax.collections)
        for place, row in ((star, ALONE), (ring, shown.iloc[1])):
            assert place.tolist() == pytest.approx([row["variance_ratio"], row[metric]])
        names = {text.get_text(): text.xy for text in ax.texts}
        assert names["GV"][0] == pytest.approx(0.9)
        assert names["TV"][0] == pytest.approx(0.79), "its farthest point inside the view"


def test_a_tradeoff_leads_from_each_pixel_loss_to_gv():
    table = pd.DataFrame(
        {"pixel": pixel, "regulariser": added, "variance_ratio": 0.8 + x, "psnr_y": 31 + y}
        for pixel, y in (("l2", 0), ("ssim", 1))
        for added, x in (("alone", 0), ("tv", -0.01), ("gv", 0.05))
    )
    (ax,) = plots.tradeoff(table).axes
    drawn = np.concatenate([dots.get_offsets().data for dots in ax.collections])
    assert drawn == pytest.approx(table[["variance_ratio", "psnr_y"]].to_numpy())
    heads = [text.xy for text in ax.texts if text.arrow_patch]
    assert np.array(heads) == pytest.approx(np.array([(0.85, 31), (0.85, 32)]))
    assert {"L2", "SSIM", "HR"} <= {text.get_text() for text in ax.texts}


def test_histograms_show_each_image_beside_hr():
    variances = pd.DataFrame({"image": ["HR"] * 3 + ["l2"] * 2, "variance": [1, 1e-3, 1e-9, 1, 1]})
    (ax,) = plots.variance_histograms(variances).axes
    assert ax.get_title() == "L2"
    assert len(ax.patches) == 2  # HR's area, and the line of l2
    assert ax.patches[0].get_xy()[:, 1].max() == 1, "what is below the first bin is counted in it"
    assert ax.patches[1].get_xy()[:, 1].max() == 2


def test_a_distribution_marks_the_mean_over_images():
    rows = pd.DataFrame(
        {"loss": loss, "image": image, "seed": seed, "variance_ratio": image / 4 + up + seed}
        for loss, up in (("l2", 0), ("l2+gv", 0.1)) for image in range(4) for seed in (-1, 1)
    )  # fmt: skip
    (ax,) = plots.distribution(rows, "variance_ratio", "ratio").axes
    assert [line.get_xdata()[0] for line in ax.lines] == pytest.approx([0.375, 0.475])
    assert ax.get_xlabel() == "ratio"


def test_labels_are_spelled_as_in_the_text():
    for label, shown in (("l2+gv", "L2+GV"), ("tv2 authors'", "TV authors'"), ("vdsr", "VDSR")):
        assert plots.spelled(label) == shown
    assert plots.spelled("l2+my_loss") == "L2+my_loss"
    assert plots.spelled("bicubic") == "bicubic"


def test_losses_and_scales_share_no_colour():
    losses = {to_rgba(hue) for hue in (*plots.COLOURS.values(), plots.OWN)}
    assert len(losses) == len(plots.COLOURS) + 1
    assert losses.isdisjoint(to_rgba(hue) for hue in plots.SCALE_COLOURS.values())
    assert plots.colour("l2+my_loss") == plots.OWN


def test_a_figure_is_saved_for_screen_and_print(tmp_path):
    figure = plots.edge_profile(pd.DataFrame({"HR": [0.0, 1.0], "bicubic": [0.2, 0.6]}))
    for name in ("one", "again"):
        plots.save(figure, tmp_path, name)
    assert {path.name for path in tmp_path.iterdir()} == {
        "one.png", "one.pdf", "again.png", "again.pdf",
    }  # fmt: skip
    assert (tmp_path / "one.pdf").read_bytes() == (tmp_path / "again.pdf").read_bytes()
    plots.save(figure, "", "nowhere")


def test_a_tradeoff_of_one_s_own_loss_alone():
    row = {"pixel": "mine", "regulariser": "alone", "variance_ratio": 0.8, "psnr_y": 31.0}
    (ax,) = plots.tradeoff(pd.DataFrame([row])).axes
    assert "mine" in {text.get_text() for text in ax.texts}


def test_choices_of_a_single_scale():
    rows = [{"variant": v, "scale": 2, "psnr": p} for v, p in (("standard", 30.0), ("rgb", 28.0))]
    (ax,) = plots.choices(pd.DataFrame(rows)).axes
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["x2"]


def test_histograms_of_flat_images():
    plots.variance_histograms(pd.DataFrame({"image": ["HR", "l2"], "variance": [1e-7, 1e-8]}))
