"""Training a model on crops, as one readable loop that a frozen `Run` describes."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from gvstudy.crops import Crops
from gvstudy.data import check_name, load_images
from gvstudy.evaluation import evaluate
from gvstudy.files import replacing
from gvstudy.gradients import PADDINGS
from gvstudy.images import KERNELS, centre
from gvstudy.losses import LOSSES, build_loss
from gvstudy.models import build_model, check_model

RECIPES = ("tuned",)
WARM_UP = 0.1  # share of the cycle in which the learning rate rises, two steps at least
SHORTEST = 3  # steps that such a cycle needs
LOGS = 20  # rows of history, and checkpoints, a run
VALIDATION_CROP = 128  # central pixels of a validation picture that the history looks at


class DivergedError(ArithmeticError):
    """The loss stopped being a finite number."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """Everything that decides the outcome of a training. Raises ValueError for what can't be."""

    model: str = "vdsr"  # vdsr, edsr, espcn
    scale: int = 2  # 2, 3 or 4
    loss: str = "l2"  # l2, l1 or ssim, alone or +gv, +tv, +tv2
    seed: int = 0  # of the initial weights and of the sequence of crops
    size: str = "reduced"  # paper or reduced
    channels: str = "rgb"  # rgb, luma, or rgb-to-grey (VDSR)
    upsample: str = "bicubic"  # how the model enlarges the LR image
    downsample: str = "bicubic"  # how the LR image is made
    train_set: str = "builtin-train"  # a data set's name
    valid_set: str = "builtin-valid"  # watched while training; decides nothing
    recipe: str = "tuned"  # Adam, one cycle
    steps: int = 500  # optimiser steps
    batch_size: int = 16  # crops a step
    crop_size: int = 48  # side of an HR crop, pixels
    learning_rate: float = 2e-3  # the cycle's highest
    gv_weight: float = 0.01  # factor on GV; the authors' value
    tv_weight: float = 1e-4  # factor on TV
    patch_size: int = 0  # of GV while training, pixels; 0: 8 at x2, 16 at x3 and x4
    padding: str = "zeros"  # of GV: zeros or valid

    def __post_init__(self) -> None:
        check_model(self.model, self.scale, self.size, self.channels, self.upsample)
        if self.model == "bicubic":
            raise ValueError("model 'bicubic' has nothing to train; known: vdsr, edsr, espcn")
        for what, given, known in (
            ("loss", self.loss, LOSSES),
            ("downsample", self.downsample, KERNELS),
            ("recipe", self.recipe, RECIPES),
            ("padding", self.padding, PADDINGS),
        ):
            if given not in known:
                raise ValueError(f"unknown {what} {given!r}; known: {', '.join(known)}")
        check_name(self.train_set)
        check_name(self.valid_set)
        if self.steps < SHORTEST:
            raise ValueError(f"steps {self.steps} is not allowed; {SHORTEST} and above are")
        for what in ("batch_size", "learning_rate"):
            if not getattr(self, what) > 0:
                raise ValueError(f"{what} {getattr(self, what)} is not allowed; it must be above 0")
        for what in ("seed", "gv_weight", "tv_weight"):
            if not getattr(self, what) >= 0:
                raise ValueError(f"{what} {getattr(self, what)} is not allowed; 0 and above are")
        if self.crop_size % self.scale:
            raise ValueError(f"scale {self.scale} does not divide crop_size {self.crop_size}")
        whole = self.crop_size - (2 if self.padding == "valid" else 0)
        if not 2 <= self.gv_patch_size <= whole:
            raise ValueError(
                f"patch_size {self.gv_patch_size} does not fit crop_size {self.crop_size} "
                f"(padding {self.padding}); allowed: 2 to {whole}"
            )

    @property
    def gv_patch_size(self) -> int:
        """The side of GV's patches while training, in pixels; the paper's where none is given."""
        return self.patch_size or (8 if self.scale == 2 else 16)

    def description(self) -> dict[str, Any]:
        """The fields that this run's outcome hangs on: without the weights its loss doesn't use."""
        fields = asdict(self) | {"patch_size": self.gv_patch_size}
        if not self.loss.endswith("+gv"):
            del fields["gv_weight"], fields["patch_size"], fields["padding"]
        if "+tv" not in self.loss:
            del fields["tv_weight"]
        return fields


def initial_model(run: Run) -> nn.Module:
    """The run's untrained model: the same weights for the same seed, whatever the loss."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        return build_model(
            run.model, run.scale, size=run.size, channels=run.channels, upsample=run.upsample
        )


def best_device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def train(
    run: Run,
    pictures: Mapping[str, Tensor] | None = None,
    *,
    checkpoint: Path | None = None,
    progress: bool = True,
) -> tuple[nn.Module, pd.DataFrame]:
    """Train as `run` says; give the model after the last step, and the history.

    Args:
        pictures: the training pictures, where they are already loaded.
        checkpoint: a file that the state is saved to at every row of history, and taken up from.
        progress: show a progress bar.

    The history has a row each twentieth of the run: `step`, `learning_rate`, the means since the
    last row of `loss` and its summands `pixel` and `regulariser`, and `psnr_y` (dB) and
    `variance_ratio` on the middle of the validation pictures. Raises DivergedError when the loss
    is no longer finite; the last checkpoint, written before that, stays.
    """
    device = best_device()
    pictures = load_images(run.train_set) if pictures is None else pictures
    crops = Crops(pictures, run.crop_size, run.scale, run.downsample, device)
    watched = load_images(run.valid_set)
    watched = {name: centre(picture, VALIDATION_CROP) for name, picture in watched.items()}
    model = initial_model(run).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    loss = build_loss(
        run.loss,
        gv_weight=run.gv_weight,
        tv_weight=run.tv_weight,
        patch_size=run.gv_patch_size,
        padding=run.padding,
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=run.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=run.learning_rate,
        total_steps=run.steps,
        pct_start=max(WARM_UP, 2 / run.steps),
    )
    generator = torch.Generator().manual_seed(run.seed)
    history: list[dict[str, float]] = []
    parts = {"model": model, "optimizer": optimizer, "schedule": schedule}
    if checkpoint and checkpoint.is_file():
        _restore(checkpoint, parts, generator, history)
    done = int(history[-1]["step"]) if history else 0

    recent: list[Tensor] = []  # the loss's summands, step by step, since the last row of history
    every = max(1, run.steps // LOGS)
    what = f"{run.model} x{run.scale} {run.loss} seed {run.seed}"
    with tqdm(total=run.steps, initial=done, desc=what, leave=False, disable=not progress) as bar:
        for step in range(done + 1, run.steps + 1):
            lr, hr = crops.draw(run.batch_size, generator)
            terms = torch.stack(list(loss.terms(model(lr), hr).values()))
            optimizer.zero_grad()
            terms.sum().backward()
            optimizer.step()
            recent.append(terms.detach())
            if step % every == 0 or step == run.steps:
                row = {"step": step, "learning_rate": schedule.get_last_lr()[0]}
                row |= _means(recent, step, run)
                seen = evaluate(model, watched, run.scale, downsample=run.downsample)
                history.append(row | seen[["psnr_y", "variance_ratio"]].mean().to_dict())
                recent.clear()
                model.train()
            schedule.step()
            if checkpoint and not recent:
                _save(checkpoint, parts, generator, history)
            bar.update()
    return model, pd.DataFrame(history)


def _means(recent: list[Tensor], step: int, run: Run) -> dict[str, float]:
    """Means of the loss and its summands; DivergedError at the first step that isn't finite."""
    values = torch.stack(recent).double().cpu()
    finite = values.isfinite().all(dim=1)
    if not finite.all():
        first = int(finite.logical_not().nonzero()[0])
        raise DivergedError(
            f"the loss {run.loss} is not finite at step {step - len(recent) + first + 1} of "
            f"{run.steps} (summands {values[first].tolist()}); try a smaller learning_rate than "
            f"{run.learning_rate} or smaller weights"
        )
    means = values.mean(dim=0).tolist()
    return {"loss": sum(means), "pixel": means[0], "regulariser": sum(means[1:])}


def _save(
    path: Path, parts: dict[str, Any], generator: torch.Generator, history: list[dict[str, float]]
) -> None:
    state = {name: part.state_dict() for name, part in parts.items()}
    with replacing(path) as temporary:
        torch.save({**state, "crops": generator.get_state(), "history": history}, temporary)


def _restore(
    path: Path, parts: dict[str, Any], generator: torch.Generator, history: list[dict[str, float]]
) -> None:
    saved = torch.load(path, weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(saved[name])
    generator.set_state(saved["crops"])
    history.extend(saved["history"])
