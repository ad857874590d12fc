"""GV against a naive version of the equations; the other losses; how they are combined."""

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.autograd.functional import hessian, hvp, jvp, vhp

from gvstudy import (
    GradientDeviationLoss,
    GradientVarianceLoss,
    _fused,
    build_loss,
    gradient_deviation_loss,
    gradient_variance_loss,
)
from gvstudy.gradient_variance import charbonnier_loss
from gvstudy.gradients import gradient_maps, variance_maps
from gvstudy.losses import PIXEL_LOSSES, REGULARISERS, ComposedLoss, squared_total_variation

NAMES = [*PIXEL_LOSSES, *(f"{pixel}+{added}" for pixel in PIXEL_LOSSES for added in REGULARISERS)]

GOOD = torch.rand(1, 3, 16, 16)


def naive_gv(sr, hr, n, padding="zeros"):
    """conv2d, unfold, var, mse, as the equations say."""
    kernel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]], dtype=sr.dtype).view(1, 1, 3, 3)
    total = 0
    for k in (kernel, kernel.mT):
        variances = []
        for image in (sr, hr):
            if image.shape[1] == 3:
                weights = torch.tensor([0.2989, 0.5870, 0.1140], dtype=sr.dtype).view(1, 3, 1, 1)
                image = (image * weights).sum(dim=1, keepdim=True)
            gradient = F.conv2d(image, k, padding=1 if padding == "zeros" else 0)
            variances.append(F.unfold(gradient, n, stride=n).var(dim=1))
        total = total + F.mse_loss(*variances)
    return total


def images(*shape, seed=0, dtype=torch.float32):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@settings(max_examples=200, deadline=None)
@given(
    batch=st.integers(1, 3),
    channels=st.sampled_from([1, 3]),
    height=st.integers(12, 45),
    width=st.integers(12, 45),
    n=st.integers(2, 10),
    padding=st.sampled_from(["zeros", "valid"]),
    seed=st.integers(0, 99),
)
def test_gv_equals_the_naive_version(batch, channels, height, width, n, padding, seed):
    """To 1e-6 of what is subtracted: where two variances are close, float32 loses digits of their
    difference, here and in the naive version alike."""
    sr = images(batch, channels, height, width, seed=seed)
    hr = images(batch, channels, height, width, seed=seed + 100)
    ours = gradient_variance_loss(sr, hr, n, padding).item()
    size = 2 * (variance_maps(sr, n, padding) ** 2 + variance_maps(hr, n, padding) ** 2).mean()
    for naive in (naive_gv(sr, hr, n, padding), naive_gv(sr.double(), hr.double(), n, padding)):
        assert abs(ours - naive.item()) <= 1e-6 * size


@pytest.mark.parametrize(("shape", "n"), [((16, 3, 48, 48), 8), ((2, 1, 97, 61), 16)])
def test_gv_equals_the_naive_version_in_relative_terms(shape, n):
    sr, hr = images(*shape), images(*shape, seed=1)
    ours = gradient_variance_loss(sr, hr, n)
    torch.testing.assert_close(ours, naive_gv(sr, hr, n), rtol=1e-6, atol=0)
    exact = gradient_variance_loss(sr.double(), hr.double(), n)
    torch.testing.assert_close(exact, naive_gv(sr.double(), hr.double(), n), rtol=1e-12, atol=0)


def test_gv_known_answer():
    # One step of 1 between columns 3 and 4: |gx| = 4 in two of eight columns, gy = 0.
    step = torch.zeros(1, 1, 10, 10)
    step[..., 5:] = 1
    variance = 64 * (0.25 * 16 - 1) / 63  # mean square minus squared mean, made unbiased
    loss = gradient_variance_loss(step, torch.zeros_like(step), 8, padding="valid")
    assert loss.item() == pytest.approx(variance**2)


def test_deviation_known_answer():
    step = torch.zeros(1, 1, 10, 10, dtype=torch.float64)
    step[..., 5:] = 1  # as above: the x map's variance is 3 * 64 / 63, the y map's zero
    loss = gradient_deviation_loss(step, torch.zeros_like(step), 8, padding="valid")
    assert loss.item() == pytest.approx(((64 * 3 / 63 + 1e-6) ** 0.5 - 1e-3) ** 2)


@pytest.mark.parametrize("padding", ["zeros", "valid"])
def test_deviation_equals_the_naive_version_and_grows_with_the_square(padding):
    sr, hr = (images(2, 3, 41, 33, seed=s, dtype=torch.float64) for s in (0, 1))
    sr.requires_grad_()
    ours = gradient_deviation_loss(sr, hr, 8, padding)
    naive = 2 * F.mse_loss(*((variance_maps(x, 8, padding) + 1e-6).sqrt() for x in (sr, hr)))
    torch.testing.assert_close(ours, naive)
    torch.testing.assert_close(*(torch.autograd.grad(loss, sr)[0] for loss in (ours, naive)))
    dim = gradient_deviation_loss(sr / 2, hr / 2, 8, padding)
    torch.testing.assert_close(4 * dim, ours, rtol=1e-3, atol=0)


def test_deviation_of_a_flat_image_has_a_finite_slope():
    flat = torch.zeros(1, 3, 16, 16, requires_grad=True)
    gradient_deviation_loss(flat, GOOD).backward()
    assert flat.grad.isfinite().all()


def test_gv_gradient_equals_the_naive_version_s():
    sr, hr = (images(2, 3, 33, 29, seed=s, dtype=torch.float64).requires_grad_() for s in (0, 1))
    ours, naive = (
        torch.autograd.grad(loss(sr, hr.detach(), 8), sr)[0]
        for loss in (gradient_variance_loss, naive_gv)
    )
    torch.testing.assert_close(ours, naive)


@pytest.mark.parametrize("padding", ["zeros", "valid"])
@pytest.mark.parametrize("shape", [(16, 3, 48, 48), (3, 1, 61, 97)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_backward_by_hand_equals_autograd_s(shape, layout, padding):
    """The plain version, differentiated by autograd in float64, is the oracle."""
    sr, hr = images(*shape), images(*shape, seed=1)
    given = sr.to(memory_format=layout).requires_grad_()
    ours = torch.autograd.grad(gradient_variance_loss(given, hr, 8, padding), given)[0]
    exact = sr.double().requires_grad_()
    plain = 2 * F.mse_loss(*(variance_maps(x, 8, padding) for x in (exact, hr.double())))
    expected = torch.autograd.grad(plain, exact)[0]
    assert (ours - expected).norm() <= 1e-5 * expected.norm()
    assert ours.is_contiguous(memory_format=layout)


def test_the_gradient_of_half_precision_is_half_precision():
    sr, hr = images(2, 3, 32, 32), images(2, 3, 32, 32, seed=1)
    half = sr.bfloat16().requires_grad_()
    gradient_variance_loss(half, hr.bfloat16()).backward()
    whole = half.detach().float().requires_grad_()
    gradient_variance_loss(whole, hr.bfloat16().float()).backward()
    assert half.grad.dtype == torch.bfloat16
    assert torch.equal(half.grad, whole.grad.bfloat16())


@pytest.mark.parametrize("loss", [gradient_variance_loss, gradient_deviation_loss])
@pytest.mark.parametrize("padding", ["zeros", "valid"])
def test_cached_maps_of_hr_are_as_good_as_hr(loss, padding):
    sr, hr = images(2, 3, 45, 36).requires_grad_(), images(2, 3, 45, 36, seed=1)
    maps = variance_maps(hr, 8, padding)
    for target in ({"hr": hr}, {"hr_maps": maps}):
        loss(sr, **target, patch_size=8, padding=padding).backward()
    doubled = sr.grad
    sr.grad = None
    loss(sr, hr, 8, padding).backward()
    torch.testing.assert_close(doubled, 2 * sr.grad)
    torch.testing.assert_close(
        loss(sr, patch_size=8, padding=padding, hr_maps=maps), loss(sr, hr, 8, padding)
    )


def test_the_modules_take_cached_maps():
    sr, hr = images(2, 3, 32, 32), images(2, 3, 32, 32, seed=1)
    for module in (GradientVarianceLoss(), GradientDeviationLoss()):
        maps = variance_maps(hr, 8, "zeros")
        torch.testing.assert_close(module(sr, hr_maps=maps), module(sr, hr))


def test_cached_maps_are_a_constant():
    sr, hr = images(1, 3, 16, 16).requires_grad_(), images(1, 3, 16, 16, seed=1).requires_grad_()
    gradient_variance_loss(sr, hr_maps=variance_maps(hr, 8, "zeros")).backward()
    assert hr.grad is None


def test_maps_that_do_not_fit_are_refused():
    sr = images(2, 3, 45, 36)
    with pytest.raises(
        ValueError, match=r"\(2, 2, 11, 9\), SR's maps have \(2, 2, 5, 4\).*patch_size 8"
    ):
        gradient_variance_loss(sr, patch_size=8, hr_maps=variance_maps(sr, 4, "zeros"))


@pytest.mark.parametrize(("given", "got"), [({}, "none"), ({"hr": 1, "hr_maps": 1}, "both")])
def test_hr_or_its_maps_but_not_both(given, got):
    maps = variance_maps(GOOD, 8, "zeros")
    given = {name: {"hr": GOOD, "hr_maps": maps}[name] for name in given}
    for loss in (gradient_variance_loss, GradientDeviationLoss()):
        with pytest.raises(ValueError, match=f"one of hr and hr_maps, got {got}"):
            loss(GOOD, **given)


CRITERIA = {
    "squared": lambda d: d**2,
    "l1": torch.abs,
    "charbonnier": lambda d: (d**2 + 1e-12).sqrt(),
}


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("padding", ["zeros", "valid"])
def test_criteria_equal_the_naive_version(criterion, padding):
    sr, hr = (images(2, 3, 41, 33, seed=s, dtype=torch.float64) for s in (0, 1))
    sr.requires_grad_()
    v_sr, v_hr = (variance_maps(x, 8, padding) for x in (sr, hr))
    for loss, transform in (
        (gradient_variance_loss, lambda v: v),
        (gradient_deviation_loss, lambda v: (v + 1e-6).sqrt()),
    ):
        each = CRITERIA[criterion](transform(v_sr) - transform(v_hr))
        for reduction, naive in (
            ("none", each), ("sum", each.sum()), ("mean", each[:, 0].mean() + each[:, 1].mean()),
        ):  # fmt: skip
            ours = loss(sr, hr, 8, padding, reduction, criterion=criterion)
            torch.testing.assert_close(ours, naive)
            slopes = (torch.autograd.grad(x.sum(), sr, retain_graph=True)[0] for x in (ours, naive))
            torch.testing.assert_close(*slopes)


def test_criteria_known_answers():
    step = torch.zeros(1, 1, 10, 10)
    step[..., 5:] = 1  # the x map's variance is 64 * 3 / 63, the y map's zero
    variance, flat = 64 * 3 / 63, torch.zeros_like(step)
    for criterion, expected in (("squared", variance**2), ("l1", variance)):
        loss = gradient_variance_loss(step, flat, 8, "valid", criterion=criterion)
        assert loss.item() == pytest.approx(expected)
    loss = gradient_variance_loss(step, flat, 8, "valid", criterion="charbonnier")
    assert loss.item() == pytest.approx(variance + 1e-6)


def test_a_reduction_that_charbonnier_does_not_know_is_named():
    with pytest.raises(ValueError, match="unknown reduction 'avg'; known: mean, sum, none"):
        charbonnier_loss(torch.zeros(2), torch.ones(2), "avg")


@pytest.mark.parametrize("criterion", ["l1", "charbonnier"])
def test_gradcheck_of_the_other_criteria(criterion):
    sr = images(1, 3, 11, 10, dtype=torch.float64).requires_grad_()
    hr = images(1, 3, 11, 10, seed=1, dtype=torch.float64)
    loss = partial(gradient_variance_loss, hr=hr, patch_size=4, criterion=criterion)
    assert torch.autograd.gradcheck(loss, (sr,))
    deviation = partial(gradient_deviation_loss, hr=hr, patch_size=4, criterion=criterion)
    assert torch.autograd.gradcheck(deviation, (sr,))


@pytest.mark.parametrize("value_range", [(-1, 1), (0, 255), (-2.5, 0.5)])
@pytest.mark.parametrize("padding", ["zeros", "valid"])
@pytest.mark.parametrize("module", [GradientVarianceLoss, GradientDeviationLoss])
def test_another_value_range_gives_the_same_loss(value_range, padding, module):
    low, high = value_range
    sr, hr = (images(2, 3, 40, 33, seed=s, dtype=torch.float64) for s in (0, 1))
    wide = [x * (high - low) + low for x in (sr, hr)]
    inputs = (sr.requires_grad_(), wide[0].detach().requires_grad_())
    ours = module(8, padding, value_range=value_range)(inputs[1], wide[1])
    plain = module(8, padding)(inputs[0], hr)
    torch.testing.assert_close(ours, plain)
    ours.backward()
    plain.backward()
    torch.testing.assert_close(inputs[1].grad * (high - low), inputs[0].grad)


def test_a_value_range_in_half_precision_is_brought_to_unit_range_in_float32():
    sr, hr = ((255 * images(1, 3, 24, 24, seed=s)).bfloat16() for s in (0, 1))
    ours = gradient_variance_loss(sr, hr, value_range=(0, 255))
    assert ours == gradient_variance_loss(sr.float() / 255, hr.float() / 255)


def plain_gv(sr, hr, n, padding):
    """The plain version, which autograd differentiates as often as one likes."""
    return 2 * F.mse_loss(*(variance_maps(x, n, padding) for x in (sr, hr)))


def plain_deviation(sr, hr, n, padding):
    maps = ((variance_maps(x, n, padding) + 1e-6).sqrt() for x in (sr, hr))
    return 2 * F.mse_loss(*maps)


PLAIN = [(gradient_variance_loss, plain_gv), (gradient_deviation_loss, plain_deviation)]


@pytest.mark.parametrize("padding", ["zeros", "valid"])
@pytest.mark.parametrize("channels", [1, 3])
def test_gradgradcheck(padding, channels):
    sr = images(1, channels, 6, 7, dtype=torch.float64).requires_grad_()
    hr = images(1, channels, 6, 7, seed=1, dtype=torch.float64)
    for loss in (gradient_variance_loss, gradient_deviation_loss):
        assert torch.autograd.gradgradcheck(lambda x, f=loss: f(x, hr, 3, padding), (sr,))
    maps = partial(_fused.variance_maps, 3, 1 if padding == "zeros" else 0)
    assert torch.autograd.gradgradcheck(maps, (sr,))


@pytest.mark.parametrize(("loss", "plain"), PLAIN)
@pytest.mark.parametrize("padding", ["zeros", "valid"])
def test_second_derivatives_equal_the_plain_version_s(loss, plain, padding):
    """Also where whole patches don't cover the image, and beyond the second."""
    sr, hr, along = (images(1, 3, 9, 10, seed=s, dtype=torch.float64) for s in range(3))

    def third(one):
        def curvature(x):
            return (hvp(one, x, along, create_graph=True)[1] * along).sum()

        return hvp(curvature, sr, along)[1]

    for derivative in (
        lambda one: hessian(one, sr),
        lambda one: hvp(one, sr, along)[1],
        lambda one: vhp(one, sr, along)[1],
        lambda one: jvp(one, sr, along)[1],
        third,
    ):
        ours, expected = (
            derivative(lambda x, one=one: one(x, hr, 4, padding)) for one in (loss, plain)
        )
        assert expected.norm() > 0.01
        torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("loss", "plain"), PLAIN)
def test_a_gradient_penalty_trains_a_model_as_the_plain_version_does(loss, plain):
    layer = nn.Conv2d(3, 3, 3, padding=1).double()
    lr, hr = (images(2, 3, 17, 18, seed=s, dtype=torch.float64) for s in (0, 1))
    found = []
    for added in (lambda sr: loss(sr, hr, 8), lambda sr: plain(sr, hr, 8, "zeros"), lambda _: 0):
        layer.zero_grad()
        sr = layer(lr)
        total = F.mse_loss(sr, hr) + added(sr)
        (slope,) = torch.autograd.grad(total, sr, create_graph=True)
        (total + slope.square().sum()).backward()
        found.append(layer.weight.grad.clone())
    ours, expected, pixel_alone = found
    torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-12)
    assert (expected - pixel_alone).norm() > 0.01 * expected.norm()


def test_the_first_gradient_is_the_same_where_it_will_be_differentiated_again():
    hr = images(2, 3, 33, 30, seed=1)
    for dtype in (torch.float32, torch.bfloat16):
        sr = images(2, 3, 33, 30).to(dtype).requires_grad_()
        ours = gradient_variance_loss(sr, hr.to(dtype))
        once, again = (
            torch.autograd.grad(ours, sr, retain_graph=True, create_graph=create)[0]
            for create in (False, True)
        )
        assert again.dtype == dtype
        torch.testing.assert_close(again, once)


def test_batched_gradients_are_an_error_and_never_zeros():
    sr, hr = (images(1, 1, 9, 9, seed=s, dtype=torch.float64) for s in (0, 1))
    with pytest.raises(RuntimeError):
        hessian(lambda x: gradient_variance_loss(x, hr), sr, vectorize=True)


@pytest.mark.parametrize("loss", [gradient_variance_loss, gradient_deviation_loss])
def test_functional_transforms_equal_autograd(loss):
    # In double precision: in single, gradients near zero differ by more than 1e-4 on some machines.
    sr, hr = (images(2, 3, 16, 16, seed=seed, dtype=torch.float64) for seed in (0, 1))
    leaf = sr.clone().requires_grad_()
    (expected,) = torch.autograd.grad(loss(leaf, hr), leaf)
    assert torch.allclose(torch.func.grad(loss)(sr, hr), expected, rtol=1e-9, atol=1e-14)
    _, slope = torch.func.jvp(lambda x: loss(x, hr), (sr,), (hr,))
    assert torch.allclose(slope, (expected * hr).sum(), rtol=1e-9)
    each = torch.func.vmap(lambda x, y: loss(x[None], y[None]))(sr, hr)
    alone = torch.stack([loss(x[None], y[None]) for x, y in zip(sr, hr, strict=True)])
    assert torch.allclose(each, alone, rtol=1e-9)


def test_the_second_derivative_by_torch_func():
    sr, hr = (images(1, 1, 10, 10, seed=seed, dtype=torch.float64) for seed in (0, 1))
    slope = torch.func.grad(gradient_variance_loss)
    along = torch.func.grad(lambda x: (slope(x, hr) * hr).sum())(sr)
    step = 1e-6
    numeric = (slope(sr + step * hr, hr) - slope(sr - step * hr, hr)) / (2 * step)
    assert torch.allclose(along, numeric, rtol=1e-5, atol=1e-7)


def test_meta_tensors_have_a_loss_without_values():
    sr = torch.empty(2, 3, 16, 16, device="meta")
    assert GradientVarianceLoss(reduction="none")(sr, sr).shape == (2, 2, 2, 2)


def test_the_module_looks_at_the_range_of_every_batch_on_the_cpu():
    module = GradientVarianceLoss()
    module(GOOD, GOOD)
    with pytest.raises(ValueError, match=r"are in .*; expected \[0, 1\]"):
        module(GOOD, 255 * GOOD)


def test_on_a_gpu_the_module_looks_at_the_first_batch_alone(monkeypatch):
    """Whatever came before on the CPU, or as maps; "meta" stands for the GPU."""
    seen = []
    monkeypatch.setattr(
        "gvstudy.gradient_variance.check_range", lambda hr, _: seen.append(hr.device.type)
    )
    module, far = GradientVarianceLoss(), torch.empty(2, 3, 16, 16, device="meta")
    for batch in (GOOD, far, GOOD, far, far):
        module(batch, batch)
    assert seen == ["cpu", "meta", "cpu"]


@pytest.mark.parametrize(
    ("name", "smallest"), [("ssim", 6), ("l2+gmsd", 3), ("l2+gv-multiscale", 16)]
)
def test_images_too_small_for_a_loss_are_refused_and_the_smallest_are_not(name, smallest):
    loss, images = build_loss(name), torch.rand(2, 3, smallest, smallest)
    assert loss(images, images.flip(0)).isfinite()
    with pytest.raises(ValueError, match=f"does not fit .*; allowed: sides from {smallest} on"):
        loss(images[..., 1:], images[..., 1:])


def test_the_buffers_of_a_regulariser_move_with_the_loss():
    class Weighted(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("weights", torch.ones(3, 1, 1))

        def forward(self, sr, hr):
            return (self.weights * (sr - hr)).square().mean()

    loss = ComposedLoss({"l2": F.mse_loss, "weighted": Weighted()}).to("meta")
    sr = torch.empty(2, 3, 8, 8, device="meta")
    assert loss(sr, sr).device.type == "meta"


def test_a_refused_first_batch_is_looked_at_again():
    module = GradientVarianceLoss()
    for _ in range(2):
        with pytest.raises(ValueError, match=r"are in .*; expected \[0, 1\]"):
            module(GOOD, 255 * GOOD)


@pytest.mark.parametrize("padding", ["zeros", "valid"])
@pytest.mark.parametrize("channels", [1, 3])
def test_gradcheck(padding, channels):
    sr = images(1, channels, 11, 10, dtype=torch.float64).requires_grad_()
    hr = images(1, channels, 11, 10, seed=1, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: gradient_variance_loss(x, hr, 4, padding), (sr,))


def test_hr_is_a_constant():
    sr, hr = images(1, 3, 16, 16).requires_grad_(), images(1, 3, 16, 16, seed=1).requires_grad_()
    gradient_variance_loss(sr, hr).backward()
    assert sr.grad.abs().sum() > 0
    assert hr.grad is None


def test_gv_is_zero_for_equal_images():
    hr = images(2, 3, 24, 24)
    assert gradient_variance_loss(hr, hr) == 0


@pytest.mark.parametrize("change", [lambda x: 1 - x, lambda x: x + 0.3, lambda x: 0.1 - x])
def test_gv_sees_neither_sign_nor_offset(change):
    hr = images(1, 3, 24, 24)
    assert gradient_variance_loss(change(hr), hr, padding="valid") < 1e-9


def test_gv_grows_with_the_fourth_power_of_the_range():
    sr, hr = images(1, 3, 24, 24), images(1, 3, 24, 24, seed=1)
    ratio = gradient_variance_loss(0.5 * sr, 0.5 * hr) / gradient_variance_loss(sr, hr)
    assert ratio.item() == pytest.approx(1 / 16, rel=1e-5)


def test_a_flat_sr_gets_no_gradient():
    sr = torch.full((1, 3, 24, 24), 0.5, requires_grad=True)
    gradient_variance_loss(sr, images(1, 3, 24, 24), padding="valid").backward()
    assert sr.grad.abs().max() == 0


def test_zero_padding_sees_a_frame_and_valid_does_not():
    dark, bright = torch.full((1, 1, 24, 24), 0.2), torch.full((1, 1, 24, 24), 0.9)
    assert gradient_variance_loss(dark, bright) > 0.1
    assert gradient_variance_loss(dark, bright, padding="valid") == 0


def test_reductions():
    sr, hr = images(2, 3, 25, 33), images(2, 3, 25, 33, seed=1)
    squares = gradient_variance_loss(sr, hr, reduction="none")
    assert squares.shape == (2, 2, 3, 4)
    both = squares.mean(dim=(0, 2, 3)).sum()
    torch.testing.assert_close(gradient_variance_loss(sr, hr), both)
    torch.testing.assert_close(gradient_variance_loss(sr, hr, reduction="sum"), squares.sum())


def test_the_module_is_the_function():
    sr, hr = images(2, 3, 32, 32), images(2, 3, 32, 32, seed=1)
    options = {"criterion": "l1", "value_range": (-1, 1)}
    for module, function in (
        (GradientVarianceLoss, gradient_variance_loss),
        (GradientDeviationLoss, gradient_deviation_loss),
    ):
        loss = module(4, "valid", "sum", **options)
        assert loss(sr, hr) == function(sr, hr, 4, "valid", "sum", **options)
        assert repr(loss) == (
            f"{module.__name__}(patch_size=4, padding='valid', reduction='sum', criterion='l1', "
            "value_range=(-1, 1))"
        )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype):
    sr, hr = images(1, 3, 24, 24).to(dtype), images(1, 3, 24, 24, seed=1).to(dtype)
    loss = gradient_variance_loss(sr, hr)
    assert loss.dtype == torch.float32
    assert loss == gradient_variance_loss(sr.float(), hr.float())


def test_autocast_changes_nothing():
    sr, hr = images(1, 3, 24, 24), images(1, 3, 24, 24, seed=1)
    with torch.autocast("cpu", torch.bfloat16):
        assert gradient_variance_loss(sr, hr) == gradient_variance_loss(sr, hr).float()
        inside = gradient_variance_loss(sr, hr)
    assert inside == gradient_variance_loss(sr, hr)


@pytest.mark.slow
def test_compiles_without_graph_breaks():
    sr, hr = images(1, 3, 24, 24), images(1, 3, 24, 24, seed=1)
    compiled = torch.compile(GradientVarianceLoss(), fullgraph=True, backend="aot_eager")
    sr.requires_grad_()
    loss = compiled(sr, hr)
    torch.testing.assert_close(loss, gradient_variance_loss(sr, hr))
    ours, plain = (torch.autograd.grad(x, sr)[0] for x in (loss, gradient_variance_loss(sr, hr)))
    torch.testing.assert_close(ours, plain)


@pytest.mark.slow
@pytest.mark.parametrize("padding", ["zeros", "valid"])
def test_can_be_exported(padding):
    loss = GradientVarianceLoss(padding=padding)
    exported = torch.export.export(loss, (images(1, 3, 24, 24), images(1, 3, 24, 24, seed=1)))
    sr, hr = images(1, 3, 24, 24, seed=2), images(1, 3, 24, 24, seed=3)
    torch.testing.assert_close(exported.module()(sr, hr), loss(sr, hr))


@pytest.mark.parametrize(
    ("sr", "hr", "options", "message"),
    [
        (GOOD, GOOD[..., :8], {}, r"\(1, 3, 16, 16\) and \(1, 3, 16, 8\)"),
        (GOOD[0], GOOD[0], {}, r"got shape \(3, 16, 16\)"),
        (GOOD[:, :2], GOOD[:, :2], {}, "C = 1 or 3"),
        (GOOD.int(), GOOD.int(), {}, "int32"),
        (GOOD, 255 * GOOD, {}, r"expected \[0, 1\]"),
        (GOOD, 2 * GOOD - 1, {}, r"expected \[0, 1\]"),
        (GOOD, GOOD, {"patch_size": 17}, "patch_size 17.*16x16"),
        (GOOD, GOOD, {"patch_size": 15, "padding": "valid"}, "patch_size 15.*14x14"),
        (GOOD, GOOD * torch.nan, {}, r"expected \[0, 1\]"),
        (GOOD[:0], GOOD[:0], {}, r"empty batch of shape \(0, 3, 16, 16\)"),
        (GOOD, GOOD, {"patch_size": 1}, "patch_size 1 "),
        (GOOD, GOOD, {"patch_size": 8.0}, r"patch_size 8\.0 is not allowed; whole numbers"),
        (GOOD, GOOD, {"padding": "reflect"}, "'reflect'; known: zeros, valid"),
        (GOOD, GOOD, {"reduction": "median"}, "'median'; known: mean, sum, none"),
        (GOOD, GOOD, {"criterion": "l2"}, "criterion 'l2'; known: squared, l1, charbonnier"),
        (
            GOOD,
            GOOD,
            {"value_range": (0, 0)},
            r"value_range \(0, 0\) is not allowed; \(low",
        ),
        (GOOD, GOOD, {"value_range": (1, 0)}, r"value_range \(1, 0\) is not allowed"),
        (GOOD, GOOD, {"value_range": (0, torch.nan)}, r"value_range \(0, nan\) is not allowed"),
        (GOOD, GOOD, {"value_range": 255}, "value_range 255 is not allowed"),
        (GOOD, GOOD - 1.5, {"value_range": (-1, 1)}, r"expected \[-1, 1\]"),
        (GOOD, 300 * GOOD, {"value_range": (0, 255)}, r"expected \[0, 255\]"),
    ],
)
@pytest.mark.parametrize("loss", [gradient_variance_loss, gradient_deviation_loss])
def test_bad_input(loss, sr, hr, options, message):
    with pytest.raises(ValueError, match=message):
        loss(sr, hr, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"patch_size": 1},
        {"padding": "same"},
        {"reduction": "no"},
        {"criterion": "l3"},
        {"value_range": (1, -1)},
    ],
)
@pytest.mark.parametrize("module", [GradientVarianceLoss, GradientDeviationLoss])
def test_the_modules_refuse_bad_options_at_once(module, options):
    with pytest.raises(ValueError, match=r"known|allowed"):
        module(**options)


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_is_the_sum_of_its_terms(name):
    sr, hr = images(2, 3, 24, 24).requires_grad_(), images(2, 3, 24, 24, seed=1)
    loss = build_loss(name, gv_weight=0.5, tv_weight=0.25)
    terms = loss.terms(sr, hr)
    assert list(terms) == name.split("+")
    torch.testing.assert_close(loss(sr, hr), sum(terms.values()))
    loss(sr, hr).backward()
    assert sr.grad.isfinite().all()


def test_the_pixel_loss_comes_first_so_that_gradients_add_up_in_one_order():
    """To the bit: autograd adds up in the order of evaluation, and runs repeat to the bit."""
    sr, hr = images(2, 3, 48, 48).requires_grad_(), images(2, 3, 48, 48, seed=1)
    terms = build_loss("l2+tv2", tv_weight=1e-4).terms(sr, hr)
    (ours,) = torch.autograd.grad(sum(terms.values()), sr)
    pixel = F.mse_loss(sr, hr)
    (first,) = torch.autograd.grad(pixel + 1e-4 * squared_total_variation(sr, hr), sr)
    penalty = squared_total_variation(sr, hr)
    (last,) = torch.autograd.grad(1e-4 * penalty + F.mse_loss(sr, hr), sr)
    assert torch.equal(ours, first)
    assert not torch.equal(ours, last)


@pytest.mark.parametrize("name", PIXEL_LOSSES)
def test_pixel_losses_are_zero_for_equal_images(name):
    hr = images(1, 3, 24, 24)
    assert build_loss(name)(hr, hr).item() == pytest.approx(0, abs=1e-6)


def test_pixel_losses_known_answers():
    sr, hr = torch.full((1, 3, 32, 32), 0.5), torch.full((1, 3, 32, 32), 0.75)
    assert build_loss("l2")(sr, hr).item() == pytest.approx(0.0625)
    assert build_loss("l1")(sr, hr).item() == pytest.approx(0.25)
    luminance = (2 * 0.5 * 0.75 + 1e-4) / (0.5**2 + 0.75**2 + 1e-4)
    ssim = build_loss("ssim")(sr.double(), hr.double())
    assert ssim.item() == pytest.approx(1 - luminance, rel=1e-4)


def test_tv_known_answers():
    ramp = torch.linspace(0, 1, 11).expand(2, 3, 11, 11)  # 0.1 a step, across only
    terms = build_loss("l2+tv", tv_weight=2.0).terms(ramp, ramp)
    assert terms["tv"].item() == pytest.approx(0.2)
    assert squared_total_variation(ramp, ramp).item() == pytest.approx(2 * 3 * 11 * 10 * 0.01)
    terms = build_loss("l2+tv2", tv_weight=1e-8).terms(ramp, ramp)
    assert terms["tv2"].item() == pytest.approx(6.6e-8)


def test_weights_reach_their_terms():
    sr, hr = images(1, 3, 24, 24), images(1, 3, 24, 24, seed=1)
    terms = build_loss("l1+gv", gv_weight=0.3, patch_size=4, padding="valid").terms(sr, hr)
    torch.testing.assert_close(terms["gv"], 0.3 * gradient_variance_loss(sr, hr, 4, "valid"))


def test_unknown_loss_lists_the_known():
    with pytest.raises(ValueError, match=r"'l3'; known: l2, l1, ssim, .* one of \+tv, \+tv2"):
        build_loss("l3")


def test_the_other_readings_equal_what_their_names_say():
    sr, hr = images(2, 3, 24, 24), images(2, 3, 24, 24, seed=1)
    ours, real = (gradient_maps(x, "zeros") for x in (sr, hr))
    maps = F.mse_loss(ours[0], real[0]) + F.mse_loss(ours[1], real[1])
    torch.testing.assert_close(build_loss("l2+maps", gv_weight=0.5).terms(sr, hr)["maps"], maps / 2)
    each = variance_maps(sr, 4, "zeros") - variance_maps(hr, 4, "zeros")
    norms = [sum(torch.linalg.norm(one[k]) for one in each) / 2 for k in (0, 1)]
    terms = build_loss("l2+norm", gv_weight=0.5, patch_size=4).terms(sr, hr)
    torch.testing.assert_close(terms["norm"], sum(norms) / 2)


@pytest.mark.parametrize("options", [{}, {"padding": "valid"}, {"value_range": (-1, 1)}])
def test_a_module_makes_the_maps_of_an_hr(options):
    loss = GradientVarianceLoss(4, **options)
    low = options.get("value_range", (0, 1))[0]
    sr, hr = (low + (1 - low) * torch.rand(2, 3, 12, 16) for _ in range(2))
    assert loss.maps(hr).shape[:2] == (2, 2)
    torch.testing.assert_close(loss(sr, hr_maps=loss.maps(hr)), loss(sr, hr))
    assert loss(hr, hr_maps=loss.maps(hr)) < 1e-10


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    "name", ["l2+maps-charbonnier", "l2+gmsd", "l2+tv2", "l2+frequency", "ssim"]
)
def test_a_composed_loss_computes_half_precision_in_float32(name, dtype):
    sr, hr = (torch.rand(2, 3, 16, 16).to(dtype) for _ in range(2))
    sr.requires_grad_()
    loss = build_loss(name)(sr, hr)
    assert loss.dtype == torch.float32
    assert loss == build_loss(name)(sr.float(), hr.float())
    loss.backward()
    assert sr.grad.isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gv_weight": float("nan")}, "gv_weight nan is not allowed"),
        ({"gv_weight": "0.01"}, "gv_weight '0.01' is not allowed"),
        ({"tv_weight": -1}, "tv_weight -1 is not allowed"),
        ({"patch_size": 1}, "patch_size 1 is not allowed"),
        ({"padding": "foo"}, "unknown padding 'foo'"),
    ],
)
def test_options_of_a_composed_loss_that_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        build_loss("l2+maps", **options)


@pytest.mark.parametrize("name", ["l2", "l1", "l2+tv"])
def test_a_composed_loss_refuses_what_is_no_pair_of_images(name):
    images, loss = torch.rand(2, 3, 8, 8), build_loss(name)
    for other in (torch.rand(1, 1, 8, 8), torch.rand(0, 3, 8, 8), images.numpy()):
        with pytest.raises(ValueError, match=r"SR and HR differ|empty batch|got ndarray"):
            loss(images, other)
    with pytest.raises(ValueError, match="SR and HR differ in shape"):
        charbonnier_loss(torch.zeros(2, 3), torch.ones(3))


def test_numbers_of_numpy_are_numbers():
    assert GradientVarianceLoss(np.int64(4)).patch_size == 4
    with pytest.raises(ValueError, match="value_range"):
        GradientVarianceLoss(value_range=("0", "1"))
