"""The gradient variance (GV) loss of Abrahamyan et al. (ICASSP 2022), and its sibling.

Eq. 1 cuts the gradient maps of an image into patches of n x n pixels and takes each patch's
variance v. Eq. 2 compares these variances between the super-resolved and the real image:

    GV = mean((v_x(sr) - v_x(hr))^2) + mean((v_y(sr) - v_y(hr))^2)

`gradient_deviation_loss` does the same with standard deviations. Both come as a function and as a
module, and both are meant to be added, weighted, to a pixel loss: alone they can't see brightness
or the sign of an edge.
"""

import math
from collections.abc import Callable
from numbers import Real

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gvstudy import _fused
from gvstudy.gradients import PADDINGS, patch_grid, variance_maps
from gvstudy.images import at_least_float32
from gvstudy.validation import check_choice, check_images, check_integer

REDUCTIONS = ("mean", "sum", "none")
UNIT_RANGE = (0.0, 1.0)
FLOOR = 1e-6  # added to a variance before its root, whose slope at zero is infinite
_SLACK = 1e-3  # share of the range by which interpolation or half precision may leave it


def gradient_variance_loss(
    sr: Tensor,
    hr: Tensor | None = None,
    patch_size: int = 8,
    padding: str = "zeros",
    reduction: str = "mean",
    *,
    criterion: str = "squared",
    value_range: tuple[float, float] = UNIT_RANGE,
    hr_maps: Tensor | None = None,
) -> Tensor:
    """Distance between the patch variances of SR's and HR's gradient maps (Eq. 2).

    The defaults are those of the authors' code, which takes the mean of squares where the paper
    writes a norm.

    Args:
        sr: (N, C, H, W), C = 1 or 3, floating point. It may overshoot the value range.
        hr: the same shape, within the value range. It is a constant and gets no gradient.
        patch_size: side n of the patches, pixels; from 2 to the gradient map's shorter side.
        padding: "zeros" as the authors do it; "valid" leaves out pixels whose Sobel window crosses
            the border, so the gradient map is two pixels smaller each way.
        reduction: "mean" averages over patches and adds x and y, as in Eq. 2; "sum" adds
            everything; "none" returns (N, 2, rows, columns), x first.
        criterion: the distance of two variances: "squared" as the authors do it, "l1", or
            "charbonnier", which is sqrt(difference^2 + 1e-12).
        value_range: the values of black and white. Images are brought to [0, 1] first, because the
            squared loss grows with the fourth power of the range.
        hr_maps: `gradients.variance_maps(hr, patch_size, padding)` of an HR in [0, 1], in place of
            `hr`. It saves time where the same HR comes again and again. The module makes them in
            `GradientVarianceLoss.maps`.

    Half precision is computed in float32. Second derivatives, and the transforms of `torch.func`
    (vmap, jvp, grad), use the plain arithmetic of `gradients`. Batched gradients, as in
    `torch.autograd.functional.hessian(..., vectorize=True)`, raise a RuntimeError;
    `torch.func.hessian` works.

    Raises:
        ValueError: for other shapes, types and names, an empty or reversed value range, and an HR
            outside the range (not checked inside `torch.compile` and `torch.func`).
    """
    _check_options(patch_size, padding, reduction, criterion, value_range)
    check_range(hr, value_range)
    v_sr, v_hr = _variances(sr, hr, hr_maps, patch_size, padding, value_range)
    return _distance(v_sr, v_hr, criterion, reduction)


def gradient_deviation_loss(
    sr: Tensor,
    hr: Tensor | None = None,
    patch_size: int = 8,
    padding: str = "zeros",
    reduction: str = "mean",
    *,
    criterion: str = "squared",
    value_range: tuple[float, float] = UNIT_RANGE,
    hr_maps: Tensor | None = None,
) -> Tensor:
    """Distance between the patch standard deviations of SR's and HR's gradient maps.

    This is `gradient_variance_loss` with s = sqrt(v + 1e-6) in place of v; it is not in the paper.
    It grows with the square of the value range, as L2 does. In this study it brings nearly GV's
    gradient variance at a smaller cost in PSNR (notebook A5). Arguments, shapes (N, C, H, W) and
    errors (Raises ValueError) are those of `gradient_variance_loss`; `hr_maps` are variances here,
    too.
    """
    _check_options(patch_size, padding, reduction, criterion, value_range)
    check_range(hr, value_range)
    v_sr, v_hr = _variances(sr, hr, hr_maps, patch_size, padding, value_range)
    return _distance(_deviation(v_sr), _deviation(v_hr), criterion, reduction)


class GradientVarianceLoss(nn.Module):
    """`gradient_variance_loss` as a module: `loss(sr, hr)` or `loss(sr, hr_maps=maps)`.

    Images are (N, C, H, W) with C = 1 or 3; the arguments are those of the function. The range of
    HR is checked in every batch on the CPU, elsewhere in the first only, because a GPU has to stop
    for it. Raises ValueError for bad options at once, and for bad images when it is called.
    """

    def __init__(
        self,
        patch_size: int = 8,
        padding: str = "zeros",
        reduction: str = "mean",
        *,
        criterion: str = "squared",
        value_range: tuple[float, float] = UNIT_RANGE,
    ):
        super().__init__()
        _check_options(patch_size, padding, reduction, criterion, value_range)
        self.patch_size, self.padding, self.reduction = patch_size, padding, reduction
        self.criterion, self.value_range = criterion, value_range
        self._checked_on: set[str] = set()  # kinds of devices on which an HR's range was checked

    def forward(
        self, sr: Tensor, hr: Tensor | None = None, *, hr_maps: Tensor | None = None
    ) -> Tensor:
        if not torch.compiler.is_compiling():
            device = "cpu" if hr is None else hr.device.type
            if device == "cpu" or device not in self._checked_on:
                check_range(hr, self.value_range)
                self._checked_on.add(device)
        maps = _variances(sr, hr, hr_maps, self.patch_size, self.padding, self.value_range)
        return self._compare(*maps)

    def maps(self, hr: Tensor) -> Tensor:
        """HR's variance maps (N, 2, rows, columns), to be given as `hr_maps`; HR is (N, C, H, W).

        Raises ValueError for another shape or type, and for values outside the range.
        """
        check_range(hr, self.value_range)
        images = _to_unit_range(hr.detach(), self.value_range)
        return variance_maps(images, self.patch_size, self.padding)

    def _compare(self, v_sr: Tensor, v_hr: Tensor) -> Tensor:
        return _distance(v_sr, v_hr, self.criterion, self.reduction)

    def extra_repr(self) -> str:
        names = ("patch_size", "padding", "reduction", "criterion", "value_range")
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in names)


class GradientDeviationLoss(GradientVarianceLoss):
    """`gradient_deviation_loss` as a module: `loss(sr, hr)` or `loss(sr, hr_maps=maps)`.

    Images (N, C, H, W), arguments and errors (Raises ValueError) are those of
    `GradientVarianceLoss`.
    """

    def _compare(self, v_sr: Tensor, v_hr: Tensor) -> Tensor:
        return super()._compare(_deviation(v_sr), _deviation(v_hr))


def charbonnier_loss(sr: Tensor, hr: Tensor, reduction: str = "mean") -> Tensor:
    """sqrt((sr - hr)^2 + 1e-12): L1 with a round bottom, so that its slope at zero is zero.

    Tensors of one shape; `reduction` is "mean", "sum" or "none". Raises ValueError for others.
    """
    check_choice("reduction", reduction, REDUCTIONS)
    if sr.shape != hr.shape:
        raise ValueError(f"SR and HR differ in shape: {tuple(sr.shape)} and {tuple(hr.shape)}")
    distance = ((sr - hr).square() + 1e-12).sqrt()
    if reduction == "none":
        return distance
    return distance.mean() if reduction == "mean" else distance.sum()


CRITERIA: dict[str, Callable[..., Tensor]] = {
    "squared": F.mse_loss,
    "l1": F.l1_loss,
    "charbonnier": charbonnier_loss,
}


def _variances(
    sr: Tensor,
    hr: Tensor | None,
    hr_maps: Tensor | None,
    n: int,
    padding: str,
    value_range: tuple[float, float],
) -> tuple[Tensor, Tensor]:
    """Eq. 1: the variance maps of SR, with a gradient, and of HR, without."""
    if (hr is None) == (hr_maps is None):
        raise ValueError(
            "expected one of hr and hr_maps, got " + ("none" if hr is None else "both")
        )
    batches = [sr] if hr is None else [sr, hr.detach()]
    check_images(*batches)
    border = 1 if padding == "zeros" else 0
    height, width = (side + 2 * border - 2 for side in sr.shape[-2:])
    patch_grid(height, width, n)
    if value_range != UNIT_RANGE:
        batches = [_to_unit_range(images, value_range) for images in batches]
    if _is_traced(sr):  # the compiler fuses the plain version by itself
        maps = [variance_maps(at_least_float32(images), n, padding) for images in batches]
    else:
        maps = list(_fused.variance_maps(n, border, *batches))
    if hr_maps is not None:
        maps.append(hr_maps.detach())
        if maps[0].shape != hr_maps.shape:
            raise ValueError(
                f"hr_maps have the shape {tuple(hr_maps.shape)}, SR's maps have "
                f"{tuple(maps[0].shape)} (patch_size {n}, padding {padding!r})"
            )
    v_sr, v_hr = maps
    return v_sr, v_hr


def _distance(ours: Tensor, real: Tensor, criterion: str, reduction: str) -> Tensor:
    """Eq. 2: the distance of two pairs of maps (N, 2, rows, columns)."""
    distance = CRITERIA[criterion](ours, real, reduction=reduction)
    # The maps of x and y have the same size, so the sum of their means is twice the common mean.
    return 2 * distance if reduction == "mean" else distance


def _deviation(variances: Tensor) -> Tensor:
    return (variances + FLOOR).sqrt()


def _is_traced(images: Tensor) -> bool:
    """Whether values can't be read: in `torch.compile`, in `torch.func`, on the meta device.

    Writing into buffers, as the fast version does, doesn't go with these either.
    """
    if torch.compiler.is_compiling() or images.is_meta:
        return True
    return torch._C._are_functorch_transforms_active()  # there is no public way to ask


def _to_unit_range(images: Tensor, value_range: tuple[float, float]) -> Tensor:
    low, high = value_range
    return (at_least_float32(images) - low) / (high - low)


def _check_options(
    patch_size: int,
    padding: str,
    reduction: str,
    criterion: str,
    value_range: tuple[float, float],
) -> None:
    check_integer("patch_size", patch_size, 2)
    check_choice("padding", padding, PADDINGS)
    check_choice("reduction", reduction, REDUCTIONS)
    check_choice("criterion", criterion, CRITERIA)
    pair = isinstance(value_range, tuple | list) and len(value_range) == 2
    pair = pair and all(isinstance(value, Real) for value in value_range)
    if not (pair and -math.inf < value_range[0] < value_range[1] < math.inf):
        raise ValueError(
            f"value_range {value_range} is not allowed; (low, high) with low below high is, "
            f"such as (0, 1), (-1, 1) or (0, 255)"
        )


def check_range(hr: Tensor | None, value_range: tuple[float, float]) -> None:
    """Raise ValueError if HR (N, C, H, W) leaves the range, where its values can be looked at."""
    if hr is None:
        return
    check_images(hr)
    if _is_traced(hr):
        return
    low, high = (float(value) for value in hr.detach().aminmax())
    slack = _SLACK * (value_range[1] - value_range[0])
    if not (low >= value_range[0] - slack and high <= value_range[1] + slack):  # NaN included
        raise ValueError(
            f"HR values are in [{low:.4g}, {high:.4g}]; expected "
            f"[{value_range[0]:g}, {value_range[1]:g}], or another value_range"
        )
