"""What each choice of a protocol costs: bicubic measured with one choice changed at a time."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from gvstudy.evaluation import brightness, crop_border, paper_protocol, psnr, ssim
from gvstudy.images import (
    as_saved,
    crop_to_multiple,
    downscale,
    make_lr,
    to_float,
    to_uint8,
    upscale,
)

VARIANTS = {
    "published": "luma first, LR not rounded: how the published rows were made",
    "standard": "the field's protocol on RGB images: 8-bit LR and SR, luma, border cropped",
    "rgb": "standard, but over RGB",
    "no border cut": "standard, but with the border",
    "not rounded": "standard, but SR neither clamped nor rounded",
    "pillow": "standard, but Pillow's bicubic in both directions",
    "bilinear": "standard, but bilinear in both directions",
    "paper, bicubic": "the paper's protocol with the kernel that its text names",
    "paper, bilinear": "the paper's protocol with the kernel that its script uses",
}


def measure_bicubic(pictures: Mapping[str, Tensor], scale: int) -> pd.DataFrame:
    """Measure interpolation by every protocol in `VARIANTS`.

    `pictures` are uint8 (C, H, W). One row per image and variant: `image`, `scale`, `variant`,
    `psnr` (dB) and `ssim`. SSIM is always measured on luma, with the border that the variant crops.
    Grey pictures are scored on their own values, except in the paper's protocol, which is defined
    on RGB only.
    """
    rows = []
    for name, picture in pictures.items():
        hr = crop_to_multiple(picture, scale)
        for variant, (score, similarity) in _score_variants(hr, scale).items():
            row = {"image": name, "scale": scale, "variant": variant}
            rows.append(row | {"psnr": score, "ssim": similarity})
    return pd.DataFrame(rows)


def published_bicubic(hr: Tensor, scale: int) -> tuple[float, float]:
    """PSNR (dB) and SSIM of bicubic as the published rows were made.

    `hr` is uint8 (C, H, W), its sides multiples of `scale`. Luma is taken first and rounded to 8
    bits. It is shrunk and enlarged in double precision without rounding the LR image, and rounded
    at the end; `scale` border pixels are cropped. A grey picture is scored on its own values.
    """
    luma = to_uint8(brightness(hr)(to_float(hr))).double() / 255
    sr = to_uint8(upscale(downscale(luma, scale), scale)).double() / 255
    real, ours = crop_border(luma, scale), crop_border(sr, scale)
    return psnr(ours, real), ssim(ours, real)


def _score_variants(hr: Tensor, scale: int) -> dict[str, tuple[float, float]]:
    """PSNR and SSIM of bicubic by variant, for one HR picture whose sides `scale` divides."""
    real, to_channel = to_float(hr), brightness(hr)

    def standard(sr: Tensor, border: int = scale) -> tuple[float, float]:
        ours, truth = (crop_border(to_channel(images), border) for images in (sr, real))
        return psnr(ours, truth), ssim(ours, truth)

    bicubic, bilinear = (
        upscale(to_float(make_lr(hr, scale, kernel)), scale, kernel)
        for kernel in ("bicubic", "bilinear")
    )
    saved = as_saved(bicubic)
    by_standard = standard(saved)
    return {
        "published": published_bicubic(hr, scale),
        "standard": by_standard,
        "rgb": (psnr(crop_border(saved, scale), crop_border(real, scale)), by_standard[1]),
        "no border cut": standard(saved, border=0),
        "not rounded": standard(bicubic),
        "pillow": standard(to_float(_resize_with_pillow(hr, scale))),
        "bilinear": standard(as_saved(bilinear)),
        "paper, bicubic": paper_protocol(bicubic, real),
        "paper, bilinear": paper_protocol(bilinear, real),
    }


def _resize_with_pillow(hr: Tensor, scale: int) -> Tensor:
    """A picture (3, H, W) shrunk and enlarged by Pillow, which rounds to 8 bits after each axis."""
    image = Image.fromarray(hr.expand(3, -1, -1).permute(1, 2, 0).numpy())
    small = (image.width // scale, image.height // scale)
    lr = image.resize(small, Image.Resampling.BICUBIC)
    sr = lr.resize(image.size, Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(sr)).permute(2, 0, 1)
