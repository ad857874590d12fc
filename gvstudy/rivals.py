"""Rivals of GV: other losses that ask for structure, each to be added to a pixel loss.

The losses compare SR with HR, both (N, C, H, W), C = 1 or 3, with values in [0, 1], and return a
scalar. HR is a constant and gets no gradient. They raise ValueError for what
`gradient_variance_loss` raises it for, an HR outside [0, 1] included.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from kornia.filters import gaussian_blur2d
from torch import Tensor, nn

from gvstudy.gradient_variance import (
    UNIT_RANGE,
    charbonnier_loss,
    check_range,
    gradient_variance_loss,
)
from gvstudy.gradients import (
    ROUNDING,
    framed_grey,
    gradient_maps,
    variance_map,
    variance_maps,
)
from gvstudy.images import to_grey
from gvstudy.validation import check_images

PATCHES = (4, 8, 16)  # patch sizes of the multi-scale version, pixels
STABILITY = 170 / 255**2  # the constant of GMSD's paper, for values in [0, 1]
SMOOTH = 1e-12  # under a root, whose slope at zero is infinite


def log_variance(sr: Tensor, hr: Tensor, patch_size: int = 8, padding: str = "zeros") -> Tensor:
    """GV on the logarithm of the variances, so that smooth patches count as much as busy ones.

    `ROUNDING` is added to each variance first: below it, a variance says nothing about the scene.
    """
    _check(sr, hr)
    ours, real = (variance_maps(images, patch_size, padding) for images in (sr, hr.detach()))
    return 2 * F.mse_loss((ours + ROUNDING).log(), (real + ROUNDING).log())


def multiscale_variance(sr: Tensor, hr: Tensor, padding: str = "zeros") -> Tensor:
    """The mean of GV over patches of 4, 8 and 16 pixels."""
    values = [gradient_variance_loss(sr, hr, n, padding) for n in PATCHES]
    return torch.stack(values).mean()


def variance_with_laplacian(
    sr: Tensor, hr: Tensor, patch_size: int = 8, padding: str = "zeros"
) -> Tensor:
    """GV plus the same for a Laplacian map, after EFDN (Wang 2022, arXiv 2204.08759).

    All three maps have the same weight, and the Laplacian is that of four neighbours: our choice.
    """
    gv = gradient_variance_loss(sr, hr, patch_size, padding)
    ours, real = (laplacian(images, padding) for images in (sr, hr.detach()))
    return gv + F.mse_loss(variance_map(ours, patch_size), variance_map(real, patch_size))


def map_distance(
    sr: Tensor,
    hr: Tensor,
    padding: str = "zeros",
    criterion: Callable[[Tensor, Tensor], Tensor] = F.mse_loss,
) -> Tensor:
    """The distance of the gradient maps themselves, squared by default, x and y added."""
    _check(sr, hr)
    pairs = zip(gradient_maps(sr, padding), gradient_maps(hr.detach(), padding), strict=True)
    return torch.stack([criterion(ours, real) for ours, real in pairs]).sum()


def map_charbonnier(sr: Tensor, hr: Tensor, padding: str = "zeros") -> Tensor:
    """Charbonnier's distance of the gradient maps themselves, x and y added: a gradient loss.

    Such losses go with SPSR (Ma et al., CVPR 2020, arXiv 2003.13081) and MMagic (`GradientLoss`,
    with L1). Sobel's kernel isn't normalised, and Charbonnier's distance is L1 but for 1e-12. The
    maps are those of grey images, as GV's, so colour doesn't count.
    """
    return map_distance(sr, hr, padding, charbonnier_loss)


def channel_map_charbonnier(sr: Tensor, hr: Tensor, padding: str = "zeros") -> Tensor:
    """The same gradient loss on each channel's maps, averaged, so that it sees colour as well."""
    _check(sr, hr)
    ours, real = (images.flatten(0, 1)[:, None] for images in (sr, hr))
    return map_charbonnier(ours, real, padding)


def variance_norm(sr: Tensor, hr: Tensor, patch_size: int = 8, padding: str = "zeros") -> Tensor:
    """Eq. 2 to the letter: the norm of the difference of the variance maps, x and y added.

    The norm is taken for each image, and averaged over the batch.
    """
    _check(sr, hr)
    ours, real = (variance_maps(images, patch_size, padding) for images in (sr, hr.detach()))
    return (ours - real).flatten(2).norm(dim=2).mean(0).sum()


def focal_frequency(sr: Tensor, hr: Tensor) -> Tensor:
    """Focal frequency loss (Jiang et al., ICCV 2021, arXiv 2012.12821), alpha = 1, whole images.

    The squared distance of the orthonormal spectra, each frequency weighted by its own distance as
    a share of the largest in that image and channel. The weights get no gradient.
    """
    _check(sr, hr)
    spectrum = torch.fft.fft2(sr - hr.detach(), norm="ortho")  # of the difference: it is linear
    squared = torch.view_as_real(spectrum).square().sum(dim=-1)
    weight = squared.detach().sqrt()
    largest = weight.amax(dim=(-2, -1), keepdim=True)
    return (squared * weight / largest.clamp_min(SMOOTH)).mean()


def gradient_magnitude_deviation(sr: Tensor, hr: Tensor) -> Tensor:
    """GMSD (Xue et al., 2014, arXiv 1308.3052) as a loss.

    The deviation of each grey image's `gradient_similarity`, averaged over the batch.
    """
    _check(sr, hr)
    similarity = gradient_similarity(to_grey(sr), to_grey(hr.detach()))
    return (similarity.flatten(1).var(dim=1) + SMOOTH).sqrt().mean()


def gradient_similarity(ours: Tensor, real: Tensor) -> Tensor:
    """GMSD's map of grey images (N, 1, H, W) in [0, 1]: 1 where gradients are equally strong.

    Both are halved by averaging, an odd side rounded up; gradients are Prewitt's. The map is (N,
    H / 2, W / 2).
    """
    one, other = (_magnitude(images) for images in (ours, real))
    return (2 * one * other + STABILITY) / (one.square() + other.square() + STABILITY)


def laplacian(images: Tensor, padding: str = "zeros") -> Tensor:
    """The sum of a grey pixel's four neighbours minus four times itself.

    Images (N, C, H, W) become (N, 1, H, W), or two pixels less each way with padding "valid".
    """
    grey = framed_grey(images, padding)
    across = grey[..., 1:-1, :-2] + grey[..., 1:-1, 2:]
    down = grey[..., :-2, 1:-1] + grey[..., 2:, 1:-1]
    return across + down - 4 * grey[..., 1:-1, 1:-1]


def unsharp_mask(images: Tensor, amount: float) -> Tensor:
    """Images plus `amount` times what a Gaussian blur (sigma 1 pixel, 7 x 7) takes away.

    It costs no training, and strengthens whatever is there. So a loss for structure should beat it.
    Raises ValueError for what is no batch of images, and for sides below 4 pixels.
    """
    check_images(images)
    if min(images.shape[-2:]) < 4:  # the blur reaches three pixels out, and reflects what is there
        raise ValueError(f"can't sharpen {images.shape[-2]}x{images.shape[-1]} pixels; need 4x4")
    return images + amount * (images - gaussian_blur2d(images, (7, 7), (1.0, 1.0)))


class Sharpened(nn.Module):
    """A model whose SR is sharpened by `unsharp_mask`: LR in, sharpened SR out."""

    def __init__(self, model: nn.Module, amount: float):
        super().__init__()
        self.model, self.amount = model, amount

    def forward(self, lr: Tensor) -> Tensor:
        return unsharp_mask(self.model(lr), self.amount)


def _check(sr: Tensor, hr: Tensor) -> None:
    check_images(sr, hr)
    check_range(hr, UNIT_RANGE)


def _magnitude(grey: Tensor) -> Tensor:
    height, width = grey.shape[-2:]
    halved = F.avg_pool2d(F.pad(grey, (0, width % 2, 0, height % 2)), 2)
    across = torch.tensor([[1.0, 0.0, -1.0]] * 3, dtype=grey.dtype, device=grey.device) / 3
    gradients = F.conv2d(halved, torch.stack([across, across.T])[:, None], padding=1)
    return (gradients.square().sum(dim=1) + SMOOTH).sqrt()
