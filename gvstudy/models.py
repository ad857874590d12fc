"""VDSR, EDSR, ESPCN and plain interpolation: LR (N, 3, h, w) to SR (N, 3, s*h, s*w)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from gvstudy._source import Source, accepted, check_call, check_entry
from gvstudy.images import KERNELS, SCALES, to_grey, upscale
from gvstudy.validation import check_choice, check_integer

MODEL_SIZES = ("paper", "reduced")
CHANNELS = ("rgb", "rgb-to-grey", "luma")
FANS = ("fan_in", "fan_out")
DIV2K_MEAN = (0.4488, 0.4371, 0.4040)  # mean RGB of DIV2K, which EDSR subtracts from its input


def _conv(inputs: int, outputs: int, kernel_size: int = 3, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel_size, padding=kernel_size // 2, bias=bias)


class Interpolation(nn.Module):
    """Plain interpolation, the baseline of every comparison. It has no weights."""

    def __init__(self, scale: int, upsample: str = "bicubic"):
        super().__init__()
        self.scale, self.upsample = scale, upsample

    def forward(self, lr: Tensor) -> Tensor:
        return upscale(lr, self.scale, self.upsample)


class VDSR(nn.Module):
    """A stack of 3x3 convolutions that corrects the enlarged image (Kim et al., CVPR 2016).

    With `inputs` = 3 and `outputs` = 1, as in the GV authors' script, one correction is added to
    all three channels. There are no biases. The initial weights are normal with the variance 2 / n
    (He et al., ICCV 2015), where n is the number of a layer's inputs to an output, or, with
    `fan` = "fan_out" as in that script, of its outputs to an input. The two differ in the first
    layer and the last.
    """

    def __init__(
        self,
        scale: int,
        layers: int = 20,
        width: int = 64,
        inputs: int = 3,
        outputs: int = 3,
        upsample: str = "bicubic",
        fan: str = "fan_in",
    ):
        super().__init__()
        self.scale, self.inputs, self.upsample = scale, inputs, upsample
        body: list[nn.Module] = [_conv(inputs, width, bias=False), nn.ReLU(inplace=True)]
        for _ in range(layers - 2):
            body += [_conv(width, width, bias=False), nn.ReLU(inplace=True)]
        self.body = nn.Sequential(*body, _conv(width, outputs, bias=False))
        for layer in self.body:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode=fan)  # type: ignore[arg-type]

    def forward(self, lr: Tensor) -> Tensor:
        enlarged = upscale(lr, self.scale, self.upsample)
        return enlarged + self.body(to_grey(enlarged) if self.inputs == 1 else enlarged)


class ResidualBlock(nn.Module):
    """EDSR's block: convolution, ReLU, convolution, and a skip connection."""

    def __init__(self, width: int):
        super().__init__()
        self.body = nn.Sequential(_conv(width, width), nn.ReLU(inplace=True), _conv(width, width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class EDSR(nn.Module):
    """EDSR-baseline: residual blocks at LR size, then pixel shuffle (Lim et al., CVPRW 2017).

    The initialisation is PyTorch's own, which the paper's code uses.
    """

    mean: Tensor

    def __init__(self, scale: int, blocks: int = 16, width: int = 64, channels: int = 3):
        super().__init__()
        self.scale = scale
        mean = torch.tensor(DIV2K_MEAN).view(1, 3, 1, 1)
        self.register_buffer("mean", mean if channels == 3 else to_grey(mean), persistent=False)
        self.head = _conv(channels, width)
        residual = [ResidualBlock(width) for _ in range(blocks)]
        self.body = nn.Sequential(*residual, _conv(width, width))
        tail: list[nn.Module] = []
        for factor in (2, 2) if scale == 4 else (scale,):
            tail += [_conv(width, width * factor**2), nn.PixelShuffle(factor)]
        self.tail = nn.Sequential(*tail, _conv(width, channels))

    def forward(self, lr: Tensor) -> Tensor:
        features = self.head(lr - self.mean)
        return self.tail(features + self.body(features)) + self.mean


class ESPCN(nn.Module):
    """Three convolutions at LR size (5x5, 3x3, 3x3), tanh, pixel shuffle (Shi et al., CVPR 2016).

    Initialised after Glorot with the gain of tanh; the paper doesn't say.
    """

    def __init__(self, scale: int, widths: tuple[int, int] = (64, 32), channels: int = 3):
        super().__init__()
        self.scale = scale
        first, second = widths
        self.body = nn.Sequential(
            _conv(channels, first, kernel_size=5),
            nn.Tanh(),
            _conv(first, second),
            nn.Tanh(),
            _conv(second, channels * scale**2),
            nn.PixelShuffle(scale),
        )
        convolutions = [layer for layer in self.body if isinstance(layer, nn.Conv2d)]
        for layer in convolutions:
            gain = 1 if layer is convolutions[-1] else nn.init.calculate_gain("tanh")
            nn.init.xavier_normal_(layer.weight, gain)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, lr: Tensor) -> Tensor:
        return self.body(lr)


class OnLuma(nn.Module):
    """Lets a one-channel model work on brightness, while interpolation adds the colours.

    The difference between the model's grey image and the interpolated one is added to all channels.
    """

    def __init__(self, model: "EDSR | ESPCN", upsample: str = "bicubic"):
        super().__init__()
        self.model, self.scale, self.upsample = model, model.scale, upsample

    def forward(self, lr: Tensor) -> Tensor:
        enlarged = upscale(lr, self.scale, self.upsample)
        return enlarged + self.model(to_grey(lr)) - to_grey(enlarged)


def _vdsr(scale: int, size: str, channels: str, upsample: str, fan: str) -> nn.Module:
    layers, width = (20, 64) if size == "paper" else (8, 32)
    inputs, outputs = {"rgb": (3, 3), "rgb-to-grey": (3, 1), "luma": (1, 1)}[channels]
    return VDSR(scale, layers, width, inputs, outputs, upsample, fan)


def _edsr(scale: int, size: str, channels: str, upsample: str) -> nn.Module:
    blocks, width = (16, 64) if size == "paper" else (4, 32)
    return _in_channels(partial(EDSR, scale, blocks, width), channels, upsample)


def _espcn(scale: int, size: str, channels: str, upsample: str) -> nn.Module:
    widths = (64, 32) if size == "paper" else (32, 16)
    return _in_channels(partial(ESPCN, scale, widths), channels, upsample)


def _in_channels(build: Callable[..., "EDSR | ESPCN"], channels: str, upsample: str) -> nn.Module:
    return OnLuma(build(channels=1), upsample) if channels == "luma" else build(channels=3)


@dataclass(frozen=True)
class Model:
    """A model as it is registered: what builds it, and its source if it is from outside."""

    build: Callable[..., nn.Module]
    channels: tuple[str, ...] = CHANNELS  # which of them it knows
    source: Source | None = None


MODELS = {
    "bicubic": Model(Interpolation, channels=("rgb",)),
    "vdsr": Model(_vdsr),
    "edsr": Model(_edsr, channels=("rgb", "luma")),
    "espcn": Model(_espcn, channels=("rgb", "luma")),
}


def register_model(name: str, build: Callable[..., nn.Module], *, version: str = "") -> None:
    """Give a model of your own a name, so that it works wherever a model is named.

    Args:
        name: letters, digits, "-" and "_".
        build: a class or function that takes `scale`, and those of `size`, `channels` and
            `upsample` that it names (see `build_model`); without `channels` it is for "rgb" alone.
            The model maps LR (N, 3, h, w) to SR (N, 3, s*h, s*w), values in [0, 1].
        version: a name for this version of the code. It is needed only where the source can't be
            read; otherwise a run is identified by the source itself, so an edit is another run.

    Raises:
        ValueError: for a name that is malformed or taken, for what can't be called so, and for a
            source that can't be read.
    """
    check_entry("model", name, build, {other: entry.source for other, entry in MODELS.items()})
    options = accepted(build, dict.fromkeys(("size", "channels", "upsample")))
    expected = "(scale), and size, channels and upsample if it uses them"
    check_call(f"model {name!r}", build, expected, scale=2, **options)
    source = Source(build, version)
    source.digest()  # what can't be read is refused now, not after a training
    MODELS[name] = Model(build, CHANNELS if "channels" in options else ("rgb",), source)


def check_model(name: str, scale: int, size: str, channels: str, upsample: str, fan: str) -> None:
    """Raise ValueError, with the known values, for a model that `build_model` can't build."""
    check_choice("model", name, MODELS)
    check_choice("scale", scale, SCALES)
    check_integer("scale", scale, 2)  # 2.0 is one of them, too
    check_choice("size", size, MODEL_SIZES)
    check_choice("channels", channels, CHANNELS)
    check_choice(f"channels of {name}", channels, MODELS[name].channels)
    check_choice("upsample", upsample, KERNELS)
    check_choice("fan", fan, FANS)
    if fan == "fan_out":
        check_choice("model with fan_out", name, ("vdsr",))


def build_model(
    name: str,
    scale: int,
    *,
    size: str = "paper",
    channels: str = "rgb",
    upsample: str = "bicubic",
    fan: str = "fan_in",
) -> nn.Module:
    """A model by name: `bicubic`, `vdsr`, `edsr` (the baseline), `espcn`, or one of your own.

    It maps LR (N, 3, h, w) to SR (N, 3, s*h, s*w), both with values in [0, 1]. Its initial weights
    come from torch's global generator.

    Args:
        scale: s, one of 2, 3 and 4.
        size: "paper" as published (VDSR 20 layers x 64, EDSR 16 blocks x 64, ESPCN 64-32), or
            "reduced" for a CPU (8 x 32, 4 x 32, 32-16).
        channels: "rgb"; "luma" (the model works on brightness, and interpolation adds the colours);
            "rgb-to-grey" (VDSR only: three channels in, one correction out for all three).
        upsample: the kernel, "bicubic" or "bilinear", wherever the LR image is enlarged. EDSR and
            ESPCN on "rgb" don't enlarge it.
        fan: of VDSR's initial weights, "fan_in", or "fan_out" as in the GV authors' script.

    Raises ValueError for an unknown value.
    """
    check_model(name, scale, size, channels, upsample, fan)
    build = MODELS[name].build
    options = {"size": size, "channels": channels, "upsample": upsample}
    if name == "vdsr":  # `check_model` refuses fan_out elsewhere
        options["fan"] = fan
    return build(scale=scale, **accepted(build, options))
