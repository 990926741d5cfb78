"""Ray as the executor: plain tasks, bounded in flight."""

import logging
import math
import os
import secrets
import shutil
import socket
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from harness.cluster.executor import Ended, Work
from harness.errors import InputError

LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Set to 0, Ray gives its node the address 127.0.0.1 and binds every port there."""


FOLDER = "innbench-ray-"


def _import_ray() -> Any:
    """Ray, told before its import what it reads only then."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray  # noqa: PLC0415 - half a second that only a sweep needs

    return ray


class RayExecutor:
    """Runs work as Ray tasks, on a Ray of its own on this machine or on a running cluster.

    A local Ray listens on loopback only, keeps its files in a temporary folder and ends with the
    executor. Worker processes are reused from task to task (Ray's default for tasks with a GPU is
    a new process for each).

    Args:
        work: What each task calls; importable on the workers.
        address: A running cluster's address; ``None`` starts a local Ray.
        workers: Slots of the local Ray; all cores if ``None``.
        cpus: Cores of one piece of work.
        gpus: GPUs of one piece of work, where the cluster has any.
    """

    def __init__(
        self, work: Work, address: str | None, workers: int | None, cpus: float, gpus: float
    ) -> None:
        self._work, self._address, self._workers = work, address, workers
        self._cpus, self._gpus = cpus, gpus
        self._flying: dict[Any, int] = {}
        self._folder: str | None = None
        self.slots = self.window = 0
        self.device = "cpu"

    def __enter__(self) -> Self:
        """Start or join Ray.

        Raises:
            InputError: The cluster cannot be reached, or has no room for one piece of work.
        """
        if self._address is None:
            self._start_local()
        else:
            self._join(self._address)
        ray = _import_ray()
        have = ray.cluster_resources()
        self.device = "cuda" if self._gpus and have.get("GPU", 0) else "cpu"
        gpus = self._gpus if self.device == "cuda" else 0
        self.slots = int(have.get("CPU", 0) / self._cpus)
        if gpus:
            self.slots = min(self.slots, int(have["GPU"] / gpus))
        if self._workers and self._address is None:
            self.slots = min(self.slots, self._workers)
        if self.slots < 1:
            self.__exit__(None, None, None)
            need = f"{self._cpus:g} CPUs" + (f" and {gpus:g} GPUs" if gpus else "")
            raise InputError(
                f"a cell needs {need} (resources in the suite), more than the cluster has: "
                f"{have.get('CPU', 0):g} CPUs, {have.get('GPU', 0):g} GPUs"
            )
        # Four in flight for each slot hides the driver's round trip (measured on no-op tasks).
        self.window = 4 * self.slots
        self._task = ray.remote(num_cpus=self._cpus, num_gpus=gpus, max_calls=0, max_retries=0)(
            self._work
        )
        return self

    def _start_local(self) -> None:
        if "ray" in sys.modules and LOOPBACK not in os.environ:
            raise InputError(
                "Ray was imported before innbench could keep it on loopback (by a plug-in?): "
                "import it inside functions, or start a Ray and give its --address"
            )
        # Read at Ray's import: loopback only. A token of this run's own keeps other users out.
        os.environ.setdefault(LOOPBACK, "0")
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        ray = _import_ray()
        _remove_orphans()
        # Short: Ray puts sockets inside, whose paths may have 107 bytes.
        self._folder = tempfile.mkdtemp(prefix=f"{FOLDER}{os.getpid()}-")
        ray.init(
            num_cpus=math.ceil(self._workers * self._cpus) if self._workers else None,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=False,
            _temp_dir=self._folder,
        )

    def _join(self, address: str) -> None:
        ray = _import_ray()
        try:
            _knock(address)
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, ValueError, RuntimeError) as error:
            reason = str(error).split("\n")[0]
            raise InputError(f"cannot join the Ray cluster at {address!r}: {reason}") from error

    def submit(self, ticket: int, arguments: tuple[Any, ...]) -> None:
        """Start one task."""
        self._flying[self._task.remote(*arguments)] = ticket

    def wait(self) -> Ended:
        """Block until a task ends; a dead worker or node is an end, too."""
        ray = _import_ray()
        (reference,), _ = ray.wait(list(self._flying), num_returns=1)
        ticket = self._flying.pop(reference)
        try:
            return Ended(ticket, ray.get(reference))
        except ray.exceptions.NodeDiedError as error:
            return Ended(ticket, lost=_sentence(error), blameless=True)
        except ray.exceptions.RayTaskError:
            raise  # the work catches what a cell raises: this is a defect of the harness
        except ray.exceptions.RayError as error:
            return Ended(ticket, lost=_sentence(error))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the cluster, or end the local Ray and remove its folder."""
        ray = _import_ray()
        for reference in self._flying:
            ray.cancel(reference, force=True)
        ray.shutdown()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def _knock(address: str) -> None:
    """Fail at once where nobody listens: Ray itself tries for minutes before it says so."""
    host, separator, port = address.removeprefix("ray://").rpartition(":")
    if separator and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def _remove_orphans() -> None:
    """Remove folders of local Rays whose driver was killed before it could."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER}*-*"):
        pid = folder.name.removeprefix(FOLDER).split("-")[0]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists() and Path("/proc/self").exists():
            shutil.rmtree(folder, ignore_errors=True)


def _sentence(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".split("\n")[0]
