"""How fast are GV, the other losses, the training step, the training loop, and the quick study?

    python benchmarks/speed.py [loss] [rivals] [step] [loop] [study]     all where none is named

Every figure is a ratio of medians from one run, the alternatives taking turns. The spread is the
middle half of the turns' own ratios. Keep the machine otherwise idle.
"""

import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import TypeVar

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

from gvstudy import GradientVarianceLoss, Run, build_loss, load_images, train
from gvstudy.config import best_device
from gvstudy.data.crops import Crops
from gvstudy.images import to_float, write
from gvstudy.losses import REGULARISERS
from gvstudy.study.provenance import hardware
from gvstudy.training import initial_model

DEVICE = best_device()
SHAPES = [(16, 3, 96, 96), (64, 3, 128, 128), (1, 3, 1024, 1024), (16, 1, 96, 96)]
IN_A_ROW = 7  # calls of one alternative in a turn
STEP_LOSSES = ("l2", "l2+gv", "l1", "l1+maps-charbonnier-rgb")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def naive_gv(sr: Tensor, hr: Tensor) -> Tensor:
    """GV as the equations read: conv2d, unfold, var, mse."""
    kernel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]).to(sr).view(1, 1, 3, 3)
    maps = []
    for images in (sr, hr):
        if images.shape[1] == 3:
            weights = torch.tensor([0.2989, 0.5870, 0.1140]).to(sr).view(1, 3, 1, 1)
            images = (images * weights).sum(1, keepdim=True)
        gradients = (F.conv2d(images, k, padding=1) for k in (kernel, kernel.mT))
        maps.append([F.unfold(gradient, 8, stride=8).var(dim=1) for gradient in gradients])
    distances = [F.mse_loss(ours, real) for ours, real in zip(*maps, strict=True)]
    return distances[0] + distances[1]


Result = TypeVar("Result")
Losses = dict[str, Callable[[Tensor, Tensor], Tensor]]
LOSSES: Losses = {
    "naive": naive_gv,
    "gv": GradientVarianceLoss(),
    "mse": F.mse_loss,
}


def wait() -> None:
    """Until the GPU is done."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def in_turns(seconds: float, **calls: Callable[[], object]) -> dict[str, list[float]]:
    """Milliseconds of each call, turn by turn, for about so many seconds.

    A turn calls each alternative several times in a row, as a training does, and takes the median.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    begun, turns = time.perf_counter(), -1
    while time.perf_counter() - begun < seconds or turns < 7:
        turns += 1
        for name, call in calls.items():
            times[name].append(statistics.median(once(call) for _ in range(IN_A_ROW)))
    return {name: all_[1:] for name, all_ in times.items()}  # the first turn warms up


def once(call: Callable[[], object]) -> float:
    """Milliseconds of one call; it waits before and after, so that a GPU's work is counted."""
    wait()
    started = time.perf_counter()
    call()
    wait()
    return (time.perf_counter() - started) * 1e3


def ratio(times: dict[str, list[float]], one: str, other: str) -> str:
    """The ratio of medians, and the middle half of the turns' own ratios."""
    low, _, high = statistics.quantiles(
        [a / b for a, b in zip(times[one], times[other], strict=True)], n=4
    )
    middle = statistics.median(times[one]) / statistics.median(times[other])
    return f"{middle:.3g} ({low:.3g} to {high:.3g})"


def row(*cells: object) -> None:
    """Print a row of a Markdown table."""
    print("|", " | ".join(str(cell) for cell in cells), "|", flush=True)


def header(*cells: str) -> None:
    """Print the head of a Markdown table."""
    print()
    row(*cells)
    row(*["---"] * len(cells))


def apart(function: Callable[..., Result], *arguments: object) -> Result:
    """Call in a fresh process: what other shapes left in its memory changes nothing."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def pair(shape: tuple[int, ...], dtype: str) -> tuple[Tensor, Tensor]:
    """SR, which wants a gradient, and HR."""
    torch.manual_seed(0)
    hr = torch.rand(shape, device=DEVICE)
    sr = (hr + 0.1 * torch.randn_like(hr)).to(DTYPES[dtype])
    return sr.requires_grad_(), hr.to(DTYPES[dtype])


def loss_times(
    losses: Losses, seconds: float, shape: tuple[int, ...], dtype: str, backward: bool
) -> dict[str, list[float]]:
    """Milliseconds of each loss."""
    sr, hr = pair(shape, dtype)

    def call(loss: Callable[[Tensor, Tensor], Tensor]) -> Callable[[], object]:
        if backward:
            return lambda: torch.autograd.grad(loss(sr, hr), sr)
        return torch.no_grad()(lambda: loss(sr, hr))

    return in_turns(seconds, **{name: call(loss) for name, loss in losses.items()})


def peak_resident() -> int:
    """KiB that this process has held at most; Linux only."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def peak_memory(name: str, shape: tuple[int, ...], dtype: str) -> float:
    """MiB that forward and backward take at their peak, beyond what was there."""
    small = pair((1, *shape[1:2], 16, 16), dtype)
    torch.autograd.grad(LOSSES[name](*small), small[0])  # what the first call alone takes
    sr, hr = pair(shape, dtype)
    if DEVICE.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        torch.autograd.grad(LOSSES[name](sr, hr), sr)
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    before = peak_resident()
    torch.autograd.grad(LOSSES[name](sr, hr), sr)
    return (peak_resident() - before) / 2**10


def bandwidth() -> float:
    """Bytes a second that a large copy reads and writes."""
    big = torch.empty(2**26, device=DEVICE)
    other = torch.empty_like(big)
    times = in_turns(2, copy=lambda: other.copy_(big))["copy"]
    return 2 * 4 * 2**26 / (statistics.median(times) / 1e3)


def bench_loss() -> None:
    """GV against the naive version and against MSE."""
    print("\n## The loss\n\nForward, or forward and backward; medians in ms.", flush=True)
    fastest = bandwidth()
    header(
        "shape", "type", "pass", "naive", "GV", "MSE", "GV / naive", "GV / MSE",
        "peak memory GV / naive", "share of a copy's bandwidth",
    )  # fmt: skip
    for shape in SHAPES:
        for dtype in DTYPES:
            peaks = [apart(peak_memory, name, shape, dtype) for name in ("gv", "naive")]
            for backward in (False, True):
                times = apart(loss_times, LOSSES, 4, shape, dtype, backward)
                middle = {name: statistics.median(times[name]) for name in LOSSES}
                size = torch.Size(shape).numel() * DTYPES[dtype].itemsize
                needed = size * (3 if backward else 2)  # read both images, write one gradient
                row(
                    "x".join(map(str, shape)), dtype, "both" if backward else "forward",
                    *(f"{middle[name]:.2f}" for name in LOSSES),
                    ratio(times, "gv", "naive"), ratio(times, "gv", "mse"),
                    f"{peaks[0]:.0f} / {peaks[1]:.0f} MiB = {peaks[0] / peaks[1]:.2f}"
                    if backward else "",
                    f"{needed / (middle['gv'] / 1e3) / fastest:.2f}",
                )  # fmt: skip


def bench_rivals() -> None:
    """Every regulariser against GV, on crops as in training and on larger ones."""
    print("\n## Rivals of GV\n\nForward and backward, float32; medians in ms.", flush=True)
    losses: Losses = {"mse": F.mse_loss}
    losses |= {name: entry.bind(8, "zeros") for name, entry in REGULARISERS.items()}
    for shape in ((16, 3, 48, 48), (64, 3, 128, 128)):
        times = apart(loss_times, losses, 10, shape, "float32", True)
        header("x".join(map(str, shape)), "ms", "times GV")
        for name in times:
            row(name, f"{statistics.median(times[name]):.2f}", ratio(times, name, "gv"))


def steps(run: Run, crops: Crops) -> dict[str, Callable[[], object]]:
    """A training step of `run` on fixed crops with each loss, and the model's part alone."""
    model = initial_model(run).to(DEVICE)
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True)
    losses = {name: build_loss(name) for name in STEP_LOSSES}
    lr, hr = crops.draw(run.batch_size, torch.Generator().manual_seed(0))
    half = run.resolved_precision == "bfloat16"

    def forward() -> Tensor:
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=half):
            return model(lr)

    slope = torch.randn_like(forward()) / 1e6

    def step(name: str = "") -> None:
        sr = forward()
        optimizer.zero_grad()
        if name:
            torch.stack(list(losses[name].terms(sr.float(), hr).values())).sum().backward()
        else:
            sr.backward(slope)
        optimizer.step()

    return {name: partial(step, name) for name in STEP_LOSSES} | {"model": step}


def loop_and_model(
    run: Run, pictures: dict[str, Tensor], step: Callable[[], object]
) -> tuple[float, float]:
    """Seconds of `train`, and of as many steps of the model alone; the sums of five turns."""
    whole = alone = 0.0
    for _ in range(5):
        started = time.perf_counter()
        train(run, pictures, progress=False)
        wait()
        between = time.perf_counter()
        for _ in range(run.steps):
            step()
        wait()
        whole, alone = whole + between - started, alone + time.perf_counter() - between
    return whole, alone


def matmul_rate(half: bool) -> float:
    """Floating point operations a second of a large product of matrices."""
    side = 8192 if DEVICE.type == "cuda" else 2048
    one = torch.randn(side, side, device=DEVICE, dtype=torch.bfloat16 if half else torch.float32)
    times = in_turns(2, product=lambda: one @ one)["product"]
    return 2 * side**3 / (statistics.median(times) / 1e3)


def bench_step() -> None:
    """The training step with and without GV, and what of the loop isn't the model."""
    print("\n## The training step\n\nx2, 16 crops of 48 x 48; medians in ms.", flush=True)
    header(
        "model", "size", "type", "L2", "L2 + GV", "with / without GV",
        "L1 with / without the gradient loss by channel", "all but the model",
        "share of a product's rate",
    )  # fmt: skip
    pictures = load_images("builtin-train")
    for model, size, precision in product(
        ("vdsr", "edsr", "espcn"), ("reduced", "paper"), ("auto", "float32")
    ):
        run = Run(model=model, size=size, precision=precision)
        usual = precision == "auto"
        if run.precision == Run(model=model).resolved_precision:  # as with "auto"
            continue
        crops = Crops(pictures, run.crop_size, run.scale, run.downsample, DEVICE)
        calls = steps(run, crops)
        times = in_turns(10 if size == "reduced" else 20, **calls)
        share = ""
        if usual and (size == "reduced" or model == "espcn"):
            whole, alone = loop_and_model(run, pictures, calls["model"])
            share = f"{1 - alone / whole:.1%}"
        with FlopCounterMode(display=False) as counted:
            calls["model"]()
        rate = counted.get_total_flops() / (statistics.median(times["model"]) / 1e3)
        row(
            model, size, run.resolved_precision,
            *(f"{statistics.median(times[name]):.2f}" for name in ("l2", "l2+gv")),
            ratio(times, "l2+gv", "l2"), ratio(times, "l1+maps-charbonnier-rgb", "l1"), share,
            f"{rate / matmul_rate(run.resolved_precision == 'bfloat16'):.2f}",
        )  # fmt: skip


class PlainCrops(Dataset[tuple[Tensor, Tensor]]):
    """What a plain training script does: open a file, crop, flip, shrink with Pillow."""

    def __init__(self, folder: Path, count: int, size: int, scale: int):
        self.files, self.count, self.size, self.scale = sorted(folder.iterdir()), count, size, scale

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        picture = Image.open(self.files[index % len(self.files)]).convert("RGB")
        width, height = picture.size
        left = int(torch.randint(width - self.size + 1, ()))
        top = int(torch.randint(height - self.size + 1, ()))
        hr = picture.crop((left, top, left + self.size, top + self.size))
        if torch.rand(()) < 0.5:
            hr = hr.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        hr = hr.rotate(90 * int(torch.randint(4, ())))
        small = self.size // self.scale
        lr = hr.resize((small, small), Image.Resampling.BICUBIC)
        return self._tensor(lr), self._tensor(hr)

    @staticmethod
    def _tensor(picture: Image.Image) -> Tensor:
        pixels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
        return to_float(pixels.view(*picture.size[::-1], 3).permute(2, 0, 1))[0]


def bench_loop() -> None:
    """Crops a second of `train` and of a plain DataLoader loop with the same model."""
    run = Run(model="espcn", steps=300)
    pictures = load_images("builtin-train")
    print("\n## The loop\n\nESPCN x2, 300 steps of 16 crops of 48 x 48; crops a second.")
    rates: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, picture in pictures.items():
            write(Path(folder) / f"{name}.png", picture)

        def plain(workers: int) -> None:
            model = initial_model(run).to(DEVICE)
            optimizer = torch.optim.Adam(model.parameters(), lr=run.learning_rate)
            data = PlainCrops(Path(folder), run.steps * run.batch_size, run.crop_size, run.scale)
            for lr, hr in DataLoader(data, run.batch_size, shuffle=True, num_workers=workers):
                loss = F.mse_loss(model(lr.to(DEVICE)), hr.to(DEVICE))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                loss.item()

        loops: dict[str, Callable[[], object]] = {
            "train": lambda: train(run, pictures, progress=False),
            "plain, in this process": lambda: plain(0),
            "plain, 2 workers": lambda: plain(2),
        }
        for _ in range(3):
            for name, loop in loops.items():
                started = time.perf_counter()
                loop()
                wait()
                seconds = time.perf_counter() - started
                rates.setdefault(name, []).append(run.steps * run.batch_size / seconds)
    header("loop", "median", "range", "train is so many times as fast")
    for name, all_ in rates.items():
        middle = statistics.median(all_)
        times = statistics.median(rates["train"]) / middle
        row(name, f"{middle:.0f}", f"{min(all_):.0f} to {max(all_):.0f}", f"{times:.1f}")


def bench_study() -> None:
    """The quick study from an empty store, and each notebook."""
    print("\n## The quick study", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        command = Path(sys.executable).with_name("gvstudy")
        places = ["--out", f"{folder}/results", "--figures", f"{folder}/figures"]
        started = time.perf_counter()
        subprocess.run(
            [command, "study", "--profile", "quick", *places],
            env=os.environ | {"GVSTUDY_RUNS": f"{folder}/runs"},
            check=True,
        )
        header("notebook", "seconds")
        row("all", f"{time.perf_counter() - started:.0f}")
        for copy in sorted(Path(folder, "results").glob("**/*.ipynb")):
            seconds = json.loads(copy.read_text())["metadata"]["papermill"]["duration"]
            row(copy.stem, f"{seconds:.0f}")


def main() -> None:
    """Run the parts that are named, or all."""
    parts = {
        "loss": bench_loss, "rivals": bench_rivals, "step": bench_step, "loop": bench_loop,
        "study": bench_study,
    }  # fmt: skip
    unknown = set(sys.argv[1:]) - parts.keys()
    if unknown:
        sys.exit(f"unknown part {min(unknown)!r}; known: {', '.join(parts)}")
    version = torch.__version__.partition("+")[0]
    print(f"# Speed on {hardware()}, {torch.get_num_threads()} threads, torch {version}")
    for name in sys.argv[1:] or parts:
        parts[name]()


if __name__ == "__main__":
    main()
