"""Random training crops, drawn and turned for a whole batch at once."""

from collections.abc import Mapping

import torch
from torch import Tensor

from gvstudy.images import crop_to_multiple, make_lr


class Crops:
    """HR pictures and their 8-bit LR versions, flat in memory, ready to be cut at random.

    Every picture is as likely as every other; within one every position is, on the LR grid, and
    every one of the eight flips and quarter turns. `crop_size` is the HR crop's side in pixels, a
    multiple of `scale`; `downsample` the kernel that makes LR. Raises ValueError for a picture
    smaller than the crop.
    """

    def __init__(
        self,
        pictures: Mapping[str, Tensor],
        crop_size: int,
        scale: int,
        downsample: str,
        device: torch.device,
    ):
        self.size, self.scale = crop_size // scale, scale
        hr_parts, lr_parts, shapes = [], [], []
        for name, picture in pictures.items():
            if min(picture.shape[-2:]) < crop_size:
                raise ValueError(
                    f"{name} of {picture.shape[-2]}x{picture.shape[-1]} pixels is smaller than "
                    f"crop_size {crop_size}"
                )
            hr = crop_to_multiple(picture.expand(3, -1, -1), scale)
            lr = make_lr(hr, scale, downsample)
            hr_parts.append(hr.flatten(1))
            lr_parts.append(lr.flatten(1))
            shapes.append(lr.shape[-2:])
        self.hr, self.lr = torch.cat(hr_parts, 1).to(device), torch.cat(lr_parts, 1).to(device)
        self.height, self.width = torch.tensor(shapes, device=device).T
        self.first = (self.height * self.width).cumsum(0) - self.height * self.width

    def draw(self, batch_size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """LR (N, 3, c/s, c/s) and HR (N, 3, c, c) of `batch_size` crops, float in [0, 1]."""
        chance = torch.rand(4, batch_size, generator=generator, dtype=torch.float64)
        chance = chance.to(self.hr.device)
        which = (chance[0] * len(self.first)).long()
        top = (chance[1] * (self.height[which] - self.size + 1)).long()
        left = (chance[2] * (self.width[which] - self.size + 1)).long()
        turn = (chance[3] * 8).long()
        lr = self._cut(self.lr, which, top, left, turn, 1)
        return lr, self._cut(self.hr, which, top, left, turn, self.scale)

    def _cut(
        self, pixels: Tensor, which: Tensor, top: Tensor, left: Tensor, turn: Tensor, scale: int
    ) -> Tensor:
        """The crops' pixels by their places in the flat pictures; a flip is an order of places."""
        size = self.size * scale
        y, x = torch.meshgrid(*[torch.arange(size, device=pixels.device)] * 2, indexing="ij")
        up, mirrored, transposed = (turn.view(-1, 1, 1) // power % 2 for power in (1, 2, 4))
        y, x = torch.where(up == 1, size - 1 - y, y), torch.where(mirrored == 1, size - 1 - x, x)
        y, x = torch.where(transposed == 1, x, y), torch.where(transposed == 1, y, x)
        y, x = y + scale * top.view(-1, 1, 1), x + scale * left.view(-1, 1, 1)
        places = scale**2 * self.first[which].view(-1, 1, 1)
        places = places + y * (scale * self.width[which].view(-1, 1, 1)) + x
        return pixels[:, places].transpose(0, 1).float() / 255
