"""The study's charts: tidy frames in, a figure out. Colours and style of every figure are here."""

import re
from collections.abc import Mapping, Sequence
from itertools import cycle
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
from matplotlib.ticker import MaxNLocator

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
OWN = "tab:purple"  # of a loss that isn't the study's
# Where one colour stands for a regulariser, whatever the pixel loss.
REGULARISER_COLOURS = {"gv": COLOURS["l2+gv"], "tv2": "0.45"}
REGULARISER_MARKERS = {"alone": "o", "tv": "s", "gv": "^"}
# From light to dark, and none of a loss's colours.
SCALE_COLOURS = dict(zip((2, 3, 4), sns.color_palette("YlGnBu", 5)[2:], strict=True))
MARK = _PALETTE[1]  # marks a place in a picture
_SPELLED = {key: key.upper() for key in ("l1", "l2", "ssim", "gv", "tv", "vdsr", "edsr", "espcn")}
_SPELLED |= {"tv2": "TV"}
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


def colour(label: str) -> Any:
    """The colour that a loss (or HR, or bicubic) has in every figure."""
    return COLOURS.get(label, OWN)


def spelled(label: str) -> str:
    """A label as the text writes it: `l2+gv` is L2+GV, `vdsr` is VDSR; other words stay."""
    return re.sub(r"\w+", lambda word: _SPELLED.get(word[0], word[0]), label)


def edge_profile(profile: pd.DataFrame) -> Figure:
    """Gradients along a row of pixels: one line per column of `profile`."""
    figure, ax = plt.subplots(figsize=(6, 2.8))
    for name in profile:
        ax.plot(profile[name], color=colour(name), marker=".", label=spelled(name))
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
    markers = cycle("o^sD")  # which tell the lines apart in grey
    for loss, rows in history.groupby("loss", sort=False):
        style = {"color": colour(str(loss)), "label": spelled(str(loss)), "marker": next(markers)}
        style |= {"markersize": 4, "linewidth": 1.2}
        left.plot(rows["step"], rows["psnr_y"], **style)
        right.plot(rows["step"], rows["variance_ratio"], **style)
    right.axhline(1, color=COLOURS["HR"], linestyle=":", label="HR")
    left.set(xlabel="step", ylabel="validation PSNR (luma, dB)")
    right.set(xlabel="step", ylabel="validation variance ratio SR / HR")
    settled = history.loc[history["step"] > history["step"].max() / 10, "psnr_y"]
    left.set_ylim(bottom=settled.min() - 0.2)  # the first steps would flatten all others
    handles, labels = right.get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, ncols=5, loc="outside upper center")
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
        ax.scatter(wide[loss], positions, color=colour(loss), label=spelled(loss), zorder=2)
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
    for scale, offset, marker in ((2, 0.2, "o"), (3, 0, "s"), (4, -0.2, "^")):
        if scale not in changes:
            continue
        style = {"color": SCALE_COLOURS[scale], "marker": marker, "label": f"x{scale}"}
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
    known = REGULARISER_COLOURS | SCALE_COLOURS
    hues = {group: known.get(group, OWN) for group in groups}
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
        ax.set(title=spelled(panel), xlabel=label)
    names = [
        " ".join(f"x{p}" if isinstance(p, int) else spelled(p) for p in line) for line in lines
    ]
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
    """How often each patch variance occurs: a panel per `image`, beside HR's in grey.

    `variances` has one row per patch, with its `variance`; one of the images is HR. The first bin
    also counts everything below it.
    """
    found = dict(iter(variances.groupby("image", sort=False)["variance"]))
    hr = found.pop("HR")
    bins = np.geomspace(1e-5, max(float(variances["variance"].max()), 1e-4), 40)
    figure, axes = plt.subplots(
        1, len(found), figsize=(3.4 * len(found), 2.9), sharey=True, squeeze=False
    )
    for ax, (name, values) in zip(axes[0], found.items(), strict=True):
        ax.hist(hr.clip(lower=bins[0]), bins=bins, histtype="stepfilled", color="0.82", label="HR")
        style = {"color": colour(str(name)), "linewidth": 2, "label": spelled(str(name))}
        ax.hist(values.clip(lower=bins[0]), bins=bins, histtype="step", **style)
        ax.set(xscale="log", xlabel="gradient variance of a patch", title=spelled(str(name)))
    axes[0, 0].set_ylabel("number of patches")
    axes[0, 0].legend(frameon=False, loc="upper left")
    sns.despine(figure)
    return figure


def distribution(rows: pd.DataFrame, metric: str, label: str) -> Figure:
    """How a metric is distributed over the images of a set: one histogram per `loss`.

    `rows` has one row per image, `loss` and seed; the seeds of an image are averaged first. A
    dashed line with the loss's name marks the mean.
    """
    means = rows.groupby(["loss", "image"], sort=False)[metric].mean().reset_index()
    figure, ax = plt.subplots(figsize=(6.5, 2.9))
    palette = {loss: colour(loss) for loss in means["loss"].unique()}
    sns.histplot(
        means, x=metric, hue="loss", palette=palette, element="step", bins=24, legend=False, ax=ax
    )
    for loss, values in means.groupby("loss", sort=False)[metric]:
        mean, hue = values.mean(), palette[loss]
        ax.axvline(mean, color=hue, linestyle="--", linewidth=1.2)
        ax.annotate(
            spelled(str(loss)), (mean, 1), xycoords=("data", "axes fraction"), color=hue,
            xytext=(0, 3), textcoords="offset points", ha="center", weight="bold",
        )  # fmt: skip
    ax.set(xlabel=label, ylabel="number of images")
    sns.despine(figure)
    return figure


def tradeoff(table: pd.DataFrame) -> Figure:
    """PSNR against variance ratio: one point per row of `table`, arrows to + TV and to + GV.

    `table` has the columns `pixel` and `regulariser` ("alone", "tv" or "gv") and the metrics. The
    colour shows the pixel loss, the marker the regulariser.
    """
    figure, ax = plt.subplots(figsize=(7, 3.6))
    for pixel, rows in table.groupby("pixel", sort=False):
        hue = colour(str(pixel))
        points = rows.set_index("regulariser")[["variance_ratio", "psnr_y"]]
        for regulariser, point in points.iterrows():
            face = "none" if regulariser == "tv" else hue
            style: dict[str, Any] = {"marker": REGULARISER_MARKERS[regulariser], "zorder": 3}
            ax.scatter(point.iloc[0], point.iloc[1], s=80, facecolor=face, edgecolor=hue, **style)
        arrow = {"arrowstyle": "->", "color": hue, "shrinkA": 5, "shrinkB": 5, "linewidth": 1.6}
        with_gv = points.loc["gv" if "gv" in points.index else "alone"]
        ax.annotate("", with_gv, points.loc["alone"], arrowprops=arrow)
        down = with_gv["psnr_y"] < points.loc["alone", "psnr_y"]
        aside: dict[str, Any] = {"xytext": (0, 8 if down else -18), "ha": "center"}
        name = {"color": hue, "weight": "bold", "textcoords": "offset points"}
        ax.annotate(spelled(str(pixel)), points.loc["alone"], **aside, **name)
    names = {"alone": "alone", "tv": "with TV", "gv": "with GV"}
    grey: dict[str, Any] = {"color": "0.4", "linewidth": 0, "markersize": 8}
    handles = [
        Line2D([], [], marker=marker, label=names[key], **grey)
        for key, marker in REGULARISER_MARKERS.items()
    ]
    handles[1].set_markerfacecolor("none")
    ax.axvline(1, color=COLOURS["HR"], linestyle=":", zorder=0)
    ax.annotate("HR", (1, 0.02), xycoords=("data", "axes fraction"), xytext=(4, 0),
                textcoords="offset points")  # fmt: skip
    ax.margins(0.08, 0.2)
    ax.set(xlabel="variance ratio SR / HR", ylabel=AXIS_LABELS["psnr_y"])
    ax.legend(handles=handles, frameon=False, loc="center")
    sns.despine(figure)
    return figure


def sweep(points: pd.DataFrame, alone: pd.Series, authors: pd.Series) -> Figure:
    """PSNR and SSIM against variance ratio as a weight grows: each dot is a weight.

    A `line` is one setting, and has the colour of its `family`, whose name is at the end. The
    view fits the other families; "TV" may leave it.

    Args:
        points: one row per training: `family`, `line`, `weight` and the metrics `variance_ratio`,
            `psnr_y`, `ssim_y`.
        alone: the same metrics of the pixel loss without a regulariser; a star.
        authors: the same metrics of the paper's own setting; a ring.
    """
    points = points.reset_index(drop=True)
    figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.2))
    families = points["family"].unique()
    known = {"TV": REGULARISER_COLOURS["tv2"], "GV": REGULARISER_COLOURS["gv"]}
    shades = iter(sns.color_palette("viridis", sum(name not in known for name in families)))
    hues = {name: known.get(name) or next(shades) for name in families}
    for ax, (metric, label) in zip(axes, AXIS_LABELS.items(), strict=True):
        for (family, _), line in points.groupby(["family", "line"], sort=False):
            x, y = (line.sort_values("weight")[which] for which in ("variance_ratio", metric))
            ax.plot(x, y, color=hues[family], marker="o", markersize=3.5, linewidth=1.2)
        _fit_view(ax, points[points["family"] != "TV"], metric)
        inside = points[points[metric].between(*ax.get_ylim())]
        inside = inside[inside["variance_ratio"].between(*ax.get_xlim())]
        away = (inside["variance_ratio"] - alone["variance_ratio"]).abs()
        for farthest in away.groupby(inside["family"], sort=False).idxmax():
            family, *place = inside.loc[farthest, ["family", "variance_ratio", metric]]
            offset = (5, -3) if place[0] > alone["variance_ratio"] else (0, 8)
            beside = {"textcoords": "offset points", "xytext": offset}
            ax.annotate(family, place, color=hues[family], weight="bold", **beside)
        star = {"marker": "*", "s": 110, "color": "black", "zorder": 4, "label": "L2 alone"}
        ax.scatter(alone["variance_ratio"], alone[metric], **star)
        ring = {"facecolor": "none", "edgecolor": "black", "linewidth": 1.4, "zorder": 5, "s": 110}
        ax.scatter(authors["variance_ratio"], authors[metric], label="the paper's setting", **ring)
        ax.set(xlabel="variance ratio SR / HR", ylabel=label)
    axes[0].legend(frameon=False, loc="lower left")
    sns.despine(figure)
    return figure


def fronts(
    points: pd.DataFrame,
    chosen: pd.DataFrame | None,
    names: Mapping[str, str],
    metric: str = "psnr_y",
    label: str = "PSNR (luma), minus L2's, dB",
) -> Figure:
    """A metric against the variance ratio, both minus L2's, as each rival's weight grows.

    Args:
        points: a dot a row: `rival`, `weight`, the metric and `variance_ratio`. The view fits all
            rivals but "tv" and "sharpened"; their dots outside are left out.
        chosen: rings: `rival`, the metric and `variance_ratio`. None draws none.
        names: of the rivals, written beside the ends of their lines.
        metric: a column of `points`, upwards.
        label: of its axis.
    """
    x, y = "variance_ratio", metric
    figure, ax = plt.subplots(figsize=(8.5, 4.4))
    bold = {"gv": REGULARISER_COLOURS["gv"], "sharpened": "black"}
    others = cycle(
        [
            *(_PALETTE[n] for n in (0, 2, 4, 5)),
            "maroon",
            _PALETTE[9],
            "teal",
            "olive",
            "slateblue",
            "crimson",
        ]
    )
    fixed = bold | {"tv": REGULARISER_COLOURS["tv2"]}
    hues = {rival: fixed.get(rival) or next(others) for rival in names}
    seen = points.loc[~points["rival"].isin(["tv", "sharpened"]), [x, y]]
    low, high = seen.min(), seen.max()
    wide, tall = high - low
    ax.set(xlim=(low[x] - 0.4 * wide, high[x] + 0.4 * wide), xlabel="variance ratio, minus L2's")
    ax.set(ylim=(low[y] - 0.1 * tall, high[y] + 0.2 * tall), ylabel=label)
    ends = {}
    for rival, line in points.sort_values("weight").groupby("rival"):
        thick = 2 if rival in bold else 1.2
        inside = line[line[x].between(*ax.get_xlim()) & line[y].between(*ax.get_ylim())]
        style = {"color": hues[rival], "marker": "o", "markersize": 3, "linewidth": thick}
        ax.plot(inside[x], inside[y], **style)
        if not inside.empty:
            ends[rival] = inside[[x, y]].iloc[-1]
    if chosen is not None:
        ring: dict[str, Any] = {"facecolor": "none", "linewidth": 1.4, "s": 80, "zorder": 5}
        ax.scatter(chosen[x], chosen[y], edgecolor=chosen["rival"].map(hues), **ring)
    ax.axhline(0, color="0.8", linewidth=0.8, zorder=0)
    ax.axvline(0, color="0.8", linewidth=0.8, zorder=0)
    for column, left in ((0.02, True), (0.81, False)):
        some = [rival for rival in ends if (ends[rival][x] < low[x] + wide / 3) == left]
        some = sorted(some, key=lambda rival: ends[rival][y])
        heights = _apart([ends[rival][y] for rival in some], 0.08 * tall)
        for rival, height in zip(some, heights, strict=True):
            ax.annotate(
                names[rival],
                tuple(ends[rival]),
                (column, height),
                textcoords=ax.get_yaxis_transform(),
                color=hues[rival],
                weight="bold" if rival in bold else None,
                va="center",
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
                arrowprops={"arrowstyle": "-", "color": "0.7", "linewidth": 0.5},
            )
    sns.despine(figure)
    return figure


def _apart(values: Sequence[float], gap: float) -> np.ndarray:
    """Move sorted values apart until neighbours differ by `gap`; their mean stays."""
    moved = np.array(values, dtype=float)
    for i in range(1, len(moved)):
        moved[i] = max(moved[i], moved[i - 1] + gap)
    return moved - (moved.mean() - np.mean(values))


def _fit_view(ax: Axes, points: pd.DataFrame, metric: str) -> None:
    """Set limits that hold these points, with extra room on the left for lines that lead there."""
    for column, limit in (("variance_ratio", ax.set_xlim), (metric, ax.set_ylim)):
        low, high = points[column].min(), points[column].max()
        room = 0.12 * (high - low)
        limit(low - (3 if column == "variance_ratio" else 1) * room, high + room)


def gain_by_level(
    points: pd.DataFrame, labels: Mapping[str, str], ours: str = "L2+GV", base: str = "L2"
) -> Figure:
    """What a loss changes in each training, from where its base gets least to where it gets most.

    `points` has one row per training and metric, its index, and the columns `level` (of the base),
    `mean`, `seeds` (the interval) and `by_seed` of the change. `labels` names the metrics, a panel
    each; the first one gives the order, and the levels that are written beside the trainings.
    """
    figure, axes = plt.subplots(1, len(labels), figsize=(10, 3.4), squeeze=False, sharey=True)
    order = points.xs(next(iter(labels)), level=1).sort_values("level")["level"]
    for ax, (metric, label) in zip(axes[0], labels.items(), strict=True):
        ax.axvline(0, color="0.6", linewidth=1, zorder=0)
        for place, training in enumerate(order.index):
            row, hue = points.loc[(training, metric)], colour(ours.lower())
            ticks = {"marker": "|", "s": 50, "linewidth": 0.8, "color": "0.5"}
            ax.scatter(row["by_seed"], [place] * len(row["by_seed"]), **ticks)
            ax.plot(row["seeds"], (place, place), color=hue, linewidth=2.5, alpha=0.6)
            ax.scatter(row["mean"], place, color=hue, s=28, zorder=3)
        ax.set_xlabel(f"{label}, {ours} minus {base}")
        ax.xaxis.set_major_locator(MaxNLocator(5))
    names = [f"{training}: {base} at {level:.2f}" for training, level in order.items()]
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


def dots(rows: pd.DataFrame, metrics: Mapping[str, str], panels: str = "") -> Figure:
    """A column of dots for each variant, one dot a seed, a line at the mean; one panel a metric.

    `rows` has the columns `variant`, `loss` (for the colour) and `seed`; the variants stand in the
    order in which they first appear, with their means below. `metrics` maps columns to labels.
    `panels` names a column: each metric is then a row of panels, one a value of that column.
    """
    parts = dict(iter(rows.groupby(panels, sort=False))) if panels else {"": rows}
    widths = [part["variant"].nunique() for part in parts.values()]
    figure, axes = (
        plt.subplots(len(metrics), len(parts), figsize=(11, 7), sharey="row", width_ratios=widths)
        if panels
        else plt.subplots(1, len(metrics), figsize=(10, 3.8))
    )
    lines = np.reshape(axes, (len(metrics), len(parts)))
    for line, (metric, label) in zip(lines, metrics.items(), strict=True):
        line[0].set(ylabel=label)
        for ax, part in zip(line, parts.values(), strict=True):
            _columns_of_dots(ax, part, metric)
    for ax, name in zip(lines[0], parts, strict=True):
        ax.set_title(name)
    sns.despine(figure)
    return figure


def _columns_of_dots(ax: Axes, rows: pd.DataFrame, metric: str) -> None:
    """Draw one panel of `dots`."""
    by_seed = rows.groupby(["variant", "loss", "seed"], sort=False)[metric].mean()
    names = []
    for place, ((variant, loss), values) in enumerate(
        by_seed.groupby(level=["variant", "loss"], sort=False)
    ):
        mean, hue = values.mean(), colour(loss)
        ax.scatter([place] * len(values), values, color=hue, alpha=0.45, linewidth=0)
        ax.plot([place - 0.25, place + 0.25], [mean, mean], color=hue, linewidth=2)
        names.append(f"{variant}\n{mean:#.4g}")
    ax.set_xticks(range(len(names)), names)
    ax.set(xlim=(-0.5, len(names) - 0.5))
