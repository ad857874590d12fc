"""How a model is trained, as data: optimiser, schedule, clipping, and how crops are drawn."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler, MultiStepLR, OneCycleLR

WARM_UP = 0.1  # share of a one-cycle run in which the learning rate rises, two steps at least


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All of a training that neither the model nor the run's own fields say."""

    source: str  # where it is taken from
    optimizer: str  # adam or sgd
    momentum: float = 0.0  # of SGD
    weight_decay: float = 0.0
    clip: float = 0.0  # the largest norm of the gradient; 0 for no limit
    clip_first: float = 0.0  # largest gradient by any weight at the first rate; 0 for no limit.
    # It grows as the rate falls, so that a step of plain descent has the same limit throughout.
    summed: bool = False  # the loss is half its sum over a crop's pixels, not their mean
    milestones: tuple[float, ...] = ()  # shares of the run after which the rate drops; none: cycle
    drop: float = 0.1  # factor at a milestone
    turned: bool = True  # crops are flipped and turned at random
    shuffled: bool = False  # every picture once before any comes again
    pixel_only: bool = False  # the pixel loss's gradient, as long as the whole loss's would be


_OFFICIAL = Recipe(
    source="the GV authors' VDSR script: 30 epochs of 800 centre crops, a tenth at 10 and 20",
    optimizer="sgd",
    momentum=0.9,
    weight_decay=1e-4,
    clip=0.4,
    milestones=(1 / 3, 2 / 3),
    turned=False,
    shuffled=True,
)
RECIPES = {
    "tuned": Recipe(
        source="this study: the short recipe for a CPU, one cycle of Smith and Topin (2019)",
        optimizer="adam",
    ),
    "official": _OFFICIAL,
    "official-pixel-only": replace(
        _OFFICIAL,
        source="a control: steps as long as the official recipe's, along the pixel loss alone",
        pixel_only=True,
    ),
    "official-adam": replace(
        _OFFICIAL,
        source="a control: the official recipe with Adam in place of gradient descent",
        optimizer="adam",
        momentum=0.0,
        weight_decay=0.0,
    ),
    "published-vdsr": Recipe(
        source="Kim et al. (2016): 80 epochs, a tenth every 20, gradients clipped to theta over "
        "the learning rate; theta isn't told, a tenth of the first rate is ours",
        optimizer="sgd",
        momentum=0.9,
        weight_decay=1e-4,
        clip_first=0.1,
        summed=True,
        milestones=(1 / 4, 2 / 4, 3 / 4),
    ),
    "published-edsr": Recipe(
        source="Lim et al. (2017) and their code: 300,000 steps, halved after 200,000",
        optimizer="adam",
        milestones=(2 / 3,),
        drop=0.5,
    ),
    "published-espcn": Recipe(
        source="Shi et al. (2016): from .01 to .0001 as the loss settles; neither optimiser nor "
        "moments are told, Adam and thirds are ours",
        optimizer="adam",
        milestones=(1 / 3, 2 / 3),
        turned=False,
    ),
}


def build_optimizer(
    recipe: Recipe, parameters: Iterable[Tensor], learning_rate: float, steps: int
) -> tuple[torch.optim.Optimizer, LRScheduler]:
    """The recipe's optimiser and its schedule over so many steps."""
    if recipe.optimizer == "adam":
        adam = torch.optim.Adam(parameters, learning_rate, fused=True)
        return adam, _schedule(recipe, adam, learning_rate, steps)
    sgd = torch.optim.SGD(
        parameters,
        learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        fused=True,
    )
    return sgd, _schedule(recipe, sgd, learning_rate, steps)


def _schedule(
    recipe: Recipe, optimizer: torch.optim.Optimizer, learning_rate: float, steps: int
) -> LRScheduler:
    if recipe.milestones:
        after = [round(share * steps) for share in recipe.milestones]
        return MultiStepLR(optimizer, after, recipe.drop)
    rising = max(WARM_UP, 2 / steps)
    return OneCycleLR(optimizer, learning_rate, total_steps=steps, pct_start=rising)
