"""The `gvstudy` command: data, evaluate, upscale, study, grid."""

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import DEVNULL, Popen
from tempfile import TemporaryFile
from typing import Any

import click
import numpy as np
import pandas as pd
from safetensors.torch import load_file
from torch import nn
from tqdm import tqdm

from gvstudy import __version__
from gvstudy.config import Run
from gvstudy.data.fetch import MISSING, OTHER, SAME, compare_with_fingerprints, fetch
from gvstudy.data.sets import describe_sets, load_images
from gvstudy.evaluation import evaluate, super_resolve
from gvstudy.images import KERNELS, SCALES, read, to_float, to_uint8, write
from gvstudy.models import CHANNELS, MODEL_SIZES, MODELS, build_model
from gvstudy.paths import project_folder, replacing, writable
from gvstudy.study import reference
from gvstudy.study.common import GRID_SIZES, test_sets
from gvstudy.study.entry import description_of
from gvstudy.study.grids import GRIDS, runs_of
from gvstudy.study.store import Store


class Group(click.Group):
    """A group whose commands report what a user can fix in one line, with exit code 2.

    A reader that leaves, as in `| head`, ends a command without a word, and with exit code 1
    because it may not have finished.
    """

    def invoke(self, ctx: click.Context) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = _print_note
            try:
                return super().invoke(ctx)
            except BrokenPipeError:  # click ends the command
                raise
            except (ValueError, OSError) as error:
                raise click.UsageError(click.format_filename(str(error))) from error


def _print_note(message: Warning | str, *_: Any, **__: Any) -> None:
    """Print a warning's text alone, in place of `warnings.showwarning`."""
    click.echo(f"note: {message}", err=True)


@click.group(cls=Group)
@click.version_option(__version__, prog_name="gvstudy")
def main() -> None:
    """A study of the gradient variance loss for super-resolution."""


class Folder(click.Path):
    """A folder; an empty text, as of a variable that isn't set, is none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("'' names no folder; use . for the current one", param, ctx)
        return super().convert(value, param, ctx)


def model_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that describe a model to a command."""
    for option in (
        click.option("--model", default="bicubic", type=click.Choice(list(MODELS)),
                     show_default=True, help="Bicubic interpolation, or a model with weights."),
        click.option("--scale", default="2", type=click.Choice([str(s) for s in SCALES]),
                     show_default=True, help="The factor of enlargement."),
        click.option("--weights", type=click.Path(exists=True, dir_okay=False, path_type=Path),
                     help="A .safetensors file of a finished run."),
        click.option("--size", default="reduced", type=click.Choice(MODEL_SIZES),
                     show_default=True, help="paper: as published; reduced: for a CPU."),
        click.option("--channels", default="rgb", type=click.Choice(CHANNELS), show_default=True,
                     help="What the model computes on."),
        click.option("--upsample", default="bicubic", type=click.Choice(KERNELS),
                     show_default=True, help="How the model enlarges LR by interpolation."),
    )[::-1]:  # fmt: skip  # the last one applied is listed first
        command = option(command)
    return command


def _load_model(
    model: str, scale: str, weights: Path | None, size: str, channels: str, upsample: str
) -> nn.Module:
    """Build a model with the weights of a file. Raises ValueError if they don't fit together."""
    if (weights is None) != (model == "bicubic"):
        raise ValueError(f"model {model}: bicubic takes no --weights, every other model needs them")
    built = build_model(model, int(scale), size=size, channels=channels, upsample=upsample)
    if weights is not None:
        try:
            values = load_file(weights)
            _check_description(weights, {
                "model": model, "scale": int(scale), "size": size, "channels": channels,
                "upsample": upsample,
            })  # fmt: skip
            built.load_state_dict(values)
        except ValueError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise ValueError(
                f"{weights}: no weights of {model} x{scale} {size}: {reason}"
            ) from error
        if not all(value.isfinite().all() for value in built.state_dict().values()):
            raise ValueError(f"{weights}: the weights hold NaN or infinity")
    return built


def _check_description(weights: Path, asked: dict[str, Any]) -> None:
    """Raise ValueError for weights that were trained for another model.

    What they were trained for is in the file's metadata. Weights without are taken as they are.
    """
    trained = description_of(weights)
    for name, value in asked.items():
        if trained.get(name, value) != value:
            raise ValueError(f"{weights} was trained for {name} {trained[name]}, not {value}")


@main.group()
def data() -> None:
    """List, download and check the data sets."""


@data.command("list")
def list_sets() -> None:
    """List the sets: which are here and where, what they are, and their terms of use."""
    table = describe_sets()
    width = table["name"].str.len().max()
    for row in table.itertuples():
        mark = "+" if row.found else "-"
        click.echo(
            f"{mark} {row.name:{width}} {row.pictures:4}  {row.role:10}  {row.what} ({row.terms})"
        )
        click.echo(f"  {'':{width + 6}} {row.where}")
    click.echo("Use folder:PATH for the pictures in a folder of your own.")


@data.command("fetch")
@click.argument("name")
def fetch_set(name: str) -> None:
    """Download a set into `downloads/` and verify its checksum, unless it is here already."""
    click.echo(fetch(name))


@data.command("check")
@click.argument("name")
def check_set(name: str) -> None:
    """Compare a set on this machine, pixel for pixel, with the one that the results come from."""
    table = compare_with_fingerprints(name)
    for row in table[table["status"] != SAME].itertuples():
        click.echo(f"{row.image}: {row.status} {row.note}".rstrip())
    counts = table["status"].value_counts()
    click.echo(f"{name}: " + ", ".join(f"{count} {status}" for status, count in counts.items()))
    if table["status"].isin([OTHER, MISSING]).any():
        raise click.exceptions.Exit(1)


@main.command("evaluate")
@model_options
@click.option("--data", "name", default="builtin-test", show_default=True,
              help="A set's name, or folder:PATH.")  # fmt: skip
@click.option("--downsample", type=click.Choice(KERNELS),
              help="How LR is made; without it, as where the weights were trained, or bicubic."
)  # fmt: skip
@click.option("--csv", type=click.Path(dir_okay=False, path_type=Path),
              help="Write the rows to this file.")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace existing files.")
def evaluate_command(
    name: str, downsample: str | None, csv: Path | None, overwrite: bool, **model: Any
) -> None:
    """Measure a model on a data set: one row per image."""
    if csv is not None:
        _check_writable(csv, overwrite)
    loaded, pictures, scale = _load_model(**model), load_images(name), int(model["scale"])
    trained = description_of(model["weights"]) if model["weights"] else {}
    kernel = downsample or trained.get("downsample", "bicubic")
    rows = evaluate(loaded, pictures, scale, downsample=kernel, progress=True)
    rows["image"] = rows["image"].map(click.format_filename)  # a name needn't be UTF-8
    if csv is not None:  # first, as the terminal may lack a letter of a name
        with replacing(csv) as temporary:
            rows.to_csv(temporary, index=False)
    click.echo(rows.round(4).to_string(index=False))
    means = [_mean(rows[metric]) for metric in rows.columns.drop(["image", "scale"])]
    click.echo(f"LR by {kernel}; mean of {len(rows)}: {', '.join(means)}")


@main.command()
@click.argument("pictures", nargs=-1, required=True, type=click.Path(path_type=Path))
@model_options
@click.option("--out", required=True, type=Folder(file_okay=False, path_type=Path),
              help="The folder for the enlarged pictures.")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace existing files.")
@click.option("--skip-existing", is_flag=True,
              help="Leave existing files alone: go on after an interruption.")  # fmt: skip
def upscale(
    pictures: tuple[Path, ...], out: Path, overwrite: bool, skip_existing: bool, **model: Any
) -> None:
    """Enlarge pictures with a model and write them as PNG files."""
    if overwrite and skip_existing:
        raise ValueError("use either --overwrite or --skip-existing, not both")
    targets = [out / f"{path.stem}_x{model['scale']}.png" for path in pictures]
    names = [target.name.casefold() for target in targets]  # for some systems, a.png is A.png
    for target, name in zip(targets, names, strict=True):
        if names.count(name) > 1:
            raise ValueError(f"{target} would be written more than once (capitals don't count)")
    pairs = [
        (path, target)
        for path, target in zip(pictures, targets, strict=True)
        if not (skip_existing and target.exists())
    ]
    for _, target in pairs:
        _check_writable(target, overwrite)
    loaded = _load_model(**model)
    for path, _ in pairs:  # all of them, before the first is written
        read(path)
    warnings.simplefilter("ignore", UserWarning)  # printed by now
    for path, target in tqdm(pairs, "enlarging", leave=False):
        sr = super_resolve(loaded, to_float(read(path)))
        if not sr.isfinite().all():
            raise ValueError(f"{path}: these weights make a picture that isn't finite")
        write(target, to_uint8(sr)[0])
        tqdm.write(click.format_filename(target))


@main.command()
@click.option(
    "--profile", default="quick", show_default=True, help="smoke, quick, full, or one of your own."
)
@click.option("--only", multiple=True, metavar="NUMBER",
              help="Run only this notebook, e.g. 03; may be repeated.")  # fmt: skip
@click.option("--set", "changes", multiple=True, metavar="NAME=VALUE",
              help="Change a parameter of the profile; may be repeated.")  # fmt: skip
@click.option("--out", type=Folder(file_okay=False, path_type=Path),
              help="The folder for executed notebooks and pages.  [results/PROFILE]")  # fmt: skip
@click.option("--figures", type=Folder(file_okay=False, path_type=Path),
              help="The folder for figures.  [figures/PROFILE]")  # fmt: skip
@click.option("--workers", type=click.IntRange(min=1), default=1, metavar="N",
              help="Run N notebooks at a time.")  # fmt: skip
def study(
    profile: str,
    only: tuple[str, ...],
    changes: tuple[str, ...],
    out: Path | None,
    figures: Path | None,
    workers: int,
) -> None:
    """Run the notebooks in order; those that are finished are skipped.

    Two of these commands that write into one folder share the work.
    """
    with _needing("notebooks"):
        from gvstudy.study import notebooks as books

    if "" in only:
        raise ValueError("--only '' names no notebook; expected a number such as 03")
    chosen = books.select(list(only))
    changed = books.read_changes(changes, chosen)
    parameters = books.read_profile(profile) | changed
    books.check_parameters(parameters, books.select([]), chosen)
    name = books.folder_name(profile, changed)
    out = out or project_folder() / "results" / name
    figures = figures or project_folder() / "figures" / name
    done = books.count_finished(chosen, parameters, out, figures)
    setup = ", ".join([profile, *changes])
    click.echo(f"{len(chosen)} notebooks with {setup}: {done} finished in {out}", err=True)
    same = [f"--profile={profile}", f"--out={out}", f"--figures={figures}"]
    same += [*(f"--only={one}" for one in only), *(f"--set={one}" for one in changes)]
    try:
        with _helpers(["study", *same], workers - 1):
            pages = books.run_notebooks(chosen, parameters, out, figures)
    except books.NotebookError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{len(pages)} notebooks in {out}, figures in {figures}")


@main.command()
@click.argument("names", nargs=-1, required=True, type=click.Choice(sorted(GRIDS)))
@click.option("--size", default="reduced", show_default=True, type=click.Choice(sorted(GRID_SIZES)),
              help="smoke: seconds; quick: minutes, small sets; reduced: the study's; full: models "
                   "as published.")  # fmt: skip
@click.option("--seeds", type=click.IntRange(min=1), metavar="N",
              help="Use only the first N seeds.")  # fmt: skip
@click.option("--test-set", "sets", multiple=True,
              help="A set to measure on; may be repeated.  [built-in pictures for the sizes "
                   "smoke and quick, else Set5, Set14, ...]")  # fmt: skip
@click.option("--workers", type=click.IntRange(min=1), metavar="N",
              help="Share the trainings among N processes of this machine.")  # fmt: skip
@click.option("--scheduler", metavar="ADDRESS", help="Send the trainings to this Dask scheduler.")
@click.option("--out", type=Folder(file_okay=False, path_type=Path),
              help="The folder for the results: runs.csv, rows.csv.gz and the weights "
                   "that figures show.")  # fmt: skip
@click.option("--perceptual", is_flag=True, help="Measure the perceptual metrics as well.")
@click.option("--add", is_flag=True, help="With --out: keep the folder's other runs.")
@click.option("--overwrite", is_flag=True, help="With --out: replace the folder's results.")
def grid(
    names: tuple[str, ...],
    size: str,
    seeds: int | None,
    sets: tuple[str, ...],
    workers: int | None,
    scheduler: str | None,
    out: Path | None,
    perceptual: bool,
    add: bool,
    overwrite: bool,
) -> None:
    """Train and measure the runs of tables and controls; those that are finished are skipped.

    Two of these commands that use the same store share the work. In `gvstudy.study`, `tables`,
    `planned_official` and `planned_adam` describe the grids.
    """
    runs = runs_of(names, size, seeds)
    if workers and scheduler:
        raise ValueError("use either --workers or --scheduler, not both")
    if add and overwrite:
        raise ValueError("use either --add or --overwrite, not both")
    if (add or overwrite) and not out:
        raise ValueError(f"--{'add' if add else 'overwrite'} needs --out, the folder it is about")
    store = Store()
    if out:
        for file in reference.file_names(store, runs, perceptual=perceptual):
            _check_writable(out / file, add or overwrite)
    if perceptual:
        with _needing("perceptual"):
            import torchmetrics  # noqa: F401
    sets = sets or test_sets(size)
    click.echo(_describe_work(store, list(runs), size), err=True)
    try:
        if workers or scheduler:
            with _needing("cluster"):
                from gvstudy.study import cluster
            cluster.compute(
                store, list(runs), sets, scheduler=scheduler or "", workers=workers or 1
            )
        rows = store.results(list(runs), sets)
        looks = store.results(list(runs), sets, perceptual=True) if perceptual else None
    except KeyboardInterrupt as error:
        raise click.ClickException(
            "interrupted; finished runs are kept, and the same command goes on from there"
        ) from error
    if out:
        reference.save(out, store, runs, rows, looks, add=add)
    click.echo(f"{rows['run'].nunique()} runs, {len(rows)} rows{f' in {out}' if out else ''}")


def _describe_work(store: Store, runs: list[Run], size: str) -> str:
    """What is left to train: runs, steps and, if there are finished ones like them, minutes."""
    missing = store.missing(runs)
    left = {run.key for run in missing}
    finished = [run for run in runs if run.key not in left]
    text = f"{len(runs)} runs of size {size}: {len(finished)} finished in {store.folder}"
    if missing:
        text += f"; to train: {len(missing)}, {sum(run.steps for run in missing):,} steps"
    minutes = store.seconds_to_train(missing, finished) / 60
    return text + (f", some {minutes:,.0f} minutes at the pace of those" if minutes >= 1 else "")


@contextmanager
def _helpers(arguments: list[str], count: int) -> Iterator[None]:
    """Let further processes run a command that shares its work; stop them at the end.

    They are silent and end at what they can't do: this process will try it, too, and report. If
    this process is killed, they go on alone.
    """
    command = [sys.executable, "-P", "-m", "gvstudy", *arguments]  # -P: not from the present folder
    helpers: list[Popen[bytes]] = []
    try:
        for _ in range(count):
            helpers.append(Popen(command, stdout=DEVNULL, stderr=DEVNULL))
        yield
    finally:
        for helper in helpers:
            helper.terminate()
        for helper in helpers:
            helper.wait()


@contextmanager
def _needing(extra: str) -> Iterator[None]:
    """Import here what only some commands need. Raises ValueError with the extra that brings it."""
    try:
        yield
    except ImportError as error:
        raise ValueError(f"{error}; install gvstudy[{extra}]") from error


def _check_writable(path: Path, overwrite: bool) -> None:
    """Raise ValueError or OSError, before anything is computed, if a file can't be written."""
    target = writable(path)
    if target.exists() and not overwrite:
        raise ValueError(f"{path} exists already; use --overwrite to replace it")
    TemporaryFile(dir=target.parent).close()


def _mean(values: pd.Series) -> str:
    """A metric's name and mean over the pictures where it is finite, and how many aren't."""
    finite = values[np.isfinite(values)]
    left_out = len(values) - len(finite)
    note = f" ({left_out} left out, not finite)" if left_out else ""
    return f"{values.name} {finite.mean():.4f}{note}"
