"""A pool of processes that end with the one that started them, however that ends.

Those of the standard library stay: each holds the writing end of the queue that all of them read, so nobody
ever sees its end. A kernel stays with them: it ends with the process that started it, which is one of them.
"""

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import active_children, get_context, parent_process

import psutil


@contextmanager
def pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """So many processes. An interrupt, or the death of one, ends them all, and what waits does not begin."""
    context = get_context("spawn")
    with end_early(), ProcessPoolExecutor(workers, context, initializer=begin) as executor, end_early():
        yield executor


@contextmanager
def end_early() -> Iterator[None]:
    """Inside of a pool, so that its end does not wait for what runs; and around it, where its end waits."""
    try:
        yield
    except (KeyboardInterrupt, BrokenExecutor):
        for child in active_children():
            end(child.pid)
        raise


def begin() -> None:
    """What a process of the pool does first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt ends
    threading.Thread(target=end_with_parent, daemon=True).start()


def end_with_parent() -> None:
    parent_process().join()  # sleeps in a read of a pipe that the parent alone can write to
    end(os.getpid())


def end(number: int) -> None:
    """Kill a process with all that it has started."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(number)
        for one in [*process.children(recursive=True), process]:
            with suppress(psutil.NoSuchProcess):
                one.kill()
