"""How close is SR to HR? One row an image, with the columns of both protocols.

*standard*, the field's: SR clamped and rounded to 8 bits, luma, `scale` border pixels cut.
*paper*, as the authors' script measures: PSNR over RGB as the model gave it, no border cut; SSIM on
luma with 2 pixels cut. The two never share a column.
"""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import torch
from skimage.metrics import structural_similarity
from torch import Tensor, nn
from tqdm.auto import tqdm

from gvstudy.gradients import variance_scores
from gvstudy.images import (
    SCALES,
    as_saved,
    check_picture,
    crop_to_multiple,
    make_lr,
    to_float,
    to_grey,
    to_luma,
)

PATCH_SIZE = 8  # of every variance that is measured, whatever the training used
SMALLEST_SIDE = 16  # pixels of HR: SSIM's 11x11 window and a whole patch, borders cut
METRICS = {
    "psnr_y": "standard PSNR on luma, dB",
    "ssim_y": "standard SSIM on luma",
    "psnr_rgb": "paper's PSNR over RGB, dB",
    "ssim_paper": "paper's SSIM on luma",
    "variance_ratio": "gradient variance, mean of SR / mean of HR",
    "log_variance_ratio": "median over patches of log(SR / HR) gradient variance",
    "variance_distance": "RMS distance of the gradient variance maps",
}


def psnr(ours: Tensor, real: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of tensors with values in [0, 1]; infinite where equal."""
    error = float((ours.double() - real.double()).square().mean())
    return float("inf") if error == 0 else -10 * float(np.log10(error))


def psnr_y(saved: Tensor, hr: Tensor, scale: int) -> float:
    """The standard protocol's PSNR in dB of an SR image as saved against its HR picture (uint8)."""
    return psnr(*(cut(brightness(hr)(images), scale) for images in (saved, to_float(hr))))


def ssim(ours: Tensor, real: Tensor) -> float:
    """SSIM of two (1, 1, H, W) tensors in [0, 1]: 11x11 gaussian window, sigma 1.5 (Wang 2004)."""
    return float(
        structural_similarity(
            ours.squeeze().double().numpy(),
            real.squeeze().double().numpy(),
            data_range=1.0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
    )


@torch.no_grad()
def super_resolve(model: nn.Module, lr: Tensor) -> Tensor:
    """The model's SR image (1, 3, s*h, s*w), float as the model gave it, of an LR picture."""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    training = model.training
    try:
        return model.eval()(to_float(lr).to(device)).cpu()
    finally:
        model.train(training)


def measure(sr: Tensor, hr: Tensor, scale: int) -> dict[str, float]:
    """The metrics of one SR image (1, 3, H, W), as the model gave it, against its HR picture.

    `hr` is uint8 (C, H, W); a grey one is scored on its own values, as the field's scripts do.
    Variances are measured on SR as it would be saved: clamped and rounded to 8 bits. An SR that
    isn't finite throughout has NaN for every metric. Raises ValueError for an HR that is too small
    or no picture.
    """
    check_picture(hr)
    if min(hr.shape[-2:]) < SMALLEST_SIDE:
        raise ValueError(
            f"HR of {hr.shape[-2]}x{hr.shape[-1]} pixels is too small to measure; "
            f"allowed: {SMALLEST_SIDE} and more each way"
        )
    if not sr.isfinite().all():
        return dict.fromkeys(METRICS, float("nan"))
    real, saved = to_float(hr), as_saved(sr)
    ours_y, real_y = (cut(brightness(hr)(images), scale) for images in (saved, real))
    return {
        "psnr_y": psnr(ours_y, real_y),
        "ssim_y": ssim(ours_y, real_y),
        "psnr_rgb": psnr(sr, real),
        "ssim_paper": ssim(cut(to_luma(sr), 2), cut(to_luma(real), 2)),
        **variance_scores(saved, real, PATCH_SIZE),
    }


def evaluate(
    model: nn.Module,
    pictures: Mapping[str, Tensor],
    scale: int,
    *,
    downsample: str = "bicubic",
    progress: bool = False,
) -> pd.DataFrame:
    """One row an image: `image`, `scale`, and the columns of `METRICS`.

    Args:
        model: LR (1, 3, h, w) to SR (1, 3, s*h, s*w), in [0, 1].
        pictures: HR pictures by name, uint8 (C, H, W); cut to a multiple of `scale`.
        downsample: the kernel that makes the 8-bit LR image.
        progress: show a progress bar.

    Raises ValueError for an unknown scale, and for pictures as `measure` does.
    """
    if scale not in SCALES:
        raise ValueError(f"unknown scale {scale}; known: {', '.join(map(str, SCALES))}")
    rows = []
    for name, picture in tqdm(pictures.items(), "measuring", leave=False, disable=not progress):
        check_picture(picture)
        hr = crop_to_multiple(picture, scale)
        sr = super_resolve(model, make_lr(hr, scale, downsample))
        rows.append({"image": name, "scale": scale, **measure(sr, hr, scale)})
    return pd.DataFrame(rows)


def cut(images: Tensor, border: int) -> Tensor:
    """(..., H, W) without `border` pixels on every side; `border` is 1 or more."""
    return images[..., border:-border, border:-border]


def brightness(hr: Tensor) -> Callable[[Tensor], Tensor]:
    """What turns image batches into the channel that a picture is scored on.

    BT.601 luma, or a grey picture's own values, from 0 to 255, as the field's scripts do.
    """
    return to_luma if hr.shape[0] == 3 else _own_grey


def _own_grey(images: Tensor) -> Tensor:
    return to_grey(images) / to_grey(torch.ones(1, 3, 1, 1))
