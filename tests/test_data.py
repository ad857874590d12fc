"""Sets by name, splits that share nothing, folders of one's own."""

from itertools import combinations

import numpy as np
import pytest
import torch
from PIL import Image

from gvstudy import data, load_images
from gvstudy.data import describe_sets, digest, registry

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


def test_test_pictures_are_no_jpegs():
    assert all(name.endswith(".png") for name in registry()["builtin-test"]["pictures"])


def test_a_folder_of_one_s_own(tmp_path):
    fill(tmp_path / "own", ["b.png", "a.PNG", "c.bmp"])
    (tmp_path / "own" / "notes.txt").write_text("no picture")
    assert list(load_images(f"folder:{tmp_path / 'own'}")) == ["a", "b", "c"]


def test_hidden_files_are_no_pictures_and_the_home_folder_is_known(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    fill(tmp_path / "own", ["a.png"])
    (tmp_path / "own" / "._a.png").write_text("what some systems leave beside a picture")
    assert list(load_images("folder:~/own")) == ["a"]


def test_pictures_called_alike_keep_their_suffix(tmp_path):
    fill(tmp_path / "own", ["a.png", "a.bmp"])
    assert list(load_images(f"folder:{tmp_path / 'own'}")) == ["a.bmp", "a.png"]


def test_a_relative_folder(tmp_path, monkeypatch):
    fill(tmp_path / "own", ["a.png"])
    monkeypatch.chdir(tmp_path)
    assert list(load_images("folder:own")) == ["a"]
    monkeypatch.setenv("GVSTUDY_DATA", ".")
    fill(tmp_path / "Set5", [f"{i}.png" for i in range(5)])
    assert len(load_images("Set5")) == 5


def test_unknown_set_lists_the_known():
    with pytest.raises(ValueError, match=r"'set6'; known: builtin-train, .*Set5.*, folder:PATH"):
        load_images("set6")


def test_a_set_that_is_not_there(monkeypatch, tmp_path):
    monkeypatch.setattr(data, "downloads_folder", lambda: tmp_path / "downloads")
    monkeypatch.delenv("GVSTUDY_DATA", raising=False)
    with pytest.raises(ValueError, match="GVSTUDY_DATA"):
        load_images("Set5")
    monkeypatch.setenv("GVSTUDY_DATA", str(tmp_path))
    with pytest.raises(ValueError, match=rf"Set5 is not here.*{tmp_path.name}"):
        load_images("Set5")


def test_a_set_that_is_not_whole(monkeypatch, tmp_path):
    fill(tmp_path / "Set5", ["a.png", "b.png"])
    monkeypatch.setenv("GVSTUDY_DATA", str(tmp_path))
    with pytest.raises(ValueError, match=r"not whole: 2 pictures, expected 5"):
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
    (tmp_path / "mixed" / "b.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"b\.png: not a picture"):
        load_images(f"folder:{tmp_path / 'mixed'}")


def test_digest_is_of_pixels_not_names():
    a, b = torch.zeros(1, 4, 4).byte(), torch.ones(1, 4, 4).byte()
    assert digest({"x": a, "y": b}) == digest({"p": a, "q": b})
    assert digest({"x": a, "y": b}) != digest({"x": b, "y": a})
    assert digest({"x": a}) != digest({"x": a.view(1, 2, 8)})


def test_description_of_the_sets(monkeypatch, tmp_path):
    monkeypatch.delenv("GVSTUDY_DATA", raising=False)
    monkeypatch.setattr(data, "downloads_folder", lambda: tmp_path)
    table = describe_sets().set_index("name")
    assert table.loc["builtin-train", "where"] == "built in"
    assert not table.loc["Set5", "found"]
    assert table.loc["Set5", "where"] == "not here; can be fetched"
    assert table.loc["BSDS500", "pictures"] == 360
    (tmp_path / "DIV2K_valid_HR").mkdir()
    Image.new("L", (4, 4)).save(tmp_path / "DIV2K_valid_HR" / "0801.png")
    table = describe_sets().set_index("name")
    assert table.loc["DIV2K_valid_centre256", "where"] == "cut from DIV2K-valid"


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
