"""A run's outcome depends on its description alone; what stops it, and what it continues."""

import dataclasses
import math
import os
import pickle
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from gvstudy import Run, gradient_variance_loss, train
from gvstudy import training as tr
from gvstudy.config import Recipe, distinct
from gvstudy.images import to_uint8
from gvstudy.losses import ComposedLoss, build_loss

TINY = Run(model="espcn", steps=20, batch_size=2, crop_size=24)
SGD = dataclasses.replace(TINY, recipe="official", learning_rate=0.1)


def pictures():
    noise = torch.rand(2, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    return {str(i): to_uint8(picture) for i, picture in enumerate(noise)}


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def run_to_end(run=TINY, **options):
    return train(run, pictures(), progress=False, **options)


@pytest.mark.parametrize("model", ["espcn", "vdsr", "edsr"])
@pytest.mark.parametrize("loss", ["l2", "ssim+gv"])
def test_the_same_run_ends_in_identical_weights(model, loss):
    run = dataclasses.replace(TINY, model=model, loss=loss, steps=4)
    (one, history), (other, again) = run_to_end(run), run_to_end(run)
    assert torch.equal(weights(one), weights(other))
    assert history.equals(again)


def test_a_model_that_broke_has_no_validation_metrics():
    model, _ = run_to_end(dataclasses.replace(TINY, steps=3))
    with torch.no_grad():
        next(model.parameters()).fill_(torch.nan)
    hr = torch.rand(1, 3, 40, 40)
    found = tr.validate(model, [(hr[..., ::2, ::2], hr)], 2)
    assert all(math.isnan(value) for value in found.values())


def test_another_seed_or_loss_ends_elsewhere():
    base = weights(run_to_end()[0])
    for change in ({"seed": 1}, {"loss": "l2+gv"}, {"learning_rate": 1e-3}):
        assert not torch.equal(base, weights(run_to_end(dataclasses.replace(TINY, **change))[0]))


def test_every_loss_sees_the_same_crops(monkeypatch):
    seen = {}
    real = ComposedLoss.terms

    def spy(self, sr, hr):
        seen.setdefault(current, []).append(hr)
        return real(self, sr, hr)

    monkeypatch.setattr(ComposedLoss, "terms", spy)
    for current in ("l2", "l1+tv", "ssim+gv"):
        run_to_end(dataclasses.replace(TINY, loss=current, steps=3))
    for crops in zip(*seen.values(), strict=True):
        assert torch.equal(crops[0], crops[1])
        assert torch.equal(crops[0], crops[2])


def test_history_is_tidy():
    _, history = run_to_end(dataclasses.replace(TINY, loss="l2+gv"))
    assert list(history) == [
        "step", "learning_rate", "loss", "pixel", "regulariser", "psnr_y", "variance_ratio",
    ]  # fmt: skip
    assert list(history["step"]) == list(range(1, 21))
    assert history["learning_rate"].max() == pytest.approx(TINY.learning_rate)


def test_history_holds_the_means_of_what_was_minimised(monkeypatch):
    seen = []
    real = ComposedLoss.terms

    def spy(self, sr, hr):
        seen.append([F.mse_loss(sr, hr).item(), 0.5 * gradient_variance_loss(sr, hr).item()])
        return real(self, sr, hr)

    monkeypatch.setattr(ComposedLoss, "terms", spy)
    _, history = run_to_end(dataclasses.replace(TINY, loss="l2+gv", gv_weight=0.5, steps=40))
    pixel, regulariser = torch.tensor(seen).view(20, 2, 2).mean(dim=1).T  # two steps a row
    assert history["pixel"].to_list() == pytest.approx(pixel.tolist(), rel=1e-5)
    assert history["regulariser"].to_list() == pytest.approx(regulariser.tolist(), rel=1e-5)
    assert history["loss"].to_list() == pytest.approx((pixel + regulariser).tolist(), rel=1e-5)


def test_the_progress_bar_redraws_a_bounded_number_of_times(monkeypatch):
    drawn = []

    class Hasty(tr.tqdm):
        def __init__(self, **options):
            super().__init__(**options | {"mininterval": 0})

        def display(self, *_args, **_options):
            drawn.append(self.n)

    monkeypatch.setattr(tr, "tqdm", Hasty)
    train(dataclasses.replace(TINY, steps=300), pictures())
    assert 10 <= len(drawn) <= tr.REDRAWS + 2


def test_an_interrupted_run_goes_on_to_the_same_end(tmp_path, interrupt_at):
    run = dataclasses.replace(TINY, steps=60)
    undisturbed, history = run_to_end(run)
    steps = interrupt_at(31)
    with pytest.raises(KeyboardInterrupt):
        run_to_end(run, checkpoint=tmp_path / "c.pt")
    resumed, whole = run_to_end(run, checkpoint=tmp_path / "c.pt")
    assert len(steps) == 31 + 30  # steps 1 to 30 were not repeated
    assert torch.equal(weights(resumed), weights(undisturbed))
    assert whole.equals(history)


KILLED = """
from pathlib import Path
import sys
sys.path.insert(0, sys.argv[1])
import test_training as t
t.run_to_end(t.dataclasses.replace(t.TINY, steps=2000), checkpoint=Path(sys.argv[2]))
"""


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_end(tmp_path):
    run, checkpoint = dataclasses.replace(TINY, steps=2000), tmp_path / "c.pt"
    command = [sys.executable, "-c", KILLED, os.path.dirname(__file__), str(checkpoint)]
    process = subprocess.Popen(command)
    deadline = time.monotonic() + 120
    while not checkpoint.exists():
        assert process.poll() is None, "the run ended before its first checkpoint"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()
    done = int(torch.load(checkpoint, weights_only=True)["history"][-1]["step"])
    assert 0 < done < 2000
    resumed, history = run_to_end(run, checkpoint=checkpoint)
    undisturbed, whole = run_to_end(run)
    assert torch.equal(weights(resumed), weights(undisturbed))
    assert history.equals(whole)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, monkeypatch):
    run = dataclasses.replace(TINY, steps=60)  # a row and a checkpoint every 3 steps
    real = tr.build_loss
    steps = []

    def poisoned(*arguments, **options):
        loss = real(*arguments, **options)
        terms = loss.terms

        def nan_at_8(sr, hr):
            steps.append(1)
            return {k: v * (math.nan if len(steps) == 8 else 1) for k, v in terms(sr, hr).items()}

        loss.terms = nan_at_8
        return loss

    monkeypatch.setattr(tr, "build_loss", poisoned)
    with pytest.raises(tr.DivergedError, match=r"l2 is not finite at step 8 of 60.*learning_rate"):
        run_to_end(run, checkpoint=tmp_path / "c.pt")
    saved = torch.load(tmp_path / "c.pt", weights_only=True)
    assert saved["history"][-1]["step"] == 6
    assert all(value.isfinite().all() for value in saved["model"].values())


def test_precision_is_the_machine_s_unless_given(monkeypatch):
    for able, expected in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr("gvstudy.config.computes_bfloat16", lambda able=able: able)
        assert Run().description()["precision"] == expected
        assert Run(model="espcn").resolved_precision == "float32"
        assert Run(loss="ssim+gv").resolved_precision == "float32"
        assert Run(model="edsr").resolved_precision == expected
        assert Run(precision="float32").resolved_precision == "float32"
        assert Run(model="espcn", precision="bfloat16").resolved_precision == "bfloat16"


@pytest.mark.slow
def test_bfloat16_is_the_model_s_alone():
    run = dataclasses.replace(TINY, model="vdsr", steps=4, precision="bfloat16", loss="l2+gv")
    model, history = run_to_end(run)
    other, reference = run_to_end(dataclasses.replace(run, precision="float32"))
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert not torch.equal(weights(model), weights(other))
    assert history["loss"].to_numpy() == pytest.approx(reference["loss"].to_numpy(), rel=0.05)


def test_a_run_is_frozen_and_hashable():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TINY.seed = 3
    assert len({TINY, dataclasses.replace(TINY)}) == 1


def test_patches_only_matter_where_the_loss_has_some():
    assert Run(crop_size=12, scale=4).description() == Run(crop_size=12, scale=4, patch_size=99) \
        .description()  # fmt: skip


def test_whole_and_decimal_weights_are_the_same_run():
    one, other = (Run(loss="l2+gv", gv_weight=weight).description() for weight in (1, 1.0))
    assert repr(one) == repr(other)


def test_runs_that_differ_in_nothing_that_counts_are_one():
    runs = [Run(), Run(gv_weight=3.0), Run(loss="l2+gv"), Run(loss="l2+gv", patch_size=8), Run()]
    assert distinct(runs) == [runs[0], runs[2]]


def test_a_checkpoint_is_read_onto_the_cpu(tmp_path, monkeypatch):
    """One from a machine with a GPU can be continued without."""
    run_to_end(checkpoint=tmp_path / "c.pt")
    read, load = [], torch.load

    def spy(path, **options):
        read.append(options.get("map_location"))
        return load(path, **options)

    monkeypatch.setattr(torch, "load", spy)
    run_to_end(checkpoint=tmp_path / "c.pt")
    assert read == ["cpu"]


def test_the_checkpoint_of_another_run_is_refused(tmp_path):
    run_to_end(checkpoint=tmp_path / "c.pt")
    other = dataclasses.replace(TINY, seed=9)
    with pytest.raises(ValueError, match=r"c\.pt is the checkpoint of another run"):
        run_to_end(other, checkpoint=tmp_path / "c.pt")


def damage_state(change):
    """Rewrite a checkpoint with its state changed."""

    def damage(path):
        state = torch.load(path, weights_only=True)
        torch.save(change(state), path)

    return damage


def flip(path):
    """Change a byte of the recorded lengths, which leaves the file's structure alone."""
    content = bytearray(path.read_bytes())
    lengths = torch.load(path, weights_only=True)["lengths"]
    content[content.index(lengths.numpy().tobytes())] ^= 0x40
    path.write_bytes(content)


def a_folder(path):
    path.unlink()
    path.mkdir()


class Evil:
    def __reduce__(self):
        return print, ("executed",)


DAMAGES = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:1000]),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("no checkpoint"),
    "a pickle": lambda path: path.write_bytes(pickle.dumps(Evil())),
    "a pickle in an archive": lambda path: torch.save({"run": Evil()}, path),
    "a folder": a_folder,
    "a flipped byte": flip,
    "a list": damage_state(lambda state: [state]),
    "no run": damage_state(lambda state: state | {"run": None}),
    "no lengths": damage_state(lambda state: {k: v for k, v in state.items() if k != "lengths"}),
    "no history": damage_state(lambda state: state | {"history": []}),
    "no optimizer": damage_state(lambda state: {k: v for k, v in state.items() if k[:3] != "opt"}),
    "other shapes": damage_state(lambda state: state | {"lengths": torch.zeros(2, 2)}),
    "no generator": damage_state(lambda state: state | {"crops": torch.zeros(3)}),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_checkpoint_is_set_aside_and_the_run_starts_anew(kind, tmp_path, capfd):
    undisturbed, history = run_to_end(checkpoint=tmp_path / "c.pt")
    DAMAGES[kind](tmp_path / "c.pt")
    with pytest.warns(UserWarning, match=r"c\.pt is damaged .* set aside as c\.pt\.damaged"):
        again, whole = run_to_end(checkpoint=tmp_path / "c.pt")
    assert torch.equal(weights(again), weights(undisturbed))
    assert whole.equals(history)
    assert (tmp_path / "c.pt").is_file()
    assert (tmp_path / "c.pt.damaged").exists()
    assert "executed" not in capfd.readouterr().out


def test_a_full_disk_is_reported_with_the_file(tmp_path):
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"c\.pt"):
            run_to_end(checkpoint=tmp_path / "c.pt")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())


def test_description_leaves_out_what_the_loss_does_not_use():
    assert "gv_weight" not in Run(loss="l2").description()
    assert "tv_weight" not in Run(loss="l2+gv").description()
    assert Run(loss="l2+gv").description()["patch_size"] == 8
    assert Run(loss="l2+gv", scale=3).description()["patch_size"] == 16
    assert Run(loss="l1+tv").description()["tv_weight"] == 1e-4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scale": 5}, "unknown scale 5; known: 2, 3, 4"),
        ({"seed": 2**70}, f"whole numbers from 0 to {2**63 - 1} are"),
        ({"steps": 10**30}, "whole numbers from 3 to 100000000 are"),
        ({"start_steps": 10**30}, "start_steps .* from 0 to 100000000 are"),
        ({"batch_size": 10**12}, "batch_size .* from 1 to 100000 are"),
        ({"crop_size": 10**6}, "crop_size .* from 1 to 10000 are"),
        ({"learning_rate": 10**400}, "finite numbers above 0 are"),
        ({"learning_rate": None}, "learning_rate None is not allowed"),
        ({"train_set": 3}, "train_set 3 is not allowed; text is"),
        ({"loss": None}, "loss None is not allowed; text is"),
        ({"model": "srcnn"}, "unknown model 'srcnn'; known"),
        ({"model": "bicubic"}, "nothing to train; known: vdsr, edsr, espcn"),
        ({"loss": "l2+gvv"}, r"unknown loss 'l2\+gvv'; known: l2, l1"),
        ({"train_set": "div3k"}, "unknown data set 'div3k'; known"),
        ({"valid_set": "div3k"}, "unknown data set 'div3k'; known"),
        ({"recipe": "secret"}, "unknown recipe 'secret'; known: tuned, official"),
        ({"padding": "same"}, "unknown padding 'same'; known: zeros, valid"),
        ({"precision": "half"}, "unknown precision 'half'; known: auto, float32, bfloat16"),
        ({"size": "huge"}, "unknown size 'huge'; known: paper, reduced"),
        ({"channels": "rgba"}, "unknown channels 'rgba'; known"),
        ({"downsample": "nearest"}, "unknown downsample 'nearest'; known"),
        ({"scale": 3, "crop_size": 50}, "scale 3 does not divide crop_size 50"),
        (
            {"crop_size": 6, "loss": "l2+gv"},
            "patch_size 8 does not fit crop_size 6.*allowed: 2 to 6",
        ),
        ({"crop_size": 8, "padding": "valid", "loss": "l2+gv"}, "patch_size 8 .*allowed: 2 to 6"),
        ({"patch_size": 1, "loss": "l2+gv"}, "patch_size 1 does not fit"),
        ({"crop_size": 4, "loss": "ssim"}, "crop_size 4 is not allowed; whole numbers from 6 to"),
        ({"crop_size": 14, "loss": "l2+gv-multiscale"}, "whole numbers from 16 to"),
        ({"seed": 0.5}, r"seed 0\.5 is not allowed; whole numbers from 0 to"),
        ({"steps": "10"}, "steps '10' is not allowed; whole numbers from 3 to"),
        ({"learning_rate": math.inf}, "learning_rate inf is not allowed"),
        ({"steps": 0}, "steps 0 is not allowed; whole numbers from 3 to"),
        ({"batch_size": 0}, "batch_size 0 is not allowed"),
        ({"learning_rate": math.nan}, "learning_rate nan is not allowed"),
        ({"gv_weight": -1.0}, r"gv_weight -1\.0 is not allowed"),
        ({"seed": -1}, "seed -1 is not allowed"),
        ({"start_steps": -1}, "start_steps -1 is not allowed"),
        ({"crop_size": 0}, "crop_size 0 is not allowed; whole numbers from 1 to"),
        ({"patch_size": -1}, "patch_size -1 is not allowed"),
        ({"seed": True}, "seed True is not allowed"),
        ({"scale": 2.0}, r"scale 2\.0 is not allowed; whole numbers"),
        ({"learning_rate": "0.1"}, r"learning_rate '0\.1' is not allowed; finite numbers above 0"),
        ({"start_learning_rate": 0.0}, r"start_learning_rate 0\.0 is not allowed"),
        ({"start_steps": 2}, "steps 2 is not allowed; whole numbers from 3 to"),
    ],
)
def test_a_run_that_cannot_be_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Run(**changes)


def test_an_official_run_goes_on_to_the_same_end(tmp_path, interrupt_at):
    run = dataclasses.replace(TINY, recipe="official", steps=60, learning_rate=0.1)
    undisturbed, history = run_to_end(run)
    rates = history.groupby("learning_rate", sort=False)["step"].max()
    assert rates.index.to_list() == pytest.approx([0.1, 0.01, 0.001])
    assert rates.to_list() == [18, 39, 60]  # the rate of a row is its last step's
    interrupt_at(31)
    with pytest.raises(KeyboardInterrupt):
        run_to_end(run, checkpoint=tmp_path / "c.pt")
    resumed, whole = run_to_end(run, checkpoint=tmp_path / "c.pt")
    assert torch.equal(weights(resumed), weights(undisturbed))
    assert whole.equals(history)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "rate"), [("vdsr", 0.1), ("edsr", 1e-4), ("espcn", 0.01)], ids=lambda v: str(v)
)
def test_a_published_run_learns(model, rate):
    fields = {"recipe": f"published-{model}", "learning_rate": rate, "channels": "luma"}
    _, history = run_to_end(dataclasses.replace(TINY, model=model, steps=60, **fields))
    assert history["loss"].iloc[-1] < history["loss"].iloc[0]
    assert history["learning_rate"].iloc[-1] < rate


def test_no_step_moves_a_weight_farther_than_the_recipe_lets_it():
    run = dataclasses.replace(TINY, model="vdsr", recipe="published-vdsr", steps=3)
    run = dataclasses.replace(run, learning_rate=0.1)
    ends, start = weights(run_to_end(run)[0]), weights(tr.initial_model(run))
    limit = tr.RECIPES[run.recipe].first_max_grad_value * run.learning_rate
    # Momentum .9 adds up what three clipped steps may be; weight decay takes next to nothing.
    farthest = limit * ((1 + 0.9 + 0.81) + (1 + 0.9) + 1)
    assert 0.5 * limit < (ends - start).abs().max() < farthest + 1e-4


def test_half_the_sum_is_the_mean_at_a_higher_rate(monkeypatch):
    plain = tr.RECIPES["official"]
    plain = dataclasses.replace(plain, max_grad_norm=0, weight_decay=0, milestones=(0.5,))
    summed = dataclasses.replace(plain, sum_loss=True)
    monkeypatch.setitem(tr.RECIPES, "plain", plain)
    monkeypatch.setitem(tr.RECIPES, "summed", summed)
    run = dataclasses.replace(TINY, steps=5, learning_rate=1e-4, recipe="summed")
    other = dataclasses.replace(run, recipe="plain", learning_rate=1e-4 * TINY.crop_size**2 / 2)
    one, two = (weights(run_to_end(r)[0]) for r in (run, other))
    assert torch.allclose(one, two, atol=1e-6)
    assert not torch.allclose(one, weights(tr.initial_model(run)), atol=1e-4)


def test_pixel_only_goes_where_the_pixel_loss_points_as_far_as_the_whole_loss():
    run = dataclasses.replace(TINY, loss="l2+gv", gv_weight=1.0, precision="float32")
    model, (sr, hr) = tr.initial_model(run), torch.rand(2, 2, 3, 24, 24)
    terms = build_loss("l2+gv", gv_weight=1.0).terms(model(sr[..., ::2, ::2]), hr)
    pixel, whole = terms["l2"], sum(terms.values())
    parameters = list(model.parameters())
    along, all_of_it = (
        torch.cat([g.flatten() for g in torch.autograd.grad(t, parameters, retain_graph=True)])
        for t in (pixel, whole)
    )
    tr.set_rescaled_gradient(model, pixel, whole)
    ours = torch.cat([p.grad.flatten() for p in parameters])
    torch.testing.assert_close(ours.norm(), all_of_it.norm())
    torch.testing.assert_close(ours / ours.norm(), along / along.norm())
    assert not torch.allclose(along, all_of_it)


def test_pixel_only_is_another_training():
    run = dataclasses.replace(TINY, loss="l2+gv", recipe="official", learning_rate=0.1, steps=3)
    ends = [
        weights(run_to_end(dataclasses.replace(run, **change))[0])
        for change in ({}, {"loss": "l2"}, {"recipe": "official-pixel-only"})
    ]
    assert not any(torch.equal(ends[2], end) for end in ends[:2])


def test_a_run_goes_on_from_the_model_it_starts_from():
    fields = {"loss": "l2+gv", "learning_rate": 1e-9, "start_learning_rate": 1e-3}
    run = dataclasses.replace(TINY, steps=3, start_steps=5, **fields)
    assert run.start == dataclasses.replace(TINY, loss="l2", steps=5, learning_rate=1e-3)
    start, _ = run_to_end(run.start)
    before = weights(start)
    end = weights(run_to_end(run, start=start)[0])  # hardly a step away, at such a rate
    torch.testing.assert_close(end, before, atol=1e-6, rtol=0)
    assert torch.equal(before, weights(start)), "the start itself isn't trained on"
    assert not torch.equal(end, before)
    assert not torch.allclose(end, weights(tr.initial_model(run)), atol=1e-4)
    with pytest.raises(ValueError, match="start_steps is 5: give `start`"):
        run_to_end(run)


def test_the_start_is_part_of_a_run_that_has_one():
    assert "start_steps" not in Run().description()
    described = Run(start_steps=7).description()
    assert described["start_steps"] == 7
    assert described["start_learning_rate"] == Run().start_learning_rate


def test_a_crop_that_the_patch_does_not_divide_is_fine():
    run = dataclasses.replace(TINY, crop_size=28, loss="l2+gv", steps=3)
    assert run_to_end(run)[1]["regulariser"].iloc[-1] > 0


def test_the_shortest_runs():
    for steps in (3, 4, 10, 11):
        assert len(run_to_end(dataclasses.replace(TINY, steps=steps))[1]) == steps


def test_pictures_smaller_than_the_crop_are_refused():
    with pytest.raises(ValueError, match="40x40 pixels is smaller than crop_size 48"):
        train(Run(), pictures(), progress=False)


def lengths(run, tmp_path, **options):
    """A trained model, and the lengths of its steps."""
    model, _ = run_to_end(run, record=tmp_path / "lengths.csv", **options)
    return model, pd.read_csv(tmp_path / "lengths.csv")


def test_a_constant_multiplies_the_gradient_of_the_whole_loss(tmp_path):
    one, ten = (
        dataclasses.replace(SGD, loss="l2+gv", pixel_weight=weight, steps=3) for weight in (1, 10)
    )
    (_, small), (_, large) = lengths(one, tmp_path), lengths(ten, tmp_path)
    assert large["gradient"][0] == pytest.approx(10 * small["gradient"][0], rel=1e-5)


def test_lengths_are_those_of_the_optimiser_by_hand(tmp_path):
    """One step of SGD: momentum is still empty, so the update is rate * (gradient + decay)."""
    run = dataclasses.replace(SGD, pixel_weight=1000.0, steps=3)
    before = tr.initial_model(run)
    crops = tr.Crops(
        pictures(), 24, 2, "bicubic", torch.device("cpu"), augment=False, shuffle_seed=0
    )
    ((lr, hr),) = crops.batches(2, 1, torch.Generator().manual_seed(0), 0)
    gradient = torch.cat(
        [
            g.flatten()
            for g in torch.autograd.grad(1000 * F.mse_loss(before(lr), hr), before.parameters())
        ]
    )
    clipped = gradient * min(1, 0.4 / gradient.norm())
    update = run.learning_rate * (clipped + 1e-4 * weights(before))
    first = lengths(run, tmp_path)[1].iloc[0]
    assert gradient.norm() > 0.4
    expected = [float(vector.norm()) for vector in (gradient, clipped, update)]
    assert first.tolist() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("kind", ["update", "clipped"])
@pytest.mark.parametrize("recipe", ["official", "official-adam"])
def test_a_yoked_run_has_its_partners_lengths_and_its_own_direction(recipe, kind, tmp_path):
    yoked = dataclasses.replace(  # the small factor keeps the clip from making all lengths equal
        SGD, lengths_from="l2+gv", lengths_of=kind, recipe=recipe, pixel_weight=0.01, gv_weight=1.0
    )
    partner, given = lengths(yoked.partner, tmp_path)
    model, taken = lengths(yoked, tmp_path, partner=given)
    plain, own = lengths(dataclasses.replace(yoked, lengths_from=""), tmp_path)
    assert taken[kind].to_numpy() == pytest.approx(given[kind].to_numpy(), rel=1e-5)
    assert own[kind].to_numpy() != pytest.approx(given["update"].to_numpy(), rel=1e-3)
    assert not torch.equal(weights(model), weights(plain))
    assert not torch.equal(weights(model), weights(partner))


def test_with_lengths_of_its_own_a_run_stays_what_it_is(tmp_path):
    run = dataclasses.replace(SGD, steps=5)
    model, own = lengths(run, tmp_path)
    yoked = dataclasses.replace(run, lengths_from="l2")
    again, _ = lengths(yoked, tmp_path, partner=own)
    assert torch.allclose(weights(model), weights(again), atol=1e-7)


def test_the_lengths_of_an_interrupted_run_are_the_same_to_the_bit(tmp_path, monkeypatch):
    yoked = dataclasses.replace(SGD, lengths_from="l2+gv")
    _, given = lengths(yoked.partner, tmp_path)
    model, undisturbed = lengths(yoked, tmp_path, partner=given)
    checkpoint, saves = tmp_path / "checkpoint.pt", []
    save = tr._save

    def killed(*arguments):
        save(*arguments)
        saves.append(1)
        if len(saves) == 7:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tr, "_save", killed)
        with pytest.raises(KeyboardInterrupt):
            run_to_end(yoked, partner=given, checkpoint=checkpoint)
    again, resumed = lengths(yoked, tmp_path, partner=given, checkpoint=checkpoint)
    assert resumed.equals(undisturbed)
    assert torch.equal(weights(model), weights(again))


def test_a_zero_gradient_cannot_be_rescaled_and_stays_zero():
    tensors = [torch.zeros(3), torch.zeros(2, 2)]
    tr.rescale(tensors, torch.tensor(5.0))
    assert not any(tensor.any() for tensor in tensors)


@pytest.mark.parametrize("run", [TINY, dataclasses.replace(TINY, lengths_from="l2+gv")])
def test_a_partner_is_given_exactly_where_a_run_has_one(run):
    lengths_given = None if run.partner else pd.DataFrame({"update": [1.0] * TINY.steps})
    with pytest.raises(ValueError, match="lengths_from is"):
        run_to_end(run, partner=lengths_given)


def test_constant_and_lengths_belong_to_a_description_only_where_they_are_used():
    assert not {"pixel_weight", "lengths_from", "lengths_of", "fan"} & TINY.description().keys()
    assert dataclasses.replace(TINY, lengths_of="clipped").key == TINY.key
    assert dataclasses.replace(TINY, pixel_weight=1).key == TINY.key
    yoked = dataclasses.replace(TINY, lengths_from="l2+gv").description()
    assert {"lengths_from", "lengths_of", "gv_weight", "patch_size", "padding"} <= yoked.keys()
    with pytest.raises(ValueError, match="unknown loss 'nothing'"):
        dataclasses.replace(TINY, lengths_from="nothing")
    with pytest.raises(ValueError, match="lengths_of"):
        dataclasses.replace(TINY, lengths_from="l1", lengths_of="both")
    for wrong in (0, -1, True, float("inf")):
        with pytest.raises(ValueError, match="pixel_weight"):
            dataclasses.replace(TINY, pixel_weight=wrong)


def test_numbers_of_numpy_make_the_same_run():
    run = Run(scale=np.int64(3), seed=np.int64(3), gv_weight=np.float64(0.01), loss="l2+gv")
    assert run == Run(scale=3, seed=3, loss="l2+gv")
    assert run.key == Run(scale=3, seed=3, loss="l2+gv").key


def test_a_label_says_what_is_multiplied():
    assert "300*(l2+gv)" in Run(loss="l2+gv", pixel_weight=300).label
    assert " l2+gv " in Run(loss="l2+gv").label
    assert "300*l2 " in Run(pixel_weight=300).label


def test_recipes_with_settings_that_would_be_ignored():
    with pytest.raises(ValueError, match="unknown optimizer 'adamw'; known: adam, sgd"):
        Recipe(source="", optimizer="adamw")
    with pytest.raises(ValueError, match=r"momentum 0\.5 is not allowed; with adam only 0 is"):
        Recipe(source="", optimizer="adam", momentum=0.5)
    recipe = Recipe(source="", optimizer="adam", weight_decay=0.1)
    optimizer, _ = tr.build_optimizer(recipe, [torch.zeros(1, requires_grad=True)], 0.1, 10)
    assert optimizer.defaults["weight_decay"] == 0.1
