"""Panels show the tensors they are given, in the right place."""

import matplotlib.pyplot as plt
import pytest
import torch

from gvstudy import gradient_maps, panels, plots
from gvstudy.gradients import variance_maps


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_a_patch_is_shown_at_its_place_with_its_numbers():
    grey = torch.rand(1, 1, 24, 32, generator=torch.Generator().manual_seed(0))
    gradient = gradient_maps(grey, "zeros")[0][0, 0, 8:16, 16:24]
    variances = variance_maps(grey, 8, "zeros")[0, 0]
    figure = panels.patch_steps(grey[0, 0], gradient, variances, (1, 2))
    whole, near, numbers, all_patches = figure.axes[:4]
    (mark,) = whole.collections
    assert mark.get_offsets().tolist() == [[19.5, 11.5]]  # its centre, in pixels
    assert torch.equal(torch.tensor(near.images[0].get_array()), grey[0, 0, 8:16, 16:24])
    texts = [float(text.get_text()) for text in numbers.texts]
    assert texts == pytest.approx(gradient.flatten().tolist(), abs=0.006)
    (circle,) = all_patches.collections
    assert circle.get_offsets().tolist() == [[2, 1]]


def images(count, height=40, width=48):
    generator = torch.Generator().manual_seed(0)
    names = ("HR", "bicubic", "l2", "l2+gv")[:count]
    return {name: torch.rand(1, 3, height, width, generator=generator) for name in names}


def test_crops_show_the_same_place_of_every_image_and_its_error():
    shown = images(3)
    box = (4, 10, 18)
    figure = panels.crops(shown, box, {"l2": "a note"}, errors=True)
    whole, hr, bicubic, wrong_bicubic, l2, wrong_l2, *_ = figure.axes
    assert whole.images[0].get_array().shape == (40, 48, 3)
    (mark,) = whole.patches
    assert (mark.get_x(), mark.get_y(), mark.get_width()) == (10, 4, 18)
    assert [ax.get_title() for ax in (hr, bicubic, l2)] == ["HR", "bicubic", "L2"]
    error = (shown["l2"] - shown["HR"]).abs().mean(1)[0, 4:22, 10:28]
    assert torch.allclose(torch.tensor(wrong_l2.images[0].get_array()), error)
    assert wrong_l2.images[0].get_clim() == wrong_bicubic.images[0].get_clim()
    assert wrong_l2.get_xlabel() == "a note"


def test_a_pixel_of_a_crop_is_a_square_of_whole_pixels():
    for side in (17, 64, 96):
        figure = panels.crops(images(2, 100, 100), (1, 1, side), {})
        position = figure.axes[1].get_window_extent()
        assert (2 * position.width / side) == pytest.approx(round(2 * position.width / side))
        assert position.height == pytest.approx(position.width)


def test_saving_crops_again_and_again_leaves_them_in_place(tmp_path, recwarn):
    with plt.rc_context():
        plots.use_style()
        figure = panels.crops(images(2, 100, 100), (1, 1, 64), {}, errors=True)
        places = []
        for name in ("first", "second"):
            plots.save(figure, tmp_path, name)
            places.append([ax.get_position().bounds for ax in figure.axes])
    assert places[0] == places[1]
    assert not recwarn.list, "no layout is tried when the figure is saved"


def test_variance_curves_follow_the_marked_row():
    shown = images(2)
    figure = panels.variance_curves(shown, row=2)
    picture, x, y = figure.axes
    assert picture.patches[0].get_y() == 17  # two patches of 8, inside a rim of one pixel
    for ax, direction in ((x, 0), (y, 1)):
        for line, image in zip(ax.lines, shown.values(), strict=True):
            expected = variance_maps(image, 8)[0, direction, 2]
            assert line.get_ydata() == pytest.approx(expected.numpy())


def test_a_gradient_grid_ends_in_the_distance_from_hr():
    shown = images(3)
    figure = panels.gradient_grid(shown)
    lowest = figure.axes[9:12]
    gx, gy = (
        ours - real
        for ours, real in zip(gradient_maps(shown["l2"]), gradient_maps(shown["HR"]), strict=True)
    )
    distance = (gx.square() + gy.square()).sqrt()[0, 0]
    assert not lowest[0].images[0].get_array().any(), "HR has none"
    assert torch.allclose(torch.tensor(lowest[2].images[0].get_array()), distance, atol=1e-6)


def test_a_linear_scale_of_maps_is_symmetric_about_zero():
    figure = panels.maps({"one": torch.linspace(-2, -1, 16).reshape(4, 4)}, "label")
    assert figure.axes[0].images[0].get_clim() == (-2, 2)


def test_a_figure_as_bytes_is_closed():
    figure = panels.maps({"one": torch.ones(4, 4)}, "label")
    assert panels.png(figure).startswith(b"\x89PNG")
    assert not plt.get_fignums()


def test_an_image_of_one_grey_can_be_shown():
    flat = torch.full((1, 1, 24, 24), 0.5)
    panels.variance_grid({"HR": flat, "bicubic": flat})


def test_errors_need_something_to_compare():
    with pytest.raises(ValueError, match="errors need a second image"):
        panels.crops({"HR": torch.rand(1, 3, 24, 24)}, (0, 0, 8), {}, errors=True)
