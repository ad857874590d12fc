"""Is a copy of a set, picture for picture, the one that results are made of?"""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image

from gvstudy import load_images
from gvstudy.cli import main
from gvstudy.data import registry
from gvstudy.files import package_data
from gvstudy.fingerprints import check, fingerprint, known_fingerprints

FINGERPRINTED = sorted(Path(entry.name).stem for entry in package_data("fingerprints").iterdir())


@pytest.mark.parametrize("name", FINGERPRINTED)
def test_the_committed_tables_are_whole(name):
    table = known_fingerprints(name)
    assert len(table) == registry()[name].get("count", len(registry()[name].get("pictures", ())))
    assert table["image"].is_unique
    assert table["sha256"].str.fullmatch("[0-9a-f]{64}").all()


def test_what_is_fingerprinted():
    wanted = {"Set5", "Set14", "Urban100", "T91", "BSDS500", "BSDS500-valid"}
    wanted |= {"DIV2K_train_centre128", "DIV2K_valid_centre256"}
    wanted |= {"builtin-train", "builtin-valid", "builtin-test"}
    assert wanted == set(FINGERPRINTED)


@pytest.mark.parametrize("name", ["builtin-train", "builtin-valid", "builtin-test"])
def test_the_built_in_pictures_are_what_they_were(name):
    assert set(check(name)["status"]) == {"same"}


def test_a_single_pixel_counts():
    pictures = load_images("builtin-valid")
    before = fingerprint(pictures)
    next(iter(pictures.values()))[0, 0, 0] ^= 1
    changed = before["sha256"] != fingerprint(pictures)["sha256"]
    assert list(changed) == [True, False]


@pytest.fixture
def copy(real_data, tmp_path, monkeypatch):
    """A copy of Set5 that can be spoiled."""
    shutil.copytree(real_data / "Set5", tmp_path / "Set5")
    monkeypatch.setenv("GVSTUDY_DATA", str(tmp_path))
    return tmp_path / "Set5"


def test_a_spoiled_copy_is_told(copy):
    names = [path.name for path in sorted(copy.iterdir())]
    baby, bird, butterfly, head, woman = (copy / name for name in names)
    Image.open(baby).save(baby.with_suffix(".jpg"), quality=95)
    baby.unlink()
    image = Image.open(bird)
    image.resize((image.width // 2, image.height // 2)).save(bird)
    butterfly.rename(copy / "schmetterling.png")
    head.unlink()
    table = check("Set5").set_index("image")
    assert table["status"].to_dict() == {
        baby.stem: "other pixels",
        bird.stem: "other pixels",
        butterfly.stem: "renamed",
        head.stem: "missing",
        woman.stem: "same",
    }
    halved = f"{image.width // 2}x{image.height // 2}"
    expected = f"{halved} RGB, expected {image.width}x{image.height} RGB"
    assert table.loc[bird.stem, "note"] == expected
    assert table.loc[butterfly.stem, "note"] == "here it is schmetterling"
    Image.new("L", (9, 9)).save(copy / "zebra.png")
    assert check("Set5").set_index("image").loc["zebra", "status"] == "extra"


def test_the_command(copy):
    assert CliRunner().invoke(main, ["data", "check", "Set5"]).output == "Set5: 5 same\n"
    next(copy.iterdir()).unlink()
    result = CliRunner().invoke(main, ["data", "check", "Set5"])
    assert result.exit_code == 1
    assert "missing" in result.output
    result = CliRunner().invoke(main, ["data", "check", "B100"])
    assert result.exit_code == 2
    assert "no fingerprints" in result.output


@pytest.mark.usefixtures("real_data")
@pytest.mark.parametrize("name", [name for name in FINGERPRINTED if "builtin" not in name])
def test_the_real_sets_are_what_results_are_made_of(name):
    assert set(check(name)["status"]) == {"same"}


def test_centre_crops_are_cut_from_the_full_set(tmp_path, monkeypatch):
    """With a small archive of DIV2K's layout: the full set is there, its crops are not."""
    entry = registry()["DIV2K-valid"]
    monkeypatch.setitem(entry, "count", 2)
    monkeypatch.setenv("GVSTUDY_DATA", str(tmp_path))
    (tmp_path / "DIV2K_valid_HR").mkdir()
    pixels = Image.effect_noise((300, 280), 50).convert("RGB")
    for name in ("0801.png", "0802.png"):
        pixels.save(tmp_path / "DIV2K_valid_HR" / name)
    crops = load_images("DIV2K_valid_centre256")
    assert {crop.shape for crop in crops.values()} == {(3, 256, 256)}
    full = load_images("DIV2K-valid")["0801"]
    assert (crops["0801"] == full[:, 12:268, 22:278]).all()


def test_tables_have_no_other_columns():
    for name in FINGERPRINTED:
        table = known_fingerprints(name)
        assert list(table) == ["image", "channels", "height", "width", "sha256"]
        assert not pd.isna(table).any().any()
