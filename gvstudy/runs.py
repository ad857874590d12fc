"""A training described in full: the frozen `Run`."""

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from gvstudy.data import check_name
from gvstudy.gradients import PADDINGS
from gvstudy.images import KERNELS
from gvstudy.losses import check_loss, is_tv
from gvstudy.models import check_model
from gvstudy.recipes import RECIPES

PRECISIONS = ("auto", "float32", "bfloat16")
SHORTEST = 3  # steps that a cycle of learning rates needs


@dataclass(frozen=True, kw_only=True)
class Run:
    """Everything that decides the outcome of a training. Raises ValueError for what can't be."""

    model: str = "vdsr"  # vdsr, edsr, espcn
    scale: int = 2  # 2, 3 or 4
    loss: str = "l2"  # l2, l1 or ssim, alone or +gv, +deviation, +tv, +tv2
    seed: int = 0  # of the initial weights and of the sequence of crops
    size: str = "reduced"  # paper or reduced
    channels: str = "rgb"  # rgb, luma, or rgb-to-grey (VDSR)
    upsample: str = "bicubic"  # how the model enlarges the LR image
    downsample: str = "bicubic"  # how the LR image is made
    train_set: str = "builtin-train"  # a data set's name
    valid_set: str = "builtin-valid"  # watched while training; decides nothing
    recipe: str = "tuned"  # how it is trained, one of `recipes.RECIPES`
    steps: int = 500  # optimiser steps
    batch_size: int = 16  # crops a step
    crop_size: int = 48  # side of an HR crop, pixels
    learning_rate: float = 2e-3  # the cycle's highest
    start_steps: int = 0  # of the pixel loss alone, a run of its own that this one goes on from
    start_learning_rate: float = 2e-3  # of that run
    gv_weight: float = 0.01  # factor on GV; the authors' value
    tv_weight: float = 1e-4  # factor on TV
    patch_size: int = 0  # of GV while training, pixels; 0: 8 at x2, 16 at x3 and x4
    padding: str = "zeros"  # of GV: zeros or valid
    precision: str = "auto"  # of the model: float32, bfloat16, or what this machine is fastest in

    def __post_init__(self) -> None:
        check_model(self.model, self.scale, self.size, self.channels, self.upsample)
        if self.model == "bicubic":
            raise ValueError("model 'bicubic' has nothing to train; known: vdsr, edsr, espcn")
        for what, given, known in (
            ("downsample", self.downsample, KERNELS),
            ("recipe", self.recipe, tuple(RECIPES)),
            ("padding", self.padding, PADDINGS),
            ("precision", self.precision, PRECISIONS),
        ):
            if given not in known:
                raise ValueError(f"unknown {what} {given!r}; known: {', '.join(known)}")
        check_loss(self.loss)
        check_name(self.train_set)
        check_name(self.valid_set)
        for what in ("seed", "steps", "batch_size", "crop_size", "start_steps", "patch_size"):
            if not isinstance(getattr(self, what), int):
                raise ValueError(f"{what} {getattr(self, what)!r} is not a whole number")
        for what in ("learning_rate", "start_learning_rate", "gv_weight", "tv_weight"):
            value = float(getattr(self, what))
            if not math.isfinite(value):
                raise ValueError(f"{what} {value} is not allowed; it must be finite")
            object.__setattr__(self, what, value)  # 1 and 1.0 are the same run
        if self.steps < SHORTEST:
            raise ValueError(f"steps {self.steps} is not allowed; {SHORTEST} and above are")
        for what in ("batch_size", "learning_rate"):
            if not getattr(self, what) > 0:
                raise ValueError(f"{what} {getattr(self, what)} is not allowed; it must be above 0")
        for what in ("seed", "gv_weight", "tv_weight", "start_steps"):
            if not getattr(self, what) >= 0:
                raise ValueError(f"{what} {getattr(self, what)} is not allowed; 0 and above are")
        if self.crop_size % self.scale:
            raise ValueError(f"scale {self.scale} does not divide crop_size {self.crop_size}")
        whole = self.crop_size - (2 if self.padding == "valid" else 0)
        if self._has_patches and not 2 <= self.gv_patch_size <= whole:
            raise ValueError(
                f"patch_size {self.gv_patch_size} does not fit crop_size {self.crop_size} "
                f"(padding {self.padding}); allowed: 2 to {whole}"
            )
        _ = self.start  # it must be a run that can be

    @property
    def gv_patch_size(self) -> int:
        """The side of GV's patches while training, in pixels; the paper's where none is given."""
        return self.patch_size or (8 if self.scale == 2 else 16)

    @property
    def arithmetic(self) -> str:
        """The precision that the model is trained in: `precision`, or what "auto" means here.

        "auto" is bfloat16 where the hardware computes in it; weights, loss and optimiser stay in
        float32. But only for VDSR and EDSR, not for models whose last layer makes the image itself
        (it cost an SRCNN .2 to .3 dB), nor with SSIM: there bfloat16 cost VDSR .07 to .12 dB with
        each of three seeds, with L2 nothing (-.02 to +.03).
        """
        if self.precision != "auto":
            return self.precision
        harmless = self.model in ("vdsr", "edsr") and not self.loss.startswith("ssim")
        return "bfloat16" if harmless and computes_bfloat16() else "float32"

    def description(self) -> dict[str, Any]:
        """The fields that this run's outcome hangs on: without the weights its loss doesn't use."""
        fields = asdict(self)
        fields |= {"patch_size": self.gv_patch_size, "precision": self.arithmetic}
        if not self.start_steps:
            del fields["start_steps"], fields["start_learning_rate"]
        if not self._has_patches:
            del fields["gv_weight"], fields["patch_size"], fields["padding"]
        if not is_tv(self.loss):
            del fields["tv_weight"]
        return fields

    @property
    def key(self) -> str:
        """The description as a text: two runs of one key end in the same."""
        return json.dumps(self.description(), sort_keys=True)

    @property
    def _has_patches(self) -> bool:
        """Whether the loss takes GV's weight, patches and padding."""
        return "+" in self.loss and not is_tv(self.loss)

    @property
    def start(self) -> "Run | None":
        """The run that this one goes on from, where `start_steps` says that there is one."""
        if not self.start_steps:
            return None
        return replace(
            self,
            loss=self.loss.partition("+")[0],
            steps=self.start_steps,
            learning_rate=self.start_learning_rate,
            start_steps=0,
            start_learning_rate=type(self).start_learning_rate,
        )


def distinct(runs: Iterable[Run]) -> list[Run]:
    """The runs, each once; two that differ only in what their loss doesn't use are one."""
    found: dict[str, Run] = {}
    for run in runs:
        found.setdefault(run.key, run)
    return list(found.values())


def best_device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def computes_bfloat16() -> bool:
    """Whether `best_device()` has instructions for bfloat16, so that it is faster than float32."""
    if best_device().type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))
