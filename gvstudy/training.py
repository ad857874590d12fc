"""Training a model on random crops: one loop that reads from top to bottom."""

import io
import warnings
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from statistics import fmean
from threading import Lock
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_value_, clip_grads_with_norm_, get_total_norm
from torch.optim.lr_scheduler import LRScheduler, MultiStepLR, OneCycleLR
from tqdm.auto import tqdm

from gvstudy.config import RECIPES, Recipe, Run, best_device
from gvstudy.data.crops import Crops
from gvstudy.data.sets import load_set
from gvstudy.evaluation import PATCH_SIZE, psnr_y, super_resolve
from gvstudy.gradients import variance_ratio
from gvstudy.images import as_saved, centre, make_pair
from gvstudy.losses import build_loss
from gvstudy.models import build_model
from gvstudy.paths import replacing, set_aside

LENGTH_COLUMNS = ("gradient", "clipped", "update")
LOGS = 20  # rows of history, and checkpoints, a run; fewer than twice as many
# Redraws of the progress bar, a run at most: in a notebook each is three messages, and a client
# that reads them only when the cell has ended (nbval) keeps some two thousand.
REDRAWS = 50
WARM_UP = 0.1  # share of a one-cycle run in which the learning rate rises, two steps at least
VALIDATION_CROP = 128  # side of the centre of a validation picture that the history is measured on
_GENERATOR = Lock()  # torch's global generator belongs to the process, not to a thread


class DivergedError(ArithmeticError):
    """The loss stopped being a finite number."""


def initial_model(run: Run) -> nn.Module:
    """The run's untrained model. A seed gives the same weights whatever the loss."""
    with _GENERATOR, torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        return build_model(
            run.model,
            run.scale,
            size=run.size,
            channels=run.channels,
            upsample=run.upsample,
            fan=run.fan,
        )


def train(
    run: Run,
    pictures: Mapping[str, Tensor] | None = None,
    *,
    start: nn.Module | None = None,
    partner: pd.DataFrame | None = None,
    checkpoint: Path | None = None,
    record: Path | None = None,
    progress: bool = True,
) -> tuple[nn.Module, pd.DataFrame]:
    """Train as `run` describes; return the model, on the training device, and the history.

    Args:
        pictures: the training pictures, uint8 (C, H, W), if they are loaded already.
        start: the trained model of `run.start`, for a run that continues another.
        partner: the lengths that `run.partner` recorded, for a run that takes its lengths from it.
        checkpoint: a file that the state is saved to with every row of history, and resumed from.
            One that is damaged or of another version is set aside with a warning.
        record: a CSV file that receives the lengths of every step.
        progress: show a progress bar.

    The history has a row every `steps // 20` steps, or every step, and one for the last. `step` and
    `learning_rate` are those of its last step; `loss` and its summands `pixel` and `regulariser`
    are means since the row before; `psnr_y` (dB) and `variance_ratio` are measured on the centres
    of the validation pictures. The loss and its summands don't include the run's constant factor.

    The lengths are three norms over all weights, a row a step: of the `gradient`, of the `clipped`
    gradient, and of the `update` that is applied in the end, after weight decay, momentum and
    learning rate. A run with `lengths_from` rescales one of the last two to its partner's; the
    optimiser's own state is never rescaled.

    Raises:
        DivergedError: when the loss is no longer finite. The last checkpoint before that stays.
        ValueError: for a run that continues another and isn't given its model, for one that takes
            lengths from another and isn't given them, for the checkpoint of another run, and for
            pictures smaller than the crop.
    """
    if (start is None) != (run.start is None):
        raise ValueError(f"start_steps is {run.start_steps}: give `start` where it is above 0")
    if (partner is None) != (run.partner is None):
        raise ValueError(f"lengths_from is {run.lengths_from!r}: give `partner` where it is a loss")
    device, recipe = best_device(), RECIPES[run.recipe]

    # Data: random crops of the training pictures, drawn by the run's seed alone.
    crops = Crops(
        load_set(run.train_set).pictures if pictures is None else pictures,
        run.crop_size,
        run.scale,
        run.downsample,
        device,
        augment=recipe.augment,
        shuffle_seed=run.seed if recipe.shuffle else None,
    )
    generator = torch.Generator().manual_seed(run.seed)
    validation = _validation_pairs(run)

    # Model, loss, optimiser.
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
    ).to(device)
    # The published VDSR sums over pixels where the others average: a constant factor.
    factor = run.pixel_weight * (run.crop_size**2 / 2 if recipe.sum_loss else 1)
    parameters = list(model.parameters())
    optimizer, schedule = build_optimizer(recipe, parameters, run.learning_rate, run.steps)

    # Lengths of every step: recorded, and taken from the partner.
    lengths = torch.zeros(run.steps, len(LENGTH_COLUMNS), device=device)
    given = {} if partner is None else {run.lengths_of: partner[run.lengths_of].to_numpy("float32")}
    given = {kind: torch.tensor(values, device=device) for kind, values in given.items()}

    # Resume where a checkpoint ends.
    history: list[dict[str, float]] = []
    parts = {"model": model, "optimizer": optimizer, "schedule": schedule}
    if checkpoint and checkpoint.exists():
        _restore(checkpoint, run, parts, generator, history, lengths)
    step = int(history[-1]["step"]) if history else 0

    # Only the model computes in half precision; loss, weights and optimiser stay in float32.
    def autocast() -> torch.autocast:
        half = run.resolved_precision == "bfloat16"
        return torch.autocast(device.type, torch.bfloat16, enabled=half)

    with _progress_bar(run, step, progress) as bar:
        for log_step in _log_steps(run.steps):
            if log_step <= step:
                continue
            recent: list[list[Tensor]] = []  # the loss's summands since the last row of history
            for lr, hr in crops.batches(run.batch_size, log_step - step, generator, step):
                learning_rate = float(schedule.get_last_lr()[0])
                with autocast():
                    sr = model(lr)
                terms = list(loss.terms(sr.float(), hr).values())
                total = factor * sum(terms[1:], start=terms[0])

                optimizer.zero_grad()
                if recipe.pixel_only:  # a control: GV decides the norm, L2 alone the direction
                    set_rescaled_gradient(model, factor * terms[0], total)
                else:
                    total.backward()
                gradients = [p.grad for p in parameters if p.grad is not None]
                norm = get_total_norm(gradients)
                if recipe.max_grad_norm:  # keeps a single bad batch from ruining the model
                    clip_grads_with_norm_(parameters, recipe.max_grad_norm, norm)
                if recipe.first_max_grad_value:  # VDSR's: the lower the rate, the higher the limit
                    limit = recipe.first_max_grad_value * run.learning_rate / learning_rate
                    clip_grad_value_(parameters, limit)
                wanted = {kind: values[step + len(recent)] for kind, values in given.items()}
                if "clipped" in wanted:
                    rescale(gradients, wanted["clipped"])
                clipped = get_total_norm(gradients)
                update = take_step(optimizer, parameters, wanted.get("update"))
                schedule.step()
                lengths[step + len(recent)] = torch.stack([norm, clipped, update])

                recent.append([term.detach() for term in terms])
                bar.update()
            step = log_step
            row = {"step": step, "learning_rate": learning_rate} | _mean_losses(recent, step, run)
            with autocast():
                history.append(row | validate(model, validation, run.scale))
            if checkpoint:
                _save(checkpoint, run, parts, generator, history, lengths)
    if record:
        with replacing(record) as temporary:
            table = pd.DataFrame(lengths.cpu().numpy(), columns=list(LENGTH_COLUMNS))
            table.to_csv(temporary, index=False)
    return model, pd.DataFrame(history)


def build_optimizer(
    recipe: Recipe, parameters: Iterable[Tensor], learning_rate: float, steps: int
) -> tuple[torch.optim.Optimizer, LRScheduler]:
    """The recipe's optimiser, and its schedule over that many steps."""
    optimizer: torch.optim.Optimizer
    if recipe.optimizer == "adam":
        optimizer = torch.optim.Adam(
            parameters, learning_rate, weight_decay=recipe.weight_decay, fused=True
        )
    else:
        optimizer = torch.optim.SGD(
            parameters,
            learning_rate,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            fused=True,
        )
    if recipe.milestones:
        milestones = [round(share * steps) for share in recipe.milestones]
        return optimizer, MultiStepLR(optimizer, milestones, recipe.gamma)
    warm_up = max(WARM_UP, 2 / steps)
    return optimizer, OneCycleLR(optimizer, learning_rate, total_steps=steps, pct_start=warm_up)


def set_rescaled_gradient(model: nn.Module, pixel: Tensor, total: Tensor) -> None:
    """Leave in the model the gradient of `pixel`, rescaled to the norm that `total`'s has.

    Both are scalar losses at the model's present weights.
    """
    parameters = list(model.parameters())
    direction = torch.autograd.grad(pixel, parameters, retain_graph=True)
    rescale(direction, get_total_norm(torch.autograd.grad(total, parameters)))
    for parameter, gradient in zip(parameters, direction, strict=True):
        parameter.grad = gradient


def take_step(
    optimizer: torch.optim.Optimizer, parameters: Sequence[Tensor], length: Tensor | None
) -> Tensor:
    """Let the optimiser step, and return the update's norm; first rescale it to `length`, if given.

    The optimiser's own state isn't rescaled.
    """
    before = [parameter.detach().clone() for parameter in parameters]
    optimizer.step()
    updates = [new.detach() - old for new, old in zip(parameters, before, strict=True)]
    if length is not None:
        rescale(updates, length)
        for parameter, old, update in zip(parameters, before, updates, strict=True):
            parameter.detach().copy_(old + update)
    return get_total_norm(updates)


def rescale(tensors: Sequence[Tensor], length: Tensor) -> None:
    """Scale tensors in place so that their norm, over all of them, is `length`; zeros stay zero."""
    norm = get_total_norm(tensors)
    factor = torch.where(norm > 0, length / norm, 0)
    for tensor in tensors:
        tensor.mul_(factor)


def validate(model: nn.Module, pairs: list[tuple[Tensor, Tensor]], scale: int) -> dict[str, float]:
    """PSNR on luma and variance ratio, averaged over pairs of LR and HR as `make_pair` makes them.

    They are `evaluate`'s, but that grey pictures stored as RGB count as grey (see `psnr_y`). Both
    are NaN if any value of SR isn't finite.
    """
    raw = [super_resolve(model, lr) for lr, _ in pairs]
    if not all(sr.isfinite().all() for sr in raw):
        return dict.fromkeys(("psnr_y", "variance_ratio"), float("nan"))
    saved = [(as_saved(sr), hr) for sr, (_, hr) in zip(raw, pairs, strict=True)]
    ratios = [variance_ratio(sr, hr, PATCH_SIZE) for sr, hr in saved]
    decibels = [psnr_y(sr, hr, scale) for sr, hr in saved]
    return {"psnr_y": fmean(decibels), "variance_ratio": fmean(ratios)}


def _validation_pairs(run: Run) -> list[tuple[Tensor, Tensor]]:
    """LR and HR of the centre of each validation picture."""
    centres = (centre(one, VALIDATION_CROP) for one in load_set(run.valid_set).pictures.values())
    return [make_pair(one, run.scale, run.downsample) for one in centres]


def _progress_bar(run: Run, step: int, shown: bool) -> tqdm:
    return tqdm(
        total=run.steps,
        initial=step,
        desc=run.label,
        leave=False,
        disable=not shown,
        mininterval=0.5,
        miniters=max(1, run.steps // REDRAWS),
    )


def _log_steps(steps: int) -> list[int]:
    """The steps after which a row of history is written."""
    every = max(1, steps // LOGS)
    return sorted({*range(every, steps + 1, every), steps})


def _mean_losses(recent: list[list[Tensor]], step: int, run: Run) -> dict[str, float]:
    """Means of the loss and its summands; DivergedError at the first step that isn't finite."""
    values = torch.stack([torch.stack(terms) for terms in recent]).double().cpu()
    finite = values.isfinite().all(dim=1)
    if not finite.all():
        first = int(finite.logical_not().nonzero()[0])
        raise DivergedError(
            f"the loss {run.loss} is not finite at step {step - len(recent) + first + 1} of "
            f"{run.steps} (summands {values[first].tolist()}); try a smaller learning_rate than "
            f"{run.learning_rate}, or smaller weights"
        )
    means = values.mean(dim=0).tolist()
    return {"loss": sum(means), "pixel": means[0], "regulariser": sum(means[1:])}


def _save(
    path: Path,
    run: Run,
    parts: dict[str, Any],
    generator: torch.Generator,
    history: list[dict[str, float]],
    lengths: Tensor,
) -> None:
    state = {name: part.state_dict() for name, part in parts.items()}
    state |= {"run": run.description(), "crops": generator.get_state(), "history": history}
    state["lengths"] = lengths
    packed = io.BytesIO()  # torch.save itself reports a full disk without a word about the disk
    torch.save(state, packed)
    with replacing(path) as temporary:
        temporary.write_bytes(packed.getbuffer())


def _restore(
    path: Path,
    run: Run,
    parts: dict[str, Any],
    generator: torch.Generator,
    history: list[dict[str, float]],
    lengths: Tensor,
) -> None:
    """Continue from a checkpoint; one that can't be used is set aside, and nothing is changed.

    Raises ValueError for the checkpoint of another run.
    """
    untouched = deepcopy({name: part.state_dict() for name, part in parts.items()})
    try:
        with zipfile.ZipFile(path) as packed:  # torch.load doesn't look at the checksums
            if flipped := packed.testzip():
                raise ValueError(flipped)
        saved = torch.load(path, map_location="cpu", weights_only=True)
        other = dict(saved["run"]) != run.description()
        if not other:
            rows = [dict(row) for row in saved["history"]]
            int(rows[-1]["step"])  # there is one
            for name, part in parts.items():
                part.load_state_dict(saved[name])
            lengths.copy_(saved["lengths"].view_as(lengths))
            generator.set_state(saved["crops"])
            history.extend(rows)
    except Exception as error:  # torch.load and load_state_dict have no common type of their own
        for name, part in parts.items():
            part.load_state_dict(untouched[name])
        aside = set_aside(path)
        warnings.warn(
            f"{path} is damaged or of another version ({type(error).__name__}); set aside as "
            f"{aside.name}, and the run starts anew",
            stacklevel=3,
        )
        return
    if other:
        raise ValueError(f"{path} is the checkpoint of another run; remove it, or name another")
