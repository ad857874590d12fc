"""Charts show what they are given, where it belongs."""

import numpy as np
import pandas as pd
import pytest

from gvstudy import plots, statistics


def effects():
    rows = [
        {"model": model, "scale": scale, "set": name, "image": str(image), "seed": seed,
         "psnr_y": len(model) + scale + seed / 100 + image / 1000}
        for model in ("vdsr", "espcn") for scale in (2, 3) for name in ("A", "B")
        for image in range(6) for seed in range(3)
    ]  # fmt: skip
    ours = pd.DataFrame(rows)
    return statistics.tabulate(statistics.compare(ours, ours.assign(psnr_y=0.0), "psnr_y"))


def test_a_forest_has_a_panel_a_model_and_a_line_a_cell():
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


def test_a_forest_without_the_paper_tells_of_no_cross():
    figure = plots.forest(effects(), "dB")
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "mean", "interval over images", "a seed",
    ]  # fmt: skip
