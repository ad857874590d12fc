"""The same runs on other processes or machines: a thin layer over Dask's scheduler.

Workers need the package and the data sets, but no shared disk: what they finish is sent back.
"""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from distributed import Client, LocalCluster, as_completed
from tqdm.auto import tqdm

from gvstudy import store, study
from gvstudy.data import check_name
from gvstudy.runs import Run


def compute(
    runs: Sequence[Run],
    sets: Sequence[str],
    *,
    scheduler: str = "",
    workers: int = 0,
    progress: bool = True,
) -> None:
    """Train and measure runs elsewhere, and keep what comes back in this process's store.

    Args:
        scheduler: the address of a running Dask scheduler, such as "tcp://10.0.0.1:8786".
        workers: where there is none, the number of processes to start on this machine.

    Runs that the store holds are not sent out. A worker that dies loses its current run only: Dask
    gives it to another. All compute in the precision that this machine would take. Raises
    ValueError where a worker's training pictures aren't those of this machine.
    """
    for name in sets:
        check_name(name)
    if starts := [run.start for run in _missing(runs) if run.start]:
        compute(starts, sets, scheduler=scheduler, workers=workers, progress=progress)
    with connection(scheduler, workers) as client:
        missing = _missing(runs)
        alike = {run: replace(run, precision=run.arithmetic) for run in missing}
        futures = {
            client.submit(work, alike[run], list(sets), _start(run), pure=False): run
            for run in missing
        }
        with tqdm(total=len(futures), unit="run", disable=not progress) as bar:
            for future, (name, files) in as_completed(list(futures), with_results=True):
                run = futures[future]
                if name != missing[run].name:
                    raise ValueError(
                        f"run {missing[run].name} came back as {name}: the worker's pictures of "
                        f"{run.train_set}, or its package, are not those of this machine"
                    )
                store.receive(missing[run], files)
                bar.set_postfix_str(study.label(run))
                bar.update()


def work(run: Run, sets: Sequence[str], start: dict[str, bytes]) -> tuple[str, dict[str, bytes]]:
    """Train and measure one run in a store of its own; give its entry's name and files.

    `start` are those of the run that it goes on from, if it does.
    """
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GVSTUDY_RUNS"] = folder
        if run.start:
            store.receive(study.entries([run.start])[run.start], start)
        study.results([run], sets, progress=False)
        (entry,) = study.entries([run]).values()
        return entry.name, _files(entry)


def _missing(runs: Sequence[Run]) -> dict[Run, Path]:
    """Where the runs belong in this process's store that it doesn't hold."""
    entries = study.entries(runs)
    return {run: entry for run, entry in entries.items() if not store.is_whole(entry)}


def _start(run: Run) -> dict[str, bytes]:
    """The files of the finished run that a run goes on from, if it does."""
    return _files(study.entries([run.start])[run.start]) if run.start else {}


def _files(entry: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in entry.iterdir()}


@contextmanager
def connection(scheduler: str, workers: int) -> Iterator[Client]:
    """A client of the scheduler at that address, or of processes started for the while."""
    with ExitStack() as stack:
        if not scheduler:
            threads = max(1, (os.cpu_count() or 1) // workers)
            stack.enter_context(_same_environment())
            local = LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                dashboard_address=None,
                local_directory=tempfile.gettempdir(),
                env={"OMP_NUM_THREADS": str(threads)},
            )
            scheduler = stack.enter_context(local).scheduler_address
        yield stack.enter_context(Client(scheduler))


@contextmanager
def _same_environment() -> Iterator[None]:
    """Whenever Dask starts a worker it sets OMP_NUM_THREADS in this process too; take it back."""
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
