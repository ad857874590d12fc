"""The pixel losses, total variation and GV, composed by name."""

import torch
import torch.nn.functional as F
from kornia.losses import ssim_loss, total_variation
from torch import Tensor, nn

from gvstudy.gradient_variance import GradientVarianceLoss

PIXEL_LOSSES = ("l2", "l1", "ssim")
REGULARISERS = ("tv", "tv2", "gv")
LOSSES = (*PIXEL_LOSSES, *(f"{p}+{r}" for p in PIXEL_LOSSES for r in REGULARISERS))


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
