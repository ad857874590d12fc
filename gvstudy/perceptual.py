"""Does SR look better? Measures that GV doesn't minimise, one row per image.

They follow the standard protocol: SR as it is saved, `scale` border pixels cropped, luma except for
FLIP. `evaluate(model, pictures, scale, measured=measure_perceptual)` gives the rows. Needs the
extra `perceptual` (torchmetrics, flip-evaluator; the latter has no build for Python 3.14 yet).
"""

import importlib.util

import numpy as np
from torch import Tensor

from gvstudy.evaluation import brightness, check_measurable, crop_border
from gvstudy.images import as_saved, to_float
from gvstudy.rivals import gradient_similarity
from gvstudy.validation import check_images

HAS_FLIP = importlib.util.find_spec("flip_evaluator") is not None

PERCEPTUAL_METRICS = {
    "gmsd": "gradient magnitude similarity deviation; lower is better",
    "ms_ssim": "SSIM over five scales (Wang 2003); higher is better; NaN below 176 pixels a side",
    "vif": "visual information fidelity (Sheikh 2006); higher is better; NaN below 41 pixels",
    "flip": "mean FLIP over RGB, at 67 pixels per degree; lower is better; NaN without its package",
    "edge_rise": "10 to 90 % rise distance of strong edges, SR minus HR, median, pixels; best is 0",
    "edge_overshoot": "how far SR exceeds HR beside strong edges, mean share of the edge's height",
}
PIXELS_PER_DEGREE = 67.0  # a 4K screen of .7 m at .7 m, as FLIP's authors assume
MS_SSIM_SIDE = 176  # pixels; the smallest side that MS-SSIM's five scales fit into
VIF_SIDE = 41  # pixels; likewise of VIF's four
REACH = 6  # pixels to either side of an edge that are looked at
PLATEAU = 2  # pixels at either end of a profile that make its level
LEAST_HEIGHT = 0.2  # of an edge, in luma from 0 to 1
TOLERANCE = 0.02  # share of its height by which an edge may fall where it should rise


def measure_perceptual(sr: Tensor, hr: Tensor, scale: int) -> dict[str, float]:
    """The `PERCEPTUAL_METRICS` of one SR image (1, 3, H, W), the model's raw output, against HR.

    `hr` is a picture, uint8 (C, H, W). If any value of SR isn't finite, every metric is NaN. Raises
    ValueError if HR is not a picture or is too small, and if SR has another shape.
    """
    from torchmetrics.functional.image import (
        multiscale_structural_similarity_index_measure as ms_ssim,
    )
    from torchmetrics.functional.image import visual_information_fidelity as vif

    check_measurable(hr, scale)
    target = to_float(hr)
    check_images(sr, target)
    if not sr.isfinite().all():
        return dict.fromkeys(PERCEPTUAL_METRICS, float("nan"))
    pairs = [crop_border(images, scale) for images in (as_saved(sr), target)]
    sr_y, hr_y = (brightness(hr)(images) for images in pairs)
    ours, real = sr_y.double(), hr_y.double()
    side, nan = min(real.shape[-2:]), float("nan")
    # A grey HR has been expanded to three channels: FLIP misreads an image that has one.
    colours = [images[0].permute(1, 2, 0).float().numpy() for images in pairs]
    rise, overshoot = edge_errors(ours, real)
    return {
        "gmsd": gmsd(ours, real),
        # In single precision: twelve times as fast, and the same to 3e-6 and 2e-5.
        "ms_ssim": float(ms_ssim(sr_y, hr_y, data_range=1.0)) if side >= MS_SSIM_SIDE else nan,
        "vif": float(vif(255 * sr_y, 255 * hr_y)) if side >= VIF_SIDE else nan,
        "flip": _flip(*colours),
        "edge_rise": rise,
        "edge_overshoot": overshoot,
    }


def _flip(ours: np.ndarray, real: np.ndarray) -> float:
    """The mean of FLIP's error map (Andersson et al., 2020), RGB images (H, W, 3) in [0, 1]."""
    if not HAS_FLIP:
        return float("nan")
    from flip_evaluator import evaluate

    _, mean, _ = evaluate(real, ours, "LDR", True, False, True, {"ppd": PIXELS_PER_DEGREE})
    return float(mean)


def gmsd(ours: Tensor, real: Tensor) -> float:
    """Gradient magnitude similarity deviation (Xue et al., 2014) of (1, 1, H, W) in [0, 1].

    `rivals.gradient_magnitude_deviation` averages it over a batch, as a loss.
    """
    return float(gradient_similarity(ours, real).std())


def edge_errors(ours: Tensor, real: Tensor) -> tuple[float, float]:
    """What SR does to HR's strong edges: `edge_rise` and `edge_overshoot`.

    Images are (1, 1, H, W) in [0, 1]. Edges are found in HR alone, along rows and along columns,
    and the same pixels are looked at in SR. Both are NaN where HR has no such edge; edges that SR
    blurs beyond the pixels looked at have no rise distance.
    """
    profiles = []
    for swap in (False, True):
        one, other = ((images[0, 0].T if swap else images[0, 0]).numpy() for images in (ours, real))
        profiles.append(_profiles(one, other))
    sr, hr = (np.concatenate(some) for some in zip(*profiles, strict=True))
    if not len(hr):
        return float("nan"), float("nan")
    low, high = _levels(hr)
    above = np.maximum(sr.max(1) - hr.max(1), 0) + np.maximum(hr.min(1) - sr.min(1), 0)
    change = rise_distance(sr) - rise_distance(hr)
    found = change[np.isfinite(change)]
    rise = float(np.median(found)) if len(found) else float("nan")
    return rise, float((above / (high - low) / 2).mean())


def rise_distance(profiles: np.ndarray) -> np.ndarray:
    """The distance in pixels over which profiles (N, L) rise from 10 to 90 % of their height.

    Levels are those of a profile's two ends; between pixels it is a straight line. NaN for a
    profile that doesn't rise.
    """
    low, high = _levels(profiles)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (profiles - low[:, None]) / (high - low)[:, None]
        reached = share >= 0.9
        upper = reached.argmax(1)
        before = (share <= 0.1) & (np.arange(share.shape[1]) < upper[:, None])
        lower = share.shape[1] - 1 - before[:, ::-1].argmax(1)
        end = upper - 1 + _crossing(share, upper - 1, 0.9)
        start = lower + _crossing(share, np.minimum(lower, share.shape[1] - 2), 0.1)
    rises = (high > low) & reached.any(1) & before.any(1)
    return np.where(rises, end - start, np.nan)


def _crossing(share: np.ndarray, left: np.ndarray, level: float) -> np.ndarray:
    """Where between pixel `left` and the next each profile reaches a level: 0 to 1."""
    row = np.arange(len(share))
    one, other = share[row, left], share[row, left + 1]
    return (level - one) / (other - one)


def _levels(profiles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return profiles[..., :PLATEAU].mean(-1), profiles[..., -PLATEAU:].mean(-1)


def _profiles(ours: np.ndarray, real: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Profiles (N, 2 * REACH) across HR's strong edges along rows, in SR and in HR, all rising."""
    length = 2 * REACH
    if min(real.shape) <= length:
        return np.empty((0, length)), np.empty((0, length))
    windows = np.lib.stride_tricks.sliding_window_view(real, length, axis=1)
    low, high = _levels(windows)
    height = np.abs(high - low)
    steps = np.diff(windows, axis=-1) * np.sign(high - low)[..., None]
    rising = steps.min(-1) >= -TOLERANCE * height
    centred = steps.argmax(-1) == REACH - 1  # the steepest step is the middle one
    # Along the edge little changes: it is straight, and upright.
    along = np.abs(np.gradient(real, axis=0))[:, REACH - 1 : REACH - 1 + windows.shape[1]]
    upright = along < 0.25 * steps.max(-1)
    # The ends are level, so that no other edge is near.
    flat = np.maximum(steps[..., 0], steps[..., -1]) < 0.1 * height
    chosen = (height >= LEAST_HEIGHT) & rising & centred & upright & flat
    sign = np.where((high < low)[chosen], -1, 1)[:, None]
    sr = np.lib.stride_tricks.sliding_window_view(ours, length, axis=1)[chosen]
    return sign * sr, sign * windows[chosen]
