"""Data sets by name, disjoint splits, your own folders, and the cache of decoded sets."""

import os
from itertools import combinations

import numpy as np
import pytest
import torch
from PIL import Image

from gvstudy import images
from gvstudy.data import sets
from gvstudy.data.sets import describe_sets, digest, load_images, load_set, registry

BUILTIN = ("builtin-train", "builtin-valid", "builtin-test")


def fill(folder, names, size=20):
    folder.mkdir(parents=True)
    for seed, name in enumerate(names):
        pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    return folder


@pytest.mark.parametrize("name", BUILTIN)
def test_built_in_pictures_load(name):
    pictures = load_images(name)
    assert len(pictures) == len(registry()[name]["pictures"])
    for picture in pictures.values():
        assert picture.dtype == torch.uint8
        assert picture.shape[0] in (1, 3)
        assert min(picture.shape[1:]) >= 128


def test_no_picture_is_in_two_splits():
    splits = [load_images(name) for name in BUILTIN]
    for one, other in combinations(splits, 2):
        assert not one.keys() & other.keys()
        hashes = [{digest({"": picture}) for picture in split.values()} for split in (one, other)]
        assert not hashes[0] & hashes[1]


def test_the_two_motorcycles_stay_together():
    homes = {
        name
        for name in BUILTIN
        for picture in load_images(name)
        if picture.startswith("motorcycle")
    }
    assert len(homes) == 1


def test_the_test_pictures_are_not_jpegs():
    assert all(name.endswith(".png") for name in registry()["builtin-test"]["pictures"])


def test_your_own_folder(tmp_path):
    fill(tmp_path / "own", ["b.png", "a.PNG", "c.bmp"])
    (tmp_path / "own" / "notes.txt").write_text("not a picture")
    assert list(load_images(f"folder:{tmp_path / 'own'}")) == ["a", "b", "c"]


def test_hidden_files_are_skipped_and_the_home_folder_is_known(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    fill(tmp_path / "own", ["a.png"])
    (tmp_path / "own" / "._a.png").write_text("some systems write such files next to a picture")
    assert list(load_images("folder:~/own")) == ["a"]


def test_pictures_of_the_same_name_keep_their_suffix(tmp_path):
    fill(tmp_path / "own", ["a.png", "a.bmp"])
    assert list(load_images(f"folder:{tmp_path / 'own'}")) == ["a.bmp", "a.png"]


def test_a_relative_folder(tmp_path, monkeypatch):
    fill(tmp_path / "own", ["a.png"])
    monkeypatch.chdir(tmp_path)
    assert list(load_images("folder:own")) == ["a"]
    monkeypatch.setenv("GVSTUDY_DATA", ".")
    fill(tmp_path / "Set5", [f"{i}.png" for i in range(5)])
    assert len(load_images("Set5")) == 5


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'set6'; known: builtin-train, .*Set5.*, folder:PATH"):
        load_images("set6")


def test_a_missing_set(monkeypatch, tmp_path):
    monkeypatch.setattr(sets, "downloads_folder", lambda: tmp_path / "downloads")
    monkeypatch.delenv("GVSTUDY_DATA", raising=False)
    with pytest.raises(ValueError, match="GVSTUDY_DATA"):
        load_images("Set5")
    monkeypatch.setenv("GVSTUDY_DATA", str(tmp_path))
    with pytest.raises(ValueError, match=rf"Set5 is not here.*{tmp_path.name}"):
        load_images("Set5")


def test_an_incomplete_set(monkeypatch, tmp_path):
    fill(tmp_path / "Set5", ["a.png", "b.png"])
    monkeypatch.setenv("GVSTUDY_DATA", str(tmp_path))
    with pytest.raises(ValueError, match=r"is incomplete: 2 pictures, expected 5"):
        load_images("Set5")


def test_bad_folders(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty: no pictures; known suffixes: .*\.png"):
        load_images(f"folder:{tmp_path / 'empty'}")
    with pytest.raises(ValueError, match="no such folder"):
        load_images(f"folder:{tmp_path / 'none'}")
    with pytest.raises(ValueError, match="unknown data set 'folder:'"):
        load_images("folder:")
    fill(tmp_path / "mixed", ["a.png"])
    (tmp_path / "mixed" / "b.png").write_text("not a picture")
    with pytest.raises(ValueError, match=r"b\.png: not a picture"):
        load_images(f"folder:{tmp_path / 'mixed'}")


def test_the_digest_is_of_pixels_and_not_of_names():
    a, b = torch.zeros(1, 4, 4).byte(), torch.ones(1, 4, 4).byte()
    assert digest({"x": a, "y": b}) == digest({"p": a, "q": b})
    assert digest({"x": a, "y": b}) != digest({"x": b, "y": a})
    assert digest({"x": a}) != digest({"x": a.view(1, 2, 8)})


def test_description_of_the_sets(monkeypatch, tmp_path):
    monkeypatch.delenv("GVSTUDY_DATA", raising=False)
    monkeypatch.setattr(sets, "downloads_folder", lambda: tmp_path)
    table = describe_sets().set_index("name")
    assert table.loc["builtin-train", "where"] == "built in"
    assert not table.loc["Set5", "found"]
    assert table.loc["Set5", "where"] == "not here; can be fetched"
    assert table.loc["BSDS500", "pictures"] == 360
    (tmp_path / "DIV2K_valid_HR").mkdir()
    Image.new("L", (4, 4)).save(tmp_path / "DIV2K_valid_HR" / "0801.png")
    table = describe_sets().set_index("name")
    assert table.loc["DIV2K_valid_centre256", "where"] == "cut from DIV2K-valid"


@pytest.mark.parametrize("load", [load_images, load_set])
def test_a_missing_file(load, tmp_path, monkeypatch):
    monkeypatch.setitem(registry()["builtin-valid"], "pictures", ["chelsea.png", "none.png"])
    with pytest.raises(ValueError, match=r"none\.png: no such file"):
        load("builtin-valid")


@pytest.fixture
def full_set(tmp_path, monkeypatch):
    """A small `DIV2K-valid` whose centre crops are missing; gives its folder."""
    monkeypatch.setitem(registry()["DIV2K-valid"], "count", 2)
    monkeypatch.setenv("GVSTUDY_DATA", str(tmp_path))
    monkeypatch.setattr(sets, "downloads_folder", lambda: tmp_path / "downloads")
    folder = tmp_path / "DIV2K_valid_HR"
    folder.mkdir()
    pixels = Image.effect_noise((300, 280), 50).convert("RGB")
    for name in ("0801.png", "0802.png"):
        pixels.save(folder / name)
    return folder


@pytest.mark.usefixtures("full_set")
def test_centre_crops_are_cut_from_the_full_set():
    crops = load_images("DIV2K_valid_centre256")
    assert {crop.shape for crop in crops.values()} == {(3, 256, 256)}
    full = load_images("DIV2K-valid")["0801"]
    assert (crops["0801"] == full[:, 12:268, 22:278]).all()


@pytest.mark.parametrize("name", ["builtin-valid", "builtin-test"])
def test_the_centres_of_the_built_in_pictures(name):
    crops, whole = load_set(f"{name}_centre192").pictures, load_images(name)
    assert same(crops, {name: images.centre(picture, 192) for name, picture in whole.items()})


@pytest.fixture
def decoded(monkeypatch):
    """The names of the files that are decoded, in order."""
    names = []
    read = images.read

    def counted(path):
        names.append(path.name)
        return read(path)

    monkeypatch.setattr(images, "read", counted)
    return names


def same(one, other):
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


def test_a_set_is_decoded_once(tmp_path, decoded):
    name = f"folder:{fill(tmp_path / 'own', ['a.png', 'b.png'])}"
    first = load_set(name)
    assert load_set(name) is first
    assert decoded == ["a.png", "b.png"]
    assert first.name == name
    assert same(first.pictures, load_images(name))
    assert first.digest == digest(load_images(name))


@pytest.mark.parametrize("name", BUILTIN)
def test_a_built_in_set_has_the_digest_of_its_pictures(name):
    assert load_set(name).digest == digest(load_images(name))


def test_load_images_decodes_anew(tmp_path, decoded):
    name = f"folder:{fill(tmp_path / 'own', ['a.png'])}"
    kept = load_set(name)
    mine = load_images(name)
    assert decoded == ["a.png", "a.png"]
    mine["a"].zero_()
    mine["b"] = mine.pop("a")
    assert same(load_images(name), load_set(name).pictures)
    assert digest(kept.pictures) == kept.digest


def test_a_changed_file_is_noticed(tmp_path, decoded):
    """Even if it keeps its size: bitmaps of one shape all have the same number of bytes."""
    folder = fill(tmp_path / "own", ["a.bmp", "b.bmp"])
    path, name = folder / "a.bmp", f"folder:{folder}"
    before, status = load_set(name), path.stat()
    Image.new("RGB", (20, 20)).save(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))  # clocks of files are coarse
    assert path.stat().st_size == status.st_size
    after = load_set(name)
    assert not after.pictures["a"].any()
    assert torch.equal(after.pictures["b"], before.pictures["b"])
    assert after.digest == digest(load_images(name)) != before.digest
    assert decoded == ["a.bmp", "b.bmp"] * 3


def test_added_and_removed_files_are_noticed(tmp_path):
    folder = fill(tmp_path / "own", ["a.png"])
    name = f"folder:{folder}"
    before = load_set(name)
    Image.new("RGB", (20, 20)).save(folder / "b.png")
    assert list(load_set(name).pictures) == ["a", "b"]
    assert load_set(name).digest != before.digest
    (folder / "b.png").unlink()
    assert list(load_set(name).pictures) == ["a"]
    assert load_set(name).digest == before.digest
    (folder / "a.png").rename(folder / "c.png")
    assert list(load_set(name).pictures) == ["c"]


def test_a_relative_folder_is_cached_by_its_full_path(tmp_path, monkeypatch):
    for seed, place in enumerate(("here", "there")):
        fill(tmp_path / place / "own", [f"{place}.png"], size=20 + seed)
    for place in ("here", "there", "here"):
        monkeypatch.chdir(tmp_path / place)
        assert list(load_set("folder:own").pictures) == [place]


def test_centre_crops_are_cached_too(full_set, decoded):
    first = load_set("DIV2K_valid_centre256")
    assert load_set("DIV2K_valid_centre256") is first
    assert decoded == ["0801.png", "0802.png"]
    assert same(first.pictures, load_images("DIV2K_valid_centre256"))
    assert load_set("DIV2K-valid").pictures["0801"].shape == (3, 280, 300)
    Image.new("RGB", (300, 280)).save(full_set / "0801.png")
    after = load_set("DIV2K_valid_centre256")
    assert not after.pictures["0801"].any()
    assert after.digest != first.digest


def test_bad_names_are_refused_with_and_without_the_cache(tmp_path):
    for load in (load_images, load_set):
        with pytest.raises(ValueError, match="unknown data set 'set6'; known: builtin-train"):
            load("set6")
        with pytest.raises(ValueError, match="no such folder"):
            load(f"folder:{tmp_path / 'none'}")


@pytest.mark.parametrize("name", ["img_{:03}.png", "img{:03}.png"])
def test_both_names_of_urban100_s_pictures_are_known(name, tmp_path, monkeypatch):
    """The second is that of EDSR's archive."""
    monkeypatch.setenv("GVSTUDY_DATA", str(tmp_path))
    for number in range(1, 101):
        path = tmp_path / "Urban100" / name.format(number)
        images.write(path, torch.zeros(3, 2, 2, dtype=torch.uint8))
    assert len(load_images("Urban100-first20")) == 20


@pytest.mark.usefixtures("real_data")
@pytest.mark.parametrize(("name", "count"), [("Set5", 5), ("Set14", 14), ("BSDS500-valid", 40)])
def test_real_sets_load_by_name(name, count):
    assert len(load_images(name)) == count


@pytest.mark.usefixtures("real_data")
def test_bridge_of_set14_stays_grey():
    channels = {name: picture.shape[0] for name, picture in load_images("Set14").items()}
    assert channels.pop("bridge") == 1
    assert set(channels.values()) == {3}


@pytest.mark.usefixtures("real_data")
def test_validation_pictures_are_held_out_of_training():
    training, validation = load_images("BSDS500"), load_images("BSDS500-valid")
    assert len(training) == 360
    assert not training.keys() & validation.keys()
