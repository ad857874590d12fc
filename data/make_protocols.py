"""Make the committed measurements of the protocols: what each choice of a protocol costs.

    python data/make_protocols.py bicubic     reference/protocols.csv
    python data/make_protocols.py official    reference/official/protocols.csv
    python data/make_protocols.py crops       reference/uncut.csv

The sets are found as everywhere in the study: in the folder `GVSTUDY_DATA`, or downloaded.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import click
import pandas as pd
import torch.nn.functional as F
from torch import Tensor, nn

from gvstudy.cli import Group
from gvstudy.data.sets import load_images
from gvstudy.evaluation import crop_border, psnr, super_resolve
from gvstudy.images import (
    SCALES,
    as_saved,
    crop_to_multiple,
    make_lr,
    to_float,
    to_luma,
)
from gvstudy.models import build_model
from gvstudy.paths import replacing
from gvstudy.study import reference
from gvstudy.study.common import BASES
from gvstudy.study.grids import runs_of
from gvstudy.study.protocols import measure_bicubic
from gvstudy.study.store import Store

MODEL_VARIANTS = {
    "paper": "as the authors' script measures: bilinear LR, RGB, not rounded, with the border",
    "bicubic LR": "the same, but LR made by bicubic, as the paper's text says",
    "border cut": "the same, but `scale` border pixels cropped",
    "8 bits": "the same, but SR clamped and rounded",
    "luma": "the same, but on luma",
}


def measure_model(model: nn.Module, pictures: Mapping[str, Tensor], scale: int) -> pd.DataFrame:
    """Measure a model by every protocol in `MODEL_VARIANTS`.

    `model` enlarges LR images made by bilinear, as the authors' script trains it; `pictures` are
    uint8 (C, H, W). One row per image and variant: `image`, `scale`, `variant` and `psnr` (dB).
    """
    rows = []
    for name, picture in pictures.items():
        hr = crop_to_multiple(picture, scale)
        real = to_float(hr)
        sr, from_bicubic = (
            super_resolve(model, to_float(make_lr(hr, scale, kernel)))
            for kernel in ("bilinear", "bicubic")
        )
        scores = {
            "paper": psnr(sr, real),
            "bicubic LR": psnr(from_bicubic, real),
            "border cut": psnr(crop_border(sr, scale), crop_border(real, scale)),
            "8 bits": psnr(as_saved(sr), real),
            "luma": psnr(to_luma(sr), to_luma(real)),
        }
        rows += [
            {"image": name, "scale": scale, "variant": variant, "psnr": score}
            for variant, score in scores.items()
        ]
    return pd.DataFrame(rows)


def measure_crops(model: nn.Module, pictures: Mapping[str, Tensor], scale: int) -> pd.DataFrame:
    """Measure what it costs to crop HR to a multiple of the scale in the wrong way.

    `pictures` are uint8 (C, H, W). One row per image, with `image`, `scale` and three PSNRs (dB,
    RGB):

    - `cut`: HR cropped correctly.
    - `uncut`: LR is the whole picture, its sides divided by the scale and rounded down. LR's
      pixels are then a little wider than the model assumes, and SR drifts off HR, by up to
      `scale` - 1 pixels at the far corner.
    - `moved`: LR is made from the picture's top left part, but HR is cropped from its middle.
      Along every side that the scale doesn't divide, SR is a whole pixel off (at x4, up to two).
    """
    rows = []
    for name, picture in pictures.items():
        hr = crop_to_multiple(picture, scale)
        height, width = hr.shape[-2:]
        sr = super_resolve(model, to_float(make_lr(hr, scale)))
        sides = [height // scale, width // scale]
        lr = F.interpolate(to_float(picture), sides, mode="bicubic", antialias=True)
        drifted = super_resolve(model, as_saved(lr))
        top, left = ((side % scale + 1) // 2 for side in picture.shape[-2:])
        middle = picture[:, top : top + height, left : left + width]
        pairs = {"cut": (sr, hr), "uncut": (drifted, hr), "moved": (sr, middle)}
        psnrs = {crop: psnr(ours, to_float(real)) for crop, (ours, real) in pairs.items()}
        rows.append({"image": name, "scale": scale} | psnrs)
    return pd.DataFrame(rows)


@click.group(cls=Group)
def main() -> None:
    """Make the committed measurements of the protocols."""


folder_option = click.option(
    "--out", "folder", default=Path(__file__).parent / "reference", show_default="reference/",
    type=click.Path(file_okay=False, path_type=Path), help="The folder to write to.",
)  # fmt: skip


def sets_option(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The option `--set`, with the sets of the committed file as its default."""
    return click.option(
        "--set", "sets", multiple=True, default=names, show_default=True, help="A set's name."
    )


@main.command()
@sets_option("Set5", "Set14", "Urban100")
@folder_option
def bicubic(sets: tuple[str, ...], folder: Path) -> None:
    """Write protocols.csv: bicubic by every protocol."""
    frames = []
    for name in sets:
        pictures = load_images(name)
        frames += [measure_bicubic(pictures, scale).assign(set=name) for scale in SCALES]
    columns = ["set", "image", "scale", "variant", "psnr", "ssim"]
    write(folder / "protocols.csv", frames, columns, {"psnr": 4, "ssim": 5})


@main.command()
@sets_option("Set5", "Set14", "Urban100-first20")
@folder_option
def official(sets: tuple[str, ...], folder: Path) -> None:
    """Write official/protocols.csv: the two models of the results `official`.

    Their weights come from the store of runs. A run that isn't there has its committed weights;
    those are in half precision, which changes PSNR by about 0.002 dB.
    """
    runs = reference.load("official").drop_duplicates("run").sort_values("loss")
    models = [(run, official_model(run)) for _, run in runs.iterrows()]
    frames = []
    for name in sets:
        pictures = load_images(name)
        for run, model in models:
            rows = measure_model(model, pictures, int(run["scale"]))
            frames.append(rows.assign(set=name, loss=run["loss"]))
    columns = ["set", "image", "scale", "loss", "variant", "psnr"]
    write(folder / "official" / "protocols.csv", frames, columns, {"psnr": 4})


@main.command()
@sets_option("Set5", "Set14", "Urban100-first20")
@folder_option
def crops(sets: tuple[str, ...], folder: Path) -> None:
    """Write uncut.csv: bicubic, and EDSR and ESPCN of the results `reduced` (seed 0).

    The models are the pixel losses' alone. Those that aren't in the store of runs are trained.
    """
    models = {("bicubic", scale): build_model("bicubic", scale) for scale in SCALES}
    store = Store()
    for run in runs_of(["table1"], "reduced", seeds=1):
        if run.model in ("edsr", "espcn") and run.loss == BASES[run.model]:
            models[run.model, run.scale] = store.train_or_load(run).model
    frames = []
    for name in sets:
        pictures = load_images(name)
        for scale in SCALES:
            for kind in ("bicubic", "edsr", "espcn"):
                rows = measure_crops(models[kind, scale], pictures, scale)
                frames.append(rows.assign(set=name, model=kind))
    columns = ["set", "image", "scale", "model", "cut", "uncut", "moved"]
    write(folder / "uncut.csv", frames, columns, {"cut": 3, "uncut": 3, "moved": 3})


def official_model(run: pd.Series) -> nn.Module:
    """The model of a run in `reference.load("official")`, in full precision if the store has it."""
    try:
        return reference.load_model(f"{reference.FRESH}full", run)
    except ValueError:
        return reference.load_model("official", run)


def write(
    path: Path, frames: list[pd.DataFrame], columns: list[str], decimals: Mapping[str, int]
) -> None:
    """Write frames as one CSV with these columns, rounded."""
    rows = pd.concat(frames, ignore_index=True)[columns].round(decimals)
    with replacing(path) as temporary:
        rows.to_csv(temporary, index=False, float_format="%.6g", lineterminator="\n")
    click.echo(f"{path}: {len(rows)} rows")


if __name__ == "__main__":
    main()
