"""Blocks of large pictures on several processes or machines, by Dask.

Each block is a task: a worker reads its own part of the picture, runs the model, and returns what
the block shows. Picture and model are sent to a worker once: the picture as the place of its file,
which all workers must be able to read, and the model on the CPU. The tasks of a worker that dies
are done by the others.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch

from ..air import AIR
from ..errors import AirError, ConfigError, extra
from .blocks import Block, Work

RETRIES = 2
"""How often Dask tries a block again that raises something else than ``_block`` returns. A block
whose worker dies does not count: Dask's own setting ``allowed-failures`` says how often that is."""

PATIENCE = "20s"
"""How long a scheduler, and then its first worker, is waited for."""


class Cluster(ExitStack):
    """Workers of Dask, which are started, or connected to, when there is work.

    Args:
        where: the address of a scheduler, such as ``tcp://host:8786``, or how many processes on
            this machine.
    Raises: ConfigError if it is neither; MissingError without Dask.
    """

    def __init__(self, where: str) -> None:
        super().__init__()
        with extra("large", "--dask"):
            import distributed  # noqa: F401
        where = where.strip()
        if not where or (where.isdecimal() and int(where) < 1):
            raise ConfigError(
                f"dask: expected an address or at least 1 process, got {where or 'nothing'}."
            )
        self._where = where
        self._client: Any = None

    def __call__(self, work: Work) -> Iterator[Block]:
        """See ``blocks.Runner``.

        Raises: as the work does; ConfigError if the workers cannot be reached, or all die.
        """
        client = self.client()
        # As bytes, which a task unpickles: if a worker dies, Dask does that again on another one.
        portable = pickle.dumps(replace(work, air=_on_cpu(work.air)))
        sent = client.submit(pickle.loads, portable, pure=False)
        precision = torch.get_float32_matmul_precision()
        tasks = [
            client.submit(_block, sent, number, precision, pure=False, retries=RETRIES)
            for number in range(len(work.tiles.blocks))
        ]
        while tasks:
            task = tasks.pop(0)
            with _told(self._where):
                found = task.result()
            if isinstance(found, BaseException):
                raise found
            yield found

    def client(self) -> Any:
        """Return Dask's client: connect to the scheduler, or start the processes, at first.

        Raises: ConfigError if the scheduler cannot be reached, or has no workers.
        """
        if self._client is None:
            from distributed import Client, LocalCluster

            with _told(self._where):
                at: Any = self._where
                if self._where.isdecimal():
                    at = LocalCluster(
                        n_workers=int(self._where),
                        threads_per_worker=1,
                        processes=True,
                        dashboard_address="127.0.0.1:0",  # else a second cluster warns
                        scheduler_kwargs={"dashboard": False},
                    )
                    self.callback(at.close)  # after the client, which is closed first
                self._client = Client(at, timeout=PATIENCE)
                self.callback(self._client.close)
        with _told(self._where):
            self._client.wait_for_workers(1, timeout=PATIENCE)
        return self._client


@contextmanager
def _told(where: str) -> Iterator[None]:
    """Turn what Dask raises into a ConfigError of one line; our own errors stay."""
    try:
        yield
    except AirError:
        raise
    except Exception as error:  # Dask's own errors, and those of the network
        words = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(f"dask: {where}: {words}") from error


def _on_cpu(air: AIR) -> AIR:
    """Return a model that any worker can unpickle: itself, or a copy if it is on a GPU."""
    return air if air.device.type == "cpu" else copy.deepcopy(air).to("cpu")


def _block(work: Work, number: int, precision: str) -> Block | AirError | MemoryError:
    """Do the work on a block, with the caller's precision of float32 products.

    What would be the picture's own error in one process is returned: Dask would try again what is
    raised.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        return work(number)
    except (AirError, MemoryError) as error:
        return error
    finally:
        torch.set_float32_matmul_precision(before)
