"""The whole GPU as its driver sees it: load, memory, temperature, power, slowdowns, memory and XID errors.

Needs nvidia-ml-py and the driver's library NVML. A thread reads the values, so that a driver that hangs stops
no heartbeat. Does not know what runs on the GPU.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from telemetry.logging import get_logger

logger = get_logger("telemetry.nvml")

EVERY_S = 2.0
STALE_S = 15.0
"""Older values are not exported."""


def open_gpu(uuid: str) -> "GpuMonitor | None":
    """Return a monitor of the GPU with this UUID, which has no prefix. None: NVML or the GPU is not there."""
    try:
        import pynvml
    except ImportError:
        logger.debug("gpu_not_monitored", reason="The package nvidia-ml-py is not installed.")
        return None
    try:
        pynvml.nvmlInit()
        return GpuMonitor(pynvml, _find(pynvml, uuid))
    except pynvml.NVMLError as error:
        logger.debug("gpu_not_monitored", reason=str(error))
        return None


def _find(nvml: ModuleType, uuid: str) -> Any:
    """Return the handle of a GPU, for a MIG instance that of its GPU. Raises NVMLError."""
    try:
        return nvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
    except nvml.NVMLError:
        instance = nvml.nvmlDeviceGetHandleByUUID(f"MIG-{uuid}")
        return nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(instance)


class GpuMonitor(Collector):
    """Exports the last reading. A value that the driver does not give for this GPU has no series."""

    def __init__(self, nvml: ModuleType, handle: Any) -> None:
        self._nvml = nvml
        self._handle = handle
        self._events = self._watch_xids()
        self._xids: Counter[int] = Counter()
        self._last: tuple[float, list[Metric]] = (float("-inf"), [])
        """Time of the last reading, and what it gave."""

    def start(self) -> None:
        threading.Thread(target=self._run, name="gpu-monitor", daemon=True).start()

    def collect(self) -> Iterator[Metric]:
        read_s, families = self._last
        if time.monotonic() - read_s < STALE_S:
            yield from families

    def _run(self) -> None:
        while True:
            self._last = (time.monotonic(), list(self._read()))
            self._pause()

    def _pause(self) -> None:
        """Return after EVERY_S, or at once if the driver reports an XID error."""
        if self._events is None:
            time.sleep(EVERY_S)
            return
        try:
            event = self._nvml.nvmlEventSetWait_v2(self._events, round(EVERY_S * 1000))
        except self._nvml.NVMLError as error:
            if error.value != self._nvml.NVML_ERROR_TIMEOUT:
                self._events = None  # the GPU is lost, and further waits would fail at once
            return
        xid = int(event.eventData)
        self._xids[xid] += 1
        if self._xids[xid] == 1:
            logger.error("gpu_xid", xid=xid, message="The driver reports an error of the GPU.")

    def _watch_xids(self) -> Any:
        """Return the set of events to wait for; None where the driver reports none, as in a MIG instance."""
        nvml = self._nvml
        try:
            events = nvml.nvmlEventSetCreate()
            nvml.nvmlDeviceRegisterEvents(self._handle, nvml.nvmlEventTypeXidCriticalError, events)
        except nvml.NVMLError:
            return None
        return events

    def _read(self) -> Iterator[Metric]:
        gauges: tuple[tuple[str, str, str, Callable[[], Mapping[str, float]]], ...] = (
            ("utilization_ratio", "Share of the last moments in which a kernel ran.", "", self._utilization),
            ("device_memory_bytes", "Memory of the whole GPU.", "kind", self._memory),
            ("temperature_celsius", "Temperature of the GPU.", "", self._temperature),
            ("power_watts", "Power that the GPU draws.", "", self._power),
            ("power_limit_watts", "Power that the GPU may draw.", "", self._power_limit),
            ("slowdown", "1 while the GPU lowers its clock, by reason.", "reason", self._slowdown),
        )
        for name, text, label, read in gauges:
            yield self._filled(GaugeMetricFamily(f"rudolph_gpu_{name}", text, labels=_labels(label)), read)
        text = "Memory errors since the driver was loaded."
        ecc = CounterMetricFamily("rudolph_gpu_ecc_errors", text, labels=("kind",))
        yield self._filled(ecc, self._ecc_errors)
        text = "XID errors since the start of this worker, by number."
        xids = CounterMetricFamily("rudolph_gpu_xid_errors", text, labels=("xid",))
        yield self._filled(xids, lambda: {str(xid): count for xid, count in self._xids.items()})

    def _filled(
        self, family: GaugeMetricFamily | CounterMetricFamily, read: Callable[[], Mapping[str, float]]
    ) -> Metric:
        try:
            values = read()
        except self._nvml.NVMLError:  # not for this GPU, or not by this driver
            return family
        for label, value in values.items():
            family.add_metric(_labels(label), value)
        return family

    def _utilization(self) -> dict[str, float]:
        return {"": self._nvml.nvmlDeviceGetUtilizationRates(self._handle).gpu / 100}

    def _memory(self) -> dict[str, float]:
        memory = self._nvml.nvmlDeviceGetMemoryInfo(self._handle)
        return {"used": memory.used, "free": memory.free, "total": memory.total}

    def _temperature(self) -> dict[str, float]:
        nvml = self._nvml
        try:
            return {"": nvml.nvmlDeviceGetTemperatureV(self._handle, nvml.NVML_TEMPERATURE_GPU)}
        except nvml.NVMLError:  # drivers before 570
            return {"": nvml.nvmlDeviceGetTemperature(self._handle, nvml.NVML_TEMPERATURE_GPU)}

    def _power(self) -> dict[str, float]:
        return {"": self._nvml.nvmlDeviceGetPowerUsage(self._handle) / 1000}

    def _power_limit(self) -> dict[str, float]:
        return {"": self._nvml.nvmlDeviceGetEnforcedPowerLimit(self._handle) / 1000}

    def _slowdown(self) -> dict[str, float]:
        nvml = self._nvml
        reasons = nvml.nvmlDeviceGetCurrentClocksEventReasons(self._handle)
        hot = nvml.nvmlClocksEventReasonSwThermalSlowdown | nvml.nvmlClocksEventReasonHwThermalSlowdown
        power = nvml.nvmlClocksEventReasonSwPowerCap | nvml.nvmlClocksEventReasonHwPowerBrakeSlowdown
        return {"thermal": float(bool(reasons & hot)), "power": float(bool(reasons & power))}

    def _ecc_errors(self) -> dict[str, float]:
        nvml = self._nvml
        kinds = {
            "corrected": nvml.NVML_MEMORY_ERROR_TYPE_CORRECTED,
            "uncorrected": nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED,
        }
        return {
            name: nvml.nvmlDeviceGetTotalEccErrors(self._handle, kind, nvml.NVML_VOLATILE_ECC)
            for name, kind in kinds.items()
        }


def _labels(name: str) -> tuple[str, ...]:
    return (name,) if name else ()
