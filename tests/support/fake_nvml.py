"""NVIDIA's library NVML with one GPU that does not exist, so that the real pynvml runs without a GPU."""

import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_suffix(".c")
UUID = "11111111-2222-3333-4444-555555555555"
INSTANCE_UUID = "66666666-2222-3333-4444-555555555555"
"""Of a MIG instance of the same GPU."""
GIB = 1 << 30
HEALTHY = {
    "utilization_percent": 87,
    "memory_total": 80 * GIB,
    "memory_used": 30 * GIB,
    "memory_free": 50 * GIB,
    "temperature": 61,
    "power_milliwatts": 345_600,
    "power_limit_milliwatts": 700_000,
    "clock_reasons": 0,
    "ecc_corrected": 3,
    "ecc_uncorrected": 0,
}
THERMAL_SLOWDOWN = 0x20
POWER_CAP = 0x04


class FakeNvml:
    """The library in a folder. Its values may change while processes use it."""

    def __init__(self, folder: Path, **values: int) -> None:
        compiler = shutil.which("cc")
        if compiler is None:
            pytest.skip("no C compiler: NVML is NOT tested")
        folder.mkdir(parents=True, exist_ok=True)
        library = folder / "libnvidia-ml.so.1"
        command = [
            compiler,
            "-std=gnu11",
            "-Wall",
            "-Werror",
            "-shared",
            "-fPIC",
            "-o",
            str(library),
            str(SOURCE),
        ]
        subprocess.run(command, check=True)
        self._values = folder / "values.txt"
        self.environment = {"LD_LIBRARY_PATH": str(folder), "FAKE_NVML": str(self._values)}
        """Variables of a process that finds the library as it finds the driver's own."""
        self.set(values or HEALTHY)

    def set(self, values: dict[str, int], *, xids: tuple[int, ...] = ()) -> None:
        """Replace all values. Each XID error is reported once, in this order."""
        lines = [f"{name} {value}\n" for name, value in values.items()]
        lines += [f"xid {number}\n" for number in xids]
        fresh = self._values.with_suffix(".new")
        fresh.write_text("".join(lines), encoding="ascii")
        fresh.rename(self._values)
