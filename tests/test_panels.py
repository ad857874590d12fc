"""Panels show the tensors they are given, in the right place."""

import matplotlib.pyplot as plt
import pytest
import torch

from gvstudy import gradient_maps, panels
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


def test_a_figure_as_bytes_is_closed():
    figure = panels.maps({"one": torch.ones(4, 4)}, "label")
    assert panels.png(figure).startswith(b"\x89PNG")
    assert not plt.get_fignums()
