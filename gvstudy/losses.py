"""The gradient variance loss, the pixel losses, and total variation, composed by name."""

import torch
import torch.nn.functional as F
from kornia.losses import ssim_loss, total_variation
from torch import Tensor, nn

from gvstudy.gradients import PADDINGS, check_pair, variance_maps

PIXEL_LOSSES = ("l2", "l1", "ssim")
REGULARISERS = ("tv", "tv2", "gv")
LOSSES = (*PIXEL_LOSSES, *(f"{p}+{r}" for p in PIXEL_LOSSES for r in REGULARISERS))
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
        hr: the same shape, within [0, 1]. It is a constant: no gradient flows into it.
        patch_size: side n of the patches, in pixels; 2 to the shorter side of the gradient map.
        padding: "zeros" as the authors do it; "valid" leaves out pixels whose Sobel window crosses
            the border (the map is then two pixels smaller each way).
        reduction: "mean" as above; "sum" adds all squared differences of x and y; "none" gives
            them as (N, 2, rows, columns), x first.

    Half precision is computed in float32. The loss grows with the fourth power of the value range,
    so an HR outside [0, 1] raises ValueError (not looked at inside torch.compile), as do other
    shapes, types and names.
    """
    check_pair(sr, hr)
    _check_range(hr)
    if reduction not in REDUCTIONS:
        raise ValueError(f"unknown reduction {reduction!r}; known: {', '.join(REDUCTIONS)}")
    sr, hr = _at_least_float32(sr), _at_least_float32(hr.detach())
    squares = (variance_maps(sr, patch_size, padding) - variance_maps(hr, patch_size, padding)) ** 2
    if reduction == "none":
        return squares
    # The maps of x and y have the same size, so the sum of their means is twice the common mean.
    return 2 * squares.mean() if reduction == "mean" else squares.sum()


class GradientVarianceLoss(nn.Module):
    """`gradient_variance_loss` as a module: `loss(sr, hr)`.

    Add it, weighted, to a pixel loss; alone it can't see brightness or the sign of an edge.
    """

    def __init__(self, patch_size: int = 8, padding: str = "zeros", reduction: str = "mean"):
        super().__init__()
        if patch_size < 2:
            raise ValueError(f"patch_size {patch_size} is too small; allowed: 2 and more")
        if padding not in PADDINGS:
            raise ValueError(f"unknown padding {padding!r}; known: {', '.join(PADDINGS)}")
        if reduction not in REDUCTIONS:
            raise ValueError(f"unknown reduction {reduction!r}; known: {', '.join(REDUCTIONS)}")
        self.patch_size, self.padding, self.reduction = patch_size, padding, reduction

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        return gradient_variance_loss(sr, hr, self.patch_size, self.padding, self.reduction)

    def extra_repr(self) -> str:
        return (
            f"patch_size={self.patch_size}, padding={self.padding!r}, reduction={self.reduction!r}"
        )


class ComposedLoss(nn.Module):
    """A pixel loss, alone or with a weighted regulariser; made by `build_loss`."""

    def __init__(self, name: str, gv_weight: float, tv_weight: float, gv: GradientVarianceLoss):
        super().__init__()
        self.name = name
        self.pixel, _, self.regulariser = name.partition("+")
        self.gv_weight, self.tv_weight = gv_weight, tv_weight
        self.gv = gv

    def terms(self, sr: Tensor, hr: Tensor) -> dict[str, Tensor]:
        """The summands by name, weights applied; the loss is their sum."""
        values = {self.pixel: _pixel_loss(self.pixel, sr, hr)}
        if self.regulariser == "gv":
            values["gv"] = self.gv_weight * self.gv(sr, hr)
        elif self.regulariser == "tv":
            values["tv"] = self.tv_weight * total_variation(sr, reduction="mean").mean()
        elif self.regulariser == "tv2":
            values["tv2"] = self.tv_weight * squared_total_variation(sr)
        return values

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        return torch.stack(list(self.terms(sr, hr).values())).sum()


def build_loss(
    name: str,
    *,
    gv_weight: float = 0.01,
    tv_weight: float = 1e-4,
    patch_size: int = 8,
    padding: str = "zeros",
) -> ComposedLoss:
    """A loss by name: `l2`, `l1` or `ssim`, alone or with `+gv`, `+tv` or `+tv2`.

    `l2` is the mean of squares, `l1` the mean of absolute differences, `ssim` is 1 - SSIM. `tv` is
    kornia's total variation (mean absolute difference of neighbours, down plus across) times
    `tv_weight`; `tv2` is the authors' sum of squared differences over the whole batch times
    `tv_weight` (theirs is 1e-8; divided by the number of values in the batch it is the weight per
    pixel value). `gv` is `GradientVarianceLoss(patch_size, padding)` times `gv_weight`.
    Raises ValueError for an unknown name.
    """
    if name not in LOSSES:
        raise ValueError(f"unknown loss {name!r}; known: {', '.join(LOSSES)}")
    return ComposedLoss(name, gv_weight, tv_weight, GradientVarianceLoss(patch_size, padding))


def squared_total_variation(images: Tensor) -> Tensor:
    """The authors' TV: squared differences of neighbours, summed over the batch (N, C, H, W)."""
    down, across = images.diff(dim=-2), images.diff(dim=-1)
    return down.square().sum() + across.square().sum()


def _pixel_loss(name: str, sr: Tensor, hr: Tensor) -> Tensor:
    if name == "l2":
        return F.mse_loss(sr, hr)
    if name == "l1":
        return F.l1_loss(sr, hr)
    return 2 * ssim_loss(sr, hr, window_size=11)  # the library halves 1 - SSIM


def _at_least_float32(images: Tensor) -> Tensor:
    return images.float() if images.dtype in (torch.float16, torch.bfloat16) else images


def _check_range(hr: Tensor) -> None:
    if torch.compiler.is_compiling():
        return
    low, high = (float(value) for value in hr.detach().aminmax())
    if low < -_RANGE_SLACK or high > 1 + _RANGE_SLACK:
        raise ValueError(f"HR values lie in [{low:.4g}, {high:.4g}]; expected [0, 1]")
