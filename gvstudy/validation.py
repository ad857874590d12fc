"""The checks that every module shares: bad input ends in a ValueError that says what is allowed."""

import math
from collections.abc import Iterable
from contextlib import suppress
from numbers import Integral, Real

import torch
from torch import Tensor


def check_choice(what: str, given: object, known: Iterable[object]) -> None:
    """Raise ValueError unless `given` is one of the `known` values of `what`."""
    known = tuple(known)
    if given not in known:
        raise ValueError(f"unknown {what} {given!r}; known: {', '.join(map(str, known))}")


def check_integer(what: str, given: object, least: int, most: int | None = None) -> None:
    """Raise ValueError unless `given` is a whole number from `least` to `most`. bool isn't."""
    whole = isinstance(given, Integral) and not isinstance(given, bool)
    if not whole or given < least or (most is not None and given > most):  # type: ignore[operator]
        allowed = f"from {least} on" if most is None else f"from {least} to {most}"
        raise ValueError(f"{what} {given!r} is not allowed; whole numbers {allowed} are")


def check_number(what: str, given: object, *, positive: bool = False) -> None:
    """Raise ValueError unless `given` is a finite number from 0 on, or above 0 if `positive`."""
    number = math.nan
    if isinstance(given, Real) and not isinstance(given, bool):
        with suppress(OverflowError):  # a whole number beyond all floats
            number = float(given)
    if not (math.isfinite(number) and (number > 0 if positive else number >= 0)):
        allowed = "finite numbers above 0" if positive else "finite numbers from 0 on"
        raise ValueError(f"{what} {given!r} is not allowed; {allowed} are")


def check_names(what: str, given: object) -> None:
    """Raise ValueError for a single text where several are expected: its letters would be taken."""
    if isinstance(given, str):
        raise ValueError(
            f"{what} {given!r} is not allowed; a list of names is, such as [{given!r}]"
        )


def check_images(*batches: Tensor) -> None:
    """Raise ValueError unless each is a batch of images, and all have the same shape.

    A batch is a floating point tensor (N, C, H, W) with C = 1 or 3, and it isn't empty.
    """
    for images in batches:
        if not isinstance(images, Tensor):
            raise ValueError(f"expected a tensor of images, got {type(images).__name__}")
        shape = tuple(images.shape)
        if 0 in shape:
            raise ValueError(f"empty batch of shape {shape}")
        if len(shape) != 4 or shape[1] not in (1, 3):
            raise ValueError(f"expected (N, C, H, W) with C = 1 or 3, got shape {shape}")
        if not images.is_floating_point():
            raise ValueError(f"expected floating point values, got {images.dtype}")
        if shape != batches[0].shape:
            raise ValueError(f"SR and HR differ in shape: {tuple(batches[0].shape)} and {shape}")


def check_picture(picture: Tensor, name: str = "") -> None:
    """Raise ValueError unless it is a picture: uint8 (C, H, W) with C = 1 or 3.

    The message begins with the picture's `name`, if there is one.
    """
    if picture.dtype != torch.uint8 or picture.dim() != 3 or picture.shape[0] not in (1, 3):
        raise ValueError(
            f"{name + ': ' if name else ''}expected a picture, uint8 (C, H, W) with C = 1 or 3, "
            f"got {picture.dtype} {tuple(picture.shape)}"
        )
