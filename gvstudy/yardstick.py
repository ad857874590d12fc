"""What the choices of a protocol are worth: bicubic, measured with one choice changed at a time."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from gvstudy.evaluation import brightness, cut, psnr, ssim, super_resolve
from gvstudy.images import (
    as_saved,
    crop_to_multiple,
    downscale,
    make_lr,
    to_float,
    to_luma,
    to_uint8,
    upscale,
)

VARIANTS = {
    "published": "luma first, LR not rounded: how the published rows were made",
    "standard": "the field's protocol on RGB images: 8-bit LR and SR, luma, border cut",
    "rgb": "standard, but over RGB",
    "no border cut": "standard, but with the border",
    "not rounded": "standard, but SR neither clamped nor rounded",
    "pillow": "standard, but Pillow's bicubic both ways",
    "bilinear": "standard, but bilinear both ways",
    "paper, bicubic": "the paper's protocol with the kernel of its text",
    "paper, bilinear": "the paper's protocol with the kernel of its script",
}

MODEL_VARIANTS = {
    "paper": "as the authors' script measures: bilinear LR, RGB, unrounded, with the border",
    "bicubic LR": "the same, but LR made by bicubic, as the paper's text has it",
    "border cut": "the same, but `scale` pixels cut",
    "8 bits": "the same, but SR clamped and rounded",
    "luma": "the same, but over luma",
}


def bicubic_in_many_ways(pictures: Mapping[str, Tensor], scale: int) -> pd.DataFrame:
    """A row an image and variant of `VARIANTS`: `image`, `scale`, `variant`, `psnr`, `ssim`.

    `pictures` are uint8 (C, H, W). PSNR is in dB; SSIM is measured on luma throughout, with the
    border that the variant cuts. Grey pictures are scored on their own values, but for "paper",
    which knows RGB alone.
    """
    rows = []
    for name, picture in pictures.items():
        hr = crop_to_multiple(picture, scale)
        for variant, (score, similarity) in _measure(hr, scale).items():
            row = {"image": name, "scale": scale, "variant": variant}
            rows.append(row | {"psnr": score, "ssim": similarity})
    return pd.DataFrame(rows)


def model_in_many_ways(
    model: nn.Module, pictures: Mapping[str, Tensor], scale: int
) -> pd.DataFrame:
    """A row an image and variant of `MODEL_VARIANTS`: `image`, `scale`, `variant`, `psnr` (dB).

    `model` enlarges LR images that bilinear made, as the authors' script trains it; `pictures` are
    uint8 (C, H, W).
    """
    rows = []
    for name, picture in pictures.items():
        hr = crop_to_multiple(picture, scale)
        real, luma = to_float(hr), to_luma(to_float(hr))
        sr, other = (
            super_resolve(model, make_lr(hr, scale, kernel)) for kernel in ("bilinear", "bicubic")
        )
        scores = {
            "paper": psnr(sr, real),
            "bicubic LR": psnr(other, real),
            "border cut": psnr(cut(sr, scale), cut(real, scale)),
            "8 bits": psnr(as_saved(sr), real),
            "luma": psnr(to_luma(sr), luma),
        }
        rows += [
            {"image": name, "scale": scale, "variant": variant, "psnr": score}
            for variant, score in scores.items()
        ]
    return pd.DataFrame(rows)


def with_and_without_crop(
    model: nn.Module, pictures: Mapping[str, Tensor], scale: int
) -> pd.DataFrame:
    """What it costs to cut HR to a multiple of the scale in other ways than one should.

    A row an image, with `image`, `scale` and three PSNRs (dB, RGB): `cut` as it should be; `uncut`,
    where LR is the whole picture at its sides divided by the scale and rounded down, so that LR's
    pixels are a little wider than the model takes them for, and SR drifts off HR, by up to `scale`
    - 1 pixels at the far corner; `moved`, where LR is made from the picture's first corner but
    HR is cut from its middle, so that SR lies a pixel off, for a whole side, wherever the scale
    doesn't divide it (at x4, up to two). `pictures` are uint8 (C, H, W).
    """
    rows = []
    for name, picture in pictures.items():
        hr = crop_to_multiple(picture, scale)
        height, width = hr.shape[-2:]
        sr = super_resolve(model, make_lr(hr, scale))
        sides = [height // scale, width // scale]
        lr = F.interpolate(to_float(picture), sides, mode="bicubic", antialias=True)
        drifted = super_resolve(model, to_uint8(lr)[0])
        top, left = ((side % scale + 1) // 2 for side in picture.shape[-2:])
        middle = picture[:, top : top + height, left : left + width]
        found = {"cut": (sr, hr), "uncut": (drifted, hr), "moved": (sr, middle)}
        psnrs = {what: psnr(ours, to_float(real)) for what, (ours, real) in found.items()}
        rows.append({"image": name, "scale": scale} | psnrs)
    return pd.DataFrame(rows)


def published_bicubic(hr: Tensor, scale: int) -> tuple[float, float]:
    """PSNR (dB) and SSIM of bicubic as the published rows were made.

    `hr` is uint8 (C, H, W), its sides multiples of `scale`. Luma is taken first and rounded to 8
    bits, shrunk and enlarged in double precision without rounding the LR image, and rounded at the
    end; `scale` border pixels are cut. A grey picture is scored on its own values.
    """
    luma = to_uint8(brightness(hr)(to_float(hr))).double() / 255
    sr = to_uint8(upscale(downscale(luma, scale), scale)).double() / 255
    real, ours = cut(luma, scale), cut(sr, scale)
    return psnr(ours, real), ssim(ours, real)


def _measure(hr: Tensor, scale: int) -> dict[str, tuple[float, float]]:
    real, bright = to_float(hr), brightness(hr)

    def standard(sr: Tensor, border: int = scale) -> tuple[float, float]:
        ours, truth = bright(sr), bright(real)
        if border:
            ours, truth = cut(ours, border), cut(truth, border)
        return psnr(ours, truth), ssim(ours, truth)

    def paper(sr: Tensor) -> tuple[float, float]:
        return psnr(sr, real), ssim(cut(to_luma(sr), 2), cut(to_luma(real), 2))

    bicubic, bilinear = (
        upscale(to_float(make_lr(hr, scale, kernel)), scale, kernel)
        for kernel in ("bicubic", "bilinear")
    )
    saved = as_saved(bicubic)
    by_standard = standard(saved)
    return {
        "published": published_bicubic(hr, scale),
        "standard": by_standard,
        "rgb": (psnr(cut(saved, scale), cut(real, scale)), by_standard[1]),
        "no border cut": standard(saved, border=0),
        "not rounded": standard(bicubic),
        "pillow": standard(to_float(_pillow(hr, scale))),
        "bilinear": standard(as_saved(bilinear)),
        "paper, bicubic": paper(bicubic),
        "paper, bilinear": paper(bilinear),
    }


def _pillow(hr: Tensor, scale: int) -> Tensor:
    """Shrunk and enlarged by Pillow, which rounds to 8 bits after each axis."""
    image = Image.fromarray(hr.expand(3, -1, -1).permute(1, 2, 0).numpy())
    small = (image.width // scale, image.height // scale)
    lr = image.resize(small, Image.Resampling.BICUBIC)
    sr = lr.resize(image.size, Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(sr)).permute(2, 0, 1)
