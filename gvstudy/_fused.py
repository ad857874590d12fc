"""Patch variances in few passes over memory, with the backward pass written by hand.

This is `gradients.variance_maps`, only faster: the time goes into memory traffic and into new
memory, so buffers are written in place and reused. Read `gradient_variance.py` for the loss itself.
A gradient that will be differentiated again is made by `gradients.variance_maps`.

Three steps lead from an image to its variances. Each has its derivative right below it:

    1. grey        g = sum_c w_c image_c
    2. gradients   G_x = D_x S_y g,  G_y = D_y S_x g
    3. variances   v = sum (G - mean)^2 / (n^2 - 1), over the n x n pixels of a patch

D is the difference g[i+1] - g[i-1] along an axis, S the sum g[i-1] + 2 g[i] + g[i+1].
"""

from typing import Any

import torch
from torch import Tensor

from gvstudy.gradients import variance_maps as plain_variance_maps
from gvstudy.images import GREY_WEIGHTS, at_least_float32


def variance_maps(n: int, border: int, sr: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
    """The variance maps of several image batches at once; only the first gets a gradient.

    Args:
        n: side of a patch, pixels.
        border: width of the frame of zeros around each image: 1, or 0 for none.
        sr, others: (N, C, H, W), C = 1 or 3, all of one shape. Half precision becomes float32.

    Returns one (N, 2, rows, columns) a batch, x first.
    """
    maps: tuple[Tensor, ...] = _VarianceMaps.apply(n, border, sr, *others)
    return maps


# 1. Grey: g = sum_c w_c image_c


def _grey(border: int, sr: Tensor, *others: Tensor) -> Tensor:
    """All batches in grey and framed with zeros, one after another: (batches * N, H, W)."""
    batch, channels, height, width = sr.shape
    dtype = torch.promote_types(sr.dtype, torch.float32)
    size = (batch * (1 + len(others)), height + 2 * border, width + 2 * border)
    grey = sr.new_zeros(size, dtype=dtype)
    inner = grey[:, border : border + height, border : border + width]
    for part, images in zip(inner.split(batch), (sr, *others), strict=True):
        for channel, weight in enumerate(_weights(channels)):
            part.add_(images[:, channel], alpha=weight)
    return grey


def _grey_backward(to_grey: Tensor, border: int, to_sr: Tensor, factor: float) -> None:
    """dL/dimage_c = w_c dL/dg, times `factor`, written into `to_sr`."""
    height, width = to_sr.shape[-2:]
    to_grey = to_grey[:, border : border + height, border : border + width]
    if to_grey.shape[1:] != (height, width):
        to_sr.zero_()  # pixels beyond the last whole patch
    for channel, weight in enumerate(_weights(to_sr.shape[1])):
        whole = to_sr[:, channel, : to_grey.shape[1], : to_grey.shape[2]]
        torch.mul(to_grey, factor * weight, out=whole)


# 2. Gradients: G_x = D_x S_y g, G_y = D_y S_x g


def _gradients(grey: Tensor) -> Tensor:
    """The gradient maps of grey images (N, H, W): (N, 2, H-2, W-2), x first."""
    count, height, width = grey.shape
    maps = grey.new_empty((count, 2, height - 2, width - 2))
    buffer = _smooth_y(grey)
    torch.sub(buffer[..., 2:], buffer[..., :-2], out=maps[:, 0])
    torch.sub(grey[:, 2:], grey[:, :-2], out=buffer)
    torch.add(buffer[..., 2:], buffer[..., :-2], out=maps[:, 1])
    maps[:, 1].add_(buffer[..., 1:-1], alpha=2)
    return maps


def _gradients_backward(to_maps: Tensor) -> Tensor:
    """-dL/dg = D_x S_y dL/dG_x + D_y S_x dL/dG_y.

    `to_maps` has two rows and columns of zeros on every side. On such maps S is its own transpose,
    and D minus its own; that minus sign is left to the last step.
    """
    x, y = to_maps[:, 0], to_maps[:, 1]
    buffer = _smooth_y(x)
    grey = buffer[..., 2:] - buffer[..., :-2]
    torch.sub(y[:, 2:], y[:, :-2], out=buffer)
    return grey.add_(buffer[..., 2:]).add_(buffer[..., :-2]).add_(buffer[..., 1:-1], alpha=2)


# 3. Variances: v = sum (G - mean)^2 / (n^2 - 1)


def _variances(maps: Tensor, n: int, kept: int) -> tuple[Tensor, Tensor]:
    """Patch variances (N, 2, rows, columns), and the centred patches of the first `kept` maps.

    `maps` is (N, 2, rows * n, columns * n); it is overwritten.
    """
    count, _, height, width = maps.shape
    rows, columns = height // n, width // n
    patches = maps.view(count, 2, rows, n, width)  # a patch's columns lie side by side
    sums = patches.sum(3)
    patches.sub_(_widen(sums.view(count, 2, rows, columns, n).sum(-1), n), alpha=1 / n**2)
    torch.sum(patches[:kept].square(), 3, out=sums[:kept])  # backward needs these patches
    torch.sum(patches[kept:].square_(), 3, out=sums[kept:])
    variances = sums.view(count, 2, rows, columns, n).sum(-1).div_(n * n - 1)
    return variances, patches[:kept]


def _variances_backward(to_variances: Tensor, patches: Tensor) -> Tensor:
    """dL/dG = dL/dv * 2 (G - mean) / (n^2 - 1), framed with two zeros on every side.

    The centred values of a patch sum to zero, so the mean's own derivative vanishes. The constant
    2 / (n^2 - 1) is left to the last step.
    """
    batch, _, rows, n, width = patches.shape
    framed = patches.new_zeros((batch, 2, rows * n + 4, width + 4))
    inner = framed[..., 2:-2, 2:-2].unflatten(2, (rows, n))
    torch.mul(patches, _widen(to_variances, n), out=inner)
    return framed


class _VarianceMaps(torch.autograd.Function):
    """The three steps in a row, and back."""

    @staticmethod
    def forward(ctx: Any, n: int, border: int, sr: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        batch, _, height, width = sr.shape
        rows, columns = (height + 2 * border - 2) // n, (width + 2 * border - 2) // n
        maps = _gradients(_grey(border, sr, *others)[:, : rows * n + 2, : columns * n + 2])
        variances, patches = _variances(maps, n, kept=batch)
        ctx.save_for_backward(sr, patches)
        ctx.border = border
        by_batch = variances.split(batch)
        ctx.mark_non_differentiable(*by_batch[1:])
        return tuple(by_batch)

    @staticmethod
    def backward(ctx: Any, to_variances: Tensor, *_: Any) -> tuple[Any, ...]:
        sr, patches = ctx.saved_tensors
        n = patches.shape[3]
        no_others = [None] * len(ctx.needs_input_grad[3:])
        if torch.is_grad_enabled():  # this gradient will be differentiated again
            return None, None, _plain_backward(to_variances, n, ctx.border, sr), *no_others
        to_maps = _variances_backward(to_variances, patches)  # kept: freeing it early costs time
        to_grey = _gradients_backward(to_maps)
        last = sr.is_contiguous(memory_format=torch.channels_last) and not sr.is_contiguous()
        layout = torch.channels_last if last else torch.contiguous_format
        to_sr = torch.empty_like(sr, memory_format=layout)
        _grey_backward(to_grey, ctx.border, to_sr, factor=-2 / (n * n - 1))
        return None, None, to_sr, *no_others


def _plain_backward(to_variances: Tensor, n: int, border: int, sr: Tensor) -> Tensor:
    """dL/dsr by the plain version, in operations that autograd can differentiate."""
    maps = plain_variance_maps(at_least_float32(sr), n, "zeros" if border else "valid")
    (to_sr,) = torch.autograd.grad(maps, sr, to_variances, create_graph=True)
    return to_sr


def _weights(channels: int) -> tuple[float, ...]:
    return GREY_WEIGHTS if channels == 3 else (1.0,)


def _smooth_y(maps: Tensor) -> Tensor:
    """S_y: each row plus twice the next plus the one after it."""
    return torch.add(maps[:, :-2], maps[:, 2:]).add_(maps[:, 1:-1], alpha=2)


def _widen(per_patch: Tensor, n: int) -> Tensor:
    """(N, 2, rows, columns) to (N, 2, rows, 1, columns * n), to match the pixels of the patches."""
    return per_patch.unsqueeze(-1).expand(-1, -1, -1, -1, n).flatten(3).unsqueeze(3)
