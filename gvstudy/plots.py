"""The study's charts: tidy frames in, a figure out. Colours and style of every figure are here."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from gvstudy.paths import replacing

_PALETTE = sns.color_palette("colorblind")
COLOURS = {
    "HR": "black",
    "bicubic": _PALETTE[7],
    "l2": _PALETTE[0],
    "l2+gv": _PALETTE[3],
    "l1": _PALETTE[2],
    "l1+gv": _PALETTE[1],
    "ssim": _PALETTE[4],
    "ssim+gv": _PALETTE[6],
}
# Where one colour stands for a regulariser, whatever the pixel loss.
REGULARISER_COLOURS = {"gv": COLOURS["l2+gv"], "tv2": "0.45"}
REGULARISER_MARKERS = {"alone": "o", "tv": "s", "gv": "^"}
MARK = _PALETTE[1]  # marks a place in a picture
AXIS_LABELS = {"psnr_y": "PSNR (luma, dB)", "ssim_y": "SSIM (luma)"}


def use_style() -> None:
    """Set the style of every figure: white background, small type, light enough for a notebook."""
    sns.set_theme(context="notebook", style="ticks", font_scale=0.85)
    mpl.rcParams.update(
        {"figure.dpi": 75, "savefig.dpi": 150, "figure.constrained_layout.use": True}
    )


def save(figure: Figure, folder: str | Path, name: str) -> None:
    """Save as `folder/name.png` and, for print, `folder/name.pdf`; not at all if `folder` is ""."""
    if not folder:
        return
    # Without a creation date, the same figure gives the same file.
    for suffix, metadata in ((".png", None), (".pdf", {"CreationDate": None})):
        with replacing(Path(folder) / f"{name}{suffix}") as temporary:
            figure.savefig(temporary, metadata=metadata)


def colour(label: str) -> object:
    """The colour that a loss (or HR, or bicubic) has in every figure."""
    return COLOURS.get(label, _PALETTE[8])


def edge_profile(profile: pd.DataFrame) -> Figure:
    """Gradients along a row of pixels: one line per column of `profile`."""
    figure, ax = plt.subplots(figsize=(6, 2.8))
    for name in profile:
        ax.plot(profile[name], color=colour(name), marker=".", label=name)
    ax.axhline(0, color="0.8", linewidth=0.8, zorder=0)
    ax.set(xlabel="position in the row (pixels)", ylabel="gradient $G_x$")
    ax.legend(frameon=False)
    sns.despine(figure)
    return figure


def training_curves(history: pd.DataFrame) -> Figure:
    """Validation PSNR and variance ratio over the steps, one line per `loss`.

    `history` has the columns `loss`, `step`, `psnr_y` and `variance_ratio`.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2))
    for loss, rows in history.groupby("loss", sort=False):
        style = {"color": colour(str(loss)), "label": loss, "marker": ".", "markersize": 5}
        left.plot(rows["step"], rows["psnr_y"], **style)
        right.plot(rows["step"], rows["variance_ratio"], **style)
    right.axhline(1, color=COLOURS["HR"], linestyle=":", label="HR")
    left.set(xlabel="step", ylabel="validation PSNR (luma, dB)")
    right.set(xlabel="step", ylabel="validation variance ratio SR / HR")
    settled = history.loc[history["step"] > history["step"].max() / 10, "psnr_y"]
    left.set_ylim(bottom=settled.min() - 0.2)  # the first steps would flatten all others
    for ax in (left, right):
        ax.legend(frameon=False)
    sns.despine(figure)
    return figure


def by_image(rows: pd.DataFrame, metric: str, label: str) -> Figure:
    """One metric by image: a dot per `loss`, and a line that spans the dots of an image.

    `rows` has one row per `image` and `loss`; `label` names the metric.
    """
    figure, ax = plt.subplots(figsize=(6.5, 0.5 * rows["image"].nunique() + 1.2))
    wide = rows.pivot(index="image", columns="loss", values=metric)[rows["loss"].unique()]
    positions = np.arange(len(wide))
    ax.hlines(positions, wide.min(axis=1), wide.max(axis=1), color="0.8", zorder=1)
    for loss in wide:
        ax.scatter(wide[loss], positions, color=colour(loss), label=loss, zorder=2)
    ax.set_yticks(positions, wide.index)
    ax.set_xlabel(label)
    ax.invert_yaxis()
    ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    sns.despine(figure)
    return figure


def choices(measured: pd.DataFrame) -> Figure:
    """How much each choice of a protocol changes the mean PSNR of "standard": a dot per `scale`.

    `measured` has one row per image, `scale` and `variant`, with its `psnr` in dB.
    """
    means = measured.groupby(["variant", "scale"], sort=False)["psnr"].mean().unstack()
    changes = means.sub(means.loc["standard"]).drop(index="standard").iloc[::-1]
    figure, ax = plt.subplots(figsize=(6.5, 3.4))
    ax.axvline(0, color="0.7", linewidth=1)
    positions = np.arange(len(changes))
    for scale, offset, shade, marker in (
        (2, 0.2, _PALETTE[0], "o"),
        (3, 0, _PALETTE[1], "s"),
        (4, -0.2, _PALETTE[2], "^"),
    ):
        style = {"color": shade, "marker": marker, "label": f"x{scale}"}
        ax.scatter(changes[scale], positions + offset, **style)
    ax.set_yticks(positions, changes.index)
    ax.set_xlabel('PSNR of bicubic, difference from "standard" (dB)')
    ax.legend(frameon=False)
    sns.despine(figure)
    return figure


def forest(effects: pd.DataFrame, label: str) -> Figure:
    """Differences with their intervals: a panel per first level of the index, a line per row.

    `effects` comes from `statistics.tabulate` and may have a column `paper`. The dot is the mean,
    the bar the interval over images, the ticks are the means of single seeds, a cross is the
    paper's figure. `label` names the difference.
    """
    panels = effects.index.unique(0)
    lines = list(dict.fromkeys(effects.index.droplevel(0)))
    groups = dict.fromkeys(line[0] for line in lines)
    hues = dict(zip(groups, _PALETTE, strict=False))
    hues |= {group: hue for group, hue in REGULARISER_COLOURS.items() if group in groups}
    size = (3.3 * len(panels) + 1, (0.26 if len(lines) > 6 else 0.4) * len(lines) + 1.3)
    figure, axes = plt.subplots(
        1, len(panels), figsize=size, sharex=True, sharey=True, squeeze=False
    )
    for ax, panel in zip(axes[0], panels, strict=True):
        ax.axvline(0, color="0.6", linewidth=1, zorder=0)
        for position, line in enumerate(lines):
            row, hue = effects.loc[(panel, *line)], hues[line[0]]
            ticks = {"marker": "|", "s": 60, "linewidth": 0.8}
            ax.scatter(row["by_seed"], [position] * len(row["by_seed"]), color=hue, **ticks)
            ax.plot(row["images"], (position, position), color=hue, linewidth=2.5, alpha=0.6)
            ax.scatter(row["mean"], position, color=hue, s=28, zorder=3)
            if "paper" in row:
                ax.scatter(row["paper"], position, color="black", marker="x", s=22, zorder=3)
        ax.set(title=panel, xlabel=label)
    names = [" ".join(f"x{p}" if isinstance(p, int) else str(p) for p in line) for line in lines]
    axes[0, 0].set_yticks(range(len(lines)), names)
    axes[0, 0].set_ylim(len(lines) - 0.5, -0.5)
    grey: dict[str, Any] = {"color": "0.5", "linewidth": 0}
    handles = [
        Line2D([], [], label="mean", marker="o", **grey),
        Line2D([], [], label="interval over images", **grey | {"linewidth": 2}),
        Line2D([], [], label="one seed", marker="|", **grey),
    ]
    if "paper" in effects:
        handles.append(Line2D([], [], label="the paper", marker="x", **grey | {"color": "black"}))
    figure.legend(handles=handles, frameon=False, ncols=4, loc="outside upper center")
    sns.despine(figure)
    return figure


def variance_histograms(variances: pd.DataFrame) -> Figure:
    """How often each patch variance occurs: a panel per `direction`, a line per `image`.

    `variances` has one row per patch, with its `variance`. The first bin also counts everything
    below it.
    """
    figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.4), sharey=True)
    bins = np.geomspace(1e-5, float(variances["variance"].max()), 50)
    for ax, (direction, rows) in zip(axes, variances.groupby("direction"), strict=True):
        for name, some in rows.groupby("image", sort=False):
            inside = some["variance"].clip(lower=bins[0])
            style = {"color": colour(str(name)), "label": name, "linewidth": 1.6}
            ax.hist(inside, bins=bins, histtype="step", **style)
        ax.set(xscale="log", xlabel=f"variance of $G_{direction}$ in a patch")
    axes[0].set_ylabel("number of patches")
    axes[0].legend(frameon=False, loc="upper left")
    sns.despine(figure)
    return figure


def variance_curves(variances: pd.DataFrame) -> Figure:
    """Variance from patch to patch: a panel per `direction`, a line per `image` (paper's Fig. 2).

    `variances` has one row per patch of a row of patches: its number `patch` and its `variance`.
    """
    figure, axes = plt.subplots(2, 1, figsize=(9.5, 4.6), sharex=True)
    for ax, (direction, rows) in zip(axes, variances.groupby("direction"), strict=True):
        for name, some in rows.groupby("image", sort=False):
            style = {"color": colour(str(name)), "label": name}
            ax.plot(some["patch"], some["variance"], linewidth=1.2, **style)
        ax.set_ylabel(f"variance of $G_{direction}$")
    axes[-1].set_xlabel("patch number in the row")
    axes[0].legend(frameon=False, ncols=4, loc="upper right")
    sns.despine(figure)
    return figure


def tradeoff(table: pd.DataFrame, bicubic: Mapping[str, float]) -> Figure:
    """PSNR against variance ratio: one point per row of `table`.

    `table` has the columns `pixel` and `regulariser` and the metrics. The marker shows the
    regulariser, the colour the loss (TV has the colour of its pixel loss). An arrow leads from each
    pixel loss alone to its combination with GV. The left panel includes `bicubic`, the baseline's
    metrics; the right one zooms in.
    """
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.8))
    for ax in axes:
        for pixel, rows in table.groupby("pixel", sort=False):
            points = rows.set_index("regulariser")[["variance_ratio", "psnr_y"]]
            for regulariser, (x, y) in points.iterrows():
                name = pixel if regulariser == "alone" else f"{pixel}+{regulariser}"
                style = {"marker": REGULARISER_MARKERS[regulariser], "label": name, "zorder": 3}
                if regulariser == "tv":  # hollow, because it often covers the pixel loss alone
                    hollow = {"facecolor": "none", "edgecolor": COLOURS[str(pixel)]}
                    ax.scatter(x, y, s=90, linewidth=1.4, **hollow, **style)
                else:
                    ax.scatter(x, y, s=60, edgecolor="white", color=colour(name), **style)
            arrow = {"arrowstyle": "->", "color": COLOURS[str(pixel)], "shrinkA": 4, "shrinkB": 4}
            ax.annotate("", points.loc["gv"], points.loc["alone"], arrowprops=arrow)
        ax.set(xlabel="variance ratio SR / HR", ylabel=AXIS_LABELS["psnr_y"])
    style = {"color": COLOURS["bicubic"], "marker": "X", "s": 60, "edgecolor": "white"}
    axes[0].scatter(bicubic["variance_ratio"], bicubic["psnr_y"], label="bicubic", **style)
    axes[0].axvline(1, color=COLOURS["HR"], linestyle=":", label="HR")
    axes[0].set_title("with bicubic")
    axes[1].set_title("trained models only")
    axes[1].margins(0.12)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, loc="outside right center")
    sns.despine(figure)
    return figure


def sweep(points: pd.DataFrame, alone: pd.Series, authors: pd.Series) -> Figure:
    """PSNR and SSIM against variance ratio as a weight grows.

    One line per `family`, one row of panels per `padding`; the largest weight is written at its
    end of a line. The view fits the other families; "TV" may leave it.

    Args:
        points: one row per training: `family`, `padding` ("" for all rows), `weight` and the
            metrics `variance_ratio`, `psnr_y`, `ssim_y`.
        alone: the same metrics of the pixel loss without a regulariser; a star.
        authors: the same metrics, and the `padding`, of the paper's own setting; a ring.
    """
    paddings = [name for name in points["padding"].unique() if name] or [""]
    figure, axes = plt.subplots(
        len(paddings), 2, figsize=(10.5, 0.9 + 3.1 * len(paddings)), squeeze=False,
        sharex=True, sharey="col",
    )  # fmt: skip
    families = points["family"].unique()
    known = {"TV": REGULARISER_COLOURS["tv2"], "GV": REGULARISER_COLOURS["gv"]}
    shades = iter(sns.color_palette("viridis", sum(name not in known for name in families)))
    hues = {name: known.get(name) or next(shades) for name in families}
    for row, padding in zip(axes, paddings, strict=True):
        here = points[points["padding"].isin([padding, ""])].sort_values("weight")
        for ax, (metric, label) in zip(row, AXIS_LABELS.items(), strict=True):
            _draw_families(ax, here, metric, hues)
            _fit_view(ax, points[points["family"] != "TV"], metric)
            star = (alone["variance_ratio"], alone[metric])
            ax.scatter(*star, marker="*", s=110, color="black", zorder=4, label="L2 alone")
            if padding in ("", authors["padding"]):
                ring = (authors["variance_ratio"], authors[metric])
                style = {"facecolor": "none", "edgecolor": COLOURS["l2+gv"], "linewidth": 1.6}
                ax.scatter(*ring, s=120, zorder=5, label="the paper's setting", **style)
            ax.set(ylabel=label, title=f"padding {padding}" if padding else "")
    for ax in axes[-1]:
        ax.set_xlabel("variance ratio SR / HR")
    legends = [ax.get_legend_handles_labels() for ax in axes.flat]
    handles = {label: handle for pair in legends for handle, label in zip(*pair, strict=True)}
    figure.legend(handles.values(), handles, frameon=False, loc="outside right center")
    sns.despine(figure)
    return figure


def _draw_families(ax: Axes, points: pd.DataFrame, metric: str, hues: Mapping[str, Any]) -> None:
    """One line per family, with the largest weight written at its end."""
    lines = dict(iter(points.groupby("family")))
    for place, family in enumerate(name for name in hues if name in lines):
        line, hue = lines[family], hues[family]
        ax.plot(
            line["variance_ratio"], line[metric], color=hue, marker="o", markersize=4,
            label=family,
        )  # fmt: skip
        end = line.iloc[-1]
        # Alternate sides, so that the weights of neighbouring lines don't cover each other.
        beside = {"xytext": (-4, -9), "ha": "right"} if place % 2 else {"xytext": (4, 3)}
        ax.annotate(
            f"{end['weight']:g}", (end["variance_ratio"], end[metric]), **beside,
            textcoords="offset points", size=7, color=hue, annotation_clip=True,
        )  # fmt: skip


def _fit_view(ax: Axes, points: pd.DataFrame, metric: str) -> None:
    """Set limits that hold these points, with extra room on the left for lines that lead there."""
    for column, limit in (("variance_ratio", ax.set_xlim), (metric, ax.set_ylim)):
        low, high = points[column].min(), points[column].max()
        room = 0.12 * (high - low)
        limit(low - (3 if column == "variance_ratio" else 1) * room, high + room)


def gain_by_level(points: pd.DataFrame, labels: Mapping[str, str]) -> Figure:
    """What GV changes in each training, from the one where L2 gets least to where it gets most.

    `points` has one row per training and metric, its index, and the columns `level` (of L2),
    `mean`, `seeds` (the interval) and `by_seed` of the change. `labels` names the metrics, a panel
    each; the first one gives the order, and the levels that are written beside the trainings.
    """
    figure, axes = plt.subplots(1, len(labels), figsize=(10, 3.4), squeeze=False, sharey=True)
    order = points.xs(next(iter(labels)), level=1).sort_values("level")["level"]
    for ax, (metric, label) in zip(axes[0], labels.items(), strict=True):
        ax.axvline(0, color="0.6", linewidth=1, zorder=0)
        for place, training in enumerate(order.index):
            row, hue = points.loc[(training, metric)], colour("l2+gv")
            ticks = {"marker": "|", "s": 50, "linewidth": 0.8, "color": "0.5"}
            ax.scatter(row["by_seed"], [place] * len(row["by_seed"]), **ticks)
            ax.plot(row["seeds"], (place, place), color=hue, linewidth=2.5, alpha=0.6)
            ax.scatter(row["mean"], place, color=hue, s=28, zorder=3)
        ax.set_xlabel(f"{label}, L2+GV minus L2")
    names = [f"{training}: L2 at {level:.2f}" for training, level in order.items()]
    axes[0, 0].set_yticks(range(len(order)), names)
    axes[0, 0].set_ylim(len(order) - 0.5, -0.5)
    sns.despine(figure)
    return figure


VERDICTS = {  # in the order of the legend
    "confirmed": _PALETTE[0],
    "consistent with": (*_PALETTE[0], 0.35),
    "no difference": "0.72",
    "undecided": "0.93",
    "against": (*_PALETTE[3], 0.35),
    "contradicted": _PALETTE[3],
    "described": "white",
}


def claims(cells: pd.DataFrame, columns: Sequence[str]) -> Figure:
    """A field for each claim and training: the colour is the verdict, the text the effect.

    `cells` has the index `claim`, in the order to show, and `training`, one of `columns`; its
    columns are `effect` (a text) and `verdict` (one of `VERDICTS`). A combination that is missing
    stays empty.
    """
    rows = list(cells.index.unique(0))
    figure, ax = plt.subplots(figsize=(0.85 * len(columns) + 3.2, 0.36 * len(rows) + 1.6))
    for (claim, training), cell in cells.iterrows():
        corner = (columns.index(training), rows.index(claim))
        hue = VERDICTS[cell["verdict"]]
        ax.add_patch(Rectangle(corner, 1, 1, facecolor=hue, edgecolor="white", linewidth=2))
        strong = cell["verdict"] in ("confirmed", "contradicted")
        middle = (corner[0] + 0.5, corner[1] + 0.5)
        ax.annotate(
            cell["effect"], middle, ha="center", va="center", fontsize="small",
            color="white" if strong else "black",
        )  # fmt: skip
    ax.set(xlim=(0, len(columns)), ylim=(len(rows), 0))
    ax.set_xticks([place + 0.5 for place in range(len(columns))], columns, fontsize="small")
    ax.set_yticks([place + 0.5 for place in range(len(rows))], rows)
    ax.tick_params(length=0, labeltop=True, labelbottom=False)
    used = [verdict for verdict in VERDICTS if verdict in set(cells["verdict"])]
    handles = [
        Rectangle((0, 0), 1, 1, facecolor=VERDICTS[verdict], edgecolor="0.8", label=verdict)
        for verdict in used
    ]
    figure.legend(handles=handles, frameon=False, ncols=len(used), loc="outside lower center")
    sns.despine(figure, left=True, bottom=True)
    return figure


def dots(rows: pd.DataFrame, metrics: Mapping[str, str]) -> Figure:
    """A column of dots for each variant, one dot a seed, a line at the mean; one panel a metric.

    `rows` has the columns `variant`, `loss` (for the colour) and `seed`; the variants stand in the
    order in which they first appear, with their means below. `metrics` maps columns to labels.
    """
    figure, axes = plt.subplots(1, len(metrics), figsize=(10, 3.8), squeeze=False)
    for ax, (metric, label) in zip(axes[0], metrics.items(), strict=True):
        by_seed = rows.groupby(["variant", "loss", "seed"], sort=False)[metric].mean()
        columns = by_seed.groupby(level=["variant", "loss"], sort=False)
        names = []
        for place, ((variant, loss), values) in enumerate(columns):
            mean, hue = values.mean(), colour(loss)
            ax.scatter([place] * len(values), values, color=hue, alpha=0.45, linewidth=0)
            ax.plot([place - 0.25, place + 0.25], [mean, mean], color=hue, linewidth=2)
            names.append(f"{variant}\n{mean:#.4g}")
        ax.set_xticks(range(len(names)), names)
        ax.set(ylabel=label, xlim=(-0.5, len(names) - 0.5))
    sns.despine(figure)
    return figure
