"""Pictures as tensors: reading, writing, cropping, colour, resizing.

A *picture* is a uint8 tensor (C, H, W) with C = 1 (grey) or 3 (RGB). An *image batch* is a float
tensor (N, C, H, W) with values in [0, 1]. Models, losses and metrics work on image batches.
"""

import warnings
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gvstudy.paths import replacing
from gvstudy.validation import check_choice, check_picture

SCALES = (2, 3, 4)
KERNELS = ("bicubic", "bilinear")
REACH = 2  # the wider kernel's radius, in pixels of the small image
GREY_WEIGHTS = (0.2989, 0.5870, 0.1140)  # BT.601, rounded as in the authors' script
LUMA_WEIGHTS = (65.481 / 255, 128.553 / 255, 24.966 / 255)  # BT.601, 8-bit luma from 16 to 235
LUMA_OFFSET = 16 / 255
ORIENTATION = 0x0112  # the EXIF tag that tells how the camera was held
TURNS = {  # by its value: what undoes it, in Pillow's words
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}


def read(path: str | Path) -> Tensor:
    """Read a picture file as uint8 (C, H, W): C = 1 for a grey file, 3 (RGB) for any other.

    Palettes are converted to RGB, and the camera's rotation is applied. 16 bits become 8: grey
    values are rounded, and Pillow drops the lower byte of colours. An alpha channel is dropped with
    a warning. Raises ValueError for a missing file, one that Pillow can't read, and floating point
    or more than 16-bit pixels.
    """
    from PIL import Image  # here, because the loss doesn't need Pillow

    path = Path(path)
    if path.exists() and not path.is_file():  # a named pipe would be waited for without end
        raise ValueError(f"{path}: not a picture that can be read (no regular file)")
    try:
        # Given the name alone, Pillow 13 garbles uncompressed TIFF files that are to be turned.
        with path.open("rb") as opened, Image.open(opened) as file:
            file.load()
            turn = TURNS.get(file.getexif().get(ORIENTATION, 1))
            picture = file.copy() if turn is None else file.transpose(Image.Transpose[turn])
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except Exception as error:  # Pillow has no common type for what is damaged
        raise ValueError(f"{path}: not a picture that can be read ({error})") from error
    if picture.has_transparency_data:
        warnings.warn(f"{path}: the alpha channel is dropped", stacklevel=2)
    if picture.mode.startswith("I"):  # 16-bit grey
        pixels = np.rint(np.asarray(picture, dtype=np.float64) / 257)
        if pixels.min() < 0 or pixels.max() > 255:
            raise ValueError(f"{path}: grey values beyond 16 bits; expected 0 to 65535")
        pixels = pixels.astype(np.uint8)
    elif picture.mode == "F":
        raise ValueError(f"{path}: floating point pixels; expected 8 or 16 bits a channel")
    else:
        grey = picture.mode in ("1", "L", "LA", "La")
        pixels = np.array(picture.convert("L" if grey else "RGB"))
    return torch.from_numpy(np.atleast_3d(pixels)).permute(2, 0, 1).contiguous()


def write(path: str | Path, picture: Tensor) -> None:
    """Write a uint8 picture (C, H, W), completely or not at all; the suffix sets the format.

    Raises ValueError for a suffix that Pillow can't write, and for a target that exists and is no
    regular file.
    """
    from PIL import Image

    path = Path(path)
    if Image.registered_extensions().get(path.suffix.lower()) not in Image.SAVE:
        raise ValueError(f"{path}: no picture format has the suffix {path.suffix!r}; use .png")
    pixels = picture.permute(1, 2, 0).squeeze(-1).numpy()
    with replacing(path) as temporary:
        Image.fromarray(pixels).save(temporary)


def to_float(picture: Tensor) -> Tensor:
    """Convert a uint8 picture (C, H, W) to a batch (1, 3, H, W) in [0, 1]; grey is repeated."""
    return picture.expand(3, -1, -1).unsqueeze(0).float() / 255


def to_uint8(images: Tensor) -> Tensor:
    """Clamp float images (..., H, W) to [0, 1] and round them to 8 bits: uint8 (..., H, W)."""
    return (images.clamp(0, 1) * 255).round().to(torch.uint8)


def as_saved(images: Tensor) -> Tensor:
    """Images (N, C, H, W) as an 8-bit file would return them: clamped, rounded, float again."""
    return to_uint8(images).float() / 255


def at_least_float32(images: Tensor) -> Tensor:
    """Images of half precision in float32, all others as they are."""
    return images.to(torch.promote_types(images.dtype, torch.float32))


def crop_to_multiple(images: Tensor, scale: int) -> Tensor:
    """Crop (..., H, W) at the right and bottom, so that `scale` divides both sides.

    Raises ValueError where a side is shorter than `scale`.
    """
    height, width = images.shape[-2:]
    if min(height, width) < scale:
        raise ValueError(f"a picture of {height}x{width} pixels is too small for scale {scale}")
    return images[..., : height - height % scale, : width - width % scale]


def centre(picture: Tensor, side: int) -> Tensor:
    """The central `side` x `side` pixels of (C, H, W); a shorter side is kept whole."""
    height, width = picture.shape[-2:]
    top, left = max(0, height - side) // 2, max(0, width - side) // 2
    return picture[..., top : top + side, left : left + side]


def to_grey(images: Tensor) -> Tensor:
    """Grey images (N, 1, H, W) from RGB (N, 3, H, W), with the authors' weights.

    Grey images are returned as they are.
    """
    if images.shape[1] == 1:
        return images
    red, green, blue = images.split(1, dim=1)
    return GREY_WEIGHTS[0] * red + GREY_WEIGHTS[1] * green + GREY_WEIGHTS[2] * blue


def to_luma(images: Tensor) -> Tensor:
    """BT.601 luma (N, 1, H, W), in [16, 235] / 255, of RGB images (N, 3, H, W) in [0, 1]."""
    red, green, blue = images.split(1, dim=1)
    weighted = LUMA_WEIGHTS[0] * red + LUMA_WEIGHTS[1] * green + LUMA_WEIGHTS[2] * blue
    return weighted + LUMA_OFFSET


def downscale(images: Tensor, scale: int, kernel: str = "bicubic") -> Tensor:
    """Shrink (..., H, W) to (..., H/scale, W/scale) as MATLAB's imresize does, antialiased.

    Raises ValueError where `scale` doesn't divide H and W, or for an unknown kernel.
    """
    height, width = images.shape[-2:]
    if height % scale or width % scale:
        raise ValueError(f"scale {scale} does not divide {height}x{width}; use crop_to_multiple")
    return _resize(images, 1, scale, kernel)


def upscale(images: Tensor, scale: int, kernel: str = "bicubic") -> Tensor:
    """Enlarge (..., H, W) to (..., scale*H, scale*W) as MATLAB's imresize does.

    Raises ValueError for an unknown kernel.
    """
    return _resize(images, scale, 1, kernel)


def make_lr(picture: Tensor, scale: int, kernel: str = "bicubic") -> Tensor:
    """Make the 8-bit LR picture (C, H/scale, W/scale) of a uint8 HR picture (C, H, W).

    Raises ValueError for what is no such picture, where `scale` doesn't divide H and W, or for an
    unknown kernel.
    """
    check_picture(picture)
    return to_uint8(downscale(picture.float() / 255, scale, kernel))


def make_pair(picture: Tensor, scale: int, kernel: str = "bicubic") -> tuple[Tensor, Tensor]:
    """Make LR (1, 3, H/scale, W/scale) and HR (1, 3, H, W), in [0, 1], from a uint8 picture.

    HR is the picture, cropped so that `scale` divides its sides. LR is that of `make_lr`. Raises
    ValueError for what is no picture, one smaller than `scale`, or an unknown kernel.
    """
    hr = crop_to_multiple(picture, scale)
    return to_float(make_lr(hr, scale, kernel)), to_float(hr)


def _resize(images: Tensor, up: int, down: int, kernel: str) -> Tensor:
    """Resize by the factor up / down; one of the two is 1.

    Away from the border, PyTorch's antialiased kernels equal MATLAB's: half-pixel centres,
    a = -0.5, stretched for shrinking. At the border MATLAB mirrors the image. So we pad it with
    mirrored pixels, as many as the kernel reaches, and crop them off after resizing.
    """
    check_choice("kernel", kernel, KERNELS)
    height, width = (side * up // down for side in images.shape[-2:])
    batch = images.reshape(1, -1, *images.shape[-2:])
    padded = _mirror(_mirror(batch, REACH * down, -2), REACH * down, -1)
    margin = REACH * up
    size = [height + 2 * margin, width + 2 * margin]
    # PyTorch can't do this in half precision.
    resized = F.interpolate(at_least_float32(padded), size, mode=kernel, antialias=True)
    resized = resized.to(images.dtype)
    inside = resized[..., margin : margin + height, margin : margin + width]
    return inside.reshape(*images.shape[:-2], height, width)


def _mirror(images: Tensor, margin: int, dim: int) -> Tensor:
    """Pad one dimension with `margin` mirrored pixels at both ends; the edge pixel is repeated."""
    length = images.shape[dim]
    index = torch.arange(-margin, length + margin, device=images.device) % (2 * length)
    index = torch.minimum(index, 2 * length - 1 - index)
    before, after = (images.index_select(dim, part) for part in (index[:margin], index[-margin:]))
    return torch.cat([before, images, after], dim)
