"""The published bicubic rows are reproduced, and the committed measurements recomputed."""

from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from gvstudy_data.make_protocols import MODEL_VARIANTS, main, measure_crops, measure_model

from gvstudy.data.sets import load_images
from gvstudy.evaluation import evaluate
from gvstudy.images import to_uint8, write
from gvstudy.models import build_model
from gvstudy.paths import package_data
from gvstudy.study import reference
from gvstudy.study.protocols import VARIANTS, measure_bicubic, published_bicubic
from gvstudy.study.store import Store
from gvstudy.training import initial_model

PUBLISHED = pd.read_csv(package_data("paper/published_y_psnr_ssim.csv").open())
PUBLISHED = PUBLISHED[PUBLISHED["model"] == "bicubic"]
ROWS = [tuple(row) for row in PUBLISHED[["dataset", "scale", "psnr_y_db", "ssim_y"]].to_numpy()]
MEASURED = pd.read_csv(package_data("reference/protocols.csv").open())


def pictures(channels=3):
    smooth = torch.rand(1, channels, 10, 12, generator=torch.Generator().manual_seed(0))
    large = torch.nn.functional.interpolate(smooth, scale_factor=4, mode="bicubic")
    return {"a": to_uint8(large)[0]}


@pytest.mark.parametrize("channels", [1, 3])
def test_variants_agree_with_the_evaluation(channels):
    rows = measure_bicubic(pictures(channels), 2).set_index("variant")
    assert list(rows.index) == list(VARIANTS)
    evaluated = evaluate(build_model("bicubic", 2), pictures(channels), 2).iloc[0]
    assert rows.loc["standard", "psnr"] == pytest.approx(evaluated["psnr_y"])
    assert rows.loc["standard", "ssim"] == pytest.approx(evaluated["ssim_y"])
    assert rows.loc["paper, bicubic", "psnr"] == pytest.approx(evaluated["psnr_rgb"])
    assert rows.loc["paper, bicubic", "ssim"] == pytest.approx(evaluated["ssim_paper"])


def test_a_flat_picture_is_perfect():
    psnr, ssim = published_bicubic(torch.full((3, 32, 32), 77, dtype=torch.uint8), 2)
    assert psnr == float("inf")
    assert ssim == pytest.approx(1)


def test_the_committed_measurements_are_complete():
    counts = MEASURED.groupby(["set", "scale", "variant"]).size().unstack()
    assert set(counts.columns) == set(VARIANTS)
    assert counts.loc["Set5"].eq(5).all().all()
    assert counts.loc["Set14"].eq(14).all().all()
    assert counts.loc["Urban100"].eq(100).all().all()


@pytest.mark.parametrize(("name", "scale", "psnr", "ssim"), ROWS)
def test_bicubic_agrees_with_the_published_rows(name, scale, psnr, ssim):
    """Luma first reproduces every published row; the standard protocol stays close."""
    here = MEASURED[(MEASURED["set"] == name) & (MEASURED["scale"] == scale)]
    means = here.groupby("variant")[["psnr", "ssim"]].mean()
    slack = (0.005, 0.0002) if name == "Set5" else (0.01, 0.0010)
    assert means.loc["published", "psnr"] == pytest.approx(psnr, abs=slack[0])
    assert means.loc["published", "ssim"] == pytest.approx(ssim, abs=slack[1])
    assert means.loc["standard", "psnr"] == pytest.approx(psnr, abs=0.03)
    assert means.loc["standard", "ssim"] == pytest.approx(ssim, abs=0.0012)


@pytest.mark.usefixtures("real_data")
@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize(("name", "count"), [("Set5", 5), ("Set14", 3), ("Urban100", 2)])
def test_the_committed_measurements_are_reproduced(name, count, scale):
    """All of Set5 and the first pictures of the other sets, measured again."""
    chosen = dict(list(load_images(name).items())[:count])
    again = measure_bicubic(chosen, scale).set_index(["image", "variant"])
    committed = MEASURED[(MEASURED["set"] == name) & (MEASURED["scale"] == scale)]
    committed = committed.set_index(["image", "variant"]).loc[again.index]
    assert (again["psnr"] - committed["psnr"]).abs().max() < 1e-3
    assert (again["ssim"] - committed["ssim"]).abs().max() < 1e-4


def test_a_model_by_every_protocol():
    """For bilinear enlargement, whose PSNR by the paper's protocol is known from elsewhere."""
    pictures = load_images("builtin-valid")
    model = build_model("bicubic", 2, upsample="bilinear")
    rows = measure_model(model, pictures, 2)
    table = rows.pivot(index="image", columns="variant", values="psnr")
    assert set(table) == set(MODEL_VARIANTS)
    known = measure_bicubic(pictures, 2).pivot(index="image", columns="variant", values="psnr")
    assert table["paper"].to_list() == pytest.approx(known["paper, bilinear"].to_list())
    assert (table["luma"] > table["paper"]).all()
    assert (table["bicubic LR"] > table["paper"]).all()  # bilinear LR is blurred twice
    assert (table["8 bits"] - table["paper"]).abs().max() < 0.02


def test_a_missing_crop_costs_psnr_if_the_scale_does_not_divide_the_sides():
    chelsea = load_images("builtin-valid")["chelsea"]
    pictures = {"divisible": chelsea[:, :300, :300], "not": chelsea[:, :299, :299]}
    rows = measure_crops(build_model("bicubic", 3), pictures, 3).set_index("image")
    assert rows.loc["divisible", "uncut"] == pytest.approx(rows.loc["divisible", "cut"], abs=0.1)
    assert rows.loc["divisible", "moved"] == rows.loc["divisible", "cut"]
    assert (rows.loc["not", ["uncut", "moved"]] < rows.loc["not", "cut"] - 1).all()
    evaluated = evaluate(build_model("bicubic", 3), pictures, 3)
    assert rows["cut"].to_list() == pytest.approx(evaluated["psnr_rgb"].to_list())


@pytest.mark.usefixtures("real_data")
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_committed_cost_of_a_missing_crop_is_reproduced(scale):
    kept = pd.read_csv(package_data("reference/uncut.csv").open())
    kept = kept.query("scale == @scale and model == 'bicubic' and set == 'Set5'")
    again = measure_crops(build_model("bicubic", scale), load_images("Set5"), scale)
    for column in ("cut", "uncut", "moved"):
        assert again[column].to_list() == pytest.approx(kept[column].to_list(), abs=0.01)


@pytest.mark.parametrize(
    ("command", "file"),
    [
        ("bicubic", "protocols.csv"),
        ("official", "official/protocols.csv"),
        ("crops", "uncut.csv"),
    ],
)
def test_the_script_writes_files_like_the_committed_ones(command, file, tmp_path, monkeypatch):
    """For one small picture, with untrained models where the script would train some."""

    def untrained(self, run):
        return SimpleNamespace(model=initial_model(run))

    monkeypatch.setattr(Store, "train_or_load", untrained)
    write(tmp_path / "pictures" / "baby.png", pictures()["a"])
    name, out = f"folder:{tmp_path / 'pictures'}", tmp_path / "out"
    arguments = [command, "--set", name, "--out", str(out)]
    done = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert [path for path in out.rglob("*") if path.is_file()] == [out / file]
    made = pd.read_csv(out / file)
    committed = pd.read_csv(package_data(f"reference/{file}").open())
    assert list(made.columns) == list(committed.columns)
    labels = [column for column in made if column in ("image", "scale", "model", "loss", "variant")]
    expected = committed.query("set == 'Set5' and image == 'baby'")[labels]
    assert made[labels].equals(expected.reset_index(drop=True))
    assert made["set"].eq(name).all()


@pytest.mark.usefixtures("real_data")
def test_the_committed_measurements_of_the_official_models_are_reproduced():
    """From the committed weights, whose half precision changes PSNR by about 0.002 dB."""
    committed = pd.read_csv(package_data("reference/official/protocols.csv").open())
    chosen = {"butterfly": load_images("Set5")["butterfly"]}
    for _, run in reference.load("official").drop_duplicates("run").iterrows():
        again = measure_model(reference.load_model("official", run), chosen, 2)
        rows = committed.query("set == 'Set5' and image == 'butterfly'").query("loss == @run.loss")
        assert again["variant"].to_list() == rows["variant"].to_list()
        assert again["psnr"].to_list() == pytest.approx(rows["psnr"].to_list(), abs=0.005)
