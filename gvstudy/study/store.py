"""The store of finished runs: trained once, checked when read, shared by processes.

A run's folder in the store, its *entry*, is named by its id (see `gvstudy.study.entry`).
"""

import hashlib
import io
import json
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from filelock import FileLock, Timeout
from safetensors.torch import load_file
from torch import Tensor, nn
from tqdm.auto import tqdm

from gvstudy.config import Run, distinct
from gvstudy.data.sets import ImageSet, load_set
from gvstudy.evaluation import METRICS, evaluate, measure
from gvstudy.paths import ODD_NAMES, naming, remove, replacing, runs_folder
from gvstudy.perceptual import HAS_FLIP, PERCEPTUAL_METRICS, measure_perceptual
from gvstudy.study.entry import (
    CHECKPOINT,
    HISTORY,
    RECORD,
    RUN,
    STEP_LENGTHS,
    WEIGHTS,
    damaged_files,
    describe_steps,
    is_settled,
    is_whole,
    keep_only,
    publish,
    read_checksums,
    read_record,
    seconds_so_far,
    write_checksums,
    write_weights,
)
from gvstudy.study.provenance import hardware, provenance, revision
from gvstudy.training import DivergedError, initial_model, train
from gvstudy.validation import check_names

TRAINING_VERSION = 3  # raise it when a change of the code changes what a run ends in
EVALUATION_VERSION = 1  # raise it when a change of the code changes what is measured
PERCEPTUAL_VERSION = 2  # the same of the perceptual metrics
POLL = 2.0  # seconds between checks of runs that other processes hold
LONGEST_NAME = 80  # characters of a set's name in the name of a file

_STEP = attrgetter(  # what decides how long a step takes
    "model", "scale", "size", "channels", "loss", "lengths_from", "recipe", "batch_size",
    "crop_size", "resolved_precision",
)  # fmt: skip


class Measurement(NamedTuple):
    """What is measured of an image, and the file that a run's rows of it are in."""

    prefix: str  # of the file's name
    version: int
    metrics: Mapping[str, str]
    measure: Callable[[Tensor, Tensor, int], dict[str, float]]


STANDARD = Measurement("", EVALUATION_VERSION, METRICS, measure)
PERCEPTUAL = Measurement(  # rows without FLIP have another name, so they are completed later
    "perceptual-" if HAS_FLIP else "perceptual-without-flip-",
    PERCEPTUAL_VERSION,
    PERCEPTUAL_METRICS,
    measure_perceptual,
)


@dataclass(frozen=True)
class Trained:
    """A finished run: its description, its model (on the CPU, ready to use) and its history."""

    run: Run
    model: nn.Module
    history: pd.DataFrame


def run_id(run: Run, digest: str) -> str:
    """The run's name in a store: a hash of its description, training data and `TRAINING_VERSION`.

    `digest` is that of the training pictures (`gvstudy.data.sets.digest`). The code's revision is
    recorded with the run, but isn't part of the id.
    """
    described = {"run": run.description(), "data": digest, "version": TRAINING_VERSION}
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:16]


class Store:
    """Finished runs in a folder: the one that `GVSTUDY_RUNS` names, or `runs/`, if none is given.

    Processes and threads may share a folder; each run is trained by one of them. Methods that need
    a data set raise ValueError where it isn't here, and those that write raise ValueError for a
    folder that can't be written, before anything is computed.
    """

    def __init__(self, folder: Path | None = None):
        self.folder = Path(folder) if folder else runs_folder()

    def id(self, run: Run) -> str:
        """The run's id, 16 hex digits."""
        return run_id(run, load_set(run.train_set).digest)

    def holds(self, run: Run) -> bool:
        """Whether the run is finished and undamaged."""
        return is_whole(self._entry(run))

    def missing(self, runs: Iterable[Run]) -> list[Run]:
        """The runs, and those that they need, that aren't in the store or are damaged there."""
        left = [run for run in distinct(runs) if not self.holds(run)]
        needed = [other for run in left for other in run.needs]
        return distinct([*left, *self.missing(needed)]) if needed else left

    def seconds_to_train(self, missing: Iterable[Run], finished: Iterable[Run]) -> float:
        """What the missing runs will take, at the pace of finished ones whose steps are alike.

        Only runs count that were trained on hardware like this, with as many threads. The result
        is NaN if a missing run has none that is alike.
        """
        here, paces = (hardware(), torch.get_num_threads()), defaultdict(list)
        for run in finished:
            record = read_record(self._entry(run))
            trained = record["trained"]
            if (trained["device"], trained["threads"]) == here and "diverged" not in record:
                paces[_STEP(run)].append(trained["seconds"] / run.steps)
        return sum(run.steps * float(np.mean(paces.get(_STEP(run), np.nan))) for run in missing)

    def train_or_load(self, run: Run, *, progress: bool = True) -> Trained:
        """The finished run: loaded, or trained (from its checkpoint on) and kept.

        Where another process is training the same run, this one waits for it. Raises DivergedError
        for a run whose loss stopped being finite, which is kept as such.
        """
        self._finish(run, progress)
        return _load(run, self._entry(run))

    def lengths(self, run: Run, *, progress: bool = True) -> pd.DataFrame:
        """The lengths of every step of a run, as `gvstudy.train` records them.

        A run that isn't in the store is trained.
        """
        self.train_or_load(run, progress=progress)
        return pd.read_csv(self._entry(run) / STEP_LENGTHS)

    def results(
        self,
        runs: Iterable[Run],
        sets: Sequence[str],
        *,
        perceptual: bool = False,
        progress: bool = True,
    ) -> pd.DataFrame:
        """Rows by image of every run on every set; what isn't in the store is computed and kept.

        A row has the run's id and description, `set`, `image` and the columns of `METRICS`, or of
        `PERCEPTUAL_METRICS` with `perceptual`; they are NaN for a run that diverged. Rows are in
        the order of `runs`, and what another process is working on is computed last. Raises
        ValueError, before anything is computed, for no runs, no sets, and a set that isn't here.
        """
        waiting = wanted = distinct(runs)
        check_names("sets", sets)
        if not (wanted and sets):
            raise ValueError(f"no results of {len(wanted)} runs on {len(sets)} sets")
        tests = [load_set(name) for name in dict.fromkeys(sets)]
        trained_on = {name for run in wanted for name in (run.train_set, run.valid_set)}
        for name in trained_on:
            load_set(name)
        measurement = PERCEPTUAL if perceptual else STANDARD
        frames = {}
        with tqdm(total=len(wanted), unit="run", disable=not progress) as bar:
            while waiting:
                busy = []
                for run in waiting:
                    bar.set_postfix_str(run.label)
                    try:
                        frames[run] = self._result_rows(run, tests, measurement)
                    except Timeout:
                        busy.append(run)
                    else:
                        bar.update()
                if len(busy) == len(waiting):
                    time.sleep(POLL)
                waiting = busy
        return pd.concat([frames[run] for run in wanted], ignore_index=True)

    def origins(self, runs: Iterable[Run]) -> pd.DataFrame:
        """Where finished runs come from, a row a run: its id, `provenance`, and its steps.

        Of the steps there is the median norm of the gradient, `gradient_norm`, and the share that
        were clipped, `clipped_share`.
        """
        entries = [self._entry(run) for run in runs]
        rows = [
            {"run": entry.name} | read_record(entry)["trained"] | describe_steps(entry)
            for entry in entries
        ]
        return pd.DataFrame(rows).drop(columns="process", errors="ignore")

    def load_weights(self, name: str) -> dict[str, Tensor]:
        """The weights of a finished run by its id. Raises ValueError where there are none."""
        path = self.folder / name / WEIGHTS
        if not path.is_file():
            raise ValueError(f"the store {self.folder} has no weights of run {name!r}")
        return load_file(path)

    def export_run(self, run: Run) -> dict[str, bytes]:
        """The files of a finished run, for `import_run` on another machine."""
        entry = self._entry(run)
        with self._lock(entry):  # nobody adds rows meanwhile
            return {path.name: path.read_bytes() for path in entry.iterdir()}

    def import_run(self, run: Run, files: Mapping[str, bytes]) -> None:
        """Keep a run that `export_run` gave. Raises ValueError if it isn't whole."""
        entry = self._entry(run)
        with self._lock(entry):
            if is_settled(entry):
                return
            arrived = entry.with_suffix(".arrived")
            remove(arrived)
            arrived.mkdir(parents=True)
            for name, content in files.items():
                with replacing(arrived / name) as temporary:
                    temporary.write_bytes(content)
            if damaged := damaged_files(arrived):
                raise ValueError(
                    f"run {entry.name} arrived with damaged files: {', '.join(damaged)}"
                )
            arrived.rename(entry)

    def _entry(self, run: Run) -> Path:
        return self.folder / self.id(run)

    @contextmanager
    def _lock(self, entry: Path, timeout: float = -1) -> Iterator[None]:
        """Hold the right to write a run's folder, or to move it; it ends with the process.

        `timeout` is in seconds: -1 waits indefinitely, 0 raises filelock.Timeout at once.
        """
        path = self.folder / ".locks" / entry.name
        with ExitStack() as held:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                held.enter_context(FileLock(path, timeout=timeout))
            except Timeout:  # an OSError as well
                raise
            except OSError as error:
                raise self._unwritable(error) from error
            yield

    def _unwritable(self, error: OSError) -> ValueError:
        return ValueError(f"can't write to the store {self.folder}: {error}")

    def _finish(self, run: Run, progress: bool, timeout: float = -1) -> None:
        """Train the run unless it is there; what it needs, before its lock and its own time."""
        entry = self._entry(run)
        if not is_whole(entry):
            for other in run.needs:
                self._finish(other, progress, timeout)
            with self._lock(entry, timeout):
                self._train(run, entry, progress)

    def _train(self, run: Run, entry: Path, progress: bool) -> None:
        """Train the run into the store unless it is there; the caller holds the lock."""
        if is_settled(entry):
            return
        unfinished = entry.with_suffix(".unfinished")
        checkpoint = unfinished / CHECKPOINT
        if is_whole(unfinished):  # the process before was killed just before the end
            publish(unfinished, entry)
            return
        record: dict[str, Any] = {"run": run.description(), "seconds": seconds_so_far(checkpoint)}
        try:
            if unfinished.is_file():
                unfinished.unlink()
            unfinished.mkdir(parents=True, exist_ok=True)
            keep_only(unfinished, [CHECKPOINT])
            with naming(unfinished / RECORD):
                (unfinished / RECORD).write_text(json.dumps(record, indent=2))
        except OSError as error:
            raise self._unwritable(error) from error
        revision()  # of the code that is imported now, not of what the folder holds at the end
        started = time.monotonic() - record.pop("seconds")
        try:
            start = self.train_or_load(run.start, progress=progress).model if run.start else None
            partner = self.lengths(run.partner, progress=progress) if run.partner else None
            model, history = train(
                run,
                start=start,
                partner=partner,
                checkpoint=checkpoint,
                record=unfinished / STEP_LENGTHS,
                progress=progress,
            )
        except DivergedError as error:
            record["diverged"] = str(error)
        else:
            weights = {key: value.cpu().contiguous() for key, value in model.state_dict().items()}
            write_weights(unfinished / WEIGHTS, weights, record[RUN])
            with replacing(unfinished / HISTORY) as temporary:
                history.to_csv(temporary, index=False)
        record["trained"] = provenance(time.monotonic() - started)
        with replacing(unfinished / RECORD) as temporary:
            temporary.write_text(json.dumps(record, indent=2))
        keep_only(unfinished, [RECORD, WEIGHTS, HISTORY, STEP_LENGTHS, CHECKPOINT])
        write_checksums(unfinished)
        publish(unfinished, entry)

    def _result_rows(
        self, run: Run, tests: Sequence[ImageSet], measurement: Measurement
    ) -> pd.DataFrame:
        """The run's rows, computed if missing.

        Raises Timeout while another process has the run, or one that it needs.
        """
        entry = self._entry(run)
        files = {test.name: _rows_file(test, measurement) for test in tests}
        whole = is_whole(entry)
        if not (whole and read_checksums(entry).keys() >= set(files.values())):
            if not whole:
                for other in run.needs:
                    self._finish(other, progress=False, timeout=0)
            with self._lock(entry, timeout=0):
                self._train(run, entry, progress=False)
                for test in tests:
                    if files[test.name] not in read_checksums(entry):
                        with replacing(entry / files[test.name]) as temporary:
                            text = _measure_run(run, entry, test, measurement)
                            temporary.write_text(text, "utf-8", ODD_NAMES)
                        write_checksums(entry)
        frames = [
            pd.read_csv(entry / files[test.name], encoding_errors=ODD_NAMES).assign(
                set=test.name, image=list(test.pictures)
            )
            for test in tests  # a file has the pictures' order, and may have their former names
        ]
        described = {"run": entry.name} | run.description()
        rows = pd.concat(frames, ignore_index=True).drop(columns="scale")
        columns = pd.DataFrame([described]).loc[[0] * len(rows)].reset_index(drop=True)
        return pd.concat([columns, rows[["set", "image", *measurement.metrics]]], axis=1)


def _load(run: Run, entry: Path) -> Trained:
    if reason := read_record(entry).get("diverged"):
        raise DivergedError(reason)
    model = initial_model(run)
    model.load_state_dict(load_file(entry / WEIGHTS))
    model = model.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Trained(run, model, pd.read_csv(entry / HISTORY))


def _measure_run(run: Run, entry: Path, test: ImageSet, measurement: Measurement) -> str:
    """The rows of a finished run on a set, as CSV."""
    try:
        rows = evaluate(
            _load(run, entry).model,
            test.pictures,
            run.scale,
            downsample=run.downsample,
            measured=measurement.measure,
        )
    except DivergedError:
        nothing = dict.fromkeys(measurement.metrics, float("nan"))
        rows = pd.DataFrame([{"image": n, "scale": run.scale} | nothing for n in test.pictures])
    text = io.StringIO()
    rows.to_csv(text, index=False, float_format="%.7g")
    return text.getvalue()


def _rows_file(test: ImageSet, measurement: Measurement) -> str:
    """The name of the file that holds a run's rows on a set, with a hash of the set's pixels.

    What a file system may refuse in the set's name becomes "_"; the hash keeps such sets apart.
    """
    pixels = hashlib.sha256(f"{measurement.version} {test.digest}".encode()).hexdigest()
    name = re.sub(r"[^\w-]", "_", test.name, flags=re.ASCII)[-LONGEST_NAME:]
    return f"{measurement.prefix}{name}-{pixels[:8]}.csv"
