"""Pictures: every kind is read, resizing is MATLAB's, colours and crops are right."""

import io
import math
import struct

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from gvstudy import images as im


def naive_weight(x, kernel):
    x = abs(x)
    if kernel == "bilinear":
        return max(0.0, 1 - x)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def naive_resize(row, new_length, kernel):
    """One axis by the definition: half-pixel centres, mirrored border, stretched when shrinking."""
    length = len(row)
    factor = new_length / length
    stretch = min(1.0, factor)
    out = []
    for i in range(new_length):
        centre = (i + 0.5) / factor - 0.5
        reach = math.ceil(2 / stretch) + 1
        places = range(math.floor(centre) - reach, math.floor(centre) + reach + 1)
        weights = [naive_weight((j - centre) * stretch, kernel) for j in places]
        mirrored = [min(j % (2 * length), 2 * length - 1 - j % (2 * length)) for j in places]
        values = [w * row[j] for w, j in zip(weights, mirrored, strict=True)]
        out.append(sum(values) / sum(weights))
    return out


@settings(max_examples=50, deadline=None)
@given(
    length=st.integers(1, 13),
    scale=st.sampled_from(im.SCALES),
    kernel=st.sampled_from(im.KERNELS),
    seed=st.integers(0, 99),
)
def test_resizing_equals_the_definition(length, scale, kernel, seed):
    values = np.random.default_rng(seed).random(length * scale)
    row = torch.from_numpy(values).view(1, 1, 1, -1).expand(1, 1, scale, -1)
    small = im.downscale(row, scale, kernel)[0, 0, 0]
    np.testing.assert_allclose(small, naive_resize(values, length, kernel), atol=1e-12)
    column = row.mT[..., : length * scale, :]
    large = im.upscale(column, scale, kernel)[0, 0, :, 0]
    expected = naive_resize(values, length * scale**2, kernel)
    np.testing.assert_allclose(large, expected, atol=1e-12)


@pytest.mark.parametrize("kernel", im.KERNELS)
def test_constants_stay(kernel):
    flat = torch.full((1, 3, 12, 24), 0.3)
    for resized in (im.downscale(flat, 3, kernel), im.upscale(flat, 2, kernel)):
        torch.testing.assert_close(resized, torch.full_like(resized, 0.3))


def test_shrinking_agrees_with_pillow_inside():
    seeded = torch.Generator().manual_seed(0)
    picture = torch.randint(0, 256, (1, 48, 48), dtype=torch.uint8, generator=seeded)
    ours = im.make_lr(picture, 2)[0]
    theirs = Image.fromarray(picture[0].numpy()).resize((24, 24), Image.Resampling.BICUBIC)
    difference = ours.int() - torch.from_numpy(np.array(theirs)).int()
    assert difference[3:-3, 3:-3].abs().max() <= 2  # Pillow rounds between the axes


def test_resize_refuses():
    with pytest.raises(ValueError, match="scale 2 does not divide 5x4"):
        im.downscale(torch.rand(1, 1, 5, 4), 2)
    with pytest.raises(ValueError, match="'lanczos'; known: bicubic, bilinear"):
        im.upscale(torch.rand(1, 1, 4, 4), 2, "lanczos")


def test_crop_to_multiple():
    assert im.crop_to_multiple(torch.rand(3, 11, 13), 4).shape == (3, 8, 12)
    with pytest.raises(ValueError, match=r"2x9.*scale 3"):
        im.crop_to_multiple(torch.rand(3, 2, 9), 3)


def test_luma_known_answers():
    colours = torch.tensor([[0.0, 0, 0], [1, 1, 1], [1, 0, 0]]).view(3, 3, 1, 1)
    expected = torch.tensor([16.0, 235, 81.481]) / 255
    torch.testing.assert_close(im.to_luma(colours).flatten(), expected)


def test_float_and_back():
    picture = torch.arange(256, dtype=torch.uint8).view(1, 16, 16)
    assert im.to_float(picture).shape == (1, 3, 16, 16)
    assert torch.equal(im.to_uint8(im.to_float(picture))[0, :1], picture)
    assert torch.equal(im.to_uint8(torch.tensor([-1.0, 2.0])), torch.tensor([0, 255]).byte())


RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)


def saved(path, array, mode=None, convert=None, **options):
    image = Image.fromarray(array, mode) if mode else Image.fromarray(array)
    (image.convert(convert) if convert else image).save(path, **options)
    return path


@pytest.mark.filterwarnings("ignore:.*alpha channel is dropped")
@pytest.mark.parametrize(
    ("name", "convert", "channels"),
    [
        ("grey.png", None, 1),
        ("grey_alpha.png", "LA", 1),
        ("rgb.png", "RGB", 3),
        ("rgba.png", "RGBA", 3),
        ("palette.png", "P", 3),
        ("bits.png", "1", 1),
        ("cmyk.tif", "CMYK", 3),
        ("grey.tif", None, 1),
        ("grey.gif", None, 1),
    ],
)
def test_every_mode_is_read(tmp_path, name, convert, channels):
    picture = im.read(saved(tmp_path / name, RAMP, convert=convert))
    assert picture.dtype == torch.uint8
    assert picture.shape == (channels, 16, 16)
    if convert != "1":
        np.testing.assert_allclose(picture[0], RAMP, atol=1)


def test_dropped_transparency_is_reported(tmp_path):
    image = Image.fromarray(RAMP).convert("P")
    image.save(tmp_path / "p.png", transparency=3)
    with pytest.warns(UserWarning, match=r"p\.png: the alpha channel is dropped"):
        assert im.read(tmp_path / "p.png").shape == (3, 16, 16)


def test_sixteen_bits_become_eight(tmp_path):
    path = saved(tmp_path / "deep.png", (RAMP.astype(np.uint16) * 257))
    assert torch.equal(im.read(path)[0], torch.from_numpy(RAMP))


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("name", ["rotated.png", "rotated.jpg", "rotated.tif"])
def test_the_camera_s_rotation_is_applied(orientation, name, tmp_path):
    """As Pillow does it; 0 and 9 are no orientations."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / name, RAMP[:8], exif=exif)
    expected = np.array(ImageOps.exif_transpose(Image.open(io.BytesIO(path.read_bytes()))))
    assert expected.shape == ((16, 8) if 5 <= orientation <= 8 else (8, 16))
    assert torch.equal(im.read(path)[0], torch.from_numpy(expected))


def test_the_rotation_is_applied_beside_an_odd_tag(tmp_path):
    """A resolution that is text, as some programs write it: only the orientation is read."""
    entries = struct.pack(">HHII", 0x0112, 3, 1, 6 << 16)  # orientation 6, a short
    entries += struct.pack(">HHI4s", 0x011A, 2, 3, b"72")  # XResolution, text
    exif = b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 2) + entries + bytes(4)
    path = saved(tmp_path / "odd.jpg", RAMP[:8], exif=exif)
    assert im.read(path).shape == (1, 16, 8)


def test_a_picture_that_pillow_stumbles_over_is_named(tmp_path, monkeypatch):
    """Damaged TIFF files end in a TypeError, for one."""
    path = saved(tmp_path / "odd.tif", RAMP)

    def stumbles(*_):
        raise TypeError("'<' not supported between instances of 'str' and 'int'")

    monkeypatch.setattr(Image.Image, "getexif", stumbles)
    with pytest.raises(ValueError, match=r"odd\.tif: not a picture that can be read \('<' not"):
        im.read(path)


def test_a_decompression_bomb_is_refused(tmp_path, monkeypatch):
    path = saved(tmp_path / "bomb.png", RAMP)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ValueError, match=r"bomb\.png: not a picture .*decompression bomb"):
        im.read(path)


def test_the_first_frame_of_an_animation_is_read(tmp_path):
    first, second = Image.fromarray(RAMP), Image.fromarray(255 - RAMP)
    first.save(tmp_path / "two.gif", save_all=True, append_images=[second])
    assert Image.open(tmp_path / "two.gif").n_frames == 2
    assert torch.equal(im.read(tmp_path / "two.gif")[0], torch.from_numpy(RAMP))


@pytest.mark.parametrize("content", [b"not a picture", b"", b"\x89PNG\r\n\x1a\n12345"])
def test_a_file_that_is_not_a_picture(tmp_path, content):
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.png: not a picture"):
        im.read(tmp_path / "x.png")


def test_a_truncated_picture(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    path = saved(tmp_path / "cut.png", noise)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"cut\.png: not a picture"):
        im.read(path)


def test_a_missing_or_floating_point_picture(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        im.read(tmp_path / "none.png")
    path = saved(tmp_path / "f.tif", RAMP.astype(np.float32))
    with pytest.raises(ValueError, match="floating point"):
        im.read(path)


@pytest.mark.parametrize("channels", [1, 3])
def test_written_pictures_come_back(tmp_path, channels):
    picture = torch.randint(0, 256, (channels, 9, 7), dtype=torch.uint8)
    im.write(tmp_path / "new" / "a.png", picture)
    assert torch.equal(im.read(tmp_path / "new" / "a.png"), picture)


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = saved(tmp_path / "a.png", RAMP)
    before = path.read_bytes()

    def half(self, target):
        target.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", half)
    with pytest.raises(KeyboardInterrupt):
        im.write(path, torch.zeros(1, 4, 4, dtype=torch.uint8))
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]


def test_paths_may_be_text_and_need_a_known_suffix(tmp_path):
    picture = torch.zeros(3, 4, 4, dtype=torch.uint8)
    im.write(str(tmp_path / "one.png"), picture)
    assert torch.equal(im.read(str(tmp_path / "one.png")), picture)
    with pytest.raises(ValueError, match=r"one: no picture format has the suffix ''; use \.png"):
        im.write(tmp_path / "one", picture)
    with pytest.raises(ValueError, match=r"one\.psd: no picture format has the suffix '\.psd'"):
        im.write(tmp_path / "one.psd", picture)  # Pillow reads these, and can't write them
