"""Perceptual and edge metrics: known answers, a naive version, and what they can't measure."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d
from scipy.signal import convolve2d

from gvstudy import build_model, evaluate, load_images
from gvstudy import perceptual as p
from gvstudy.images import to_float


def step(width=40, height=30, *, sigma=0.0, low=0.2, high=0.8):
    """An upright edge in the middle, (1, 1, H, W), blurred along its rows."""
    row = np.where(np.arange(width) < width // 2, low, high).astype(float)
    row = gaussian_filter1d(row, sigma, mode="nearest") if sigma else row
    return torch.from_numpy(np.tile(row, (height, 1)))[None, None]


def noise(shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def naive_gmsd(ours, real):
    """As the paper's MATLAB code has it, by SciPy."""

    def magnitude(image):
        halved = convolve2d(255 * image, np.full((2, 2), 0.25), "full")[1::2, 1::2]
        kernel = np.array([[1, 0, -1]] * 3) / 3
        x, y = (convolve2d(halved, k, "same") for k in (kernel, kernel.T))
        return np.sqrt(x**2 + y**2)

    one, other = magnitude(ours), magnitude(real)
    return np.std((2 * one * other + 170) / (one**2 + other**2 + 170), ddof=1)


@pytest.mark.parametrize("shape", [(24, 32), (25, 31)])
def test_gmsd_is_the_naive_one(shape):
    ours, real = noise((1, 1, *shape)), noise((1, 1, *shape), 1)
    expected = naive_gmsd(ours[0, 0].numpy(), real[0, 0].numpy())
    assert p.gmsd(ours, real) == pytest.approx(expected, rel=1e-9)
    assert p.gmsd(real, real) == 0


def test_an_ideal_step_rises_between_two_pixels():
    profile = np.array([[0.0] * 6 + [1.0] * 6])
    assert p.rise_distance(profile) == pytest.approx([0.8])
    assert np.isnan(p.rise_distance(1 - profile)).all(), "it falls"
    assert np.isnan(p.rise_distance(np.full((1, 12), 0.5))).all(), "it is flat"


@pytest.mark.parametrize("sigma", [1.0, 1.5])
def test_a_blurred_step_rises_over_2_56_sigma(sigma):
    profile = step(12, 1, sigma=sigma)[0, 0].numpy()
    assert p.rise_distance(profile) == pytest.approx([2.563 * sigma], abs=0.15)
    rise, overshoot = p.edge_errors(step(sigma=sigma), step())
    assert rise == pytest.approx(2.563 * sigma - 0.8, abs=0.15)
    assert overshoot == pytest.approx(0, abs=1e-12)


def test_overshoot_is_the_mean_excess_beside_an_edge():
    sr = step()
    sr[..., 18:20] -= 0.06  # a tenth of the height below, on the dark side alone
    rise, overshoot = p.edge_errors(sr, step())
    assert overshoot == pytest.approx(0.05)
    assert rise == pytest.approx(0, abs=0.15)


def test_equal_images_have_no_errors_and_direction_does_not_matter():
    picture = to_float(load_images("builtin-test")["coffee"]).mean(1, keepdim=True).double()
    blurred = torch.from_numpy(gaussian_filter1d(picture.numpy(), 0.8, axis=-1))
    assert p.edge_errors(picture, picture) == (0, 0)
    found = p.edge_errors(blurred, picture)
    assert found[0] > 0
    turned = (images.transpose(-1, -2) for images in (blurred, picture))
    assert p.edge_errors(*turned) == pytest.approx(found)
    assert p.edge_errors(1 - blurred, 1 - picture) == pytest.approx(found)


@pytest.mark.parametrize(
    "hr", [torch.full((1, 1, 40, 40), 0.5), step(10, 10), step(high=0.3), noise((1, 1, 40, 40))]
)
def test_without_a_strong_edge_there_is_nothing_to_measure(hr):
    assert all(math.isnan(value) for value in p.edge_errors(hr, hr))


def test_an_edge_that_is_not_straight_or_not_alone_is_left_out():
    bar = step()
    bar[..., 24:] = 0.2  # falls again four pixels on
    assert math.isnan(p.edge_errors(bar, bar)[0])
    slanted = torch.stack([step(40, 1).roll(k, -1)[0, 0, 0] for k in range(-8, 8)])[None, None]
    assert math.isnan(p.edge_errors(slanted[..., 9:31], slanted[..., 9:31])[0])


@pytest.fixture(scope="module")
def rows():
    pytest.importorskip("flip_evaluator", reason="gvstudy[perceptual] isn't installed")
    pictures = {name: one[:, :184, :190] for name, one in load_images("builtin-test").items()}
    pictures["small"] = pictures["coffee"][:, :100, :100]
    models = {scale: build_model("bicubic", scale) for scale in (2, 4)}
    return {
        scale: evaluate(model, pictures, scale, measured=p.measure_perceptual).set_index("image")
        for scale, model in models.items()
    }


def test_more_is_lost_at_x4_than_at_x2(rows):
    assert list(rows[2].columns) == ["scale", *p.PERCEPTUAL_METRICS]
    worse = rows[4] - rows[2]
    for metric, sign in {"gmsd": 1, "ms_ssim": -1, "vif": -1, "flip": 1}.items():
        assert (sign * worse[metric].dropna() > 0).all()
    assert rows[2]["edge_rise"].mean() > 0


def test_ms_ssim_is_nan_where_five_scales_do_not_fit(rows):
    assert rows[2]["ms_ssim"].isna().to_dict() == {name: name == "small" for name in rows[2].index}
    assert rows[2].loc["small", ["gmsd", "vif", "flip"]].notna().all()


def test_small_images_have_no_vif_and_no_ms_ssim():
    pytest.importorskip("flip_evaluator", reason="gvstudy[perceptual] isn't installed")
    hr = load_images("builtin-test")["camera"][:, :44, :44]
    found = p.measure_perceptual(to_float(hr), hr, 2)
    assert math.isnan(found["vif"])
    assert math.isnan(found["ms_ssim"])
    assert found["gmsd"] == 0


def test_a_perfect_sr_and_one_that_is_not_finite():
    pytest.importorskip("flip_evaluator", reason="gvstudy[perceptual] isn't installed")
    hr = load_images("builtin-test")["camera"][:, :180, :180]  # grey
    perfect = p.measure_perceptual(to_float(hr), hr, 2)
    assert perfect["gmsd"] == perfect["flip"] == perfect["edge_rise"] == 0
    assert perfect["ms_ssim"] == pytest.approx(1)
    assert perfect["vif"] == pytest.approx(1, abs=1e-6)
    broken = p.measure_perceptual(torch.full((1, 3, 180, 180), float("nan")), hr, 2)
    assert all(math.isnan(value) for value in broken.values())
    with pytest.raises(ValueError, match="too small to measure"):
        p.measure_perceptual(torch.zeros(1, 3, 8, 8), hr[:, :8, :8], 2)
