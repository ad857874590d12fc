"""The study's charts: tidy frames in, a figure out; colours and style of every figure."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gvstudy.files import replacing

_SAFE = sns.color_palette("colorblind")
COLOURS = {
    "HR": "black",
    "bicubic": _SAFE[7],
    "l2": _SAFE[0],
    "l2+gv": _SAFE[3],
    "l1": _SAFE[2],
    "l1+gv": _SAFE[1],
    "ssim": _SAFE[4],
    "ssim+gv": _SAFE[6],
}
ADDED = {"gv": COLOURS["l2+gv"], "tv2": "0.45"}  # where it stands for all pixel losses
MARK = _SAFE[1]  # what marks a place in a picture


def use_style() -> None:
    """One look for every figure: white ground, small type, light enough for a notebook."""
    sns.set_theme(context="notebook", style="ticks", font_scale=0.85)
    mpl.rcParams.update(
        {"figure.dpi": 75, "savefig.dpi": 150, "figure.constrained_layout.use": True}
    )


def save(figure: Figure, folder: str | Path, name: str) -> None:
    """Save as `folder/name.png` and, for print, `.pdf`; an empty folder: nothing is saved."""
    if not folder:
        return
    for suffix, metadata in ((".png", None), (".pdf", {"CreationDate": None})):
        with replacing(Path(folder) / f"{name}{suffix}") as temporary:
            figure.savefig(temporary, metadata=metadata)


def colour(label: str) -> object:
    """The colour that a loss (or HR, bicubic) has in every figure."""
    return COLOURS.get(label, _SAFE[8])


def edge_profile(profile: pd.DataFrame) -> Figure:
    """Gradients along a row of pixels, a line a column of `profile`."""
    figure, ax = plt.subplots(figsize=(6, 2.8))
    for name in profile:
        ax.plot(profile[name], color=colour(name), marker=".", label=name)
    ax.axhline(0, color="0.8", linewidth=0.8, zorder=0)
    ax.set(xlabel="pixel along the row", ylabel="gradient $G_x$")
    ax.legend(frameon=False)
    sns.despine(figure)
    return figure


def training_curves(history: pd.DataFrame) -> Figure:
    """Validation PSNR and variance ratio over the steps, a line a `loss`."""
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
    """One metric by image, a dot a `loss`; joined along an image to show the difference."""
    figure, ax = plt.subplots(figsize=(6.5, 0.5 * rows["image"].nunique() + 1.2))
    wide = rows.pivot(index="image", columns="loss", values=metric)[rows["loss"].unique()]
    places = np.arange(len(wide))
    ax.hlines(places, wide.min(axis=1), wide.max(axis=1), color="0.8", zorder=1)
    for loss in wide:
        ax.scatter(wide[loss], places, color=colour(loss), label=loss, zorder=2)
    ax.set_yticks(places, wide.index)
    ax.set_xlabel(label)
    ax.invert_yaxis()
    ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    sns.despine(figure)
    return figure


def choices(measured: pd.DataFrame) -> Figure:
    """What each choice of a protocol is worth against "standard": dB of the mean, a dot a `scale`.

    `measured` has a row an image, `scale` and `variant`, with its `psnr`.
    """
    means = measured.groupby(["variant", "scale"], sort=False)["psnr"].mean().unstack()
    worth = means.sub(means.loc["standard"]).drop(index="standard").iloc[::-1]
    figure, ax = plt.subplots(figsize=(6.5, 3.4))
    ax.axvline(0, color="0.7", linewidth=1)
    places = np.arange(len(worth))
    for offset, (scale, shade, marker) in zip(
        (0.2, 0, -0.2), ((2, _SAFE[0], "o"), (3, _SAFE[1], "s"), (4, _SAFE[2], "^")), strict=True
    ):
        ax.scatter(worth[scale], places + offset, color=shade, marker=marker, label=f"x{scale}")
    ax.set_yticks(places, worth.index)
    ax.set_xlabel('PSNR of bicubic, difference to "standard" (dB)')
    ax.legend(frameon=False)
    sns.despine(figure)
    return figure


def forest(effects: pd.DataFrame, label: str) -> Figure:
    """Differences with their intervals, a panel for the first level of the index, a line a row.

    `effects` is what `statistics.tabulate` gives, and may have a column `paper`. The dot is the
    mean, the bar the interval over images, ticks the seeds' own means, a cross the paper's figure.
    """
    panels = effects.index.unique(0)
    lines = list(dict.fromkeys(effects.index.droplevel(0)))
    groups = dict.fromkeys(line[0] for line in lines)
    hues = dict(zip(groups, _SAFE, strict=False)) | {k: ADDED[k] for k in groups if k in ADDED}
    size = (3.3 * len(panels) + 1, (0.26 if len(lines) > 6 else 0.4) * len(lines) + 1.3)
    figure, axes = plt.subplots(
        1, len(panels), figsize=size, sharex=True, sharey=True, squeeze=False
    )
    for ax, panel in zip(axes[0], panels, strict=True):
        ax.axvline(0, color="0.6", linewidth=1, zorder=0)
        for place, line in enumerate(lines):
            row, hue = effects.loc[(panel, *line)], hues[line[0]]
            ticks = {"marker": "|", "s": 60, "linewidth": 0.8}
            ax.scatter(row["by_seed"], [place] * len(row["by_seed"]), color=hue, **ticks)
            ax.plot(row["images"], (place, place), color=hue, linewidth=2.5, alpha=0.6)
            ax.scatter(row["mean"], place, color=hue, s=28, zorder=3)
            if "paper" in row:
                ax.scatter(row["paper"], place, color="black", marker="x", s=22, zorder=3)
        ax.set(title=panel, xlabel=label)
    names = [" ".join(f"x{p}" if isinstance(p, int) else str(p) for p in line) for line in lines]
    axes[0, 0].set_yticks(range(len(lines)), names)
    axes[0, 0].set_ylim(len(lines) - 0.5, -0.5)
    grey: dict[str, Any] = {"color": "0.5", "linewidth": 0}
    handles = [
        Line2D([], [], label="mean", marker="o", **grey),
        Line2D([], [], label="interval over images", **grey | {"linewidth": 2}),
        Line2D([], [], label="a seed", marker="|", **grey),
    ]
    if "paper" in effects:
        handles.append(Line2D([], [], label="the paper", marker="x", **grey | {"color": "black"}))
    figure.legend(handles=handles, frameon=False, ncols=4, loc="outside upper center")
    sns.despine(figure)
    return figure


def variance_histograms(variances: pd.DataFrame) -> Figure:
    """How often which patch variance occurs, a panel a `direction`, a line an `image`."""
    figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.4), sharey=True)
    bins = np.geomspace(1e-5, float(variances["variance"].max()), 50)
    for ax, (direction, rows) in zip(axes, variances.groupby("direction"), strict=True):
        for name, some in rows.groupby("image", sort=False):
            inside = some["variance"].clip(lower=bins[0])
            style = {"color": colour(str(name)), "label": name, "linewidth": 1.6}
            ax.hist(inside, bins=bins, histtype="step", **style)
        ax.set(xscale="log", xlabel=f"variance of $G_{direction}$ in a patch", ylabel="patches")
    axes[0].legend(frameon=False, loc="upper left")
    sns.despine(figure)
    return figure


def variance_curves(variances: pd.DataFrame) -> Figure:
    """Variance from patch to patch, a panel a `direction`, a line an `image` (paper's Fig. 2)."""
    figure, axes = plt.subplots(2, 1, figsize=(9.5, 4.6), sharex=True)
    for ax, (direction, rows) in zip(axes, variances.groupby("direction"), strict=True):
        for name, some in rows.groupby("image", sort=False):
            style = {"color": colour(str(name)), "label": name}
            ax.plot(some["patch"], some["variance"], linewidth=1.2, **style)
        ax.set_ylabel(f"variance of $G_{direction}$")
    axes[-1].set_xlabel("patch along the row")
    axes[0].legend(frameon=False, ncols=4, loc="upper right")
    sns.despine(figure)
    return figure
