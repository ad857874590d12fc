"""All that decides a training, as data: the frozen `Run`, and the `Recipe` that it names."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import torch

from gvstudy.data.sets import check_set
from gvstudy.gradients import PADDINGS
from gvstudy.images import KERNELS
from gvstudy.losses import PATCH_OPTIONS, Loss, find_losses
from gvstudy.models import MODELS, check_model
from gvstudy.validation import check_choice, check_integer, check_number

PRECISIONS = ("auto", "float32", "bfloat16")
OPTIMIZERS = ("adam", "sgd")
LENGTHS = ("update", "clipped")  # what a run can take from another: columns of its recorded lengths
FEWEST_STEPS = 3  # that a cycle of learning rates needs
# Far beyond any training, so that a typo is refused before anything runs.
MOST_STEPS, LARGEST_BATCH, LARGEST_CROP, LARGEST_SEED = 10**8, 10**5, 10**4, 2**63 - 1


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a model is trained: optimiser, schedule, clipping, and how crops are drawn."""

    source: str  # where it is taken from
    optimizer: str  # one of `OPTIMIZERS`
    momentum: float = 0.0  # of SGD
    weight_decay: float = 0.0
    max_grad_norm: float = 0.0  # a longer gradient is scaled down to this norm; 0: no limit
    first_max_grad_value: float = 0.0  # limit on each weight's gradient at the first rate; 0: none.
    # The limit grows as the learning rate falls, so that it always allows the same step.
    sum_loss: bool = False  # the loss is half its sum over a crop's pixels instead of their mean
    milestones: tuple[float, ...] = ()  # shares of the run after which the learning rate falls;
    # without any, the rate follows one cycle
    gamma: float = 0.1  # factor on the learning rate at a milestone
    augment: bool = True  # crops are flipped and turned at random
    shuffle: bool = False  # every picture comes once before any comes again
    pixel_only: bool = False  # follow the pixel loss's gradient, rescaled to the whole loss's norm

    def __post_init__(self) -> None:
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        if self.optimizer == "adam" and self.momentum:
            raise ValueError(f"momentum {self.momentum} is not allowed; with adam only 0 is")


_OFFICIAL = Recipe(
    source="the GV authors' VDSR script: 30 epochs of 800 centre crops, a tenth at 10 and 20; "
    "its epochs have 13 batches, the last of 32 crops, ours twelve and a half of 64",
    optimizer="sgd",
    momentum=0.9,
    weight_decay=1e-4,
    max_grad_norm=0.4,
    milestones=(1 / 3, 2 / 3),
    augment=False,
    shuffle=True,
)
RECIPES = {
    "tuned": Recipe(
        source="this study: a short recipe for a CPU, one cycle of Smith and Topin (2019)",
        optimizer="adam",
    ),
    "official": _OFFICIAL,
    "official-pixel-only": replace(
        _OFFICIAL,
        source="a control: L2's gradient, rescaled to the norm of L2 + GV's at the same weights",
        pixel_only=True,
    ),
    "official-undecayed": replace(
        _OFFICIAL, source="a control: the official recipe without weight decay", weight_decay=0.0
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
        "the learning rate; theta isn't given, a tenth of the first rate is our choice",
        optimizer="sgd",
        momentum=0.9,
        weight_decay=1e-4,
        first_max_grad_value=0.1,
        sum_loss=True,
        milestones=(1 / 4, 2 / 4, 3 / 4),
    ),
    "published-edsr": Recipe(
        source="Lim et al. (2017) and their code: 300,000 steps, halved after 200,000",
        optimizer="adam",
        milestones=(2 / 3,),
        gamma=0.5,
    ),
    "published-espcn": Recipe(
        source="Shi et al. (2016): from .01 to .0001 as the loss settles; neither the optimiser "
        "nor the milestones are given, Adam and thirds are our choice",
        optimizer="adam",
        milestones=(1 / 3, 2 / 3),
        augment=False,
    ),
}


@dataclass(frozen=True, kw_only=True)
class Run:
    """A training, described in full: two equal descriptions end in the same model.

    Raises ValueError for a field that isn't allowed; the message says what is.
    """

    model: str = "vdsr"  # vdsr, edsr, espcn, or one of your own
    scale: int = 2  # 2, 3 or 4
    loss: str = "l2"  # l2, l1 or ssim, alone or with +gv, +deviation, +tv ..., or one of your own
    seed: int = 0  # of the initial weights and of the sequence of crops
    size: str = "reduced"  # paper or reduced
    channels: str = "rgb"  # rgb, luma, or rgb-to-grey (VDSR)
    upsample: str = "bicubic"  # how a model that enlarges LR does it: bicubic or bilinear
    downsample: str = "bicubic"  # how LR is made: bicubic or bilinear
    train_set: str = "builtin-train"  # a data set's name
    valid_set: str = "builtin-valid"  # watched while training; decides nothing, yet is in the id
    recipe: str = "tuned"  # how it is trained, one of `RECIPES`
    steps: int = 500  # optimiser steps
    batch_size: int = 16  # crops a step
    crop_size: int = 48  # side of an HR crop, pixels
    learning_rate: float = 2e-3  # the highest of a cycle, the first of a schedule with milestones
    start_steps: int = 0  # steps of the pixel loss alone, a run of its own, before this one
    start_learning_rate: float = 2e-3  # of that run
    gv_weight: float = 0.01  # factor on GV and on every regulariser but TV; the authors' value
    tv_weight: float = 1e-4  # factor on TV
    patch_size: int = 0  # of GV while training, pixels; 0: 8 at x2, 16 at x3 and x4
    padding: str = "zeros"  # of GV: zeros or valid
    precision: str = "auto"  # of the model: float32, bfloat16, or auto (see `resolved_precision`)
    pixel_weight: float = 1.0  # constant factor on the whole loss, regulariser included
    lengths_from: str = ""  # a loss: take each step's length from the run with that loss
    lengths_of: str = "update"  # which length: of the applied update, or of the clipped gradient
    fan: str = "fan_in"  # of VDSR's initial weights; fan_out in the GV authors' script

    def __post_init__(self) -> None:
        for field in fields(self):
            if field.type is str and not isinstance(given := getattr(self, field.name), str):
                raise ValueError(f"{field.name} {given!r} is not allowed; text is")
        check_model(self.model, self.scale, self.size, self.channels, self.upsample, self.fan)
        if self.model == "bicubic":
            trainable = ", ".join(name for name in MODELS if name != "bicubic")
            raise ValueError(f"model 'bicubic' has nothing to train; known: {trainable}")
        find_losses(self.loss)
        check_set(self.train_set)
        check_set(self.valid_set)
        check_choice("downsample", self.downsample, KERNELS)
        check_choice("recipe", self.recipe, RECIPES)
        check_choice("padding", self.padding, PADDINGS)
        check_choice("precision", self.precision, PRECISIONS)
        check_choice("lengths_of", self.lengths_of, LENGTHS)
        check_integer("seed", self.seed, 0, LARGEST_SEED)
        check_integer("steps", self.steps, FEWEST_STEPS, MOST_STEPS)
        check_integer("batch_size", self.batch_size, 1, LARGEST_BATCH)
        smallest = max(part.smallest for part in self._parts)
        check_integer("crop_size", self.crop_size, smallest, LARGEST_CROP)
        check_integer("start_steps", self.start_steps, 0, MOST_STEPS)
        check_integer("patch_size", self.patch_size, 0)
        check_number("learning_rate", self.learning_rate, positive=True)
        check_number("start_learning_rate", self.start_learning_rate, positive=True)
        check_number("gv_weight", self.gv_weight)
        check_number("tv_weight", self.tv_weight)
        check_number("pixel_weight", self.pixel_weight, positive=True)
        for field in fields(self):  # 1 and 1.0 are one run, and so are numpy's numbers
            if field.type in (int, float):
                object.__setattr__(self, field.name, field.type(getattr(self, field.name)))
        if self.crop_size % self.scale:
            raise ValueError(f"scale {self.scale} does not divide crop_size {self.crop_size}")
        largest = self.crop_size - (2 if self.padding == "valid" else 0)
        if "patch_size" in self._options and not 2 <= self.gv_patch_size <= largest:
            raise ValueError(
                f"patch_size {self.gv_patch_size} does not fit crop_size {self.crop_size} "
                f"(padding {self.padding}); allowed: 2 to {largest}"
            )
        _ = self.needs  # validates these runs

    @property
    def label(self) -> str:
        """The run in a few words, for progress bars."""
        loss = self.loss
        if self.pixel_weight != 1:
            loss = f"{self.pixel_weight:g}*" + (f"({loss})" if "+" in loss else loss)
        lengths = f", lengths of {self.lengths_from}" if self.lengths_from else ""
        fan = "" if self.fan == "fan_in" else f", {self.fan}"
        return f"{self.model} x{self.scale} {loss}{lengths}{fan} seed {self.seed}"

    @property
    def gv_patch_size(self) -> int:
        """The side of GV's patches while training, pixels; the paper's unless it is given."""
        return self.patch_size or (8 if self.scale == 2 else 16)

    @property
    def resolved_precision(self) -> str:
        """The precision that the model is trained in: `precision`, or what "auto" means here.

        "auto" is bfloat16 for VDSR and EDSR with L2 and L1, where the hardware computes in it;
        weights, loss and optimiser stay in float32. With SSIM, bfloat16 cost VDSR 0.07 to 0.12 dB
        with each of three seeds, with L2 about zero (-0.02 to +0.03). It cost an added SRCNN 0.2 to
        0.3 dB, as its last layer makes the image itself, so models and pixel losses from outside
        the package use float32. In float32 a GPU's convolutions may still round to TF32, as PyTorch
        lets them.
        """
        if self.precision != "auto":
            return self.precision
        pixel = self.loss.partition("+")[0]
        harmless = self.model in ("vdsr", "edsr") and pixel in ("l2", "l1")
        return "bfloat16" if harmless and computes_bfloat16() else "float32"

    def description(self) -> dict[str, Any]:
        """The fields that decide the outcome; weights and patches only if the loss uses them.

        What comes from outside the package adds its digest as `source`, so that an edited loss or
        model is another run.
        """
        fields = asdict(self)
        fields |= {"patch_size": self.gv_patch_size, "precision": self.resolved_precision}
        if not self.start_steps:
            del fields["start_steps"], fields["start_learning_rate"]
        if self.pixel_weight == 1:  # left out where it changes nothing, so that ids stay
            del fields["pixel_weight"]
        if self.fan == "fan_in":
            del fields["fan"]
        if not self.lengths_from:
            del fields["lengths_from"], fields["lengths_of"]
        for name in {"gv_weight", "tv_weight", *PATCH_OPTIONS} - self._options:
            del fields[name]
        sources = [MODELS[self.model].source]
        sources += [loss.source for loss in self._parts]
        digests = [source.digest() for source in sources if source]
        return fields | ({"source": " ".join(digests)} if digests else {})

    @property
    def key(self) -> str:
        """The description as text: two runs with one key end in the same model."""
        return json.dumps(self.description(), sort_keys=True)

    @property
    def _losses(self) -> list[str]:
        """The run's loss, and the one that it takes lengths from."""
        return [self.loss, self.lengths_from] if self.lengths_from else [self.loss]

    @property
    def _parts(self) -> list[Loss]:
        """What these losses are made of: pixel losses and regularisers."""
        return [part for name in self._losses for part in find_losses(name).values()]

    @property
    def _options(self) -> set[str]:
        """Those of the weights, `patch_size` and `padding` that these losses use."""
        options = set()
        for name in self._losses:
            pixel, *added = find_losses(name).values()
            options |= {
                *pixel.options,
                *(o for entry in added for o in (entry.weight, *entry.options)),
            }
        return options

    @property
    def start(self) -> "Run | None":
        """The run that this one continues, if `start_steps` says that there is one."""
        if not self.start_steps:
            return None
        return replace(
            self,
            loss=self.loss.partition("+")[0],
            steps=self.start_steps,
            learning_rate=self.start_learning_rate,
            start_steps=0,
            start_learning_rate=type(self).start_learning_rate,
            lengths_from="",
        )

    @property
    def partner(self) -> "Run | None":
        """The run that this one takes its step lengths from, if `lengths_from` names its loss."""
        if not self.lengths_from:
            return None
        return replace(self, loss=self.lengths_from, lengths_from="")

    @property
    def needs(self) -> "list[Run]":
        """The runs that have to be finished before this one: its `start` and its `partner`."""
        return [other for other in (self.start, self.partner) if other]


def distinct(runs: Iterable[Run]) -> list[Run]:
    """The runs without repetition; two that differ only in what their loss ignores are one."""
    found: dict[str, Run] = {}
    for run in runs:
        found.setdefault(run.key, run)
    return list(found.values())


def best_device() -> torch.device:
    """The GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def computes_bfloat16() -> bool:
    """Whether `best_device()` has instructions for bfloat16, so that it is faster than float32."""
    if best_device().type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))
