"""A loss or model of one's own: the example of CONTRIBUTING.md, and an edit that is noticed."""

import importlib
import linecache
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gvstudy import (
    Run,
    build_loss,
    build_model,
    evaluate,
    load_images,
    register_loss,
    register_model,
)
from gvstudy.losses import PIXEL_LOSSES
from gvstudy.models import MODELS
from gvstudy.study.store import Store

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
(EXAMPLE,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
TINY = Run(model="espcn", steps=3, batch_size=2, crop_size=24)

pytestmark = pytest.mark.usefixtures("registries")


@pytest.fixture
def extended(registries, tmp_path, monkeypatch):
    """The example's model and loss, from a module, for the time of a test."""
    (tmp_path / "my_losses.py").write_text(EXAMPLE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_losses", raising=False)
    return importlib.import_module("my_losses")


def test_the_example_is_short():
    lines = [line for line in EXAMPLE.splitlines() if line.strip()]
    assert len(lines) <= 30


@pytest.mark.slow
@pytest.mark.usefixtures("extended", "store")
def test_a_fourth_model_and_a_fifth_loss_train_and_are_measured():
    assert list(build_loss("l1+edges").losses) == ["l1", "edges"]
    run = Run(model="srcnn", loss="l1+edges", steps=20, batch_size=2, crop_size=24)
    before = evaluate(build_model("srcnn", 2), load_images("builtin-valid"), 2)
    rows = Store().results([run], ["builtin-valid"], progress=False)
    assert rows["psnr_y"].mean() > before["psnr_y"].mean()
    assert set(rows["model"]) == {"srcnn"}


def test_the_commands_it_names_are_there():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", TEXT, re.MULTILINE):
        assert f"\n{target}: " in makefile


def source(text):
    """The loss of a module that consists of this text."""
    space = {"__name__": "notebook"}
    name = f"<cell {abs(hash(text))}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    exec(compile(text, name, "exec"), space)
    return space["my_loss"]


CELL = """
GAIN = 2.0

def apart(sr, hr):
    return (sr - hr).abs()

def my_loss(sr, hr):
    return GAIN * apart(sr, hr).mean()
"""


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("GAIN * apart(sr, hr).mean()", "GAIN * apart(sr, hr).square().mean()"),
        ("(sr - hr).abs()", "(sr - hr).square()"),
        ("GAIN = 2.0", "GAIN = 5.0"),
    ],
    ids=["function", "helper", "constant"],
)
def test_an_edited_loss_is_another_run_and_another_model(old, new):
    register_loss("mine", source(CELL))
    run = replace(TINY, loss="l2+mine", gv_weight=1.0)
    ids, models = [], []
    for text in (CELL, CELL.replace(old, new), CELL):
        register_loss("mine", source(text))
        ids.append(Store().id(run))
        models.append(Store().train_or_load(run, progress=False).model.state_dict())
    assert ids[0] == ids[2] != ids[1]
    same = [
        all(torch.equal(models[0][name], other[name]) for name in other) for other in models[1:]
    ]
    assert same == [False, True]
    assert len(list(Store().folder.glob("[!.]*"))) == 2, "the old text finds its old run"


def test_a_plain_function_is_a_pixel_loss_and_a_regulariser():
    register_loss("mine", source(CELL))
    sr, hr = torch.rand(2, 1, 3, 8, 8)
    expected = 2 * (sr - hr).abs().mean()
    torch.testing.assert_close(build_loss("mine")(sr, hr), expected)
    torch.testing.assert_close(
        build_loss("l2+mine", gv_weight=0.5).terms(sr, hr)["mine"], expected / 2
    )
    assert build_loss("mine+gv").terms(sr, hr).keys() == {"mine", "gv"}


def test_a_loss_gets_the_options_that_it_names():
    def mine(sr, hr, patch_size, padding="valid"):
        return torch.tensor(float(patch_size)) * (1 if padding == "zeros" else -1)

    register_loss("mine", mine)
    sr, hr = torch.rand(2, 1, 3, 8, 8)
    assert build_loss("l2+mine", patch_size=4, gv_weight=1).terms(sr, hr)["mine"] == 4
    assert Run(loss="l2+mine").description().keys() >= {"patch_size", "padding", "gv_weight"}
    with pytest.raises(ValueError, match="patch_size 30 does not fit crop_size 24"):
        replace(TINY, loss="l2+mine", patch_size=30)


def test_options_that_a_loss_does_not_take_are_not_described():
    register_loss("mine", source(CELL))
    one, other = Run(loss="l2+mine").description(), Run(loss="mine").description()
    assert not {"patch_size", "padding", "tv_weight"} & one.keys()
    assert "gv_weight" in one
    assert not {"patch_size", "padding", "tv_weight", "gv_weight"} & other.keys()
    assert one["source"] == other["source"]
    assert "source" not in Run(loss="l2+gv").description()


def test_a_class_of_one_s_own_may_be_a_loss():
    class Mine(torch.nn.Module):
        def __init__(self, padding):
            super().__init__()
            self.padding = padding

        def forward(self, sr, hr):
            return (sr - hr).mean() if self.padding == "zeros" else sr.mean()

    register_loss("mine", Mine)
    sr, hr = torch.rand(2, 1, 3, 8, 8)
    torch.testing.assert_close(build_loss("mine")(sr, hr), (sr - hr).mean())


@pytest.mark.usefixtures("store")
def test_an_edited_model_is_another_run():
    def build(scale, upsample, width=4):
        layers = (torch.nn.Conv2d(3, 3 * scale**2, 3, padding=1), torch.nn.PixelShuffle(scale))
        return torch.nn.Sequential(*layers)

    register_model("mine", build)
    run = replace(TINY, model="mine")
    first = Store().id(run)
    assert Store().results([run], ["builtin-valid"], progress=False)["psnr_y"].notna().all()
    build.__defaults__ = (5,)
    assert Store().id(run) != first
    assert run.resolved_precision == "float32"


@pytest.mark.parametrize("register", [register_loss, register_model])
def test_what_cannot_be_registered_is_refused(register):
    kind = register.__name__.removeprefix("register_")
    taken = {"loss": "gv", "model": "vdsr"}[kind]
    for name, code, message in (
        ("a+b", source(CELL), rf"{kind} name 'a\+b' is not allowed; letters"),
        (taken, source(CELL), rf"{kind} '{taken}' exists already \(built in\)"),
        ("mine", "no function", rf"{kind} 'mine' must be callable, got 'no function'"),
    ):
        with pytest.raises(ValueError, match=message):
            register(name, code)
    fitting = {"loss": lambda sr, hr: sr, "model": lambda scale: scale}[kind]
    register("mine", fitting)
    with pytest.raises(ValueError, match=r"'mine' exists already \(test_registration\."):
        register("mine", source(CELL))


class Powerful(torch.nn.Module):
    """A loss that can't be made without an argument, and has a buffer."""

    def __init__(self, power):
        super().__init__()
        self.register_buffer("power", torch.tensor(power))

    def forward(self, sr, hr):
        return ((sr - hr).abs() ** self.power).mean()


def test_what_could_not_be_called_later_is_refused():
    with pytest.raises(ValueError, match=r"signature \(image\); expected \(sr, hr\)"):
        register_loss("mine", lambda image: image)
    with pytest.raises(ValueError, match=r"signature \(power\); expected \(\), and patch_size"):
        register_loss("mine", Powerful)
    with pytest.raises(ValueError, match=r"signature \(\); expected \(scale\), and size"):
        register_model("mine", lambda: torch.nn.Identity())
    assert "mine" not in PIXEL_LOSSES.keys() | MODELS.keys()


def test_an_instance_keeps_its_buffers():
    register_loss("mine", Powerful(3.0))
    assert [float(buffer) for buffer in build_loss("l2+mine").buffers()] == [3]


def test_a_model_without_channels_is_for_rgb_alone():
    register_model("mine", lambda scale: torch.nn.Upsample(scale_factor=scale))
    with pytest.raises(ValueError, match="unknown channels of mine 'luma'; known: rgb"):
        Run(model="mine", channels="luma")


def test_an_argument_of_its_own_keeps_its_default():
    seen = []

    def mine(scale, fan=3):
        seen.append(fan)
        return torch.nn.Upsample(scale_factor=scale)

    register_model("mine", mine)
    build_model("mine", 2)
    assert seen == [3]


def test_a_version_stands_in_for_a_source_that_cannot_be_read():
    space = {"__name__": "nowhere"}
    exec("def my_loss(sr, hr): return (sr - hr).mean()", space)
    with pytest.raises(ValueError, match=r"can't be read.*version="):
        register_loss("mine", space["my_loss"])
    keys = []
    for version in ("1", "2"):
        register_loss("mine", space["my_loss"], version=version)
        keys.append(Run(loss="l2+mine").key)
    assert keys[0] != keys[1]
