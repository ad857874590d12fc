"""The gradient variance (GV) loss, as a function and a module; the same on standard deviations."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from gvstudy.gradients import (
    check_images,
    check_padding,
    check_pair,
    patch_grid,
    variance_maps,
)
from gvstudy.images import GREY_WEIGHTS

REDUCTIONS = ("mean", "sum", "none")
_RANGE_SLACK = 1e-3  # what interpolation or half precision may add to [0, 1]


def gradient_variance_loss(
    sr: Tensor,
    hr: Tensor,
    patch_size: int = 8,
    padding: str = "zeros",
    reduction: str = "mean",
) -> Tensor:
    """Squared distance between the patch variances of SR's and HR's gradient maps.

    Eq. 2 of Abrahamyan et al. (ICASSP 2022), with the mean of squares of the authors' code:
    mean((v_x(sr) - v_x(hr))^2) + mean((v_y(sr) - v_y(hr))^2), v as in Eq. 1.

    Args:
        sr: (N, C, H, W), C = 1 or 3, floating point, meant for [0, 1] (it may overshoot).
        hr: the same shape, within [0, 1]. It is a constant: no gradient flows into it. Where the
            same HR comes again and again, give `variance_maps(hr, patch_size, padding)` instead,
            (N, 2, rows, columns), and it is worked out once.
        patch_size: side n of the patches, in pixels; 2 to the shorter side of the gradient map.
        padding: "zeros" as the authors do it; "valid" leaves out pixels whose Sobel window crosses
            the border (the map is then two pixels smaller each way).
        reduction: "mean" as above; "sum" adds all squared differences of x and y; "none" gives
            them as (N, 2, rows, columns), x first.

    Half precision is computed in float32. The loss grows with the fourth power of the value range,
    so an HR outside [0, 1] raises ValueError (not looked at inside torch.compile), as do other
    shapes, types and names. The gradient can't be differentiated again.
    """
    _check_options(patch_size, padding, reduction)
    if hr.dim() == 4 and hr.shape[1] != 2:
        _check_range(hr)
    return _loss(sr, hr, patch_size, padding, reduction)


def gradient_deviation_loss(
    sr: Tensor, hr: Tensor, patch_size: int = 8, padding: str = "zeros"
) -> Tensor:
    """GV on standard deviations: 2 mean((s(sr) - s(hr))^2), s = sqrt(variance maps + 1e-6).

    Not the paper's; beside L2 it brings nearly GV's variance for less PSNR (notebook 07, 7.9). It
    grows with the square of the value range, as L2 does. Arguments and errors as in
    `gradient_variance_loss`, but that HR is always given as images, whose range isn't looked at,
    and that the mean is the only reduction.
    """
    _check_options(patch_size, padding, "mean")
    check_pair(sr, hr)
    ours, real = ((maps + 1e-6).sqrt() for maps in _maps(patch_size, padding, sr, hr.detach()))
    return 2 * nn.functional.mse_loss(ours, real)


class GradientVarianceLoss(nn.Module):
    """`gradient_variance_loss` as a module: `loss(sr, hr)`.

    Add it, weighted, to a pixel loss; alone it can't see brightness or the sign of an edge. The
    range of HR is looked at in the first batch only, because a GPU would have to stop for it.
    """

    def __init__(self, patch_size: int = 8, padding: str = "zeros", reduction: str = "mean"):
        super().__init__()
        _check_options(patch_size, padding, reduction)
        self.patch_size, self.padding, self.reduction = patch_size, padding, reduction
        self._checked = False

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        if self._checked or torch.compiler.is_compiling():
            return _loss(sr, hr, self.patch_size, self.padding, self.reduction)
        value = gradient_variance_loss(sr, hr, self.patch_size, self.padding, self.reduction)
        self._checked = True
        return value

    def extra_repr(self) -> str:
        return (
            f"patch_size={self.patch_size}, padding={self.padding!r}, reduction={self.reduction!r}"
        )


class _VarianceMaps(torch.autograd.Function):
    """`gradients.variance_maps` of SR and of other images at once, the backward by hand.

    With D the difference g[i+1] - g[i-1], S the sum g[i-1] + 2 g[i] + g[i+1], and w the weights
    of grey, forward is

        g = sum_c w_c image_c,  G_x = D_x S_y g,  G_y = D_y S_x g,  v = sum (G - mean)^2 / (n^2 - 1)

    and backward, since the centred G sums to nought within its patch, so that the mean's own
    derivative falls away, and since on maps framed with noughts S is its own transpose and D
    minus its own,

        dL/dG = dL/dv * 2 (G - mean) / (n^2 - 1)
        dL/dg = -(D_x S_y dL/dG_x + D_y S_x dL/dG_y),  dL/dimage_c = w_c dL/dg

    What takes time is memory traffic and fresh memory, so buffers are written in place and reused.
    """

    @staticmethod
    def forward(ctx: Any, n: int, border: int, sr: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        batch, channels, height, width = sr.shape
        count = batch * (1 + len(others))
        rows, columns = (height + 2 * border - 2) // n, (width + 2 * border - 2) // n
        dtype = torch.promote_types(sr.dtype, torch.float32)
        grey = sr.new_zeros((count, height + 2 * border, width + 2 * border), dtype=dtype)
        inner = grey[:, border : border + height, border : border + width]
        for part, images in zip(inner.split(batch), (sr, *others), strict=True):
            for channel, weight in enumerate(_weights(channels)):
                part.add_(images[:, channel], alpha=weight)

        grey = grey[:, : rows * n + 2, : columns * n + 2]
        maps = grey.new_empty((count, 2, rows * n, columns * n))
        buffer = _smooth_y(grey)
        torch.sub(buffer[..., 2:], buffer[..., :-2], out=maps[:, 0])
        torch.sub(grey[:, 2:], grey[:, :-2], out=buffer)
        torch.add(buffer[..., 2:], buffer[..., :-2], out=maps[:, 1])
        maps[:, 1].add_(buffer[..., 1:-1], alpha=2)
        del buffer, grey

        patches = maps.view(count, 2, rows, n, columns * n)  # a patch's columns lie side by side
        sums = patches.sum(3)
        patches.sub_(_widen(sums.view(count, 2, rows, columns, n).sum(-1), n), alpha=1 / n**2)
        torch.sum(patches[:batch].square(), 3, out=sums[:batch])  # backward needs SR's patches
        torch.sum(patches[batch:].square_(), 3, out=sums[batch:])
        variances = sums.view(count, 2, rows, columns, n).sum(-1).div_(n * n - 1).split(batch)
        ctx.save_for_backward(patches[:batch])
        ctx.n, ctx.border, ctx.shape, ctx.dtype = n, border, sr.shape, sr.dtype
        ctx.last = sr.is_contiguous(memory_format=torch.channels_last) and not sr.is_contiguous()
        ctx.mark_non_differentiable(*variances[1:])
        return tuple(variances)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor, *_: Any) -> tuple[Any, ...]:
        (patches,), n, border = ctx.saved_tensors, ctx.n, ctx.border
        batch, channels, height, width = ctx.shape
        rows, columns = slope.shape[-2:]
        framed = patches.new_zeros((batch, 2, rows * n + 4, columns * n + 4))
        inner = framed[..., 2:-2, 2:-2].unflatten(2, (rows, n))
        torch.mul(patches, _widen(slope, n), out=inner)
        x, y = framed[:, 0], framed[:, 1]
        buffer = _smooth_y(x)
        grey = buffer[..., 2:] - buffer[..., :-2]
        torch.sub(y[:, 2:], y[:, :-2], out=buffer)
        grey.add_(buffer[..., 2:]).add_(buffer[..., :-2]).add_(buffer[..., 1:-1], alpha=2)

        grey = grey[:, border : border + height, border : border + width]
        layout = torch.channels_last if ctx.last else torch.contiguous_format
        to_sr = torch.empty(ctx.shape, dtype=ctx.dtype, device=grey.device, memory_format=layout)
        if grey.shape[1:] != (height, width):
            to_sr.zero_()  # pixels beyond the last whole patch
        for channel, weight in enumerate(_weights(channels)):
            whole = to_sr[:, channel, : grey.shape[1], : grey.shape[2]]
            torch.mul(grey, -2 / (n * n - 1) * weight, out=whole)
        return None, None, to_sr, *(None for _ in ctx.needs_input_grad[3:])


def _loss(sr: Tensor, hr: Tensor, patch_size: int, padding: str, reduction: str) -> Tensor:
    if hr.dim() == 4 and hr.shape[1] == 2:
        ours, real = _given_maps(sr, hr, patch_size, padding)
    else:
        check_pair(sr, hr)
        ours, real = _maps(patch_size, padding, sr, hr.detach())
    if reduction == "none":
        return (ours - real) ** 2
    # The maps of x and y have the same size, so the sum of their means is twice the common mean.
    total = nn.functional.mse_loss(ours, real, reduction=reduction)
    return 2 * total if reduction == "mean" else total


def _maps(n: int, padding: str, *images: Tensor) -> tuple[Tensor, ...]:
    """The variance maps of each batch, in float32 at least; the first one carries a gradient."""
    height, width = images[0].shape[-2:]
    border = 1 if padding == "zeros" else 0
    patch_grid(height + 2 * border - 2, width + 2 * border - 2, n)
    if torch.compiler.is_compiling():  # the compiler fuses the plain version by itself
        return tuple(variance_maps(_at_least_float32(batch), n, padding) for batch in images)
    maps: tuple[Tensor, ...] = _VarianceMaps.apply(n, border, *images)
    return maps


def _given_maps(sr: Tensor, maps: Tensor, n: int, padding: str) -> tuple[Tensor, Tensor]:
    check_images(sr)
    (ours,) = _maps(n, padding, sr)
    if ours.shape != maps.shape:
        raise ValueError(
            f"the variance maps given for HR have the shape {tuple(maps.shape)}, SR's have "
            f"{tuple(ours.shape)} (patch_size {n}, padding {padding})"
        )
    return ours, maps.detach()


def _weights(channels: int) -> tuple[float, ...]:
    return GREY_WEIGHTS if channels == 3 else (1.0,)


def _smooth_y(maps: Tensor) -> Tensor:
    """S_y: each row plus twice the next plus the one after it."""
    return torch.add(maps[:, :-2], maps[:, 2:]).add_(maps[:, 1:-1], alpha=2)


def _widen(per_patch: Tensor, n: int) -> Tensor:
    """(N, 2, rows, columns) to (N, 2, rows, 1, columns * n), to meet the pixels of the patches."""
    return per_patch.unsqueeze(-1).expand(-1, -1, -1, -1, n).flatten(3).unsqueeze(3)


def _at_least_float32(images: Tensor) -> Tensor:
    return images.to(torch.promote_types(images.dtype, torch.float32))


def _check_options(patch_size: int, padding: str, reduction: str) -> None:
    check_padding(padding)
    if not isinstance(patch_size, int) or patch_size < 2:
        raise ValueError(f"patch_size {patch_size!r} is not allowed; whole numbers from 2 are")
    if reduction not in REDUCTIONS:
        raise ValueError(f"unknown reduction {reduction!r}; known: {', '.join(REDUCTIONS)}")


def _check_range(hr: Tensor) -> None:
    check_images(hr)
    if torch.compiler.is_compiling():
        return
    low, high = (float(value) for value in hr.detach().aminmax())
    if not (low >= -_RANGE_SLACK and high <= 1 + _RANGE_SLACK):  # NaN is refused too
        raise ValueError(f"HR values lie in [{low:.4g}, {high:.4g}]; expected [0, 1]")
