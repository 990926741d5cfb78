"""A sweep on a Ray cluster that was there before: joined by its address, and left running."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.results import ledger

SUITE = """
name: joined
grid:
  architectures: [additive]
  datasets: [{name: checkerboard, size: 200}]
  seeds: 3
training: {steps: 2, batch_size: 16}
probes: [{name: reconstruction, points: 16}]
resources: {cpus: 0.5, gpus: 0.5}
"""


@dataclass(frozen=True)
class Cluster:
    address: str
    environment: dict[str, str]
    head: subprocess.Popen[bytes]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A head of its own: on loopback, with its own ports, folder and token."""
    port = _free_port()
    with tempfile.TemporaryDirectory(prefix="ib-", ignore_cleanup_errors=True) as folder:
        environment = os.environ | {
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": "0123456789abcdef0123456789abcdef",
        }
        arguments = ["start", "--head", "--block", f"--port={port}", "--num-cpus=1"]
        arguments += ["--include-dashboard=false", f"--temp-dir={folder}"]
        arguments += [f"--dashboard-agent-listen-port={_free_port()}"]
        head = subprocess.Popen(
            [sys.executable, "-m", "ray.scripts.scripts", *arguments],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            deadline = time.monotonic() + 60
            while not _listens(port):
                assert head.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)
            time.sleep(3)  # the head listens before its node is there
            yield Cluster(f"127.0.0.1:{port}", environment, head)
        finally:
            head.send_signal(signal.SIGTERM)
            head.wait(timeout=30)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _run(
    cluster: Cluster, cwd: Path, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    command = "from harness.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", command, "run", "joined.yaml", "--address", cluster.address],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_sweep_joins_a_cluster_and_leaves_it_running(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "joined.yaml").write_text(SUITE)
    done = _run(cluster, tmp_path, cluster.environment)
    assert done.returncode == 0, done.stderr
    # Half a core each on one core; no GPU there, so the CPU is used.
    assert "2 at a time on cpu" in done.stderr
    assert len(ledger.committed(tmp_path / "results", "joined")) == 3
    assert cluster.head.poll() is None
    again = _run(cluster, tmp_path, cluster.environment)
    assert again.returncode == 0
    assert "0 to run" in again.stderr


def test_a_wrong_token_is_a_sentence(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "joined.yaml").write_text(SUITE)
    said = _run(cluster, tmp_path, cluster.environment | {"RAY_AUTH_TOKEN": "f" * 32})
    assert said.returncode == 2, said.stderr
    assert "cannot join the Ray cluster" in said.stderr
    assert "Traceback" not in said.stderr
