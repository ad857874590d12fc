"""The study's figures: tensors or tidy frames in, a figure out. HR always comes first."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from gvstudy.files import replacing
from gvstudy.gradients import gradient_maps, variance_map, variance_maps
from gvstudy.images import to_uint8

_SAFE = sns.color_palette("colorblind")
PIXEL_COLOURS = {"l2": _SAFE[0], "l1": _SAFE[2], "ssim": _SAFE[4]}
REGULARISER_MARKERS = {"alone": "o", "tv": "s", "gv": "^"}
COLOURS = {"HR": "black", "bicubic": _SAFE[7], "l2": _SAFE[0], "l2+gv": _SAFE[3]} | {
    "l1": _SAFE[2], "l1+gv": _SAFE[1], "ssim": _SAFE[4], "ssim+gv": _SAFE[6]
}  # fmt: skip
Box = tuple[int, int, int]  # top, left and side of a square, in pixels


def use_style() -> None:
    """One look for every figure: white ground, small type, light enough for a notebook."""
    sns.set_theme(context="notebook", style="ticks", font_scale=0.85)
    mpl.rcParams.update(
        {"figure.dpi": 75, "savefig.dpi": 150, "figure.constrained_layout.use": True}
    )


def save(figure: Figure, folder: str | Path, name: str) -> None:
    """Save as `folder/name.png`; an empty folder means that nothing is saved."""
    if folder:
        with replacing(Path(folder) / f"{name}.png") as temporary:
            figure.savefig(temporary)


def busiest(image: Tensor, side: int) -> Box:
    """The square of `side` pixels, or the whole image if smaller, with most gradient variance."""
    side = min(side, image.shape[-2] - 2, image.shape[-1] - 2)
    variances = variance_maps(image, side).sum(dim=1)[0]
    row, column = divmod(int(variances.argmax()), variances.shape[1])
    return row * side + 1, column * side + 1, side


def colour(label: str) -> object:
    """The colour that a loss (or HR, bicubic) has in every figure."""
    return COLOURS.get(label, _SAFE[8])


def gradient_grid(images: Mapping[str, Tensor], box: Box | None = None) -> Figure:
    """Image, gx and gy in rows, one column an image (1, C, H, W); the paper's Fig. 1.

    All maps share one grey scale. `box` limits the view, after the gradients are taken.
    """
    maps = {name: gradient_maps(image) for name, image in images.items()}
    limit = float(np.quantile([gx.abs().quantile(0.98) for gx, _ in maps.values()], 1.0))
    figure, axes = _grid(3, images, ("image", "$G_x$", "$G_y$"))
    for column, (name, image) in enumerate(images.items()):
        _show(axes[0, column], image, box)
        for row, gradient in enumerate(maps[name], start=1):
            view = _view(gradient, box)[0, 0].numpy()
            shown = axes[row, column].imshow(view, cmap="gray", vmin=-limit, vmax=limit)
    figure.colorbar(shown, ax=axes, label="gradient (image values in [0, 1])", shrink=0.6)
    return figure


def variance_grid(images: Mapping[str, Tensor], patch_size: int = 8) -> Figure:
    """The variance maps of gx and gy, a column an image (1, C, H, W), on one logarithmic scale."""
    maps = {
        name: [variance_map(g, patch_size)[0, 0].numpy() for g in gradient_maps(image)]
        for name, image in images.items()
    }
    top = max(float(m.max()) for pair in maps.values() for m in pair)
    norm = mpl.colors.LogNorm(top * 1e-4, top, clip=True)
    figure, axes = _grid(2, images, ("variance of $G_x$", "variance of $G_y$"))
    for column, pair in enumerate(maps.values()):
        for row, variances in enumerate(pair):
            shown = axes[row, column].imshow(
                variances, cmap="magma", norm=norm, interpolation="nearest"
            )
            axes[row, column].set_xlabel(f"mean {variances.mean():.4f}")
    figure.colorbar(shown, ax=axes, label=f"variance in {patch_size}x{patch_size} patches")
    return figure


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


def maps(tensors: Mapping[str, Tensor], label: str, logarithmic: bool = False) -> Figure:
    """Maps (H, W) side by side on one scale; `label` says what they show."""
    top = max(float(tensor.max()) for tensor in tensors.values())
    norm = mpl.colors.LogNorm(top * 1e-4, top, clip=True) if logarithmic else None
    limits = {} if logarithmic else {"vmin": -top, "vmax": top}
    figure, axes = plt.subplots(
        1, len(tensors), figsize=(2.6 * len(tensors) + 1, 2.8), squeeze=False
    )
    for ax, (name, tensor) in zip(axes[0], tensors.items(), strict=True):
        cmap = "magma" if logarithmic else "gray"
        shown = ax.imshow(
            tensor.detach().numpy(), cmap=cmap, norm=norm, **limits, interpolation="nearest"
        )
        ax.set(title=name, xticks=[], yticks=[])
    figure.colorbar(shown, ax=axes[0], label=label)
    return figure


def batch(lr: Tensor, hr: Tensor) -> Figure:
    """The crops of a batch: HR above, LR below."""
    figure, axes = plt.subplots(2, len(hr), figsize=(1.1 * len(hr), 2.3), squeeze=False)
    for above, below, large, small in zip(*axes, hr, lr, strict=True):
        _show(above, large[None], None)
        _show(below, small[None], None)
    axes[0, 0].set_ylabel("HR")
    axes[1, 0].set_ylabel("LR")
    return figure


def crops(images: Mapping[str, Tensor], box: Box, notes: Mapping[str, str]) -> Figure:
    """The first image whole, with `box` marked, then the same crop of every image (Fig. 3).

    `notes` are written under the crops, by image name.
    """
    whole = next(iter(images.values()))
    figure, axes = plt.subplots(1, len(images) + 1, figsize=(2.1 * (len(images) + 1), 2.6))
    _show(axes[0], whole, None)
    top, left, side = box
    axes[0].add_patch(Rectangle((left, top), side, side, fill=False, color=_SAFE[1], linewidth=2))
    axes[0].set_title("the picture")
    for ax, (name, image) in zip(axes[1:], images.items(), strict=True):
        _show(ax, image, box)
        ax.set_title(name)
        ax.set_xlabel(notes.get(name, ""))
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


def tradeoff(table: pd.DataFrame, bicubic: Mapping[str, float]) -> Figure:
    """PSNR against variance ratio, a point a row of `table` (`pixel`, `regulariser`, metrics).

    Colour tells the pixel loss, shape the regulariser; an arrow leads from each pixel loss alone
    to what GV makes of it. The left panel has `bicubic`, the baseline's metrics, besides; the
    right one looks closer.
    """
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.8))
    for ax in axes:
        for pixel, rows in table.groupby("pixel", sort=False):
            places = rows.set_index("regulariser")[["variance_ratio", "psnr_y"]]
            for regulariser, (x, y) in places.iterrows():
                name = pixel if regulariser == "alone" else f"{pixel}+{regulariser}"
                style = {"color": PIXEL_COLOURS[pixel], "marker": REGULARISER_MARKERS[regulariser]}
                ax.scatter(x, y, s=60, label=name, edgecolor="white", zorder=3, **style)
            arrow = {"arrowstyle": "->", "color": PIXEL_COLOURS[pixel], "shrinkA": 4, "shrinkB": 4}
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


def _grid(
    rows: int, images: Mapping[str, Tensor], labels: tuple[str, ...]
) -> tuple[Figure, np.ndarray]:
    size = (2.3 * len(images) + 0.6, 2.3 * rows)
    figure, axes = plt.subplots(rows, len(images), figsize=size, squeeze=False)
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
    for ax, name in zip(axes[0], images, strict=True):
        ax.set_title(name)
    for ax, label in zip(axes[:, 0], labels, strict=True):
        ax.set_ylabel(label)
    return figure, axes


def _view(images: Tensor, box: Box | None) -> Tensor:
    if box is None:
        return images
    top, left, side = box
    return images[..., top : top + side, left : left + side]


def _show(ax: Axes, image: Tensor, box: Box | None) -> None:
    pixels = to_uint8(_view(image, box))[0].expand(3, -1, -1).permute(1, 2, 0).numpy()
    ax.imshow(pixels, interpolation="nearest")
    ax.set(xticks=[], yticks=[])
