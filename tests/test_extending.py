"""What CONTRIBUTING.md says about a new model and a new loss is true, and short."""

import re
from pathlib import Path

import pytest

from gvstudy import Run, build_loss, build_model, evaluate, load_images, losses, models, study

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
(EXAMPLE,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture
def extended(monkeypatch):
    """The example's model and loss, for the time of a test."""
    monkeypatch.setattr(models, "MODELS", dict(models.MODELS))
    monkeypatch.setattr(losses, "REGULARISERS", dict(losses.REGULARISERS))
    exec(EXAMPLE, {"__name__": "example"})


def test_the_example_is_short():
    lines = [line for line in EXAMPLE.splitlines() if line.strip()]
    assert len(lines) <= 30


@pytest.mark.usefixtures("extended", "store")
def test_a_fourth_model_and_a_fifth_loss_train_and_are_measured():
    assert build_loss("l1+edges").added == "edges"
    run = Run(model="srcnn", loss="l1+edges", steps=20, batch_size=2, crop_size=24)
    before = evaluate(build_model("srcnn", 2), load_images("builtin-valid"), 2)
    rows = study.results([run], ["builtin-valid"], progress=False)
    assert rows["psnr_y"].mean() > before["psnr_y"].mean()
    assert set(rows["model"]) == {"srcnn"}


def test_the_commands_it_names_are_there():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", TEXT, re.MULTILINE):
        assert f"\n{target}: " in makefile
