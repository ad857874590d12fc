"""The rivals of GV: known answers, parity with other versions, gradients, and bad input."""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F

from gvstudy import build_loss, build_model, gradient_variance_loss, rivals
from gvstudy.gradients import variance_maps
from gvstudy.images import to_grey
from gvstudy.perceptual import gmsd

LOSSES = {
    "gv-l1": partial(gradient_variance_loss, criterion="l1"),
    "gv-charbonnier": partial(gradient_variance_loss, criterion="charbonnier"),
    "maps": rivals.map_distance,
    "norm": rivals.variance_norm,
    "gv-log": rivals.log_variance,
    "gv-multiscale": rivals.multiscale_variance,
    "gv-laplacian": rivals.variance_with_laplacian,
    "maps-charbonnier": rivals.map_charbonnier,
    "maps-charbonnier-rgb": rivals.channel_map_charbonnier,
    "frequency": rivals.focal_frequency,
    "gmsd": rivals.gradient_magnitude_deviation,
}
GOOD = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(0))


def images(*shape, seed=0, dtype=torch.float64):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("name", LOSSES)
def test_the_name_finds_the_loss_and_equal_images_cost_nothing(name):
    sr, hr = images(2, 3, 24, 26), images(2, 3, 24, 26, seed=1)
    found = build_loss(f"l2+{name}", gv_weight=0.5).terms(sr, hr)[name]
    torch.testing.assert_close(found, 0.5 * LOSSES[name](sr, hr))
    assert found > 1e-3
    assert LOSSES[name](hr, hr) < 3e-6


@pytest.mark.parametrize("name", LOSSES)
def test_the_gradient_reaches_sr_alone_and_is_right(name):
    sr, hr = images(1, 3, 16, 17).requires_grad_(), images(1, 3, 16, 17, seed=1).requires_grad_()
    if name == "frequency":  # its weights are constants by definition, so differences would differ
        LOSSES[name](sr, hr).backward()
    else:
        assert torch.autograd.gradcheck(lambda x: LOSSES[name](x, hr.detach()), sr, fast_mode=True)
        LOSSES[name](sr, hr).backward()
    assert sr.grad.abs().max() > 0
    assert hr.grad is None


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize(
    ("sr", "hr", "message"),
    [
        (GOOD, GOOD[..., :-1], "SR and HR differ in shape"),
        (GOOD[0], GOOD[0], r"expected \(N, C, H, W\)"),
        (GOOD[:, :2], GOOD[:, :2], "C = 1 or 3"),
        (GOOD[:0], GOOD[:0], "empty batch"),
        ((255 * GOOD).byte(), (255 * GOOD).byte(), "expected floating point"),
        (GOOD, 255 * GOOD, r"HR values are in .* expected \[0, 1\]"),
        (GOOD, GOOD * math.nan, "HR values are in"),
    ],
)
def test_bad_input_is_refused_as_gv_refuses_it(name, sr, hr, message):
    for loss in (LOSSES[name], gradient_variance_loss):
        with pytest.raises(ValueError, match=message):
            loss(sr, hr)


def test_criteria_by_hand():
    sr, hr = images(2, 3, 17, 24), images(2, 3, 17, 24, seed=1)
    difference = variance_maps(sr, 5, "valid") - variance_maps(hr, 5, "valid")
    by_hand = 2 * difference.abs().mean()
    for name in ("gv-l1", "gv-charbonnier"):
        torch.testing.assert_close(LOSSES[name](sr, hr, 5, "valid"), by_hand)


def test_halving_the_contrast_costs_the_same_in_every_patch_of_the_logarithm():
    hr = images(1, 1, 26, 26)
    for contrast in (1.0, 0.5):  # of HR itself: the squared loss would shrink sixteenfold
        found = rivals.log_variance(contrast * hr / 2, contrast * hr, padding="valid")
        assert float(found) == pytest.approx(2 * math.log(4) ** 2, rel=1e-3)


def test_several_scales_are_averaged():
    sr, hr = images(1, 3, 32, 32), images(1, 3, 32, 32, seed=1)
    by_hand = sum(gradient_variance_loss(sr, hr, n) for n in (4, 8, 16)) / 3
    torch.testing.assert_close(rivals.multiscale_variance(sr, hr), by_hand)


def test_the_laplacian_is_a_convolution_and_its_variance_is_added():
    sr, hr = images(1, 1, 16, 24), images(1, 1, 16, 24, seed=1)
    kernel = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]], dtype=sr.dtype).view(1, 1, 3, 3)
    variances = []
    for image in (sr, hr):
        by_hand = F.conv2d(image, kernel, padding=1)
        torch.testing.assert_close(rivals.laplacian(image), by_hand)
        torch.testing.assert_close(rivals.laplacian(image, "valid"), by_hand[..., 1:-1, 1:-1])
        variances.append(F.unfold(by_hand, 8, stride=8).var(dim=1))
    expected = gradient_variance_loss(sr, hr) + F.mse_loss(*variances)
    torch.testing.assert_close(rivals.variance_with_laplacian(sr, hr), expected)


def test_the_gradient_loss_of_a_ramp():
    """gx of a ramp with slope s is 8 s; against a flat image the loss is that, and gy adds none."""
    ramp = (torch.arange(12.0) / 20).expand(1, 1, 12, 12)
    found = rivals.map_charbonnier(ramp, torch.zeros_like(ramp), "valid")
    assert float(found) == pytest.approx(8 / 20, abs=1e-5)


def test_the_gradient_loss_by_channel_sees_colour():
    sr, hr = images(2, 3, 16, 17), images(2, 3, 16, 17, seed=1)
    each = [rivals.map_charbonnier(sr[:, [c]], hr[:, [c]]) for c in range(3)]
    torch.testing.assert_close(rivals.channel_map_charbonnier(sr, hr), sum(each) / 3)
    grey = to_grey(hr).expand(-1, 3, -1, -1)  # the same greys, no colours
    assert rivals.map_charbonnier(grey, hr) < 1e-3 < rivals.channel_map_charbonnier(grey, hr)


def test_the_frequency_loss_of_a_constant_and_of_a_wave():
    """A difference of one frequency has the weight 1: the loss is its mean square."""
    hr = images(1, 1, 16, 16) / 2
    assert float(rivals.focal_frequency(hr + 0.25, hr)) == pytest.approx(0.25**2)
    wave = 0.25 * torch.cos(2 * math.pi * 3 * torch.arange(16, dtype=hr.dtype) / 16)
    assert float(rivals.focal_frequency(hr + wave, hr)) == pytest.approx(0.25**2 / 2)
    both = float(rivals.focal_frequency(hr + 0.25 + wave, hr))  # the wave has half the weight
    assert both == pytest.approx(0.25**2 + 0.25**2 / 2 / 2)


@pytest.mark.parametrize("shape", [(20, 24), (21, 23)])
def test_gmsd_is_the_metric_averaged_over_images(shape):
    sr, hr = images(2, 1, *shape), images(2, 1, *shape, seed=1)
    each = [gmsd(one[None], other[None]) for one, other in zip(sr, hr, strict=True)]
    found = float(rivals.gradient_magnitude_deviation(sr, hr))
    assert found == pytest.approx(sum(each) / 2, rel=1e-6)


def test_an_unsharp_mask_steepens_edges_and_leaves_flat_places():
    edge = torch.zeros(1, 3, 16, 16)
    edge[..., 8:] = 0.5
    assert torch.equal(rivals.unsharp_mask(edge, 0.0), edge)
    sharp = rivals.unsharp_mask(edge, 1.0)
    torch.testing.assert_close(sharp[..., :4], edge[..., :4])
    blurred = 0.5 * torch.distributions.Normal(0, 1).cdf(torch.tensor(0.5))  # about 4/7 of a step
    assert float(sharp[0, 0, 8, 8]) == pytest.approx(1.0 - float(blurred), abs=0.01)
    with pytest.raises(ValueError, match="expected"):
        rivals.unsharp_mask(edge[0], 1.0)
    with pytest.raises(ValueError, match="can't sharpen 3x8 pixels; need 4x4"):
        rivals.unsharp_mask(torch.rand(1, 1, 3, 8), 1.0)
    assert rivals.unsharp_mask(torch.rand(1, 1, 4, 4), 1.0).isfinite().all()


def test_a_sharpened_model_gives_the_model_s_images_sharpened():
    lr, model = images(1, 3, 12, 12, dtype=torch.float32), build_model("bicubic", 2)
    found = rivals.Sharpened(model, 0.3)(lr)
    torch.testing.assert_close(found, rivals.unsharp_mask(model(lr), 0.3))
