"""What memory there is, read from trees of files like the kernel's."""

from pathlib import Path

import pytest
import torch

from harness.memory import device as device_memory
from harness.memory.device import FRACTION, Memory, host_memory, usable_bytes
from harness.sweep import share_of_memory

MIB = 2**20
MACHINE = "MemTotal:       8192 kB\nMemFree:  1 kB\nMemAvailable:   6144 kB\nHugePages_Total: 0\n"


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, content in {"proc/meminfo": MACHINE, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def version_2(folder: str, limit: str, used: int, reclaimable: int) -> dict[str, str]:
    at = f"sys/fs/cgroup/{folder}"
    statistics = f"anon 5\ninactive_file {reclaimable}\nactive_file 7\n"
    return {
        f"{at}memory.max": f"{limit}\n",
        f"{at}memory.current": f"{used}\n",
        f"{at}memory.stat": statistics,
    }


def version_1(folder: str, limit: int, used: int, reclaimable: int) -> dict[str, str]:
    at = f"sys/fs/cgroup/memory/{folder}"
    return {
        f"{at}memory.limit_in_bytes": f"{limit}\n",
        f"{at}memory.usage_in_bytes": f"{used}\n",
        f"{at}memory.stat": f"inactive_file 1\ntotal_inactive_file {reclaimable}\n",
    }


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, Memory(8 * MIB, 6 * MIB)),
        (  # the group of the process says nothing, that above it does
            {
                "proc/self/cgroup": "0::/slice/job\n",
                **version_2("slice/job/", "max", 9, 0),
                **version_2("slice/", str(4 * MIB), 2 * MIB, MIB),
            },
            Memory(4 * MIB, 3 * MIB),
        ),
        (  # in a container the group is the root, whatever the process is told
            {
                "proc/self/cgroup": "0::/\n",
                **version_2("", str(2 * MIB), 3 * MIB, 0),
            },
            Memory(2 * MIB, 0),
        ),
        (  # a limit above what the machine has is none
            {
                "proc/self/cgroup": "0::/\n",
                **version_2("", str(64 * MIB), MIB, 0),
            },
            Memory(8 * MIB, 6 * MIB),
        ),
        (
            {
                "proc/self/cgroup": "9:name=systemd:/\n4:memory:/docker/1f\n0::/\n",
                **version_1("docker/1f/", 3 * MIB, 2 * MIB, MIB),
                **version_1("", 2**63 - 4096, 2 * MIB, 0),
            },
            Memory(3 * MIB, 2 * MIB),
        ),
        (
            {
                "proc/self/cgroup": "4:memory:/docker/of-the-host\n",
                **version_1("", 3 * MIB, 2 * MIB, 0),
            },
            Memory(3 * MIB, MIB),
        ),
    ],
    ids=["none", "v2", "v2-root", "v2-above", "v1", "v1-container"],
)
def test_the_tightest_limit_counts(tmp_path: Path, files: dict[str, str], expected: Memory) -> None:
    assert host_memory(tree(tmp_path, files)) == expected


def test_where_the_kernel_says_nothing_nothing_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert host_memory(tmp_path) is None
    monkeypatch.setattr(device_memory, "host_memory", lambda: None)
    assert usable_bytes(torch.device("cpu"), 0.5) is None


def test_a_pack_may_take_a_fraction_of_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_memory, "device_memory", lambda _: Memory(1000 * MIB, 300 * MIB))
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert usable_bytes(cpu, 0.25) == pytest.approx(FRACTION * 75 * MIB)
    assert usable_bytes(cpu, 0.5) == pytest.approx(FRACTION * 150 * MIB)
    assert usable_bytes(cuda, 0.25) == pytest.approx(FRACTION * 250 * MIB)
    assert usable_bytes(cuda, 0.5) == pytest.approx(FRACTION * 300 * MIB)


def test_shares() -> None:
    assert share_of_memory("cpu", beside=4, gpus=0.5) == 0.25
    assert share_of_memory("cuda", beside=4, gpus=0.5) == 0.5
    assert share_of_memory("cuda", beside=1, gpus=2) == 1.0
