"""Charts of what is gained against what it costs: by loss, by weight, by length of training."""

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gvstudy.plots import COLOURS, colour

METRICS = {"psnr_y": "PSNR (luma, dB)", "ssim_y": "SSIM (luma)"}
REGULARISER_MARKERS = {"alone": "o", "tv": "s", "gv": "^"}


def tradeoff(table: pd.DataFrame, bicubic: Mapping[str, float]) -> Figure:
    """PSNR against variance ratio, a point a row of `table` (`pixel`, `regulariser`, metrics).

    Shape tells the regulariser, colour the loss (TV has that of its pixel loss); an arrow leads
    from each pixel loss alone to what GV makes of it. The left panel has `bicubic`, the baseline's
    metrics, besides; the right one looks closer.
    """
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.8))
    for ax in axes:
        for pixel, rows in table.groupby("pixel", sort=False):
            places = rows.set_index("regulariser")[["variance_ratio", "psnr_y"]]
            for regulariser, (x, y) in places.iterrows():
                name = pixel if regulariser == "alone" else f"{pixel}+{regulariser}"
                style = {"marker": REGULARISER_MARKERS[regulariser], "label": name, "zorder": 3}
                if regulariser == "tv":  # hollow: it often lies on the pixel loss alone
                    hollow = {"facecolor": "none", "edgecolor": COLOURS[str(pixel)]}
                    ax.scatter(x, y, s=90, linewidth=1.4, **hollow, **style)
                else:
                    ax.scatter(x, y, s=60, edgecolor="white", color=colour(name), **style)
            arrow = {"arrowstyle": "->", "color": COLOURS[str(pixel)], "shrinkA": 4, "shrinkB": 4}
            ax.annotate("", places.loc["gv"], places.loc["alone"], arrowprops=arrow)
        ax.set(xlabel="variance ratio SR / HR", ylabel="PSNR (luma, dB)")
    style = {"color": COLOURS["bicubic"], "marker": "X", "s": 60, "edgecolor": "white"}
    axes[0].scatter(bicubic["variance_ratio"], bicubic["psnr_y"], label="bicubic", **style)
    axes[0].axvline(1, color=COLOURS["HR"], linestyle=":", label="HR")
    axes[0].set_title("with bicubic")
    axes[1].set_title("the trained models alone")
    axes[1].margins(0.12)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, loc="outside right center")
    sns.despine(figure)
    return figure


def sweep(points: pd.DataFrame, alone: pd.Series, authors: pd.Series) -> Figure:
    """PSNR and SSIM against variance ratio as a weight grows: a line a `family`, a row a `padding`.

    `points` has a row a training: `family`, `padding` ("" for all rows), `weight` and the metrics
    `variance_ratio`, `psnr_y`, `ssim_y`. `alone` is the pixel loss without a regulariser (a star),
    `authors` the paper's own setting (a ring), both with the same metrics. The heaviest weight
    stands at its end of a line. A family "TV" may leave the view, which is that of the others.
    """
    paddings = [name for name in points["padding"].unique() if name] or [""]
    figure, axes = plt.subplots(
        len(paddings), 2, figsize=(10.5, 0.9 + 3.1 * len(paddings)), squeeze=False,
        sharex=True, sharey="col",
    )  # fmt: skip
    families = points["family"].unique()
    known = {"TV": "0.45", "GV": COLOURS["l2+gv"]}
    shades = iter(sns.color_palette("viridis", sum(name not in known for name in families)))
    hues = {name: known.get(name) or next(shades) for name in families}
    for row, padding in zip(axes, paddings, strict=True):
        here = points[points["padding"].isin([padding, ""])].sort_values("weight")
        for ax, (metric, label) in zip(row, METRICS.items(), strict=True):
            _by_weight(ax, here, metric, hues)
            _look_at(ax, points[points["family"] != "TV"], metric)
            star = (alone["variance_ratio"], alone[metric])
            ax.scatter(*star, marker="*", s=110, color="black", zorder=4, label="L2 alone")
            if padding in ("", authors["padding"]):
                ring = (authors["variance_ratio"], authors[metric])
                style = {"facecolor": "none", "edgecolor": COLOURS["l2+gv"], "linewidth": 1.6}
                ax.scatter(*ring, s=120, zorder=5, label="the paper's setting", **style)
            ax.set(ylabel=label, title=f"padding {padding}" if padding else "")
    for ax in axes[-1]:
        ax.set_xlabel("variance ratio SR / HR")
    told = [ax.get_legend_handles_labels() for ax in axes.flat]
    handles = {label: handle for pair in told for handle, label in zip(*pair, strict=True)}
    figure.legend(handles.values(), handles, frameon=False, loc="outside right center")
    sns.despine(figure)
    return figure


def _by_weight(ax: Axes, points: pd.DataFrame, metric: str, hues: Mapping[str, Any]) -> None:
    """A line a family, with the heaviest weight written at its end."""
    lines = dict(iter(points.groupby("family")))
    for place, family in enumerate(name for name in hues if name in lines):
        line, hue = lines[family], hues[family]
        ax.plot(
            line["variance_ratio"], line[metric], color=hue, marker="o", markersize=4,
            label=family,
        )  # fmt: skip
        end = line.iloc[-1]
        beside = {"xytext": (-4, -9), "ha": "right"} if place % 2 else {"xytext": (4, 3)}
        ax.annotate(
            f"{end['weight']:g}", (end["variance_ratio"], end[metric]), **beside,
            textcoords="offset points", size=7, color=hue, annotation_clip=True,
        )  # fmt: skip


def _look_at(ax: Axes, points: pd.DataFrame, metric: str) -> None:
    """Limits that hold these points, with room for what leads there from the left."""
    for column, limit in (("variance_ratio", ax.set_xlim), (metric, ax.set_ylim)):
        low, high = points[column].min(), points[column].max()
        room = 0.12 * (high - low)
        limit(low - (3 if column == "variance_ratio" else 1) * room, high + room)


def by_steps(gains: pd.DataFrame, levels: pd.DataFrame, label: str) -> Figure:
    """What GV changes as the training gets longer, beside how good each arm has become.

    `gains` is what `statistics.tabulate` gives, by number of steps; `levels` has a column a loss,
    by number of steps. `label` names the metric.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.5))
    left.axhline(0, color="0.6", linewidth=1)
    for steps, row in gains.iterrows():
        left.scatter([steps] * len(row["by_seed"]), row["by_seed"], marker="_", color="0.5", s=80)
        left.plot([steps, steps], row["seeds"], color=colour("l2+gv"), linewidth=2, alpha=0.6)
    left.plot(gains.index, gains["mean"], color=colour("l2+gv"), marker="o")
    for loss in levels:
        right.plot(levels.index, levels[loss], color=colour(loss), marker="o", label=loss)
    for ax in (left, right):
        ax.set(xscale="log", xlabel="steps of training")
        ax.set_xticks(list(gains.index), [f"{steps:,}" for steps in gains.index])
        ax.minorticks_off()
    left.set_ylabel(f"{label}, with GV less without")
    right.set_ylabel(label)
    right.legend(frameon=False)
    sns.despine(figure)
    return figure
