"""Gradient maps and their patch variances: what the GV loss compares (Eq. 1 of the paper)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from gvstudy.images import to_grey
from gvstudy.validation import check_choice, check_images, check_integer

PADDINGS = ("zeros", "valid")
ROUNDING = 1 / 255**2  # the gradient variance that rounding to 8 bits makes by itself


def gradient_maps(images: Tensor, padding: str = "valid") -> tuple[Tensor, Tensor]:
    """Sobel gradients (gx, gy) of the grey images.

    gx is positive where the image grows brighter to the right, gy where it does so downwards.

    Args:
        images: (N, C, H, W), C = 1 or 3, floating point. For values in [0, 1] a gradient is in
            [-4, 4].
        padding: "zeros" puts a black frame around the image, as the authors' script does; the frame
            shows up as an edge. The maps are (N, 1, H, W). With "valid" they are (N, 1, H-2, W-2)
            and contain only what the image contains.

    Raises:
        ValueError: for another shape, type or padding, and for images too small for a 3x3 window.
    """
    grey = framed_grey(images, padding)
    if padding == "valid" and min(images.shape[-2:]) < 3:
        raise ValueError(
            f"images of {images.shape[-2]}x{images.shape[-1]} pixels are too small for the 3x3 "
            f"Sobel window; 3 and more each way are allowed"
        )
    # The Sobel kernel is separable: a difference along one axis, a [1, 2, 1] sum along the other.
    smooth_y = grey[..., :-2, :] + 2 * grey[..., 1:-1, :] + grey[..., 2:, :]
    smooth_x = grey[..., :-2] + 2 * grey[..., 1:-1] + grey[..., 2:]
    gx = smooth_y[..., 2:] - smooth_y[..., :-2]
    gy = smooth_x[..., 2:, :] - smooth_x[..., :-2, :]
    return gx, gy


def framed_grey(images: Tensor, padding: str) -> Tensor:
    """The grey images, in a frame of black pixels one wide where padding is "zeros".

    Images (N, C, H, W) become (N, 1, H, W) or (N, 1, H+2, W+2). Raises ValueError for another
    shape, type or padding.
    """
    check_images(images)
    check_choice("padding", padding, PADDINGS)
    grey = to_grey(images)
    return F.pad(grey, (1, 1, 1, 1)) if padding == "zeros" else grey


def variance_map(gradient: Tensor, patch_size: int) -> Tensor:
    """The unbiased variance of each patch of a gradient map (Eq. 1).

    A map (N, 1, H, W) becomes (N, 1, H // n, W // n) for n = `patch_size`. Patches don't overlap;
    rows and columns beyond the last whole patch are dropped. Raises ValueError for a patch size
    below 2 or above the map's shorter side.
    """
    height, width = gradient.shape[-2:]
    rows, columns = patch_grid(height, width, patch_size)
    whole = gradient[..., : rows * patch_size, : columns * patch_size]
    patches = whole.unflatten(-1, (columns, patch_size)).unflatten(-3, (rows, patch_size))
    return patches.var(dim=(-3, -1))


def variance_maps(images: Tensor, patch_size: int = 8, padding: str = "valid") -> Tensor:
    """The variance maps of gx and gy as two channels, x first: (N, 2, rows, columns).

    Images (N, C, H, W) and errors as in `gradient_maps` and `variance_map`.
    """
    gx, gy = gradient_maps(images, padding)
    return torch.cat([variance_map(gx, patch_size), variance_map(gy, patch_size)], dim=1)


@torch.no_grad()
def variance_metrics(sr: Tensor, hr: Tensor, patch_size: int = 8) -> dict[str, float]:
    """How SR's variance maps compare with HR's, over x, y and all patches, borders left out.

    `sr` and `hr` are (N, C, H, W) with values in [0, 1]; `patch_size` is in pixels.

    - `variance_ratio`: the mean of SR's maps over the mean of HR's. 1 means as much gradient
      variance as the real image, less means smoother. Noise can push it past 1, so it is always
      reported with the other two.
    - `log_variance_ratio`: the median over patches of log(SR / HR); 0 is faithful. It leaves out
      HR patches with a variance of 1 / 255^2 or less, because rounding a grey image to 8
      bits alone gives as much (1/12 of a squared grey level, times 12, the sum of the squared
      Sobel weights). In colour it gives about half as much.
    - `variance_distance`: the root mean square of the difference, which is what GV minimises.

    The ratios are infinite or NaN where HR is flat throughout. Raises ValueError for other shapes
    and types.
    """
    check_images(sr, hr)
    ours, real = variance_maps(sr, patch_size), variance_maps(hr, patch_size)
    structured = real > ROUNDING
    return {
        "variance_ratio": float(ours.mean() / real.mean()),
        "log_variance_ratio": float((ours[structured] / real[structured]).log().median()),
        "variance_distance": float((ours - real).square().mean().sqrt()),
    }


def variance_ratio(sr: Tensor, hr: Tensor, patch_size: int = 8) -> float:
    """The mean of SR's variance maps over the mean of HR's, both images (N, C, H, W) in [0, 1].

    `patch_size` is the side of the patches in pixels; measurements use 8 throughout. See
    `variance_metrics` for what the ratio means, and for the two numbers that belong beside it.
    Raises ValueError as that function does.
    """
    return variance_metrics(sr, hr, patch_size)["variance_ratio"]


def patch_grid(height: int, width: int, patch_size: int) -> tuple[int, int]:
    """Rows and columns of whole patches in a gradient map. Raises ValueError where none fits."""
    check_integer("patch_size", patch_size, 2)
    if patch_size > min(height, width):
        raise ValueError(
            f"patch_size {patch_size} does not fit a gradient map of {height}x{width}; "
            f"allowed: 2 to the map's shorter side"
        )
    return height // patch_size, width // patch_size
