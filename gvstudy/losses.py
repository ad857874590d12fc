"""The pixel losses, total variation and GV, composed by name."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from kornia.losses import ssim_loss, total_variation
from torch import Tensor, nn

from gvstudy.gradient_variance import GradientVarianceLoss, gradient_deviation_loss

Loss = Callable[[Tensor, Tensor], Tensor]  # of SR and HR, both (N, C, H, W)


class ComposedLoss(nn.Module):
    """A pixel loss, alone or with a weighted regulariser; made by `build_loss`."""

    def __init__(self, name: str, regulariser: Loss | None = None, weight: float = 0.0):
        super().__init__()
        self.pixel, _, self.added = name.partition("+")
        self.regulariser, self.weight = regulariser, weight

    def terms(self, sr: Tensor, hr: Tensor) -> dict[str, Tensor]:
        """The summands by name, weights applied; the loss is their sum."""
        values = {self.pixel: PIXEL_LOSSES[self.pixel](sr, hr)}
        if self.regulariser:
            values[self.added] = self.weight * self.regulariser(sr, hr)
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
    """A loss by name: `l2`, `l1` or `ssim`, alone or with `+gv`, `+deviation`, `+tv` or `+tv2`.

    `l2` is the mean of squares, `l1` the mean of absolute differences, `ssim` is 1 - SSIM. `tv` is
    kornia's total variation (mean absolute difference of neighbours, down plus across) times
    `tv_weight`; `tv2` is the authors' sum of squared differences over the whole batch times
    `tv_weight` (theirs is 1e-8; divided by the number of values in the batch it is the weight per
    pixel value). `gv` is `GradientVarianceLoss(patch_size, padding)` times `gv_weight`, and so are
    `deviation`, the same on standard deviations, and whatever is entered in `REGULARISERS`.
    Raises ValueError for an unknown name.
    """
    check_loss(name)
    pixel, _, added = name.partition("+")
    if not added:
        return ComposedLoss(pixel)
    weight = tv_weight if is_tv(name) else gv_weight
    return ComposedLoss(name, REGULARISERS[added](patch_size, padding), weight)


def names() -> list[str]:
    """The names of all losses."""
    both = (f"{pixel}+{added}" for pixel in PIXEL_LOSSES for added in REGULARISERS)
    return [*PIXEL_LOSSES, *both]


def check_loss(name: str) -> None:
    """Raise ValueError for an unknown loss."""
    if name not in names():
        raise ValueError(f"unknown loss {name!r}; known: {', '.join(names())}")


def is_tv(name: str) -> bool:
    """Whether a loss has `tv_weight`, not GV's weight, patches and padding."""
    return name.partition("+")[2] in ("tv", "tv2")


def structure_similarity(sr: Tensor, hr: Tensor) -> Tensor:
    """1 - SSIM, with windows of 11 x 11."""
    return 2 * ssim_loss(sr, hr, window_size=11)  # the library halves it


def squared_total_variation(images: Tensor) -> Tensor:
    """The authors' TV: squared differences of neighbours, summed over the batch (N, C, H, W)."""
    down, across = images.diff(dim=-2), images.diff(dim=-1)
    return down.square().sum() + across.square().sum()


PIXEL_LOSSES: dict[str, Loss] = {"l2": F.mse_loss, "l1": F.l1_loss, "ssim": structure_similarity}
# By name, what makes a regulariser for a patch size and a padding. One that is entered here is
# a loss like the others, by its name: in a `Run`, in the store, in the results.
REGULARISERS: dict[str, Callable[[int, str], Loss]] = {
    "tv": lambda *_: lambda sr, _: total_variation(sr, reduction="mean").mean(),
    "tv2": lambda *_: lambda sr, _: squared_total_variation(sr),
    "gv": GradientVarianceLoss,
    "deviation": lambda n, padding: partial(gradient_deviation_loss, patch_size=n, padding=padding),
}
