"""Both protocols, recomputed; and the field's published bicubic figures on the research sets."""

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio

from gvstudy.data.sets import load_images
from gvstudy.evaluation import METRICS, enlarge, evaluate, measure, psnr, psnr_y, super_resolve
from gvstudy.images import as_saved, make_pair, to_float, to_luma, to_uint8
from gvstudy.models import build_model


def picture(channels=3, height=40, width=48, seed=0):
    smooth = torch.rand(channels, height // 4, width // 4, generator=torch.manual_seed(seed))
    large = torch.nn.functional.interpolate(smooth[None], scale_factor=4, mode="bicubic")
    return to_uint8(large)[0]


def test_psnr_known_answers():
    assert psnr(torch.zeros(4), torch.full((4,), 0.1)) == pytest.approx(20)
    assert psnr(torch.ones(4), torch.ones(4)) == float("inf")


def test_columns_and_rows():
    pictures = {"a": picture(), "b": picture(channels=1)}
    rows = evaluate(build_model("bicubic", 3), pictures, 3)
    assert list(rows.columns) == ["image", "scale", *METRICS]
    assert list(rows["image"]) == ["a", "b"]
    assert np.isfinite(rows[list(METRICS)].to_numpy()).all()


def test_standard_psnr_by_hand():
    hr = picture()
    sr = to_float(hr) + 0.3 * torch.rand(1, 3, 40, 48) - 0.1  # leaves [0, 1] in places
    real, ours = (to_luma(to_float(to_uint8(x)[0])) for x in (to_float(hr), sr))
    cut = np.s_[0, 0, 2:-2, 2:-2]
    by_hand = peak_signal_noise_ratio(real[cut].numpy(), ours[cut].numpy(), data_range=1)
    measured = measure(sr, hr, 2)
    assert measured["psnr_y"] == pytest.approx(by_hand, abs=1e-4)
    assert measured["psnr_rgb"] == pytest.approx(psnr(sr, to_float(hr)))


def test_the_paper_s_psnr_neither_clamps_nor_cuts():
    hr = torch.full((3, 32, 32), 255, dtype=torch.uint8)
    over = to_float(hr) + 0.1
    assert measure(over, hr, 2)["psnr_y"] == float("inf")
    assert measure(over, hr, 2)["psnr_rgb"] == pytest.approx(20, abs=1e-3)
    framed = to_float(hr).clone()
    framed[..., 0] = 0
    assert measure(framed, hr, 2)["psnr_y"] == float("inf")
    assert measure(framed, hr, 2)["psnr_rgb"] < 20


def test_a_perfect_image():
    hr = picture()
    perfect = measure(to_float(hr), hr, 2)
    assert perfect["ssim_y"] == perfect["ssim_paper"] == pytest.approx(1)
    assert perfect["variance_ratio"] == pytest.approx(1)
    assert perfect["variance_distance"] == perfect["log_variance_ratio"] == 0


def test_grey_pictures_are_scored_on_their_own_values():
    hr = picture(channels=1)
    sr = to_float(hr) * 0.5
    expected = psnr(to_uint8(sr)[..., 2:-2, 2:-2].float() / 255, to_float(hr)[..., 2:-2, 2:-2])
    assert measure(sr, hr, 2)["psnr_y"] == pytest.approx(expected, abs=1e-3)


def test_lr_is_made_by_the_chosen_kernel():
    pictures = {"a": picture(seed=3)}
    model = build_model("bicubic", 2)
    by_kernel = [
        evaluate(model, pictures, 2, downsample=kernel)["psnr_y"][0]
        for kernel in ("bicubic", "bilinear")
    ]
    assert by_kernel[0] != by_kernel[1]


@pytest.mark.parametrize("channels", [1, 3])
def test_psnr_y_is_the_column_of_that_name(channels):
    hr, model = picture(channels, height=28, width=40), build_model("bicubic", 3)
    (row,) = evaluate(model, {"one": hr}, 3).to_dict("records")
    lr, real = make_pair(hr, 3)
    assert real.shape == (1, 3, 27, 39)
    assert psnr_y(as_saved(super_resolve(model, lr)), real, 3) == row["psnr_y"]


def test_pictures_are_no_image_batches():
    hr = picture()
    with pytest.raises(ValueError, match=r"expected \(N, C, H, W\)"):
        super_resolve(build_model("bicubic", 2), hr)
    with pytest.raises(ValueError, match=r"expected \(N, C, H, W\)"):
        psnr_y(to_float(hr), hr, 2)


def test_super_resolve_needs_no_gradient():
    sr = super_resolve(build_model("espcn", 2, size="reduced"), torch.rand(1, 3, 8, 8))
    assert sr.shape == (1, 3, 16, 16)
    assert not sr.requires_grad


def test_super_resolve_leaves_the_model_as_it_was():
    model = build_model("espcn", 2, size="reduced")
    for training in (True, False):
        super_resolve(model.train(training), torch.rand(1, 3, 8, 8))
        assert model.training == training


def test_a_frozen_part_stays_frozen():
    """As a model does that was registered with a fixed normalisation."""
    model = build_model("espcn", 2)
    next(model.children()).eval()
    super_resolve(model, torch.rand(1, 3, 8, 8))
    assert model.training
    assert not next(model.children()).training


@pytest.mark.parametrize("shape", [(1, 3, 44, 48), (1, 1, 40, 48)])
def test_sr_of_another_shape_is_named(shape):
    with pytest.raises(ValueError, match="SR and HR differ in shape"):
        measure(torch.rand(shape), picture(), 2)


def test_a_model_of_another_scale_is_refused():
    with pytest.raises(ValueError, match=r"differ in shape: \(1, 3, 26, 32\) and \(1, 3, 39, 48\)"):
        evaluate(build_model("bicubic", 2), {"a": picture()}, 3)


def test_enlarge_gives_hr_first_and_then_each_model_s_image_as_saved():
    hr, models = picture(height=25, width=36), {"cubic": build_model("bicubic", 2)}
    images = enlarge(models, hr, 2)
    assert list(images) == ["HR", "cubic"]
    lr, real = make_pair(hr, 2)
    assert images["HR"].equal(real)
    assert images["cubic"].equal(as_saved(super_resolve(models["cubic"], lr)))
    with pytest.raises(ValueError, match='a model is named "HR"'):
        enlarge({"HR": models["cubic"]}, hr, 2)


def test_an_image_that_is_not_finite_has_no_metrics():
    sr = to_float(picture())
    sr[0, 0, 3, 3] = torch.nan
    assert all(np.isnan(value) for value in measure(sr, picture(), 2).values())


def test_bad_input_is_refused():
    for no_picture in (picture().float(), picture()[None], picture()[:1].expand(2, -1, -1)):
        with pytest.raises(ValueError, match=r"expected a picture, uint8 \(C, H, W\)"):
            evaluate(build_model("bicubic", 2), {"a": no_picture}, 2)
    with pytest.raises(ValueError, match="unknown scale 5; known: 2, 3, 4"):
        evaluate(build_model("bicubic", 2), {}, 5)
    with pytest.raises(ValueError, match="12x48 pixels is too small"):
        evaluate(build_model("bicubic", 2), {"a": picture(height=12)}, 2)
    small = {"a": picture(height=20, width=20)[:, :19]}  # 16 x 20 as a multiple of four
    with pytest.raises(ValueError, match=r"a of 19x20 pixels .* at x4 both sides need at least 20"):
        evaluate(build_model("bicubic", 4), small, 4)
    assert len(evaluate(build_model("bicubic", 2), small, 2)) == 1


PUBLISHED = {
    ("Set5", 2): (33.66, 0.9299), ("Set5", 3): (30.39, 0.8682), ("Set5", 4): (28.42, 0.8104),
    ("Set14", 2): (30.24, 0.8688), ("Set14", 3): (27.55, 0.7742), ("Set14", 4): (26.00, 0.7027),
}  # fmt: skip


@pytest.mark.usefixtures("real_data")
@pytest.mark.parametrize(("key", "published"), PUBLISHED.items())
def test_bicubic_has_the_published_figures(key, published):
    name, scale = key
    rows = evaluate(build_model("bicubic", scale), load_images(name), scale)
    assert rows["psnr_y"].mean() == pytest.approx(published[0], abs=0.03)
    assert rows["ssim_y"].mean() == pytest.approx(published[1], abs=0.0012)


def test_a_model_in_half_precision_is_measured():
    pictures = {"camera": load_images("builtin-test")["camera"][:, :64, :64]}
    for name in ("vdsr", "edsr"):
        model = build_model(name, 2, size="reduced")
        exact = evaluate(model, pictures, 2)
        rounded = evaluate(model.bfloat16(), pictures, 2)
        assert rounded["psnr_y"].item() == pytest.approx(exact["psnr_y"].item(), abs=0.5)


def test_a_plain_output_with_a_gradient_is_measured():
    picture = load_images("builtin-test")["coffee"][:, :64, :64]
    lr, _ = make_pair(picture, 2)
    assert measure(build_model("vdsr", 2, size="reduced")(lr), picture, 2)["psnr_y"] > 0


def test_a_grey_batch_is_scored_like_its_repeated_channels():
    hr = to_float(load_images("builtin-test")["camera"][:, :32, :32])
    sr = (hr + 0.1).clamp(0, 1)
    assert psnr_y(sr[:, :1], hr[:, :1], 2) == pytest.approx(psnr_y(sr, hr, 2), abs=1e-4)


def test_what_cannot_be_measured_is_named():
    model = build_model("bicubic", 2)
    with pytest.raises(ValueError, match="no pictures to measure"):
        evaluate(model, {}, 2)
    with pytest.raises(ValueError, match="mine of 10x12 pixels is too small"):
        evaluate(model, {"mine": torch.zeros(3, 10, 12, dtype=torch.uint8)}, 2)
    with pytest.raises(ValueError, match="images of 4x4 pixels are too small: at x2"):
        psnr_y(torch.rand(1, 3, 4, 4), torch.rand(1, 3, 4, 4), 2)
    with pytest.raises(ValueError, match="expected a picture"):
        enlarge({"bicubic": model}, torch.rand(3, 32, 32), 2)
