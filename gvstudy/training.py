"""Training a model on crops, as one readable loop that a frozen `Run` describes."""

from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from gvstudy.crops import Crops
from gvstudy.data import load_images
from gvstudy.evaluation import PATCH_SIZE, psnr_y, super_resolve
from gvstudy.files import replacing
from gvstudy.gradients import variance_ratio
from gvstudy.images import as_saved, centre, crop_to_multiple, make_lr, to_float
from gvstudy.losses import build_loss
from gvstudy.models import build_model
from gvstudy.recipes import RECIPES, build_optimizer
from gvstudy.runs import Run, best_device

LOGS = 20  # rows of history, and checkpoints, a run
# Redraws of the progress bar, a run at most: in a notebook each is three messages, and a client
# that reads them only when the cell has ended (nbval) keeps no more than some two thousand.
REDRAWS = 50
VALIDATION_CROP = 128  # central pixels of a validation picture that the history looks at


class DivergedError(ArithmeticError):
    """The loss stopped being a finite number."""


def initial_model(run: Run) -> nn.Module:
    """The run's untrained model: the same weights for the same seed, whatever the loss."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        return build_model(
            run.model, run.scale, size=run.size, channels=run.channels, upsample=run.upsample
        )


def train(
    run: Run,
    pictures: Mapping[str, Tensor] | None = None,
    *,
    start: nn.Module | None = None,
    checkpoint: Path | None = None,
    progress: bool = True,
) -> tuple[nn.Module, pd.DataFrame]:
    """Train as `run` says; give the model after the last step, and the history.

    Args:
        pictures: the training pictures, where they are already loaded.
        start: the trained model of `run.start`, for a run that goes on from another.
        checkpoint: a file that the state is saved to at every row of history, and taken up from.
        progress: show a progress bar.

    The history has a row each twentieth of the run: `step`, `learning_rate`, the means since the
    last row of `loss` and its summands `pixel` and `regulariser`, and `psnr_y` (dB) and
    `variance_ratio` on the middle of the validation pictures. Raises DivergedError when the loss
    is no longer finite; the last checkpoint, written before that, stays. Raises ValueError where
    a run that starts from another isn't given that one's model, and for another run's checkpoint.
    """
    if (start is None) != (run.start is None):
        raise ValueError(f"start_steps is {run.start_steps}: give `start` where it is above 0")
    device = best_device()
    pictures = load_images(run.train_set) if pictures is None else pictures
    recipe = RECIPES[run.recipe]
    crops = Crops(
        pictures,
        run.crop_size,
        run.scale,
        run.downsample,
        device,
        turned=recipe.turned,
        shuffled=run.seed if recipe.shuffled else None,
    )
    watched = _pairs(load_images(run.valid_set), run)
    model = initial_model(run)
    if start is not None:
        model.load_state_dict(start.state_dict())
    model = model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    loss = build_loss(
        run.loss,
        gv_weight=run.gv_weight,
        tv_weight=run.tv_weight,
        patch_size=run.gv_patch_size,
        padding=run.padding,
    )
    optimizer, schedule = build_optimizer(recipe, model.parameters(), run.learning_rate, run.steps)
    half = run.arithmetic == "bfloat16"
    pixels = run.crop_size**2 / 2 if recipe.summed else 1
    generator = torch.Generator().manual_seed(run.seed)
    history: list[dict[str, float]] = []
    parts = {"model": model, "optimizer": optimizer, "schedule": schedule}
    if checkpoint and checkpoint.is_file():
        _restore(checkpoint, run, parts, generator, history)
    done = int(history[-1]["step"]) if history else 0

    bar = tqdm(
        total=run.steps,
        initial=done,
        desc=f"{run.model} x{run.scale} {run.loss} seed {run.seed}",
        leave=False,
        disable=not progress,
        mininterval=0.5,
        miniters=max(1, run.steps // REDRAWS),
    )
    with bar:
        for due in _rows(run.steps):
            if due <= done:
                continue
            recent: list[list[Tensor]] = []  # the loss's summands, step by step, since the last row
            for lr, hr in crops.batches(run.batch_size, due - done, generator, done):
                with torch.autocast(device.type, torch.bfloat16, enabled=half):
                    sr = model(lr)
                terms = list(loss.terms(sr.float(), hr).values())
                learning_rate = float(schedule.get_last_lr()[0])
                optimizer.zero_grad()
                whole = pixels * sum(terms[1:], start=terms[0])
                if recipe.pixel_only:
                    _point(model, pixels * terms[0], whole)
                else:
                    whole.backward()
                if recipe.clip:
                    torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
                if recipe.clip_first:
                    largest = recipe.clip_first * run.learning_rate / learning_rate
                    torch.nn.utils.clip_grad_value_(model.parameters(), largest)
                optimizer.step()
                recent.append([term.detach() for term in terms])
                schedule.step()
                bar.update()
            done = due
            row = {"step": done, "learning_rate": learning_rate} | _means(recent, done, run)
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                history.append(row | _look(model, watched, run.scale))
            if checkpoint:
                _save(checkpoint, run, parts, generator, history)
    return model, pd.DataFrame(history)


def _point(model: nn.Module, pixel: Tensor, whole: Tensor) -> None:
    """Leave in the model the gradient of `pixel`, made as long as that of `whole` is."""
    parameters = list(model.parameters())
    along = torch.autograd.grad(pixel, parameters, retain_graph=True)
    length = torch.nn.utils.get_total_norm(torch.autograd.grad(whole, parameters))
    factor = length / torch.nn.utils.get_total_norm(along)
    for parameter, gradient in zip(parameters, along, strict=True):
        parameter.grad = factor * gradient


def _pairs(pictures: Mapping[str, Tensor], run: Run) -> list[tuple[Tensor, Tensor]]:
    """HR and LR of the middle of each picture."""
    middles = (centre(picture, VALIDATION_CROP) for picture in pictures.values())
    whole = (crop_to_multiple(middle, run.scale) for middle in middles)
    return [(hr, make_lr(hr, run.scale, run.downsample)) for hr in whole]


def _look(model: nn.Module, watched: list[tuple[Tensor, Tensor]], scale: int) -> dict[str, float]:
    """Two of `evaluate`'s columns, averaged; a few milliseconds' worth."""
    saved = [(as_saved(super_resolve(model, lr).float()), hr) for hr, lr in watched]
    ratios = [variance_ratio(sr, to_float(hr), PATCH_SIZE) for sr, hr in saved]
    decibels = [psnr_y(sr, hr, scale) for sr, hr in saved]
    return {"psnr_y": fmean(decibels), "variance_ratio": fmean(ratios)}


def _rows(steps: int) -> list[int]:
    """The steps after which a row of history is due."""
    every = max(1, steps // LOGS)
    return sorted({*range(every, steps + 1, every), steps})


def _means(recent: list[list[Tensor]], step: int, run: Run) -> dict[str, float]:
    """Means of the loss and its summands; DivergedError at the first step that isn't finite."""
    values = torch.stack([torch.stack(terms) for terms in recent]).double().cpu()
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
    path: Path,
    run: Run,
    parts: dict[str, Any],
    generator: torch.Generator,
    history: list[dict[str, float]],
) -> None:
    state = {name: part.state_dict() for name, part in parts.items()}
    state |= {"run": run.description(), "crops": generator.get_state(), "history": history}
    with replacing(path) as temporary:
        torch.save(state, temporary)


def _restore(
    path: Path,
    run: Run,
    parts: dict[str, Any],
    generator: torch.Generator,
    history: list[dict[str, float]],
) -> None:
    saved = torch.load(path, weights_only=True)
    if saved.get("run") != run.description():
        raise ValueError(f"{path} is the checkpoint of another run; remove it, or name another")
    for name, part in parts.items():
        part.load_state_dict(saved[name])
    generator.set_state(saved["crops"])
    history.extend(saved["history"])
