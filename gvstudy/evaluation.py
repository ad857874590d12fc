"""How close is SR to HR? One row per image, with the columns of two protocols.

*standard*, the field's: SR clamped and rounded to 8 bits, luma, `scale` border pixels cropped.
*paper*, as the authors' script measures: PSNR over RGB on the model's raw output, no border
cropped; SSIM on luma with 2 pixels cropped. The two protocols never share a column.
"""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import torch
from skimage.metrics import structural_similarity
from torch import Tensor, nn
from tqdm.auto import tqdm

from gvstudy.gradients import variance_metrics
from gvstudy.images import (
    SCALES,
    as_saved,
    at_least_float32,
    crop_to_multiple,
    make_lr,
    make_pair,
    to_float,
    to_grey,
    to_luma,
)
from gvstudy.validation import check_choice, check_images, check_picture

PATCH_SIZE = 8  # of every measured variance, whatever the training used
SMALLEST_SIDE = 16  # of HR in pixels; leaves room for a whole patch
WINDOW = 11  # of SSIM, pixels
METRICS = {
    "psnr_y": "standard protocol: PSNR on luma, dB",
    "ssim_y": "standard protocol: SSIM on luma",
    "psnr_rgb": "paper's protocol: PSNR over RGB, dB",
    "ssim_paper": "paper's protocol: SSIM on luma",
    "variance_ratio": "gradient variance: mean of SR / mean of HR",
    "log_variance_ratio": "gradient variance: median over patches of log(SR / HR)",
    "variance_distance": "gradient variance: RMS difference of the variance maps",
}


def psnr(ours: Tensor, real: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of tensors with values in [0, 1]; infinite if equal."""
    error = float((ours.double() - real.double()).square().mean())
    return float("inf") if error == 0 else -10 * float(np.log10(error))


def psnr_y(saved: Tensor, hr: Tensor, scale: int) -> float:
    """PSNR in dB by the standard protocol, of image batches (1, C, H, W) in [0, 1], C = 1 or 3.

    `saved` is SR after rounding to 8 bits. Where HR's three channels are equal, the images count as
    grey, and are scored as `measure` scores grey pictures. Raises ValueError for tensors that are
    no image batches of one shape, and where the cropped border leaves nothing.
    """
    check_images(saved, hr)
    if min(hr.shape[-2:]) <= 2 * scale:
        raise ValueError(
            f"images of {hr.shape[-2]}x{hr.shape[-1]} pixels are too small: at x{scale} both sides "
            f"need more than {2 * scale}"
        )
    grey = bool((hr == hr[:, :1]).all())
    to_channel = brightness(hr[0, :1] if grey else hr[0])
    return psnr(*(crop_border(to_channel(images), scale) for images in (saved, hr)))


def ssim(ours: Tensor, real: Tensor) -> float:
    """SSIM of two (1, 1, H, W) tensors in [0, 1]: 11x11 Gaussian window, sigma 1.5 (Wang 2004)."""
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


def paper_protocol(sr: Tensor, real: Tensor) -> tuple[float, float]:
    """PSNR over RGB in dB, and SSIM on luma, of raw SR and HR, (1, 3, H, W) in [0, 1]."""
    return psnr(sr, real), ssim(crop_border(to_luma(sr), 2), crop_border(to_luma(real), 2))


@torch.no_grad()
def super_resolve(model: nn.Module, lr: Tensor) -> Tensor:
    """Enlarge LR (1, 3, h, w) in [0, 1] to SR (1, 3, s*h, s*w) on the CPU.

    SR is the model's raw output, neither clamped nor rounded. The model runs in evaluation mode on
    its own device, in its own precision, and returns to its former mode afterwards. Raises
    ValueError for a tensor that is no image batch.
    """
    check_images(lr)
    weights = next((p for p in model.parameters() if p.is_floating_point()), lr)
    modes = {module: module.training for module in model.modules()}  # a part may be frozen
    try:
        return at_least_float32(model.eval()(lr.to(weights)).cpu())
    finally:
        for module, training in modes.items():
            module.training = training


def enlarge(models: Mapping[str, nn.Module], picture: Tensor, scale: int) -> dict[str, Tensor]:
    """HR, and what each model makes of its LR: images (1, 3, H, W) in [0, 1], to be looked at.

    `picture` is uint8 (C, H, W), LR is bicubic, and SR is rounded to 8 bits as a file would be. The
    dict begins with "HR" and goes on with the models' names. Raises ValueError for a
    model named "HR" and for what `make_pair` and `super_resolve` refuse.
    """
    if "HR" in models:
        raise ValueError('a model is named "HR", which is the name of the real image')
    lr, hr = make_pair(picture, scale)
    return {"HR": hr} | {name: as_saved(super_resolve(net, lr)) for name, net in models.items()}


@torch.no_grad()
def measure(sr: Tensor, hr: Tensor, scale: int) -> dict[str, float]:
    """The `METRICS` of one SR image (1, 3, H, W), the model's raw output, against HR.

    `hr` is a picture, uint8 (C, H, W); a grey one is scored on its own values, as in the field's
    scripts. Variances are measured on SR as it would be saved: clamped and rounded to 8 bits. If
    any value of SR isn't finite, every metric is NaN. Raises ValueError if HR is not a picture or
    is too small, and if SR has another shape.
    """
    check_measurable(hr, scale)
    real = to_float(hr)
    check_images(sr, real)
    if not sr.isfinite().all():
        return dict.fromkeys(METRICS, float("nan"))
    saved = as_saved(sr)
    to_channel = brightness(hr)
    ours_y, real_y = (crop_border(to_channel(images), scale) for images in (saved, real))
    psnr_rgb, ssim_paper = paper_protocol(sr, real)
    return {
        "psnr_y": psnr(ours_y, real_y),
        "ssim_y": ssim(ours_y, real_y),
        "psnr_rgb": psnr_rgb,
        "ssim_paper": ssim_paper,
        **variance_metrics(saved, real, PATCH_SIZE),
    }


def check_measurable(hr: Tensor, scale: int, name: str = "HR") -> None:
    """Raise ValueError unless HR is a picture, uint8 (C, H, W), large enough to be measured.

    The message says the picture's `name`.
    """
    check_picture(hr, name)
    least = max(SMALLEST_SIDE, WINDOW + 2 * scale)  # SSIM is measured inside the border
    least += -least % scale  # so that a picture cropped to a multiple is large enough as well
    if min(hr.shape[-2:]) < least:
        raise ValueError(
            f"{name} of {hr.shape[-2]}x{hr.shape[-1]} pixels is too small to measure; "
            f"at x{scale} both sides need at least {least}"
        )


def evaluate(
    model: nn.Module,
    pictures: Mapping[str, Tensor],
    scale: int,
    *,
    downsample: str = "bicubic",
    measured: Callable[[Tensor, Tensor, int], dict[str, float]] = measure,
    progress: bool = False,
) -> pd.DataFrame:
    """Measure a model on pictures: one row per image, with `image`, `scale` and the metrics.

    Args:
        model: LR (1, 3, h, w) to SR (1, 3, s*h, s*w), values in [0, 1].
        pictures: HR pictures by name, uint8 (C, H, W); cropped to a multiple of `scale`.
        scale: 2, 3 or 4.
        downsample: the kernel that makes the 8-bit LR image.
        measured: what is measured: `measure`, or `gvstudy.perceptual.measure_perceptual`.
        progress: show a progress bar.

    Raises ValueError for an unknown scale, for no pictures, and for one that is no picture or is
    too small to be measured.
    """
    check_choice("scale", scale, SCALES)
    if not pictures:
        raise ValueError("no pictures to measure")
    rows = []
    for name, picture in tqdm(pictures.items(), "measuring", leave=False, disable=not progress):
        check_measurable(picture, scale, name)
        hr = crop_to_multiple(picture, scale)
        sr = super_resolve(model, to_float(make_lr(hr, scale, downsample)))
        rows.append({"image": name, "scale": scale, **measured(sr, hr, scale)})
    return pd.DataFrame(rows)


def crop_border(images: Tensor, border: int) -> Tensor:
    """Images (..., H, W) without `border` pixels on every side."""
    height, width = images.shape[-2:]
    return images[..., border : height - border, border : width - border]


def brightness(hr: Tensor) -> Callable[[Tensor], Tensor]:
    """The function from image batches (N, C, H, W) to the channel on which HR is scored.

    Batches have three channels, or one if HR is grey. The channel is BT.601 luma for an RGB
    picture. A grey picture is scored on its own values, from 0 to 255, as in the field's scripts.
    """
    return to_luma if hr.shape[0] == 3 else _own_grey


def _own_grey(images: Tensor) -> Tensor:
    """The values of grey images: `to_grey` weights add up to a little less than 1."""
    if images.shape[1] == 1:
        return images
    return to_grey(images) / to_grey(torch.ones(1, 3, 1, 1))
