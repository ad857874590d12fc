"""How fast is the MATLAB-style resize? Ratios to PyTorch's own, medians in one run.

python benchmarks/resize.py
"""

import torch
import torch.nn.functional as F
from torch.utils.benchmark import Timer

from gvstudy.images import downscale, upscale


def median_ms(call: str, **names: object) -> float:
    """Median milliseconds of a call."""
    return Timer(call, globals=names).blocked_autorange(min_run_time=2).median * 1e3


def main() -> None:
    """Print a row a direction and scale."""
    print(f"3 x 1024 x 1024, float32, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print("direction  scale   ours ms   torch ms   ratio")
    for scale in (2, 3, 4):
        size = 1024 - 1024 % scale
        large = torch.rand(1, 3, size, size)
        small = torch.rand(1, 3, size // scale, size // scale)
        for name, ours, image in (("shrink", downscale, large), ("enlarge", upscale, small)):
            target = tuple(downscale(large, scale).shape[-2:]) if image is large else (size, size)
            mine = median_ms("f(x, s)", f=ours, x=image, s=scale)
            torch_call = 'F.interpolate(x, size=t, mode="bicubic", antialias=True)'
            theirs = median_ms(torch_call, F=F, x=image, t=target)
            print(f"{name:9} {scale:6} {mine:9.2f} {theirs:10.2f} {mine / theirs:7.2f}")


if __name__ == "__main__":
    main()
