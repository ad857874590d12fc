"""Random training crops, drawn and turned for a whole batch at once."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from gvstudy.images import check_picture, crop_to_multiple, make_lr

AT_ONCE = 2**18  # HR pixels that are cut at once, where a batch has fewer


class Crops:
    """HR pictures and their 8-bit LR versions, flat in memory, ready to be cut at random.

    Every picture is as likely as every other; within one every position is, on the LR grid, and
    every one of the eight flips and quarter turns. `crop_size` is the HR crop's side in pixels, a
    multiple of `scale`; `downsample` the kernel that makes LR. With `turned` false crops stay as
    they are; with `shuffled`, a seed, every picture comes once before any comes again. Raises
    ValueError for a picture smaller than the crop, or none (uint8 (C, H, W)), and for a crop that
    isn't a multiple of `scale`.
    """

    def __init__(
        self,
        pictures: Mapping[str, Tensor],
        crop_size: int,
        scale: int,
        downsample: str,
        device: torch.device,
        *,
        turned: bool = True,
        shuffled: int | None = None,
    ):
        if crop_size % scale:
            raise ValueError(f"scale {scale} does not divide crop_size {crop_size}")
        self.size, self.scale, self.device = crop_size // scale, scale, device
        self.turned, self.shuffled = turned, shuffled
        hr_parts, lr_parts, shapes = [], [], []
        for name, picture in pictures.items():
            check_picture(picture)
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

    def draw(self, batch_size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """LR (N, 3, c/s, c/s) and HR (N, 3, c, c) of `batch_size` crops, float in [0, 1]."""
        return next(self.batches(batch_size, 1, generator))

    def batches(
        self, batch_size: int, count: int, generator: torch.Generator, start: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """`draw` so many times; small batches are cut several at once, which is faster.

        `start` says how many batches went before, which counts where pictures are shuffled.
        LR and HR lie channels-last in memory. `generator` is the CPU's, so that a seed gives the
        same crops on every device; four numbers a crop are all that crosses over, without a wait.
        """
        together = max(1, AT_ONCE // (batch_size * (self.size * self.scale) ** 2))
        for first in range(0, count, together):
            now = min(together, count - first)
            chance = torch.rand(
                (now, 4, batch_size),
                generator=generator,
                dtype=torch.float64,
                pin_memory=self.device.type == "cuda",
            )
            chance = chance.to(self.device, non_blocking=True).transpose(0, 1).flatten(1)
            if self.shuffled is None:
                which = (chance[0] * len(self.first)).long()
            else:
                begin = (start + first) * batch_size
                which = _in_turn(self.shuffled, len(self.first), begin, now * batch_size)
                which = which.to(self.device, non_blocking=True)
            top = (chance[1] * (self.height[which] - self.size + 1)).long()
            left = (chance[2] * (self.width[which] - self.size + 1)).long()
            turn = (chance[3] * 8 * self.turned).long()
            lr = self._cut(self.lr, which, top, left, turn, 1)
            hr = self._cut(self.hr, which, top, left, turn, self.scale)
            yield from zip(lr.split(batch_size), hr.split(batch_size), strict=True)

    def _cut(
        self, pixels: Tensor, which: Tensor, top: Tensor, left: Tensor, turn: Tensor, scale: int
    ) -> Tensor:
        """The crops' pixels: from one corner, a step for each row and a step for each column.

        A flip starts at the other end and steps back; a turned crop has its rows from columns.
        """
        size, width = self.size * scale, scale * self.width[which]
        up, mirrored, turned = turn % 2, turn // 2 % 2, turn // 4
        top, left = scale * top + up * (size - 1), scale * left + mirrored * (size - 1)
        start = scale**2 * self.first[which] + top * width + left
        down, across = width * (1 - 2 * up), 1 - 2 * mirrored
        down, across = (
            torch.where(turned == 1, across, down),
            torch.where(turned == 1, down, across),
        )
        steps = torch.arange(size, device=self.device)
        places = start.view(-1, 1, 1) + down.view(-1, 1, 1) * steps.view(-1, 1)
        places = (places + across.view(-1, 1, 1) * steps).flatten()
        crops = pixels.index_select(0, places).view(-1, size, size, 3)
        return crops.permute(0, 3, 1, 2).float() / 255


def _in_turn(seed: int, number: int, begin: int, count: int) -> Tensor:
    """Which of `number` pictures come at these places of an endless row of shuffled sets."""
    orders = []
    for round_ in range(begin // number, (begin + count - 1) // number + 1):
        generator = torch.Generator().manual_seed(100_003 * seed + round_)
        orders.append(torch.randperm(number, generator=generator))
    return torch.cat(orders)[begin % number :][:count]
