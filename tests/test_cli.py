"""The command: what it prints and writes, and how it reports bad input."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import load_file, save_file

from gvstudy import Run
from gvstudy.cli import _describe_work, main
from gvstudy.data.sets import load_images
from gvstudy.images import read, write
from gvstudy.paths import package_data
from gvstudy.study import store as stores
from gvstudy.study.common import GV_PAIR
from gvstudy.study.grids import GRIDS, keeps_weights
from gvstudy.study.store import Store
from gvstudy.training import DivergedError

needs_pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes in folders here")


@pytest.fixture
def folder(tmp_path):
    """A folder of a user's two pictures, one of them grey."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 36, 3), dtype=np.uint8)
    (tmp_path / "own").mkdir()
    Image.fromarray(noise).save(tmp_path / "own" / "colour.png")
    Image.fromarray(noise[..., 0]).save(tmp_path / "own" / "grey.png")
    return tmp_path / "own"


def gvstudy(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def refused(result, *words):
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    assert not isinstance(result.exception, ValueError | OSError)
    for word in words:
        assert word in result.output


def test_it_is_installed():
    command = Path(sys.executable).parent / "gvstudy"
    shown = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert shown.stdout.startswith("gvstudy, version ")


def test_data_list(monkeypatch):
    monkeypatch.delenv("GVSTUDY_DATA", raising=False)
    result = gvstudy("data", "list")
    assert result.exit_code == 0
    assert "+ builtin-train" in result.output
    assert "- Set5" in result.output


def test_evaluate_writes_a_row_an_image(folder, tmp_path):
    out = tmp_path / "rows.csv"
    result = gvstudy(
        "evaluate", "--model", "bicubic", "--data", f"folder:{folder}", "--scale", 2, "--csv", out
    )
    assert result.exit_code == 0, result.output
    rows = pd.read_csv(out)
    assert {"image", "psnr_y", "ssim_y", "psnr_rgb"} <= set(rows.columns)
    assert list(rows["image"]) == ["colour", "grey"]
    assert "mean of 2: psnr_y" in result.output
    refused(gvstudy("evaluate", "--data", f"folder:{folder}", "--csv", out), "--overwrite")
    again = gvstudy("evaluate", "--data", f"folder:{folder}", "--csv", out, "--overwrite")
    assert again.exit_code == 0


def test_weights_of_a_finished_run(folder, store, tmp_path):
    Store().train_or_load(Run(model="espcn", steps=3, batch_size=2, crop_size=24), progress=False)
    (weights,) = store.glob("*/model.safetensors")
    model = ["--model", "espcn", "--weights", weights]
    assert gvstudy("evaluate", *model, "--data", f"folder:{folder}").exit_code == 0

    out = tmp_path / "large"
    result = gvstudy("upscale", folder / "colour.png", folder / "grey.png", *model, "--out", out)
    assert result.exit_code == 0, result.output
    assert {path.name for path in out.iterdir()} == {"colour_x2.png", "grey_x2.png"}
    assert Image.open(out / "colour_x2.png").size == (72, 80)
    refused(gvstudy("upscale", folder / "grey.png", *model, "--out", out), "--overwrite")

    wrong = ["--model", "vdsr", "--weights", weights]
    refused(gvstudy("evaluate", *wrong), "was trained for model espcn, not vdsr")
    save_file(load_file(weights), tmp_path / "bare.safetensors")  # without a description
    wrong[-1] = tmp_path / "bare.safetensors"
    refused(gvstudy("evaluate", *wrong), "no weights of vdsr x2 reduced")
    refused(gvstudy("evaluate", "--model", "espcn"), "--weights")
    junk = tmp_path / "junk.safetensors"
    junk.write_bytes(b"junk")
    refused(gvstudy("evaluate", "--model", "espcn", "--weights", junk), "no weights of espcn")


def trained(store, **fields):
    """The weights of a tiny run of ESPCN, in its store."""
    run = Run(**{"model": "espcn", "steps": 3, "batch_size": 2, "crop_size": 24} | fields)
    Store().train_or_load(run, progress=False)
    return store / Store().id(run) / "model.safetensors"


def test_weights_trained_for_something_else_are_refused(folder, store, tmp_path):
    weights = trained(store, model="vdsr", upsample="bilinear")
    weights = weights.rename(tmp_path / "moved.safetensors")
    model = ["--model", "vdsr", "--weights", weights, "--data", f"folder:{folder}"]
    refused(gvstudy("evaluate", *model), "was trained for upsample bilinear, not bicubic")
    bilinear = [*model, "--upsample", "bilinear"]
    refused(gvstudy("evaluate", *bilinear, "--scale", 3), "was trained for scale 2, not 3")
    assert gvstudy("evaluate", *bilinear).exit_code == 0


def test_shipped_weights_are_refused_for_another_scale(folder, tmp_path):
    """VDSR's weights would fit every scale."""
    weights = package_data("reference/reduced/64dba2c79e81f34c.safetensors")
    command = ["upscale", folder / "grey.png", "--model", "vdsr", "--weights", weights]
    command += ["--out", tmp_path]
    refused(gvstudy(*command, "--scale", 3), "was trained for scale 2, not 3")
    assert gvstudy(*command).exit_code == 0


def test_lr_is_made_as_where_the_weights_were_trained(folder, store):
    weights = trained(store, downsample="bilinear")
    command = ["evaluate", "--model", "espcn", "--weights", weights, "--data", f"folder:{folder}"]
    by_default, asked, other = (
        re.search("LR by .*", gvstudy(*command, *option).output).group()
        for option in ([], ["--downsample", "bilinear"], ["--downsample", "bicubic"])
    )
    assert by_default.startswith("LR by bilinear; mean of 2")
    assert by_default == asked
    assert other.startswith("LR by bicubic; mean of 2")
    assert by_default.partition(";")[2] != other.partition(";")[2]


def test_weights_that_are_not_finite_are_refused(store, folder, tmp_path):
    weights = load_file(trained(store))
    next(iter(weights.values())).view(-1)[0] = float("nan")
    save_file(weights, tmp_path / "nan.safetensors")
    model = ["--model", "espcn", "--weights", tmp_path / "nan.safetensors"]
    refused(gvstudy("upscale", folder / "grey.png", *model, "--out", tmp_path), "NaN or infinity")


def test_a_picture_that_is_not_finite_is_not_written(store, folder, tmp_path):
    weights = {
        name: 1e30 * value for name, value in load_file(trained(store, model="vdsr")).items()
    }
    save_file(weights, tmp_path / "huge.safetensors")
    model = ["--model", "vdsr", "--weights", tmp_path / "huge.safetensors"]
    command = ["upscale", folder / "grey.png", *model, "--out", tmp_path / "out"]
    refused(gvstudy(*command), "grey.png", "isn't finite")
    assert not list((tmp_path / "out").iterdir())


@needs_pipes
def test_targets_that_are_no_regular_files_are_refused(folder, tmp_path):
    pipe = tmp_path / "rows.csv"
    os.mkfifo(pipe)
    command = ["evaluate", "--data", f"folder:{folder}", "--overwrite", "--csv"]
    refused(gvstudy(*command, pipe), "not a regular file")
    assert pipe.is_fifo()
    (tmp_path / "grey_x2.png").mkdir()
    command = ["upscale", folder / "grey.png", "--overwrite", "--out", tmp_path]
    refused(gvstudy(*command), "not a regular file")


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_a_link_is_followed(folder, tmp_path):
    (tmp_path / "real.csv").write_text("old")
    (tmp_path / "link.csv").symlink_to("real.csv")
    command = ["evaluate", "--data", f"folder:{folder}", "--csv", tmp_path / "link.csv"]
    refused(gvstudy(*command), "--overwrite")
    assert gvstudy(*command, "--overwrite").exit_code == 0
    assert (tmp_path / "link.csv").is_symlink()
    assert len(pd.read_csv(tmp_path / "real.csv")) == 2


def test_a_link_to_itself_is_refused_and_stays(folder, tmp_path):
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    told = f"{loop} is a link that leads back to itself"
    command = ["evaluate", "--data", f"folder:{folder}", "--overwrite", "--csv"]
    for target in (loop, loop / "rows.csv"):
        refused(gvstudy(*command, target), told)
    refused(gvstudy("upscale", folder / "grey.png", "--out", loop), told)
    refused(gvstudy("grid", "headline", "--size", "smoke", "--out", loop), told)
    assert loop.is_symlink()


def test_the_longest_file_name(folder, tmp_path):
    csv = tmp_path / ("n" * 251 + ".csv")
    command = ["evaluate", "--data", f"folder:{folder}", "--csv"]
    assert gvstudy(*command, csv).exit_code == 0
    assert csv.is_file()
    assert gvstudy(*command, tmp_path / ("rows." + "n" * 250)).exit_code == 0
    refused(gvstudy(*command, tmp_path / ("n" * 252 + ".csv")), "File name too long")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_file_name_that_is_not_utf8(folder, tmp_path):
    odd = folder / os.fsdecode(b"\xff.png")
    (folder / "grey.png").rename(odd)
    shown = gvstudy("upscale", odd, "--out", tmp_path / "out")
    assert shown.exit_code == 0, shown.output
    assert (tmp_path / "out" / os.fsdecode(b"\xff_x2.png")).is_file()
    refused(gvstudy("upscale", odd, "--out", tmp_path / "out"), "--overwrite")
    shown = gvstudy("evaluate", "--data", f"folder:{folder}", "--csv", tmp_path / "rows.csv")
    assert shown.exit_code == 0, shown.output
    assert list(pd.read_csv(tmp_path / "rows.csv")["image"]) == ["colour", "\ufffd"]


def test_rows_are_kept_where_the_terminal_lacks_a_letter_of_a_name(folder, tmp_path):
    (folder / "grey.png").rename(folder / "żaba.png")
    command = ["evaluate", "--data", f"folder:{folder}", "--csv", str(tmp_path / "rows.csv")]
    assert CliRunner(charset="latin-1").invoke(main, command).exit_code == 2
    assert list(pd.read_csv(tmp_path / "rows.csv")["image"]) == ["colour", "żaba"]


def test_upscale_goes_on_after_an_interruption(folder, tmp_path):
    out = tmp_path / "out"
    gvstudy("upscale", folder / "grey.png", "--out", out)
    first = out / "grey_x2.png"
    before = first.stat().st_mtime_ns
    command = ["upscale", folder / "grey.png", folder / "colour.png", "--out", out]
    refused(gvstudy(*command), "grey_x2.png exists already", "--overwrite")
    refused(gvstudy(*command, "--overwrite", "--skip-existing"), "not both")
    result = gvstudy(*command, "--skip-existing")
    assert result.exit_code == 0
    assert result.stdout.split() == [str(out / "colour_x2.png")]
    assert first.stat().st_mtime_ns == before


def test_upscale_reads_every_picture_before_it_writes_the_first(folder, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_text("no picture")
    command = ["upscale", folder / "grey.png", bad, "--out", tmp_path / "out"]
    refused(gvstudy(*command), "bad.png", "not a picture")
    assert not list((tmp_path / "out").iterdir())
    (folder / "colour.png").rename(bad)
    assert gvstudy(*command).exit_code == 0


@needs_pipes
def test_a_named_pipe_is_no_picture(folder, tmp_path):
    os.mkfifo(folder / "pipe.png")
    refused(gvstudy("upscale", folder / "pipe.png", "--out", tmp_path), "no regular file")
    refused(gvstudy("evaluate", "--data", f"folder:{folder}"), "no regular file")


def test_the_home_of_nobody_known():
    refused(gvstudy("evaluate", "--data", "folder:~nobody-of-this-name"), "no such folder")


def test_a_mean_leaves_out_what_is_not_finite_and_says_so(folder):
    Image.new("RGB", (36, 40), "grey").save(folder / "flat.png")
    shown = gvstudy("evaluate", "--data", f"folder:{folder}").output
    mean = shown[shown.index("mean of 3: ") :]
    assert re.search(r"psnr_y \d+\.\d{4} \(1 left out, not finite\)", mean)
    assert "inf" not in mean.replace("finite", "")


@pytest.mark.parametrize("command", [["upscale", "cat.png"], ["grid", "headline"]])
def test_an_empty_text_is_no_folder(command):
    refused(gvstudy(*command, "--out", ""), "'--out': '' names no folder")


@pytest.mark.usefixtures("store", "tiny_grid")
def test_an_interrupted_grid_goes_on_from_there(interrupt_at):
    options = ("--size", "smoke", "--test-set", "builtin-valid")
    steps = interrupt_at(5)  # the second run's second step
    result = gvstudy("grid", "headline", *options)
    assert result.exit_code == 1
    assert "Error: interrupted; finished runs are kept" in result.output
    assert "2 runs, 4 rows" in gvstudy("grid", "headline", *options).output
    assert len(steps) == 5 + 2, "the first run isn't trained again"


def test_only_takes_no_empty_text():
    refused(gvstudy("study", "--only", ""), "--only '' names no notebook")


def test_a_reader_that_leaves_ends_the_command_without_a_word():
    """As in `gvstudy data list | true`, but the reader has surely left."""
    command = [Path(sys.executable).parent / "gvstudy", "data", "list"]
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert ended.stderr == ""
    assert ended.returncode == 1, "not everything was written"


def test_refusals(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.png").write_text("no picture")
    refused(gvstudy("evaluate", "--data", "Set6"), "'Set6'", "Set5", "folder:PATH")
    refused(gvstudy("evaluate", "--data", f"folder:{tmp_path / 'empty'}"), "no pictures")
    refused(gvstudy("evaluate", "--scale", 5), "'5'", "'2', '3', '4'")
    refused(gvstudy("evaluate", "--model", "srcnn"), "'srcnn'", "'vdsr'")
    refused(gvstudy("upscale", tmp_path / "text.png", "--out", tmp_path), "not a picture")
    refused(gvstudy("upscale", tmp_path / "none.png", "--out", tmp_path), "no such file")
    below_a_file = folder / "grey.png" / "rows.csv"
    refused(gvstudy("evaluate", "--data", f"folder:{folder}", "--csv", below_a_file), "grey.png")


def odd_pictures(folder):
    """A folder with one picture of each unusual kind that a user may have."""
    folder.mkdir()
    pixels = np.random.default_rng(1).integers(0, 256, (24, 20, 3), dtype=np.uint8)
    colour = Image.fromarray(pixels)
    colour.convert("L").save(folder / "grey.png")
    colour.convert("RGBA").save(folder / "rgba.png")
    colour.convert("P").save(folder / "palette.png")
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(folder / "deep.png")
    return folder


@pytest.mark.parametrize("name", ["grey", "rgba", "palette", "deep"])
def test_odd_pictures_are_enlarged_and_measured(name, tmp_path):
    folder = odd_pictures(tmp_path / "odd")
    out = tmp_path / "out"
    result = gvstudy("upscale", folder / f"{name}.png", "--scale", 3, "--out", out)
    assert result.exit_code == 0, result.output
    large = Image.open(out / f"{name}_x3.png")
    assert large.size == (60, 72)
    assert large.mode == "RGB"
    small = read(folder / f"{name}.png").expand(3, -1, -1)
    assert (read(out / f"{name}_x3.png").float().mean() - small.float().mean()).abs() < 2
    assert ("alpha channel is dropped" in result.output) == (name == "rgba")
    assert gvstudy("evaluate", "--data", f"folder:{folder}").exit_code == 0


def test_a_picture_one_pixel_wide(tmp_path):
    folder = tmp_path / "thin"
    folder.mkdir()
    Image.fromarray(np.arange(30, dtype=np.uint8).reshape(30, 1)).save(folder / "thin.png")
    result = gvstudy("upscale", folder / "thin.png", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert Image.open(tmp_path / "out" / "thin_x2.png").size == (2, 60)
    refused(
        gvstudy("evaluate", "--data", f"folder:{folder}"),
        "thin of 30x1 pixels is too small to measure; at x2 both",
    )


def test_a_truncated_picture(tmp_path):
    folder = odd_pictures(tmp_path / "odd")
    whole = (folder / "rgba.png").read_bytes()
    (folder / "rgba.png").write_bytes(whole[: len(whole) // 2])
    refused(gvstudy("upscale", folder / "rgba.png", "--out", tmp_path), "rgba.png", "not a picture")
    refused(gvstudy("evaluate", "--data", f"folder:{folder}"), "rgba.png", "not a picture")


def test_two_pictures_of_one_name_are_refused(tmp_path):
    folder = odd_pictures(tmp_path / "odd")
    (tmp_path / "more").mkdir()
    (folder / "grey.png").rename(tmp_path / "more" / "palette.png")
    both = [folder / "palette.png", tmp_path / "more" / "palette.png"]
    refused(gvstudy("upscale", *both, "--out", tmp_path), "palette_x2.png")
    (tmp_path / "more" / "palette.png").rename(tmp_path / "more" / "Palette.png")
    both = [folder / "palette.png", tmp_path / "more" / "Palette.png"]
    refused(gvstudy("upscale", *both, "--out", tmp_path), "palette_x2.png", "more than once")


@pytest.fixture
def tiny_grid(monkeypatch):
    """Two tiny runs in place of the grid `headline`."""
    runs = [Run(model="espcn", loss=loss, steps=3, batch_size=2, crop_size=24) for loss in GV_PAIR]
    monkeypatch.setitem(GRIDS, "headline", lambda size: runs if size == "smoke" else [])


@pytest.mark.usefixtures("store", "tiny_grid")
def test_a_grid_is_written_to_a_folder(tmp_path):
    options = ("--size", "smoke", "--test-set", "builtin-valid", "--out", tmp_path / "saved")
    result = gvstudy("grid", "headline", *options)
    assert result.exit_code == 0, result.output
    assert f"2 runs, 4 rows in {tmp_path / 'saved'}" in result.output
    assert {path.name for path in (tmp_path / "saved").iterdir()} == {"rows.csv.gz", "runs.csv"}
    assert list(pd.read_csv(tmp_path / "saved" / "runs.csv")["grids"]) == ["headline"] * 2
    refused(gvstudy("grid", "headline", *options), "runs.csv exists already; use --overwrite")
    refused(gvstudy("grid", "headline", *options, "--add", "--overwrite"), "not both")
    for option in ("--add", "--overwrite"):
        assert gvstudy("grid", "headline", *options, option).exit_code == 0


@pytest.mark.usefixtures("tiny_grid")
def test_a_grid_says_first_what_is_left(store, monkeypatch):
    grid = ["grid", "headline", "--size", "smoke", "--test-set", "builtin-valid"]
    first = f"2 runs of size smoke: 0 finished in {store}; to train: 2, 6 steps\n"
    assert gvstudy(*grid).stderr.startswith(first)
    assert gvstudy(*grid).stderr.startswith(f"2 runs of size smoke: 2 finished in {store}\n")
    runs = GRIDS["headline"]("smoke")
    more = [replace(run, seed=seed, start_steps=3) for run in runs for seed in (1, 2)]
    monkeypatch.setattr(Store, "seconds_to_train", lambda self, missing, finished: 600.0)
    text = _describe_work(Store(), runs + more, "smoke")
    assert "6 runs of size smoke: 2 finished" in text
    assert text.endswith("to train: 6, 18 steps, some 10 minutes at the pace of those"), text


@pytest.mark.slow
@pytest.mark.usefixtures("store", "tiny_grid")
def test_a_grid_is_computed_by_workers(monkeypatch):
    monkeypatch.setattr(stores, "train", None)  # nothing is trained in this process
    options = ("--size", "smoke", "--test-set", "builtin-valid", "--workers", 1)
    assert "2 runs, 4 rows" in gvstudy("grid", "headline", *options).output


@pytest.mark.slow
@pytest.mark.usefixtures("store")
def test_a_grid_from_the_command_line(tmp_path):
    options = ("--size", "smoke", "--test-set", "builtin-valid", "--out", tmp_path / "saved")
    result = gvstudy("grid", "headline", *options)
    assert result.exit_code == 0, result.output
    assert "4 runs, 8 rows" in result.output
    saved = sorted(path.name for path in (tmp_path / "saved").iterdir())
    weights = [name for name in saved if name.endswith(".safetensors")]
    assert saved == sorted(["rows.csv.gz", "runs.csv", *weights])
    assert len(weights) == 2  # the pair that figures show


@pytest.mark.slow
def test_a_grid_with_a_diverged_run_is_saved(store, tmp_path, monkeypatch):
    train = stores.train

    def diverges(run, *arguments, **options):
        if run.loss == "l2+gv":
            raise DivergedError("at step 3")
        return train(run, *arguments, **options)

    monkeypatch.setattr(stores, "train", diverges)
    options = ("--size", "smoke", "--seeds", "1", "--out", tmp_path / "saved")
    result = gvstudy("grid", "headline", *options)
    assert "2 runs, 8 rows" in result.output, result.output  # of the four built-in pictures
    assert len(list((tmp_path / "saved").glob("*.safetensors"))) == 1
    rows = pd.read_csv(tmp_path / "saved" / "rows.csv.gz")
    assert rows["psnr_y"].isna().sum() == 4


def test_a_grid_that_cannot_be_written_is_refused_at_once(store, folder):
    refused(
        gvstudy("grid", "headline", "--size", "smoke", "--out", folder / "grey.png"), "grey.png"
    )
    assert not store.exists()


@pytest.mark.parametrize("name", ["runs.csv", "rows.csv.gz", "perceptual.csv.gz", "weights"])
def test_a_grid_is_refused_at_once_where_any_of_its_files_cannot_be_written(name, store, tmp_path):
    if name == "weights":
        run = next(filter(keeps_weights, GRIDS["headline"]("smoke")))
        name = f"{Store().id(run)}.safetensors"
    (tmp_path / name).mkdir()
    command = ["grid", "headline", "--size", "smoke", "--out", tmp_path]
    refused(gvstudy(*command, "--perceptual"), name, "not a regular file")
    assert not store.exists()


@pytest.mark.slow
def test_a_grid_s_first_seeds(store):
    options = ("--size", "smoke", "--test-set", "builtin-valid", "--seeds", "1")
    assert "2 runs, 4 rows" in gvstudy("grid", "official", *options).output
    runs = [json.loads(path.read_text())["run"] for path in store.glob("*/run.json")]
    assert sorted((run["loss"], run["seed"]) for run in runs) == [("l2", 0), ("l2+gv", 0)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["table3"], "'table3' is not one of 'adam', 'again', 'arms', 'best', 'budget', "),
        (["table1", "--size", "huge"], "'huge' is not one of"),
        (["table1", "--size", "smoke", "--test-set", "Set6"], "unknown data set 'Set6'; known"),
        (["table1", "--workers", "0"], "0 is not in the range"),
        (["table1", "--seeds", "0"], "0 is not in the range"),
        (
            ["table1", "--workers", "1", "--scheduler", "tcp://x"],
            "use either --workers or --scheduler",
        ),
        (["table1", "--add"], "--add needs --out"),
        (["table1", "--overwrite"], "--overwrite needs --out"),
    ],
)
def test_a_grid_that_cannot_be_is_refused(store, arguments, message):
    refused(gvstudy("grid", *arguments), message)
    assert not store.exists()


def test_an_interruption_while_libraries_load_is_one_line(tmp_path):
    (tmp_path / "click.py").write_text("raise KeyboardInterrupt", encoding="utf-8")
    paths = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "gvstudy", "--version"], capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": paths},
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "Aborted!\n"
    assert done.stdout == ""


def test_the_command_runs_as_a_module_in_a_folder_with_spaces(tmp_path):
    """As on Windows, where no script may be on the path."""
    folder = tmp_path / "my pictures"
    write(folder / "cat one.png", load_images("builtin-valid")["chelsea"])
    command = [sys.executable, "-m", "gvstudy", "evaluate", "--data", f"folder:{folder}"]
    out = folder / "rows of mine.csv"
    done = subprocess.run([*command, "--csv", str(out)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert list(pd.read_csv(out)["image"]) == ["cat one"]
    wrong = subprocess.run([*command, "--scale", "5"], capture_output=True, text=True)
    assert wrong.returncode == 2
    assert "Usage: python -m gvstudy evaluate" in wrong.stderr
