"""Ray as the executor: plain tasks, bounded in flight."""

import fcntl
import logging
import os
import secrets
import shutil
import socket
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from harness.cluster.executor import Ended, ExecutorDiedError, Work
from harness.errors import InputError

LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Set to 0, Ray gives its node the address 127.0.0.1 and binds every port there."""


FOLDER, LOCK = "innbench-", "driver.lock"


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
        self._folder: Path | None = None
        self._lock: IO[str] | None = None
        self.slots = self.beside = self.window = 0
        self.device = "cpu"

    def __enter__(self) -> Self:
        """Start or join Ray.

        Raises:
            InputError: The cluster cannot be reached, or has no room for one piece of work.
        """
        try:
            self._start()
        except BaseException:  # Ctrl-C too: `with` does not leave what it did not enter
            self._stop()
            raise
        return self

    def _start(self) -> None:
        if self._address is None:
            self._start_local()
        else:
            self._join(self._address)
        ray = _import_ray()
        have = ray.cluster_resources()
        self.device = "cuda" if self._gpus and have.get("GPU", 0) else "cpu"
        gpus = self._gpus if self.device == "cuda" else 0
        # With --workers the local Ray has that many logical cores, one for each cell.
        given = self._workers is not None and self._address is None
        cpus = 1 if given else self._cpus
        self.slots = _slots(have, cpus, gpus)
        if self.slots < 1:
            need = f"{cpus:g} CPUs" + (f" and {gpus:g} GPUs" if gpus else "")
            raise InputError(
                f"a pack needs {need} (resources in the suite), more than the cluster has: "
                f"{have.get('CPU', 0):g} CPUs, {have.get('GPU', 0):g} GPUs"
            )
        nodes = (node["Resources"] for node in ray.nodes() if node["Alive"])
        self.beside = max(1, *(_slots(node, cpus, gpus) for node in nodes))
        # Four in flight for each slot hides the driver's round trip (measured on no-op tasks).
        self.window = 4 * self.slots
        task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_calls=0, max_retries=0)
        self._task = task(self._work)

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
        # Ray opens its folder to all users and puts sockets inside, whose paths may have 107
        # bytes: so it gets a folder inside one that is ours, under a short path.
        self._folder = Path(tempfile.mkdtemp(prefix=FOLDER, dir=_short_place()))
        self._lock = (self._folder / LOCK).open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        ray.init(
            num_cpus=self._workers,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=False,
            _temp_dir=str(self._folder / "r"),
        )

    def _join(self, address: str) -> None:
        ray = _import_ray()
        try:
            _knock(address)
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
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
        except ray.exceptions.LocalRayletDiedError as error:
            raise ExecutorDiedError(
                "Ray itself died; what had ended is kept, and the same command goes on from there"
            ) from error
        except ray.exceptions.RayError as error:
            return Ended(ticket, lost=_sentence(error))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the cluster, or end the local Ray and remove its folder."""
        self._stop()

    def _stop(self) -> None:
        ray = _import_ray()
        try:
            # Ends the workers of this driver, too. Not `ray.cancel`: with force it can abort the
            # driver when a task completes at that moment.
            ray.shutdown()
        finally:
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)
            if self._lock is not None:
                self._lock.close()


def _slots(have: Mapping[str, float], cpus: float, gpus: float) -> int:
    """How many pieces of work run at a time on what a node or a cluster has."""
    slots = int(have.get("CPU", 0) / cpus)
    return min(slots, int(have.get("GPU", 0) / gpus)) if gpus else slots


def _knock(address: str) -> None:
    """Fail at once where nobody listens: Ray itself tries for minutes before it says so."""
    host, separator, port = address.removeprefix("ray://").rpartition(":")
    if separator and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def _short_place() -> str:
    """The folder for temporary files, or the system's where that path is too long for a socket."""
    place = tempfile.gettempdir()
    return place if len(place) < 16 else "/tmp"  # noqa: S108 - mkdtemp makes what is ours inside


def _remove_orphans() -> None:
    """Remove folders of local Rays whose driver was killed before it could: nobody locks them."""
    for lock in Path(_short_place()).glob(f"{FOLDER}*/{LOCK}"):
        try:
            with lock.open("r+") as handle:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.parent, ignore_errors=True)
        except OSError:  # a living Ray's, or another user's
            continue


def _sentence(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".split("\n")[0]
