"""Pixel losses and regularisers, combined by name: "l2", "l1+gv", or one of your own.

A loss is a function of SR and HR, both (N, C, H, W) with values in [0, 1]. A *pixel loss* may be
used alone; a *regulariser* is weighted and added to one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from kornia.losses import ssim_loss, total_variation
from torch import Tensor, nn

from gvstudy import rivals
from gvstudy._source import Source, accepted, check_call, check_entry
from gvstudy.gradient_variance import (
    GradientDeviationLoss,
    GradientVarianceLoss,
    gradient_variance_loss,
)
from gvstudy.gradients import PADDINGS
from gvstudy.images import at_least_float32
from gvstudy.validation import check_choice, check_images, check_integer, check_number

PATCH_OPTIONS = ("patch_size", "padding")


class ComposedLoss(nn.Module):
    """A pixel loss, alone or with a weighted regulariser; made by `build_loss`."""

    def __init__(
        self,
        losses: dict[str, Callable[[Tensor, Tensor], Tensor]],
        weight: float = 1.0,
        smallest: int = 1,
    ):
        super().__init__()
        self.losses, self.weight, self.smallest = losses, weight, smallest
        # Registered, so that `to(device)` moves their buffers.
        self.parts = nn.ModuleList(part for part in losses.values() if isinstance(part, nn.Module))

    def terms(self, sr: Tensor, hr: Tensor) -> dict[str, Tensor]:
        """The summands by name, the pixel loss first, weights applied; the loss is their sum.

        Half precision is computed in float32. Raises ValueError for SR and HR that aren't image
        batches of one shape, and for images too small for the loss.
        """
        check_images(sr, hr)
        if min(sr.shape[-2:]) < self.smallest:
            raise ValueError(
                f"{'+'.join(self.losses)} does not fit images of {sr.shape[-2]}x{sr.shape[-1]}; "
                f"allowed: sides from {self.smallest} on"
            )
        sr, hr = at_least_float32(sr), at_least_float32(hr)
        # The order of evaluation is the order in which autograd adds up, so it is part of a run.
        values = {name: loss(sr, hr) for name, loss in self.losses.items()}
        _, *added = values
        return values | {name: self.weight * values[name] for name in added}

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        return torch.stack(list(self.terms(sr, hr).values())).sum()


def ssim_distance(sr: Tensor, hr: Tensor) -> Tensor:
    """1 - SSIM, with 11 x 11 windows (Wang et al., 2004)."""
    return 2 * ssim_loss(sr, hr, window_size=11)  # the library halves it


def total_variation_penalty(sr: Tensor, _hr: Tensor) -> Tensor:
    """Total variation: the mean absolute difference of neighbours, down plus across."""
    return total_variation(sr, reduction="mean").mean()


def squared_total_variation(sr: Tensor, _hr: Tensor) -> Tensor:
    """The authors' TV: squared differences of neighbours, summed over the whole batch."""
    down, across = sr.diff(dim=-2), sr.diff(dim=-1)
    return down.square().sum() + across.square().sum()


@dataclass(frozen=True)
class Loss:
    """A loss as it is registered.

    `code` is a function of SR and HR, or a class whose instances are; either may take `patch_size`
    and `padding`. `weight` names the field of a run that weighs it as a regulariser, `options` the
    fields that belong to the description of a run with this loss. `smallest` is the side of the
    smallest images that it can compare, pixels.
    """

    code: Callable[..., Tensor] | type[nn.Module]
    options: tuple[str, ...] = PATCH_OPTIONS
    weight: str = "gv_weight"
    source: Source | None = None  # of a loss from outside the package
    smallest: int = 1

    def bind(self, patch_size: int, padding: str) -> Callable[[Tensor, Tensor], Tensor]:
        """The loss as a function of SR and HR alone."""
        options = accepted(self.code, {"patch_size": patch_size, "padding": padding})
        if isinstance(self.code, type):
            return self.code(**options)
        return partial(self.code, **options) if options else self.code


PIXEL_LOSSES = {
    "l2": Loss(F.mse_loss, options=()),
    "l1": Loss(F.l1_loss, options=()),
    "ssim": Loss(ssim_distance, options=(), smallest=6),  # a window of 11 reaches 5 pixels out
}
REGULARISERS = {
    "tv": Loss(total_variation_penalty, options=(), weight="tv_weight"),
    "tv2": Loss(squared_total_variation, options=(), weight="tv_weight"),
    "gv": Loss(GradientVarianceLoss),
    "deviation": Loss(GradientDeviationLoss),
    "maps": Loss(rivals.map_distance),  # has no patches, but reference runs are named with them
    "norm": Loss(rivals.variance_norm),
    "gv-l1": Loss(partial(gradient_variance_loss, criterion="l1")),
    "gv-charbonnier": Loss(partial(gradient_variance_loss, criterion="charbonnier")),
    "gv-log": Loss(rivals.log_variance),
    "gv-multiscale": Loss(rivals.multiscale_variance, options=("padding",), smallest=16),
    "gv-laplacian": Loss(rivals.variance_with_laplacian),
    "maps-charbonnier": Loss(rivals.map_charbonnier, options=("padding",)),
    "maps-charbonnier-rgb": Loss(rivals.channel_map_charbonnier, options=("padding",)),
    "frequency": Loss(rivals.focal_frequency, options=()),
    "gmsd": Loss(rivals.gradient_magnitude_deviation, options=(), smallest=3),
}


def register_loss(name: str, loss: Callable[..., Tensor], *, version: str = "") -> None:
    """Give a loss of your own a name: "NAME" alone, or "l2+NAME", weighted by `gv_weight`.

    Args:
        name: letters, digits, "-" and "_".
        loss: a function of SR and HR, both (N, C, H, W) in [0, 1], that returns a scalar tensor. It
            may also take `patch_size` and `padding`; the run's values are passed then. A class
            whose instances are such functions will do as well.
        version: a name for this version of the code. It is needed only where the source can't be
            read; otherwise a run is identified by the source itself, so an edit is another run.

    Raises:
        ValueError: for a name that is malformed or taken, for what isn't callable with SR and HR,
            and for a source that can't be read.
    """
    known = PIXEL_LOSSES | REGULARISERS
    check_entry("loss", name, loss, {other: entry.source for other, entry in known.items()})
    options = tuple(accepted(loss, dict.fromkeys(PATCH_OPTIONS)))
    images = () if isinstance(loss, type) else ("sr", "hr")
    expected = f"({', '.join(images)}), and patch_size and padding if it uses them"
    check_call(f"loss {name!r}", loss, expected, *images, **dict.fromkeys(options))
    if isinstance(loss, type) and not any("__call__" in vars(base) for base in loss.__mro__):
        raise ValueError(f"loss {name!r}: instances of {loss.__qualname__} can't be called")
    source = Source(loss, version)
    source.digest()  # what can't be read is refused now, not after a training
    PIXEL_LOSSES[name] = REGULARISERS[name] = Loss(loss, options, source=source)


def find_losses(name: str) -> dict[str, Loss]:
    """The parts of a loss such as "l2+gv" by name, the pixel loss first.

    Raises ValueError for an unknown loss.
    """
    pixel, plus, added = name.partition("+")
    if pixel not in PIXEL_LOSSES or (plus and added not in REGULARISERS) or added == pixel:
        raise ValueError(
            f"unknown loss {name!r}; known: {', '.join(PIXEL_LOSSES)}, alone or with one of "
            f"{', '.join('+' + regulariser for regulariser in REGULARISERS)}"
        )
    return {pixel: PIXEL_LOSSES[pixel]} | ({added: REGULARISERS[added]} if plus else {})


def build_loss(
    name: str,
    *,
    gv_weight: float = 0.01,
    tv_weight: float = 1e-4,
    patch_size: int = 8,
    padding: str = "zeros",
) -> ComposedLoss:
    """A loss by name: a pixel loss, alone or with a weighted regulariser.

    Pixel losses are `l2` (mean of squares), `l1` (mean of absolute differences) and `ssim` (1 -
    SSIM). Regularisers with `gv_weight` are `+gv` (`GradientVarianceLoss`), `+deviation` (the same
    on standard deviations), `+maps` (distance of the gradient maps), `+norm` (Eq. 2 to the letter),
    those of `rivals` (`+gv-l1`, `+gv-charbonnier`, `+gv-log`, `+gv-multiscale`, `+gv-laplacian`,
    `+maps-charbonnier`, `+maps-charbonnier-rgb`, `+frequency`, `+gmsd`) and those of
    `register_loss`. With `tv_weight` there are `+tv` (mean absolute difference of neighbours) and
    `+tv2` (the authors' sum of squared differences over the whole batch; their weight is 1e-8).

    The result is called with SR and HR, both (N, C, H, W) in [0, 1]; its `terms` are the summands
    by name. `patch_size` is in pixels. Raises ValueError for an unknown name or padding, a patch
    size below 2, and weights that aren't finite numbers from 0 on.
    """
    check_number("gv_weight", gv_weight)
    check_number("tv_weight", tv_weight)
    check_integer("patch_size", patch_size, 2)
    check_choice("padding", padding, PADDINGS)
    entries = find_losses(name)
    weights = {"gv_weight": gv_weight, "tv_weight": tv_weight}
    losses = {part: entry.bind(patch_size, padding) for part, entry in entries.items()}
    smallest = max(entry.smallest for entry in entries.values())
    return ComposedLoss(losses, weights[list(entries.values())[-1].weight], smallest)
