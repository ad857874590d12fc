"""Gradient maps, patch variances and the measures made of them."""

import math

import pytest
import torch

from gvstudy import gradient_maps, variance_map, variance_ratio
from gvstudy.gradients import variance_metrics


def ramp(slope=0.01, size=20):
    return (slope * torch.arange(size, dtype=torch.float32)).expand(1, 1, size, size)


def texture(seed=0):
    return torch.rand(1, 3, 32, 40, generator=torch.Generator().manual_seed(seed))


def test_gradient_of_a_ramp():
    gx, gy = gradient_maps(ramp())
    assert gx.shape == gy.shape == (1, 1, 18, 18)
    torch.testing.assert_close(gx, torch.full_like(gx, 0.08))
    assert gy.abs().max() < 1e-6
    assert gradient_maps(ramp().mT)[1].mean() > 0


def test_zero_padding_keeps_the_size():
    gx, _ = gradient_maps(ramp(), padding="zeros")
    assert gx.shape == (1, 1, 20, 20)
    torch.testing.assert_close(gx[..., 1:-1, 1:-1], gradient_maps(ramp())[0])


def test_colour_is_weighed_to_grey():
    image = texture()
    red, green, blue = image.split(1, dim=1)
    grey = 0.2989 * red + 0.5870 * green + 0.1140 * blue
    for ours, plain in zip(gradient_maps(image), gradient_maps(grey), strict=True):
        torch.testing.assert_close(ours, plain)


def test_variance_is_unbiased_and_drops_remainders():
    gradient = torch.arange(35.0).view(1, 1, 5, 7)
    variances = variance_map(gradient, 2)
    assert variances.shape == (1, 1, 2, 3)
    assert variances[0, 0, 0, 0] == torch.tensor([0.0, 1, 7, 8]).var()
    assert variances[0, 0, 1, 2] == torch.tensor([18.0, 19, 25, 26]).var()


@pytest.mark.parametrize(("factor", "ratio"), [(1, 1), (0.5, 0.25), (0.1, 0.01)])
def test_measures_know_contrast(factor, ratio):
    hr = texture()
    assert variance_ratio(factor * hr, hr) == pytest.approx(ratio, rel=1e-4)
    assert variance_metrics(factor * hr, hr)["log_variance_ratio"] == pytest.approx(
        math.log(ratio), abs=1e-4
    )


def test_distance():
    hr = texture()
    assert variance_metrics(hr, hr)["variance_distance"] == 0
    assert (
        variance_metrics(0.5 * hr, hr)["variance_distance"]
        > variance_metrics(0.9 * hr, hr)["variance_distance"]
        > 0
    )


def test_log_ratio_leaves_flat_patches_out():
    hr = texture()
    hr[..., :20] = 0.5
    sr = hr.clone()
    sr[..., :18] += 0.001 * texture(1)[..., :18]
    assert abs(variance_metrics(sr, hr)["log_variance_ratio"]) < 0.1
    assert math.isnan(variance_metrics(hr, torch.full_like(hr, 0.5))["log_variance_ratio"])


def test_measuring_needs_no_gradient(recwarn):
    sr = torch.rand(1, 3, 16, 16, requires_grad=True)
    assert variance_ratio(sr, sr.detach()) == 1
    assert not recwarn.list


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gradient_maps(torch.rand(3, 8, 8)), "expected"),
        (lambda: gradient_maps(torch.rand(1, 4, 8, 8)), "C = 1 or 3"),
        (lambda: gradient_maps(torch.ones(1, 1, 8, 8).int()), "floating point"),
        (lambda: gradient_maps(torch.rand(1, 1, 8, 8), "same"), "'same'; known"),
        (lambda: gradient_maps(torch.rand(1, 1, 2, 8)), "2x8"),
        (lambda: variance_map(torch.rand(1, 1, 8, 8), 9), "patch_size 9"),
        (lambda: variance_map(torch.rand(1, 1, 8, 8), 0), "patch_size 0"),
        (lambda: variance_ratio(torch.rand(1, 1, 9, 9), torch.rand(1, 1, 9, 8)), "differ"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
