"""The same runs on other processes or machines: a thin layer over Dask's scheduler.

Workers need the package and the data sets, but no shared disk: what they finish is sent back.
"""

import logging
import os
import signal
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from multiprocessing import resource_tracker
from pathlib import Path
from threading import RLock

from distributed import Client, KilledWorker, LocalCluster, as_completed, get_worker
from tqdm.auto import tqdm

from gvstudy.config import Run, distinct
from gvstudy.data.sets import check_set
from gvstudy.study.store import Store


def compute(
    store: Store,
    runs: Sequence[Run],
    sets: Sequence[str],
    *,
    scheduler: str = "",
    workers: int = 1,
    progress: bool = True,
) -> None:
    """Train and measure runs elsewhere, and keep what comes back in the store.

    Args:
        scheduler: the address of a running Dask scheduler, such as "tcp://10.0.0.1:8786".
        workers: the number of processes to start on this machine if there is no scheduler.

    Runs that the store holds are not sent out. If a worker dies, only its current run is lost, and
    Dask gives it to another. All workers use the precision that this machine would use.

    Raises:
        ValueError: where a worker lacks a loss or model, or has other training pictures; and where
            the workers of a run die one after another, as they do without memory.
    """
    for name in sets:
        check_set(name)
    missing = [run for run in distinct(runs) if not store.holds(run)]
    if not missing:
        return
    if needed := [other for run in missing for other in run.needs]:
        compute(store, needed, sets, scheduler=scheduler, workers=workers, progress=progress)
        missing = [run for run in missing if not store.holds(run)]  # needed ones are finished now
    with _told_if_workers_die(), connection(scheduler, workers) as client:
        futures = {}
        for run in missing:
            files = [store.export_run(other) for other in run.needs]
            alike = replace(run, precision=run.resolved_precision)
            futures[client.submit(work, alike, list(sets), files, pure=False)] = run
        with tqdm(total=len(futures), unit="run", disable=not progress) as bar:
            for future, (name, files) in as_completed(list(futures), with_results=True):
                run = futures[future]
                if name != store.id(run):
                    raise ValueError(
                        f"run {store.id(run)} came back as {name}: the worker's pictures of "
                        f"{run.train_set}, its package or its version of a loss or model of your "
                        f"own are not those of this machine"
                    )
                store.import_run(run, files)
                bar.set_postfix_str(run.label)
                bar.update()


def work(
    run: Run, sets: Sequence[str], needed: Sequence[dict[str, bytes]]
) -> tuple[str, dict[str, bytes]]:
    """Train and measure one run in a store of its own; return its id and files.

    `needed` are the files of the runs that it needs, in the order of `Run.needs`. Raises ValueError
    for a loss or model that this worker doesn't know.
    """
    try:
        run = replace(run)  # checks the description on this machine
    except ValueError as error:
        raise ValueError(
            f"a worker can't train {run.label}: {error}. Register a loss or model of your own in a "
            f"module that the workers import, too"
        ) from error
    tqdm.set_lock(RLock())  # tqdm's own, for processes, is left behind where one is killed
    with tempfile.TemporaryDirectory(dir=get_worker().local_directory) as folder:
        store = Store(Path(folder))
        for other, files in zip(run.needs, needed, strict=True):
            store.import_run(other, files)
        store.results([run], sets, progress=False)
        return store.id(run), store.export_run(run)


@contextmanager
def connection(scheduler: str, workers: int) -> Iterator[Client]:
    """A client of the scheduler at that address, or of processes started for the occasion."""
    with ExitStack() as stack:
        if not scheduler:
            stack.enter_context(_same_environment())
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            with _ctrl_c_waits():
                local = LocalCluster(
                    n_workers=workers,
                    threads_per_worker=1,
                    scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
                    local_directory=folder,
                    silence_logs=logging.CRITICAL,
                )
            scheduler = stack.enter_context(local).scheduler_address
        yield stack.enter_context(Client(scheduler))


@contextmanager
def _ctrl_c_waits() -> Iterator[None]:
    """Hold Ctrl-C back. Processes started meanwhile never get it: this one ends them."""
    if not hasattr(signal, "pthread_sigmask"):  # on Windows
        yield
        return
    resource_tracker.ensure_running()  # its start would let Ctrl-C through
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _told_if_workers_die() -> Iterator[None]:
    """Turn Dask's error for a run whose workers die one after another into a ValueError."""
    try:
        yield
    except KilledWorker as error:
        raise ValueError(
            "the workers of a run died one after another, perhaps for lack of memory; what was "
            "finished is kept"
        ) from error


@contextmanager
def _same_environment() -> Iterator[None]:
    """Dask sets OMP_NUM_THREADS in this process whenever it starts a worker; undo that."""
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
