"""Random crops: HR and LR show the same region, in all eight orientations."""

import pytest
import torch

from gvstudy.config import LARGEST_SEED
from gvstudy.data.crops import Crops, _shuffled
from gvstudy.images import make_lr, to_uint8

CPU = torch.device("cpu")


def numbered(height, width, first=0):
    """A picture whose pixels hold their position: row in red, column in green, picture in blue."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([rows, columns, torch.full_like(rows, first)]).to(torch.uint8)


def orientations(crop):
    """The eight flips and quarter turns of (C, H, W)."""
    rotated = [crop.rot90(k, (1, 2)) for k in range(4)]
    return rotated + [crop.flip(2).rot90(k, (1, 2)) for k in range(4)]


def draw(pictures, scale=2, crop_size=12, batch=64, seed=0):
    crops = Crops(pictures, crop_size, scale, "bicubic", CPU)
    return crops.draw(batch, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_lr_and_hr_are_the_same_region_of_whole_pictures(scale):
    pictures = {str(i): numbered(30 + i, 41 - i, 50 * i) for i in range(3)}
    small = [make_lr(p[:, : -(p.shape[1] % scale) or None, : -(p.shape[2] % scale) or None], scale)
             for p in pictures.values()]  # fmt: skip
    seen = set()
    for lr, hr in zip(*draw(pictures, scale), strict=True):
        hr, lr = to_uint8(hr), to_uint8(lr)
        top, left, which = hr[0].min(), hr[1].min(), hr[2].max() // 50
        expected = pictures[str(int(which))][:, top : top + 12, left : left + 12]
        turns = [torch.equal(hr, oriented) for oriented in orientations(expected)]
        assert sum(turns) == 1
        part = slice(top // scale, top // scale + 12 // scale)
        across = slice(left // scale, left // scale + 12 // scale)
        expected_lr = orientations(small[int(which)][:, part, across])[turns.index(True)]
        assert torch.equal(lr, expected_lr)
        seen.add((turns.index(True), int(which)))
    assert {turn for turn, _ in seen} == set(range(8))
    assert {which for _, which in seen} == {0, 1, 2}


def test_every_position_is_drawn():
    _, hr = draw({"a": numbered(16, 14)}, batch=200)
    places = {(int(c[0].min()), int(c[1].min())) for c in to_uint8(hr)}
    assert places == {(top, left) for top in (0, 2, 4) for left in (0, 2)}


def test_grey_pictures_become_three_channels():
    lr, hr = draw({"a": numbered(20, 20)[:1]})
    assert hr.shape == (64, 3, 12, 12)
    assert lr.shape == (64, 3, 6, 6)
    assert torch.equal(hr[:, 0], hr[:, 2])


def test_the_seed_sets_the_crops():
    pictures = {"a": numbered(40, 40)}
    assert torch.equal(draw(pictures)[1], draw(pictures)[1])
    assert not torch.equal(draw(pictures)[1], draw(pictures, seed=1)[1])


def test_bad_pictures_and_crop_sizes_are_refused():
    with pytest.raises(ValueError, match="tiny of 10x40 pixels is smaller than crop_size 12"):
        draw({"fine": numbered(40, 40), "tiny": numbered(10, 40)})
    with pytest.raises(ValueError, match="scale 2 does not divide crop_size 13"):
        Crops({"a": numbered(40, 40)}, 13, 2, "bicubic", CPU)
    with pytest.raises(ValueError, match="expected a picture, uint8"):
        Crops({"a": numbered(40, 40).float()}, 12, 2, "bicubic", CPU)


@pytest.mark.parametrize("at_once", [1, 3 * 16 * 144, 10**9])
def test_the_sequence_does_not_depend_on_how_many_are_made_at_once(monkeypatch, at_once):
    monkeypatch.setattr("gvstudy.data.crops.AT_ONCE", at_once)
    crops = Crops({"a": numbered(40, 41), "b": numbered(50, 20)}, 12, 2, "bicubic", CPU)
    generator = torch.Generator().manual_seed(0)
    together = list(crops.batches(16, 7, generator))
    again = torch.Generator().manual_seed(0)
    for lr, hr in together:
        one = crops.draw(16, again)
        assert torch.equal(lr, one[0])
        assert torch.equal(hr, one[1])
    assert len(together) == 7
    assert torch.equal(generator.get_state(), again.get_state())


def test_the_sequence_never_changes():
    """Committed results depend on it: four numbers a crop, from the CPU's generator."""
    _, hr = draw({"a": numbered(60, 80), "b": numbered(50, 70, 1)}, batch=4)
    corners = [tuple(int(crop[c, 0, 0] * 255 + 0.5) for c in range(3)) for crop in hr]
    assert corners == [(24, 45, 1), (30, 16, 1), (19, 41, 0), (25, 21, 1)]


@pytest.mark.parametrize("seed", [10**15, LARGEST_SEED])
def test_the_largest_seeds_shuffle_pictures(seed):
    assert _shuffled(seed, 7, 0, 7).sort().values.tolist() == list(range(7))


def test_the_order_of_shuffled_pictures_never_changes():
    assert _shuffled(3, 7, 0, 14).tolist() == [5, 3, 1, 2, 4, 0, 6, 2, 5, 4, 3, 1, 0, 6]
    assert _shuffled(10**13, 7, 0, 7).tolist() == [4, 5, 3, 1, 0, 2, 6]


def test_shuffled_pictures_come_once_each_before_any_comes_again():
    pictures = {str(i): numbered(12, 12, i) for i in range(7)}
    crops = Crops(pictures, 12, 2, "bicubic", CPU, augment=False, shuffle_seed=3)
    generator = torch.Generator().manual_seed(0)
    hr = [to_uint8(hr) for _, hr in crops.batches(4, 7, generator)]
    order = [int(crop[2, 0, 0]) for crop in torch.cat(hr)]
    rounds = [order[i : i + 7] for i in range(0, 28, 7)]
    assert all(sorted(one) == list(range(7)) for one in rounds)
    assert rounds[0] != rounds[1]
    assert all(int(crop[0, 0, 0]) == int(crop[1, 0, 0]) == 0 for crop in torch.cat(hr))
    later = [to_uint8(hr) for _, hr in crops.batches(4, 2, generator, start=5)]
    assert [int(crop[2, 0, 0]) for crop in torch.cat(later)] == order[20:]


def test_drawing_goes_through_all_shuffled_pictures():
    pictures = {str(i): numbered(8, 8, 10 * i) for i in range(8)}
    crops = Crops(pictures, 8, 2, "bicubic", CPU, shuffle_seed=0)
    generator = torch.Generator().manual_seed(0)
    drawn = [
        int(hr[0, 2].max() * 255) // 10 for _ in range(8) for hr in [crops.draw(1, generator)[1]]
    ]
    assert sorted(drawn) == list(range(8))


def test_what_cannot_be_drawn_from():
    with pytest.raises(ValueError, match="no pictures to draw crops from"):
        Crops({}, 8, 2, "bicubic", CPU)
    with pytest.raises(ValueError, match="mine: expected a picture, uint8"):
        Crops({"mine": torch.rand(3, 8, 8)}, 8, 2, "bicubic", CPU)
