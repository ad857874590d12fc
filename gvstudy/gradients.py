"""Gradient maps and their patch variances: what the GV loss looks at (Eq. 1 of the paper)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from gvstudy.images import to_grey

PADDINGS = ("zeros", "valid")


def gradient_maps(images: Tensor, padding: str = "valid") -> tuple[Tensor, Tensor]:
    """Sobel gradients (gx, gy) of the grey images.

    `images` is (N, C, H, W), C = 1 or 3, floating point. Both maps are (N, 1, H, W) with
    `padding="zeros"`, as in the authors' script, where the black frame around the image shows up
    as an edge; with `padding="valid"` they are (N, 1, H-2, W-2) and hold only what the image holds.
    gx is positive where the image grows brighter to the right, gy where it does so downwards. For
    values in [0, 1] a gradient lies in [-4, 4]. Raises ValueError for another shape or padding.
    """
    check_images(images)
    check_padding(padding)
    if padding == "valid" and min(images.shape[-2:]) < 3:
        raise ValueError(
            f"images of {images.shape[-2]}x{images.shape[-1]} pixels are too small; "
            f"the 3x3 Sobel window needs 3 and more each way"
        )
    grey = to_grey(images)
    if padding == "zeros":
        grey = F.pad(grey, (1, 1, 1, 1))
    # The Sobel kernel is separable: a difference along one axis, a [1, 2, 1] sum along the other.
    smooth_y = grey[..., :-2, :] + 2 * grey[..., 1:-1, :] + grey[..., 2:, :]
    smooth_x = grey[..., :-2] + 2 * grey[..., 1:-1] + grey[..., 2:]
    gx = smooth_y[..., 2:] - smooth_y[..., :-2]
    gy = smooth_x[..., 2:, :] - smooth_x[..., :-2, :]
    return gx, gy


def variance_map(gradient: Tensor, patch_size: int) -> Tensor:
    """Unbiased variance of each patch of a gradient map (Eq. 1).

    (N, 1, H, W) becomes (N, 1, H // n, W // n) for n = `patch_size`: patches don't overlap, and
    rows and columns beyond the last whole patch are dropped. Raises ValueError for a patch that is
    smaller than 2 or larger than the map.
    """
    height, width = gradient.shape[-2:]
    rows, columns = patch_grid(height, width, patch_size)
    whole = gradient[..., : rows * patch_size, : columns * patch_size]
    patches = whole.unflatten(-1, (columns, patch_size)).unflatten(-3, (rows, patch_size))
    return patches.var(dim=(-3, -1))


def variance_maps(images: Tensor, patch_size: int = 8, padding: str = "valid") -> Tensor:
    """The variance maps of gx and gy, stacked as two channels: (N, 2, rows, columns)."""
    gx, gy = gradient_maps(images, padding)
    return torch.cat([variance_map(gx, patch_size), variance_map(gy, patch_size)], dim=1)


@torch.no_grad()
def variance_scores(sr: Tensor, hr: Tensor, patch_size: int = 8) -> dict[str, float]:
    """How SR's variance maps compare with HR's, borders left out; x, y and all patches together.

    `variance_ratio` is the mean of SR's over the mean of HR's: 1 is as much gradient variance as
    the real image has, less is smoother. Noise can push it past 1, so it goes with two others.
    `log_variance_ratio` is the median over patches of log(SR / HR), 0 being faithful. HR patches
    with a variance of 1 / 255^2 or less are left out of it: rounding to 8 bits alone gives as much
    (1/12 of a squared grey level, times 12, the sum of the squared Sobel weights).
    `variance_distance` is the root mean square of the difference: what GV minimises.
    The ratios are infinite or NaN where HR is flat throughout.
    """
    check_pair(sr, hr)
    ours, real = variance_maps(sr, patch_size), variance_maps(hr, patch_size)
    structured = real > 1 / 255**2
    return {
        "variance_ratio": float(ours.mean() / real.mean()),
        "log_variance_ratio": float((ours[structured] / real[structured]).log().median()),
        "variance_distance": float((ours - real).square().mean().sqrt()),
    }


def variance_ratio(sr: Tensor, hr: Tensor, patch_size: int = 8) -> float:
    """Mean of SR's variance maps over the mean of HR's; see `variance_scores`."""
    return variance_scores(sr, hr, patch_size)["variance_ratio"]


def patch_grid(height: int, width: int, patch_size: int) -> tuple[int, int]:
    """Rows and columns of whole patches in a gradient map; ValueError where not one fits."""
    if not 2 <= patch_size <= min(height, width):
        raise ValueError(
            f"patch_size {patch_size} does not fit a gradient map of {height}x{width}; "
            f"allowed: 2 to the map's shorter side"
        )
    return height // patch_size, width // patch_size


def check_padding(padding: str) -> None:
    """Raise ValueError for a padding that gradient maps don't know."""
    if padding not in PADDINGS:
        raise ValueError(f"unknown padding {padding!r}; known: {', '.join(PADDINGS)}")


def check_images(images: Tensor) -> None:
    """Raise ValueError unless `images` is a floating point batch (N, C, H, W) with C = 1 or 3."""
    if 0 in images.shape:
        raise ValueError(f"nothing to look at in a batch of shape {tuple(images.shape)}")
    if images.dim() != 4 or images.shape[1] not in (1, 3):
        raise ValueError(f"expected (N, C, H, W) with C = 1 or 3, got shape {tuple(images.shape)}")
    if not images.is_floating_point():
        raise ValueError(f"expected floating point values in [0, 1], got {images.dtype}")


def check_pair(sr: Tensor, hr: Tensor) -> None:
    """Raise ValueError unless both are image batches of the same shape."""
    check_images(sr)
    check_images(hr)
    if sr.shape != hr.shape:
        raise ValueError(f"SR and HR differ in shape: {tuple(sr.shape)} and {tuple(hr.shape)}")
