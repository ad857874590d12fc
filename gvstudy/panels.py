"""Images and maps in rows and columns: tensors in, a figure out. HR always comes first."""

from collections.abc import Mapping
from io import BytesIO

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from gvstudy.gradients import ROUNDING, gradient_maps, variance_maps
from gvstudy.images import to_grey, to_uint8
from gvstudy.plots import MARK, colour, spelled

Box = tuple[int, int, int]  # top, left and side of a square, in pixels
GAP, LINE = 8, 20  # between the cells of `crops`, and for a line of text, in pixels


def busiest(image: Tensor, side: int) -> Box:
    """The square of `side` pixels with the most gradient variance, on a grid of such squares.

    `image` is (1, C, H, W). If it is smaller than `side`, the square shrinks to fit.
    """
    side = min(side, image.shape[-2] - 2, image.shape[-1] - 2)
    variances = variance_maps(image, side).sum(dim=1)[0]
    row, column = divmod(int(variances.argmax()), variances.shape[1])
    return row * side + 1, column * side + 1, side


def gradient_grid(images: Mapping[str, Tensor], box: Box | None = None) -> Figure:
    """Image, gx, gy, and how far both are from HR's: the paper's Fig. 1, and a row below it.

    There is a column per image (1, C, H, W); the first one is HR. All gradients share one scale,
    all distances another. `box` limits the view; the gradients are taken before.
    """
    gradients = {name: gradient_maps(image) for name, image in images.items()}
    hr = next(iter(gradients.values()))
    limit = max(float(np.quantile(gx.abs().numpy(), 0.98)) for gx, _ in gradients.values())
    figure, axes = _empty_grid(4, images, ("image", "$G_x$", "$G_y$", "distance"))
    for column, (name, image) in enumerate(images.items()):
        _show_image(axes[0, column], image, box)
        for row, gradient in enumerate(gradients[name], start=1):
            view = _inside(gradient, box)[0, 0].numpy()
            shown = axes[row, column].imshow(
                view, cmap="gray", vmin=-limit, vmax=limit, interpolation="nearest"
            )
        error = torch.hypot(*(ours - real for ours, real in zip(gradients[name], hr, strict=True)))
        view = _inside(error, box)[0, 0].numpy()
        wrong = axes[3, column].imshow(
            view, cmap="magma", vmin=0, vmax=limit, interpolation="nearest"
        )
    figure.colorbar(shown, ax=axes[:3], label="gradient", shrink=0.6, extend="both")
    figure.colorbar(wrong, ax=axes[3], label="distance from HR's", extend="max")
    return figure


def variance_grid(images: Mapping[str, Tensor], patch_size: int = 8) -> Figure:
    """The variance maps of gx and gy in two rows, one column per image (1, C, H, W).

    All maps share one logarithmic scale.
    """
    pairs = {name: variance_maps(image, patch_size)[0].numpy() for name, image in images.items()}
    top = max(float(pair.max()) for pair in pairs.values())
    norm = _four_decades(top)
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


def variance_curves(images: Mapping[str, Tensor], row: int, patch_size: int = 8) -> Figure:
    """Variance from patch to patch along one row of patches; the paper's Fig. 2.

    The first image (1, C, H, W), HR, is shown with the row marked; beside it are the curves of gx
    and gy, a line per image.
    """
    figure, panels = plt.subplot_mosaic(
        [["picture", "x"], ["picture", "y"]], figsize=(11, 4), width_ratios=(1, 2.4)
    )
    hr = next(iter(images.values()))
    _show_image(panels["picture"], to_grey(hr))  # which the gradients are taken of
    corner, width = (0, row * patch_size + 1), hr.shape[-1] - 1
    style = {"fill": False, "color": MARK, "linewidth": 1.5}
    panels["picture"].add_patch(Rectangle(corner, width, patch_size, **style))
    panels["picture"].set_title("HR, the row marked")
    for name, image in images.items():
        for direction, values in zip("xy", variance_maps(image, patch_size)[0], strict=True):
            curve = values[row].numpy()
            panels[direction].plot(curve, color=colour(name), label=spelled(name), linewidth=1.3)
            panels[direction].set_ylabel(f"variance of $G_{direction}$")
    panels["x"].tick_params(labelbottom=False)
    panels["y"].set_xlabel("number of the patch in the row")
    panels["x"].legend(frameon=False, ncols=len(images), loc="upper right")
    sns.despine(figure)
    for spine in panels["picture"].spines.values():
        spine.set_visible(True)
    return figure


def maps(tensors: Mapping[str, Tensor], label: str, logarithmic: bool = False) -> Figure:
    """Maps (H, W) side by side on one scale; `label` names what they show.

    A linear scale is symmetric about zero; a logarithmic one spans four decades.
    """
    top = max(float(tensor.abs().max()) for tensor in tensors.values())
    norm = _four_decades(top) if logarithmic else None
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
    norm = _four_decades(float(variances.max()))
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


def crops(
    images: Mapping[str, Tensor], box: Box, notes: Mapping[str, str], *, errors: bool = False
) -> Figure:
    """The first image whole with `box` marked, then that crop of every image; the paper's Fig. 3.

    Images are (1, C, H, W). `notes` are written below the crops, by image name. With `errors`,
    each crop's mean absolute difference from the first image, HR, is shown below it, all on one
    scale. Every pixel of a crop is a square of whole pixels on a screen of double resolution.
    Raises ValueError where there is nothing to compare with HR.
    """
    if errors and len(images) < 2:
        raise ValueError("errors need a second image, to be compared with the first")
    hr = next(iter(images.values()))
    top, left, side = box
    cell = max(1, 288 // side) * side / 2  # pixels at 75 dots an inch
    rows = 2 if errors else 1
    size = ((len(images) + 1) * (cell + GAP) + GAP, rows * (cell + GAP) + 2 * GAP + 3 * LINE)
    figure = plt.figure(figsize=(size[0] / 75, size[1] / 75), dpi=75)
    figure.set_layout_engine("none")  # with layout="none" saving would bring the style's back

    def place(column: int, row: int) -> Axes:
        """Make axes of one cell, counted from the upper left, in exact pixels."""
        x, y = GAP + column * (cell + GAP), size[1] - LINE - GAP - row * (cell + GAP) - cell
        ax = figure.add_axes((x / size[0], y / size[1], cell / size[0], cell / size[1]))
        ax.set(xticks=[], yticks=[])
        return ax

    whole = place(0, 0)
    _show_image(whole, hr)
    whole.add_patch(Rectangle((left, top), side, side, fill=False, color=MARK, linewidth=2))
    whole.set_title("whole picture")
    away = {}
    if errors:
        real = _inside(hr, box)
        away = {
            name: (_inside(one, box) - real).abs().mean(dim=1)[0] for name, one in images.items()
        }
        limit = max(float(np.quantile(error.numpy(), 0.99)) for error in away.values())
    for column, (name, image) in enumerate(images.items(), start=1):
        lowest = ax = place(column, 0)
        _show_image(ax, image, box)
        ax.set_title(spelled(name))
        if errors and column > 1:
            lowest = place(column, 1)
            view = away[name].numpy()
            shown = lowest.imshow(view, cmap="magma", vmin=0, vmax=limit, interpolation="nearest")
        lowest.set_xlabel(notes.get(name, ""), fontsize="small")
    if errors:
        spare = place(1, 1)
        spare.axis("off")
        figure.colorbar(
            shown, ax=spare, label="|SR $-$ HR|", fraction=0.9, aspect=9, shrink=0.9, extend="max"
        )
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
    size = (2 * len(images) + 0.6, 2 * rows)
    figure, axes = plt.subplots(rows, len(images), figsize=size, squeeze=False)
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
    for ax, name in zip(axes[0], images, strict=True):
        ax.set_title(spelled(name))
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


def _four_decades(top: float) -> mpl.colors.LogNorm:
    """A logarithmic scale of colours that ends at `top`."""
    top = max(top, ROUNDING)  # an image of one grey has no variance at all
    return mpl.colors.LogNorm(top * 1e-4, top, clip=True)


def _show_numbers(ax: Axes, values: Tensor) -> None:
    """A small map (n, n) as a picture, with its numbers written into it."""
    limit = float(values.abs().max())
    ax.imshow(values.numpy(), cmap="gray", vmin=-limit, vmax=limit, interpolation="nearest")
    for (row, column), value in np.ndenumerate(values.numpy()):
        ink = "black" if value > -0.3 * limit else "white"
        text = f"{value:.2f}"
        size = 56 / len(values)
        ax.text(column, row, text, ha="center", va="center", color=ink, fontsize=size)
