"""Pictures as tensors: reading, writing, cropping, colour, resizing.

A *picture* is a uint8 tensor (C, H, W) with C = 1 (grey) or 3 (RGB). An *image batch* is a float
tensor (N, C, H, W) with values in [0, 1]. Models, losses and measures work on image batches.
"""

import warnings
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor

from gvstudy.files import replacing

SCALES = (2, 3, 4)
KERNELS = ("bicubic", "bilinear")
REACH = 2  # pixels of the small image that the wider kernel reaches to either side
GREY_WEIGHTS = (0.2989, 0.5870, 0.1140)  # BT.601, rounded as in the authors' script
LUMA_WEIGHTS = (65.481 / 255, 128.553 / 255, 24.966 / 255)  # BT.601, 8-bit luma from 16 to 235
LUMA_OFFSET = 16 / 255


def read(path: Path) -> Tensor:
    """Read a picture file as uint8 (C, H, W); grey stays one channel, everything else becomes RGB.

    Palettes are resolved, 16 bits become 8 (grey is rounded, of colour Pillow drops the lower
    byte), the camera's rotation is applied, and an alpha channel is dropped with a warning. Raises
    ValueError for a file that Pillow can't read.
    """
    try:
        with Image.open(path) as file:
            picture = ImageOps.exif_transpose(file)
            picture.load()
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: not a picture that can be read ({error})") from error
    if picture.has_transparency_data:
        warnings.warn(f"{path}: the alpha channel is dropped", stacklevel=2)
    if picture.mode.startswith("I"):  # 16-bit grey
        pixels = np.rint(np.asarray(picture, dtype=np.float64) / 257)
        if pixels.min() < 0 or pixels.max() > 255:
            raise ValueError(f"{path}: grey values beyond 16 bits; expected at most 65535")
        pixels = pixels.astype(np.uint8)
    elif picture.mode == "F":
        raise ValueError(f"{path}: floating point pixels; expected 8 or 16 bits a channel")
    else:
        grey = picture.mode in ("1", "L", "LA", "La")
        pixels = np.array(picture.convert("L" if grey else "RGB"))
    return torch.from_numpy(np.atleast_3d(pixels)).permute(2, 0, 1).contiguous()


def write(path: Path, picture: Tensor) -> None:
    """Write a uint8 picture (C, H, W); the format follows the name. Written whole or not at all."""
    pixels = picture.permute(1, 2, 0).squeeze(-1).numpy()
    with replacing(path) as temporary:
        Image.fromarray(pixels).save(temporary)


def check_picture(picture: Tensor) -> None:
    """Raise ValueError unless it is a picture: uint8 (C, H, W), C = 1 or 3."""
    if picture.dtype != torch.uint8 or picture.dim() != 3 or picture.shape[0] not in (1, 3):
        raise ValueError(
            f"expected a picture, uint8 (C, H, W) with C = 1 or 3, got {picture.dtype} "
            f"{tuple(picture.shape)}"
        )


def to_float(picture: Tensor) -> Tensor:
    """A uint8 picture (C, H, W) as an image batch (1, 3, H, W) in [0, 1]; grey is repeated."""
    return picture.expand(3, -1, -1).unsqueeze(0).float() / 255


def to_uint8(images: Tensor) -> Tensor:
    """Clamp to [0, 1] and round to 8 bits: (..., H, W) float to (..., H, W) uint8."""
    return (images.clamp(0, 1) * 255).round().to(torch.uint8)


def as_saved(images: Tensor) -> Tensor:
    """Images (N, C, H, W) as a file would give them back: clamped, rounded to 8 bits, float."""
    return to_uint8(images).float() / 255


def crop_to_multiple(images: Tensor, scale: int) -> Tensor:
    """Cut (..., H, W) at the right and bottom so that `scale` divides both sides."""
    height, width = images.shape[-2:]
    if min(height, width) < scale:
        raise ValueError(f"a picture of {height}x{width} pixels is too small for scale {scale}")
    return images[..., : height - height % scale, : width - width % scale]


def centre(picture: Tensor, side: int) -> Tensor:
    """The central square of `side` pixels of (C, H, W), or as much of it as there is."""
    height, width = picture.shape[-2:]
    top, left = max(0, height - side) // 2, max(0, width - side) // 2
    return picture[..., top : top + side, left : left + side]


def to_grey(images: Tensor) -> Tensor:
    """Grey images (N, 1, H, W) of RGB ones (N, 3, H, W), as the authors weigh them; grey passes."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.split(1, dim=1)
    return GREY_WEIGHTS[0] * red + GREY_WEIGHTS[1] * green + GREY_WEIGHTS[2] * blue


def to_luma(images: Tensor) -> Tensor:
    """BT.601 luma (N, 1, H, W) of RGB images (N, 3, H, W) in [0, 1]; it lies in [16, 235] / 255."""
    red, green, blue = images.split(1, dim=1)
    weighted = LUMA_WEIGHTS[0] * red + LUMA_WEIGHTS[1] * green + LUMA_WEIGHTS[2] * blue
    return weighted + LUMA_OFFSET


def _mirror(images: Tensor, border: int, dim: int) -> Tensor:
    """Images with `border` pixels more at both ends of a dimension, mirrored, the edge included."""
    length = images.shape[dim]
    index = torch.arange(-border, length + border, device=images.device) % (2 * length)
    index = torch.minimum(index, 2 * length - 1 - index)
    before, after = (images.index_select(dim, part) for part in (index[:border], index[-border:]))
    return torch.cat([before, images, after], dim)


def _resize(images: Tensor, up: int, down: int, kernel: str) -> Tensor:
    """Resize by up / down, one of which is 1.

    PyTorch's antialiased kernels are MATLAB's (half-pixel centres, a = -0.5, stretched when
    shrinking) everywhere but at the border, where MATLAB mirrors the image. So the image is
    mirrored first, by the kernel's reach, and what comes of that is cut off again.
    """
    if kernel not in KERNELS:
        raise ValueError(f"unknown kernel {kernel!r}; known: {', '.join(KERNELS)}")
    height, width = (side * up // down for side in images.shape[-2:])
    batch = images.reshape(1, -1, *images.shape[-2:])
    framed = _mirror(_mirror(batch, REACH * down, -2), REACH * down, -1)
    size = [height + 2 * REACH * up, width + 2 * REACH * up]
    resized = F.interpolate(framed, size, mode=kernel, antialias=True)
    frame = REACH * up
    inside = resized[..., frame : frame + height, frame : frame + width]
    return inside.reshape(*images.shape[:-2], height, width)


def downscale(images: Tensor, scale: int, kernel: str = "bicubic") -> Tensor:
    """Shrink (..., H, W) to (..., H/scale, W/scale) as MATLAB's imresize does, antialiased.

    Raises ValueError where `scale` doesn't divide H and W, or for an unknown kernel.
    """
    height, width = images.shape[-2:]
    if height % scale or width % scale:
        raise ValueError(f"scale {scale} does not divide {height}x{width}; use crop_to_multiple")
    return _resize(images, 1, scale, kernel)


def upscale(images: Tensor, scale: int, kernel: str = "bicubic") -> Tensor:
    """Enlarge (..., H, W) to (..., scale*H, scale*W) as MATLAB's imresize does."""
    return _resize(images, scale, 1, kernel)


def make_lr(picture: Tensor, scale: int, kernel: str = "bicubic") -> Tensor:
    """The 8-bit LR picture (C, h, w) of an HR picture (C, H, W) whose sides `scale` divides."""
    return to_uint8(downscale(picture.float() / 255, scale, kernel))
