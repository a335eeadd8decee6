"""The state of the whole GPU, read by the real pynvml from a library of one GPU that does not exist."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_nvml import GIB, HEALTHY, INSTANCE_UUID, POWER_CAP, THERMAL_SLOWDOWN, UUID, FakeNvml

ROOT = Path(__file__).resolve().parents[2]
READ = """
import sys, time
from prometheus_client import CollectorRegistry, generate_latest
from telemetry import nvml
from telemetry.logging import configure_logging
configure_logging(json=True, level="DEBUG")
uuid, words = sys.argv[1:]
nvml.EVERY_S = 0.1
monitor = nvml.open_gpu(uuid)
registry = CollectorRegistry()
text = "none"
if monitor is not None:
    registry.register(monitor)
    assert generate_latest(registry) == b""
    monitor.start()
    ends_s = time.monotonic() + 20
    while words not in text and time.monotonic() < ends_s:
        time.sleep(0.02)
        text = generate_latest(registry).decode()
print(text)
"""
HANG = """
import os, sys, time
from prometheus_client import CollectorRegistry, generate_latest
from telemetry import nvml
nvml.EVERY_S, nvml.STALE_S = 0.05, 0.5
monitor = nvml.open_gpu(sys.argv[1])
registry = CollectorRegistry()
registry.register(monitor)
monitor.start()
while not generate_latest(registry):
    time.sleep(0.02)
with open(os.environ["FAKE_NVML"], "a") as values:
    values.write("hang 1\\n")
while generate_latest(registry):
    time.sleep(0.02)
print("rudolph_ended 1")
"""
SELECT = """
import sys, time
from types import SimpleNamespace
import torch
from prometheus_client import CollectorRegistry, generate_latest
from workers.gpu import monitor_gpu
torch.cuda.get_device_properties = lambda device: SimpleNamespace(uuid=sys.argv[1])
registry = CollectorRegistry()
monitor_gpu(registry, torch.device("cpu"))
time.sleep(0.2)
assert generate_latest(registry) == b""
monitor_gpu(registry, torch.device("cuda", 0))
while not (text := generate_latest(registry).decode()):
    time.sleep(0.02)
print(text)
"""


@pytest.fixture
def library(tmp_path: Path) -> FakeNvml:
    return FakeNvml(tmp_path / "nvml")


def read(
    library: FakeNvml | None,
    uuid: str = UUID,
    words: str = "rudolph_gpu",
    program: str = READ,
    before: str = "",
) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Return the samples of a process of its own, once `words` are among them, and the lines of its log."""
    done = subprocess.run(
        [sys.executable, "-c", before + program, uuid, words],
        cwd=ROOT,
        env=os.environ | (library.environment if library else {}),
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    lines = [line.rpartition(" ") for line in done.stdout.splitlines() if line.startswith("rudolph")]
    log = [json.loads(line) for line in done.stderr.splitlines()]
    return {name: float(value) for name, _, value in lines}, log


def test_every_value_of_the_device_has_a_series(library: FakeNvml) -> None:
    samples, log = read(library)
    assert samples == {
        "rudolph_gpu_utilization_ratio": 0.87,
        'rudolph_gpu_device_memory_bytes{kind="used"}': 30 * GIB,
        'rudolph_gpu_device_memory_bytes{kind="free"}': 50 * GIB,
        'rudolph_gpu_device_memory_bytes{kind="total"}': 80 * GIB,
        "rudolph_gpu_temperature_celsius": 61,
        "rudolph_gpu_power_watts": 345.6,
        "rudolph_gpu_power_limit_watts": 700,
        'rudolph_gpu_slowdown{reason="thermal"}': 0,
        'rudolph_gpu_slowdown{reason="power"}': 0,
        'rudolph_gpu_ecc_errors_total{kind="corrected"}': 3,
        'rudolph_gpu_ecc_errors_total{kind="uncorrected"}': 0,
    }
    assert log == []


@pytest.mark.parametrize(("reason", "bit"), [("thermal", THERMAL_SLOWDOWN), ("power", POWER_CAP)])
def test_a_slowdown_has_its_reason(library: FakeNvml, reason: str, bit: int) -> None:
    library.set(HEALTHY | {"clock_reasons": bit})
    samples, _ = read(library)
    found = {name for name, value in samples.items() if name.startswith("rudolph_gpu_slowdown") and value}
    assert found == {f'rudolph_gpu_slowdown{{reason="{reason}"}}'}


def test_xid_errors_are_counted_by_number_and_logged_once(library: FakeNvml) -> None:
    library.set(HEALTHY, xids=(79, 31, 79))
    samples, log = read(library, words='xid="79"} 2')
    counts = {name: value for name, value in samples.items() if "xid" in name}
    assert counts == {
        'rudolph_gpu_xid_errors_total{xid="79"}': 2,
        'rudolph_gpu_xid_errors_total{xid="31"}': 1,
    }
    assert [(line["event"], line["level"], line["xid"]) for line in log] == [
        ("gpu_xid", "error", 79),
        ("gpu_xid", "error", 31),
    ]


def test_a_value_that_the_driver_does_not_give_has_no_series(library: FakeNvml) -> None:
    library.set({"memory_total": 3, "memory_used": 1, "memory_free": 2, "old_temperature": 44})
    samples, log = read(library)
    assert {name.partition("{")[0] for name in samples} == {
        "rudolph_gpu_device_memory_bytes",
        "rudolph_gpu_temperature_celsius",
    }
    assert samples["rudolph_gpu_temperature_celsius"] == 44
    assert log == []


@pytest.mark.parametrize("trouble", ["no_events", "lost"])
def test_a_device_without_events_is_read_all_the_same(library: FakeNvml, trouble: str) -> None:
    library.set(HEALTHY | {trouble: 1}, xids=(79,))
    samples, log = read(library)
    assert samples["rudolph_gpu_utilization_ratio"] == 0.87
    assert not [name for name in samples if "xid" in name]
    assert log == []


def test_an_instance_shows_its_whole_gpu(library: FakeNvml) -> None:
    samples, _ = read(library, INSTANCE_UUID)
    assert samples['rudolph_gpu_device_memory_bytes{kind="total"}'] == 80 * GIB


@pytest.mark.parametrize(
    ("has_library", "before", "reason"),
    [
        (False, "", "NVML Shared Library Not Found"),
        (True, "", "Not Found"),
        (True, "import sys; sys.modules['pynvml'] = None\n", "The package nvidia-ml-py is not installed."),
    ],
)
def test_without_library_device_or_package_there_is_one_debug_line(
    library: FakeNvml, has_library: bool, before: str, reason: str
) -> None:
    samples, (line,) = read(library if has_library else None, "00000000-0000", before=before)
    assert samples == {}
    assert (line["level"], line["event"], line["reason"]) == ("debug", "gpu_not_monitored", reason)


def test_values_of_a_driver_that_hangs_end(library: FakeNvml) -> None:
    samples, _ = read(library, program=HANG)
    assert samples == {"rudolph_ended": 1}


def test_the_worker_s_device_is_found_by_its_uuid(library: FakeNvml) -> None:
    samples, _ = read(library, program=SELECT)
    assert samples["rudolph_gpu_temperature_celsius"] == 61
