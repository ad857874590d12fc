"""Images and maps in rows and columns: tensors in, a figure out. HR always comes first."""

from collections.abc import Mapping
from io import BytesIO

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from gvstudy.gradients import gradient_maps, variance_maps
from gvstudy.images import to_uint8
from gvstudy.plots import MARK

Box = tuple[int, int, int]  # top, left and side of a square, in pixels


def busiest(image: Tensor, side: int) -> Box:
    """The square of `side` pixels with the most gradient variance, on a grid of such squares.

    `image` is (1, C, H, W). If it is smaller than `side`, the square shrinks to fit.
    """
    side = min(side, image.shape[-2] - 2, image.shape[-1] - 2)
    variances = variance_maps(image, side).sum(dim=1)[0]
    row, column = divmod(int(variances.argmax()), variances.shape[1])
    return row * side + 1, column * side + 1, side


def gradient_grid(images: Mapping[str, Tensor], box: Box | None = None) -> Figure:
    """The image, gx and gy in three rows, one column per image (1, C, H, W); the paper's Fig. 1.

    All maps share one grey scale. `box` limits the view; the gradients are taken before.
    """
    gradients = {name: gradient_maps(image) for name, image in images.items()}
    limit = max(float(gx.abs().quantile(0.98)) for gx, _ in gradients.values())
    figure, axes = _empty_grid(3, images, ("image", "$G_x$", "$G_y$"))
    for column, (name, image) in enumerate(images.items()):
        _show_image(axes[0, column], image, box)
        for row, gradient in enumerate(gradients[name], start=1):
            view = _inside(gradient, box)[0, 0].numpy()
            shown = axes[row, column].imshow(view, cmap="gray", vmin=-limit, vmax=limit)
    figure.colorbar(
        shown, ax=axes, label="gradient (image values in [0, 1])", shrink=0.6, extend="both"
    )
    return figure


def variance_grid(images: Mapping[str, Tensor], patch_size: int = 8) -> Figure:
    """The variance maps of gx and gy in two rows, one column per image (1, C, H, W).

    All maps share one logarithmic scale.
    """
    pairs = {name: variance_maps(image, patch_size)[0].numpy() for name, image in images.items()}
    top = max(float(pair.max()) for pair in pairs.values())
    norm = mpl.colors.LogNorm(top * 1e-4, top, clip=True)
    figure, axes = _empty_grid(2, images, ("variance of $G_x$", "variance of $G_y$"))
    for column, pair in enumerate(pairs.values()):
        for row, variances in enumerate(pair):
            shown = axes[row, column].imshow(
                variances, cmap="magma", norm=norm, interpolation="nearest"
            )
            axes[row, column].set_xlabel(f"mean {variances.mean():.4f}")
    figure.colorbar(
        shown, ax=axes, label=f"variance in {patch_size}x{patch_size} patches", extend="min"
    )
    return figure


def maps(tensors: Mapping[str, Tensor], label: str, logarithmic: bool = False) -> Figure:
    """Maps (H, W) side by side on one scale; `label` names what they show.

    A linear scale is symmetric about zero; a logarithmic one spans four decades.
    """
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
    figure.colorbar(shown, ax=axes[0], label=label, extend="min" if logarithmic else "neither")
    return figure


def patch_steps(
    grey: Tensor, gradient: Tensor, variances: Tensor, place: tuple[int, int]
) -> Figure:
    """From an image to one number: grey, a patch of it, its gradients as numbers, the variance map.

    `grey` is (H, W), `gradient` the (n, n) gradients of the patch whose row and column in
    `variances` is `place`.
    """
    n = len(gradient)
    row, column = place
    top, left = row * n, column * n
    figure, axes = plt.subplots(1, 4, figsize=(11, 2.9), width_ratios=(2, 2, 3, 2.3))
    pixels = grey.numpy()
    axes[0].imshow(pixels, cmap="gray", vmin=0, vmax=1)
    ring = {"s": 120, "facecolors": "none", "edgecolors": "deepskyblue", "linewidths": 2}
    axes[0].scatter(left + (n - 1) / 2, top + (n - 1) / 2, **ring)
    near = pixels[top : top + n, left : left + n]
    axes[1].imshow(near, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    _show_numbers(axes[2], gradient)
    limit = float(variances.max())
    norm = mpl.colors.LogNorm(limit * 1e-4, limit, clip=True)
    shown = axes[3].imshow(variances.numpy(), cmap="magma", norm=norm, interpolation="nearest")
    axes[3].scatter(column, row, **ring)
    titles = ("grey", f"one patch, {n} x {n}", "its $G_x$", "variance of $G_x$ in all patches")
    for ax, title in zip(axes, titles, strict=True):
        ax.set(title=title, xticks=[], yticks=[])
    figure.colorbar(shown, ax=axes[3], extend="min")
    return figure


def batch(lr: Tensor, hr: Tensor) -> Figure:
    """The crops of a batch: HR (N, C, H, W) above, LR (N, C, h, w) below."""
    figure, axes = plt.subplots(2, len(hr), figsize=(1.1 * len(hr), 2.3), squeeze=False)
    for above, below, large, small in zip(*axes, hr, lr, strict=True):
        _show_image(above, large[None])
        _show_image(below, small[None])
    axes[0, 0].set_ylabel("HR")
    axes[1, 0].set_ylabel("LR")
    return figure


def crops(images: Mapping[str, Tensor], box: Box, notes: Mapping[str, str]) -> Figure:
    """The first image whole with `box` marked, then that crop of every image; the paper's Fig. 3.

    Images are (1, C, H, W). `notes` are written below the crops, by image name.
    """
    whole = next(iter(images.values()))
    figure, axes = plt.subplots(1, len(images) + 1, figsize=(2.1 * (len(images) + 1), 2.6))
    _show_image(axes[0], whole)
    top, left, side = box
    axes[0].add_patch(Rectangle((left, top), side, side, fill=False, color=MARK, linewidth=2))
    axes[0].set_title("whole picture")
    for ax, (name, image) in zip(axes[1:], images.items(), strict=True):
        _show_image(ax, image, box)
        ax.set_title(name)
        ax.set_xlabel(notes.get(name, ""))
    return figure


def png(figure: Figure) -> bytes:
    """A figure as the bytes of a PNG, for an image that sliders change; the figure is closed."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    plt.close(figure)
    return buffer.getvalue()


def _empty_grid(
    rows: int, images: Mapping[str, Tensor], labels: tuple[str, ...]
) -> tuple[Figure, np.ndarray]:
    """Axes without ticks: a column per image, with its name; a row per label."""
    size = (2.3 * len(images) + 0.6, 2.3 * rows)
    figure, axes = plt.subplots(rows, len(images), figsize=size, squeeze=False)
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
    for ax, name in zip(axes[0], images, strict=True):
        ax.set_title(name)
    for ax, label in zip(axes[:, 0], labels, strict=True):
        ax.set_ylabel(label)
    return figure, axes


def _inside(images: Tensor, box: Box | None) -> Tensor:
    """The part of images (..., H, W) inside `box`, all of them without one."""
    if box is None:
        return images
    top, left, side = box
    return images[..., top : top + side, left : left + side]


def _show_image(ax: Axes, image: Tensor, box: Box | None = None) -> None:
    pixels = to_uint8(_inside(image, box))[0].expand(3, -1, -1).permute(1, 2, 0).numpy()
    ax.imshow(pixels, interpolation="nearest")
    ax.set(xticks=[], yticks=[])


def _show_numbers(ax: Axes, values: Tensor) -> None:
    """A small map (n, n) as a picture, with its numbers written into it."""
    limit = float(values.abs().max())
    ax.imshow(values.numpy(), cmap="gray", vmin=-limit, vmax=limit, interpolation="nearest")
    for (row, column), value in np.ndenumerate(values.numpy()):
        colour = "black" if value > -0.3 * limit else "white"
        text = f"{value:.2f}"
        size = 56 / len(values)
        ax.text(column, row, text, ha="center", va="center", color=colour, fontsize=size)
