"""GV against a version written from the equations; the other losses; how they are composed."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

import gvstudy.gradient_variance as gv
from gvstudy import GradientVarianceLoss, build_loss, gradient_variance_loss
from gvstudy.gradient_variance import gradient_deviation_loss
from gvstudy.gradients import variance_maps
from gvstudy.losses import PIXEL_LOSSES, REGULARISERS, names, squared_total_variation

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
    step[..., 5:] = 1  # as above: the x map's variance is 3 * 64 / 63, the y map's nought
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
    wide = gradient_deviation_loss(255 * sr, 255 * hr, 8, padding)
    torch.testing.assert_close(wide, 255**2 * ours, rtol=1e-3, atol=0)


def test_deviation_refuses_what_gv_refuses():
    with pytest.raises(ValueError, match="patch_size 1 is not allowed"):
        gradient_deviation_loss(GOOD, GOOD, patch_size=1)
    with pytest.raises(ValueError, match="differ in shape"):
        gradient_deviation_loss(GOOD, GOOD[..., :-1])
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


@pytest.mark.parametrize("padding", ["zeros", "valid"])
def test_maps_of_a_repeated_hr_are_as_good_as_hr(padding):
    sr, hr = images(2, 3, 45, 36).requires_grad_(), images(2, 3, 45, 36, seed=1)
    maps = variance_maps(hr, 8, padding)
    for target in (hr, maps):
        gradient_variance_loss(sr, target, 8, padding).backward()
    doubled = sr.grad
    sr.grad = None
    gradient_variance_loss(sr, hr, 8, padding).backward()
    torch.testing.assert_close(doubled, 2 * sr.grad)
    torch.testing.assert_close(
        gradient_variance_loss(sr, maps, 8, padding), gradient_variance_loss(sr, hr, 8, padding)
    )


def test_maps_that_do_not_fit_are_refused():
    sr = images(2, 3, 45, 36)
    with pytest.raises(
        ValueError, match=r"\(2, 2, 11, 9\), SR's have \(2, 2, 5, 4\).*patch_size 8"
    ):
        gradient_variance_loss(sr, variance_maps(sr, 4, "zeros"), 8)


def test_the_gradient_is_not_differentiated_again():
    sr, hr = images(1, 3, 16, 16).requires_grad_(), images(1, 3, 16, 16, seed=1)
    (gradient,) = torch.autograd.grad(gradient_variance_loss(sr, hr), sr, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_the_module_looks_at_the_range_of_its_first_batch(monkeypatch):
    looks = []
    monkeypatch.setattr(gv, "_check_range", lambda hr: looks.append(hr))
    module, function = GradientVarianceLoss(), gradient_variance_loss
    for loss in (module, module, function, function):
        loss(GOOD, GOOD)
    assert len(looks) == 1 + 2


def test_a_refused_first_batch_is_looked_at_again():
    module = GradientVarianceLoss()
    for _ in range(2):
        with pytest.raises(ValueError, match=r"lie in .*; expected \[0, 1\]"):
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
    module = GradientVarianceLoss(4, "valid", "sum")
    assert module(sr, hr) == gradient_variance_loss(sr, hr, 4, "valid", "sum")
    assert repr(module) == "GradientVarianceLoss(patch_size=4, padding='valid', reduction='sum')"


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


def test_compiles_without_graph_breaks():
    sr, hr = images(1, 3, 24, 24), images(1, 3, 24, 24, seed=1)
    compiled = torch.compile(GradientVarianceLoss(), fullgraph=True, backend="aot_eager")
    sr.requires_grad_()
    loss = compiled(sr, hr)
    torch.testing.assert_close(loss, gradient_variance_loss(sr, hr))
    ours, plain = (torch.autograd.grad(x, sr)[0] for x in (loss, gradient_variance_loss(sr, hr)))
    torch.testing.assert_close(ours, plain)


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
        (GOOD[:0], GOOD[:0], {}, r"nothing to look at in a batch of shape \(0, 3, 16, 16\)"),
        (GOOD, GOOD, {"patch_size": 1}, "patch_size 1 "),
        (GOOD, GOOD, {"patch_size": 8.0}, r"patch_size 8\.0 is not allowed; whole numbers"),
        (GOOD, GOOD, {"padding": "reflect"}, "'reflect'; known: zeros, valid"),
        (GOOD, GOOD, {"reduction": "median"}, "'median'; known: mean, sum, none"),
    ],
)
def test_bad_input(sr, hr, options, message):
    with pytest.raises(ValueError, match=message):
        gradient_variance_loss(sr, hr, **options)


@pytest.mark.parametrize("options", [{"patch_size": 1}, {"padding": "same"}, {"reduction": "no"}])
def test_the_module_refuses_bad_options_at_once(options):
    with pytest.raises(ValueError, match=r"known|allowed"):
        GradientVarianceLoss(**options)


@pytest.mark.parametrize("name", names())
def test_a_loss_is_the_sum_of_its_terms(name):
    sr, hr = images(2, 3, 24, 24).requires_grad_(), images(2, 3, 24, 24, seed=1)
    loss = build_loss(name, gv_weight=0.5, tv_weight=0.25)
    terms = loss.terms(sr, hr)
    assert list(terms) == name.split("+")
    torch.testing.assert_close(loss(sr, hr), sum(terms.values()))
    loss(sr, hr).backward()
    assert sr.grad.isfinite().all()


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
    assert squared_total_variation(ramp).item() == pytest.approx(2 * 3 * 11 * 10 * 0.01)
    terms = build_loss("l2+tv2", tv_weight=1e-8).terms(ramp, ramp)
    assert terms["tv2"].item() == pytest.approx(6.6e-8)


def test_weights_reach_their_terms():
    sr, hr = images(1, 3, 24, 24), images(1, 3, 24, 24, seed=1)
    terms = build_loss("l1+gv", gv_weight=0.3, patch_size=4, padding="valid").terms(sr, hr)
    torch.testing.assert_close(terms["gv"], 0.3 * gradient_variance_loss(sr, hr, 4, "valid"))


def test_unknown_loss_lists_the_known():
    with pytest.raises(ValueError, match=r"'l3'; known: l2, l1, ssim, l2\+tv"):
        build_loss("l3")


def test_a_regulariser_that_is_entered_is_a_loss(monkeypatch):
    monkeypatch.setitem(REGULARISERS, "half", lambda n, padding: lambda sr, hr: (sr - hr).sum() / n)
    loss = build_loss("l1+half", gv_weight=0.5, patch_size=2)
    sr, hr = torch.ones(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    assert loss.terms(sr, hr) == {"l1": 1, "half": 4}
