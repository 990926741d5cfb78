"""Sweeps on a real local Ray: scheduled, killed, resumed."""

import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from harness.cluster.ray_executor import FOLDER, LOCK, RayExecutor
from harness.cluster.schedule import schedule
from harness.errors import InputError
from harness.results import ledger
from tests.command import start


def _children(pid: int) -> set[int]:
    """A process and all below it."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents[int(stat.parent.name)] = int(fields[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def _listening(pids: set[int]) -> set[str]:
    """Addresses that these processes listen on, as ``/proc`` has them."""
    sockets = set()
    for pid in pids:
        for handle in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                target = str(handle.readlink())
            except OSError:
                continue
            if target.startswith("socket:["):
                sockets.add(target[8:-1])
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in sockets:
                raw = fields[1].split(":")[0]
                words = [struct.pack("=I", int(raw[i : i + 8], 16)) for i in range(0, len(raw), 8)]
                family = socket.AF_INET if len(words) == 1 else socket.AF_INET6
                found.add(socket.inet_ntop(family, b"".join(words)))
    return found


def test_ray_schedules_survives_dead_workers_and_stays_on_loopback(tmp_path: Path) -> None:
    marks = str(tmp_path)

    def work(number: int, attempt: int) -> dict[str, Any]:
        Path(marks, f"{number}-{attempt}").touch()
        if number == 1 and attempt == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if number == 2:
            os._exit(3)
        time.sleep(0.05)
        return {"number": number, "pid": os.getpid(), "threads": os.environ["OMP_NUM_THREADS"]}

    with RayExecutor(work, None, 2, cpus=1, gpus=0.5) as executor:
        assert (executor.slots, executor.beside) == (2, 2)
        assert executor.device == "cpu"  # no GPU on this cluster: its cells run on CPUs
        work_of = [(n,) for n in range(12)]
        ended = {one.number: one for one in schedule(work_of, executor) if not one.again}
        addresses = _listening(_children(os.getpid()))
    assert len(addresses) > 0
    assert addresses <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    assert ended.keys() == set(range(12))
    assert ended[1].attempt == 2
    assert ended[2].result is None
    assert "WorkerCrashedError" in ended[2].lost
    results = [one.result for number, one in ended.items() if number != 2]
    assert all(result["threads"] == "1" for result in results)
    assert len(list(tmp_path.glob("2-*"))) == 3
    # Processes are reused: far fewer than cells, though three of them died.
    assert len({result["pid"] for result in results}) <= 6


def test_workers_are_as_many_as_asked_for_however_little_a_cell_needs(tmp_path: Path) -> None:
    marks = str(tmp_path)

    def work(number: int, attempt: int) -> int:
        mark = Path(marks, str(number))
        mark.touch()
        time.sleep(0.2)
        beside = len(list(Path(marks).glob("*")))
        mark.unlink()
        return beside

    with RayExecutor(work, None, 1, cpus=0.25, gpus=0) as executor:
        assert executor.slots == 1
        assert [one.result for one in schedule([(n,) for n in range(6)], executor)] == [1] * 6


def test_the_death_of_ray_itself_is_told_and_blames_nobody(tmp_path: Path) -> None:
    (tmp_path / "killed.yaml").write_text(SUITE)
    store = tmp_path / "results"
    driver = start("run", "killed.yaml", "--workers", "2", cwd=tmp_path)
    while not ledger.committed(store, "killed"):
        assert driver.poll() is None, driver.communicate()
        time.sleep(0.02)
    (raylet,) = (pid for pid in _children(driver.pid) if _name(pid) == "raylet")
    os.kill(raylet, signal.SIGKILL)
    _, err = driver.communicate(timeout=120)
    assert driver.returncode == 1, err
    assert "Ray itself died" in err
    assert "Traceback" not in err
    assert ledger.last_attempts(store, "killed") == {}


def test_a_killed_worker_leaves_an_attempt_and_its_cell_is_run_again(tmp_path: Path) -> None:
    (tmp_path / "killed.yaml").write_text(SUITE.replace("steps: 30", "steps: 300"))
    store = tmp_path / "results"
    driver = start("run", "killed.yaml", "--workers", "2", cwd=tmp_path)
    while not ledger.committed(store, "killed"):
        assert driver.poll() is None, driver.communicate()
        time.sleep(0.02)
    busy = [pid for pid in _children(driver.pid) if _name(pid).startswith("ray::run_pack")]
    os.kill(busy[0], signal.SIGKILL)
    _, err = driver.communicate(timeout=180)
    assert driver.returncode == 0, err
    assert len(ledger.committed(store, "killed")) == 24
    (attempt,) = ledger.last_attempts(store, "killed").values()
    assert (attempt.attempt, attempt.status) == (1, "error")
    assert "the worker died in try 1" in attempt.message


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def test_more_than_the_machine_has_is_a_sentence() -> None:
    with (
        pytest.raises(
            InputError, match=r"a pack needs 99 CPUs .* more than the cluster has: \d+ CPU"
        ),
        RayExecutor(print, None, None, cpus=99, gpus=0),
    ):
        pass


def test_an_unreachable_cluster_is_a_sentence() -> None:
    with (
        pytest.raises(InputError, match=r"cannot join the Ray cluster at '127\.0\.0\.1:1'"),
        RayExecutor(print, "127.0.0.1:1", None, cpus=1, gpus=0),
    ):
        pass


def _folders() -> list[Path]:
    """Folders of local Rays, of living drivers and of others."""
    return list(Path(tempfile.gettempdir()).glob(f"{FOLDER}*/r"))


def _locked(folder: Path) -> bool:
    """Whether its driver lives: another sweep on this machine."""
    with (folder.parent / LOCK).open("r+") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_a_start_that_is_interrupted_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "killed.yaml").write_text(SUITE)
    before = _folders()
    driver = start("run", "killed.yaml", cwd=tmp_path)
    while _folders() == before:
        assert driver.poll() is None, driver.communicate()
        time.sleep(0.02)
    driver.send_signal(signal.SIGINT)
    _, err = driver.communicate(timeout=60)
    assert driver.returncode == 130, err
    assert "Traceback" not in err
    assert set(_folders()) <= set(before)


SUITE = """
name: killed
grid:
  architectures: [additive]
  datasets: [{name: checkerboard, size: 200}]
  seeds: 24
training: {steps: 30, batch_size: 16}
probes: [{name: reconstruction, points: 16}]
resources: {pack: off}
"""


@pytest.mark.parametrize("pack", ["off", "6"])
def test_kill_9_of_the_driver_then_the_same_command(tmp_path: Path, pack: str) -> None:
    (tmp_path / "killed.yaml").write_text(SUITE.replace("pack: off", f"pack: {pack}"))
    store = tmp_path / "results"
    command = ("run", "killed.yaml", "--workers", "2")
    living = _folders()
    driver = start(*command, cwd=tmp_path)
    deadline = time.monotonic() + 120
    while len(ledger.committed(store, "killed")) < 4:
        assert driver.poll() is None, driver.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    before = {cell: _modified(store, cell) for cell in ledger.committed(store, "killed")}
    orphans = [folder for folder in _folders() if folder not in living and not _locked(folder)]
    assert orphans
    assert 4 <= len(before) < 24

    again = start(*command, cwd=tmp_path)
    _, err = again.communicate(timeout=180)
    assert again.returncode == 0, err
    assert "24 cells" in err
    query = "select count(*) n, count(distinct cell_id) m from cells"
    counted = start("sql", query, "--json", cwd=tmp_path)
    out, err = counted.communicate(timeout=60)
    assert json.loads(out) == [{"n": 24, "m": 24}], err
    assert all(_modified(store, cell) == when for cell, when in before.items())
    assert not any(orphan.exists() for orphan in orphans)


def _modified(store: Path, cell: str) -> int:
    return (store / "suite=killed" / "cells" / f"{cell}.parquet").stat().st_mtime_ns


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_keeps_what_is_done(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "killed.yaml").write_text(SUITE)
    store = tmp_path / "results"
    driver = start("run", "killed.yaml", "--workers", "2", cwd=tmp_path)
    deadline = time.monotonic() + 120
    while not ledger.committed(store, "killed"):
        assert driver.poll() is None, driver.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    driver.send_signal(number)
    try:
        _, err = driver.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        driver.kill()
        raise
    assert driver.returncode == 130, err
    assert "interrupted" in err
    assert "Traceback" not in err
    assert 1 <= len(ledger.committed(store, "killed")) < 24
