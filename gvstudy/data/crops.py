"""Random training crops, drawn and augmented for a whole batch at once."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from gvstudy.images import crop_to_multiple, make_lr
from gvstudy.validation import check_picture

AT_ONCE = 2**18  # HR pixels to gather at once; batches with fewer are gathered several together


class Crops:
    """HR pictures and their 8-bit LR versions, stored flat in memory, to draw random crops from.

    All pictures are equally likely; so are all positions on the LR grid within a picture, and all
    eight flips and quarter turns.

    Args:
        pictures: the HR pictures by name, uint8 (C, H, W), C = 1 or 3; grey ones become RGB.
        crop_size: side of the HR crop in pixels, a multiple of `scale`.
        scale: the factor between LR and HR.
        downsample: the kernel that makes LR, one of `images.KERNELS`.
        device: where the pictures are kept and the crops are made.
        augment: flip and turn crops at random. If false, they keep the picture's orientation.
        shuffle_seed: draw every picture once, in an order that this seed sets, before any is drawn
            again. None draws pictures independently.

    Raises ValueError without pictures, for a picture of another type or shape, one smaller than the
    crop, or a `crop_size` that `scale` doesn't divide.
    """

    def __init__(
        self,
        pictures: Mapping[str, Tensor],
        crop_size: int,
        scale: int,
        downsample: str,
        device: torch.device,
        *,
        augment: bool = True,
        shuffle_seed: int | None = None,
    ):
        if crop_size % scale:
            raise ValueError(f"scale {scale} does not divide crop_size {crop_size}")
        self.size, self.scale, self.device = crop_size // scale, scale, device
        self.augment, self.shuffle_seed = augment, shuffle_seed
        if not pictures:
            raise ValueError("no pictures to draw crops from")
        hr_parts, lr_parts, shapes = [], [], []
        for name, picture in pictures.items():
            check_picture(picture, name)
            if min(picture.shape[-2:]) < crop_size:
                raise ValueError(
                    f"{name} of {picture.shape[-2]}x{picture.shape[-1]} pixels is smaller than "
                    f"crop_size {crop_size}"
                )
            hr = crop_to_multiple(picture.expand(3, -1, -1), scale)
            lr = make_lr(hr, scale, downsample)
            hr_parts.append(hr.flatten(1).T)
            lr_parts.append(lr.flatten(1).T)
            shapes.append(lr.shape[-2:])
        self.hr, self.lr = torch.cat(hr_parts).to(device), torch.cat(lr_parts).to(device)
        self.height, self.width = torch.tensor(shapes, device=device).T
        self.first = (self.height * self.width).cumsum(0) - self.height * self.width
        self.drawn = 0  # batches that `draw` has made

    def draw(self, batch_size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw a batch of crops: LR (N, 3, c/s, c/s) and HR (N, 3, c, c), float in [0, 1]."""
        batch = next(self.batches(batch_size, 1, generator, self.drawn))
        self.drawn += 1
        return batch

    def batches(
        self, batch_size: int, count: int, generator: torch.Generator, start: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield `count` batches like those of `draw`; small ones are made several at a time.

        `start` is the number of batches drawn before; it matters only for shuffled pictures. LR and
        HR are channels-last in memory. `generator` must be the CPU's, so that a seed gives the same
        crops on every device. Only four numbers a crop, or five where pictures are shuffled, go
        to the device, without waiting.
        """
        together = max(1, AT_ONCE // (batch_size * (self.size * self.scale) ** 2))
        for first in range(0, count, together):
            now = min(together, count - first)
            random = torch.rand(
                (now, 4, batch_size),
                generator=generator,
                dtype=torch.float64,
                pin_memory=self.device.type == "cuda",
            )
            random = random.to(self.device, non_blocking=True).transpose(0, 1).flatten(1)
            if self.shuffle_seed is None:
                which = (random[0] * len(self.first)).long()
            else:
                begin = (start + first) * batch_size
                which = _shuffled(self.shuffle_seed, len(self.first), begin, now * batch_size)
                which = which.to(self.device, non_blocking=True)
            top = (random[1] * (self.height[which] - self.size + 1)).long()
            left = (random[2] * (self.width[which] - self.size + 1)).long()
            orientation = (random[3] * 8 * self.augment).long()  # always 0 without augmentation
            lr = self._cut(self.lr, which, top, left, orientation, 1)
            hr = self._cut(self.hr, which, top, left, orientation, self.scale)
            yield from zip(lr.split(batch_size), hr.split(batch_size), strict=True)

    def _cut(
        self,
        pixels: Tensor,
        which: Tensor,
        top: Tensor,
        left: Tensor,
        orientation: Tensor,
        scale: int,
    ) -> Tensor:
        """Gather the crops' pixels, each at first pixel + row * `down` + column * `across`.

        A flip starts at the opposite end and steps backwards; a transposition swaps the two steps.
        The position (`top`, `left`) is in pixels of LR; `scale` converts it to those of `pixels`.
        """
        size, width = self.size * scale, scale * self.width[which]
        flip_rows, flip_columns = orientation % 2, orientation // 2 % 2
        transpose = orientation // 4 == 1
        top, left = scale * top + flip_rows * (size - 1), scale * left + flip_columns * (size - 1)
        start = scale**2 * self.first[which] + top * width + left
        down, across = width * (1 - 2 * flip_rows), 1 - 2 * flip_columns
        down, across = torch.where(transpose, across, down), torch.where(transpose, down, across)
        steps = torch.arange(size, device=self.device)
        places = start.view(-1, 1, 1) + down.view(-1, 1, 1) * steps.view(-1, 1)
        places = (places + across.view(-1, 1, 1) * steps).flatten()
        crops = pixels.index_select(0, places).view(-1, size, size, 3)
        return crops.permute(0, 3, 1, 2).float() / 255


def _shuffled(seed: int, number: int, begin: int, count: int) -> Tensor:
    """Entries `begin` to `begin + count` of an endless sequence of shuffled epochs.

    Each epoch holds the indices of all `number` pictures once, int64, in an order of its own.
    """
    orders = []
    for epoch in range(begin // number, (begin + count - 1) // number + 1):
        generator = torch.Generator().manual_seed((100_003 * seed + epoch) % 2**64)
        orders.append(torch.randperm(number, generator=generator))
    return torch.cat(orders)[begin % number :][:count]
