"""Fixtures of all rooms: the small checkpoints in the official file layout, and quarantined tests.

Without a GPU the kernels run in the interpreter of Triton. It must be chosen before the first import of
triton, so it is chosen here. TRITON_INTERPRET=1 chooses the interpreter on a machine with a GPU.
"""

import os
from pathlib import Path

import pytest
import torch

try:
    import structlog
except ImportError:
    # The GPU tests run on hosts that have torch and little else (docs/gpu.md).
    structlog = None

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")
if "OMP_NUM_THREADS" not in os.environ:
    # These networks are small: a second thread is no faster, and on a busy machine both threads wait.
    torch.set_num_threads(1)

if structlog is not None:
    # By default structlog writes every local into a traceback. Images among them block a server's loop for
    # half a minute.
    structlog.configure(
        processors=[
            *structlog.get_config()["processors"][:-1],
            structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
        ]
    )

FIXTURES = Path(__file__).parent / "fixtures"
QUARANTINED = "quarantined: "
TRIED_TWICE = (
    *("app", "browser", "cli", "clients", "deploy", "e2e"),
    *("faults", "jobs", "monitoring", "telemetry", "workers"),
)
"""Folders whose tests wait for real processes, browsers and timers, which a busy machine can hold up.
What a test computes is the same each time, so the other folders have one try."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Start the files with slow tests first, mark what gets a second try, and let quarantined tests fail.

    A slow file that starts last keeps one process busy while the others have nothing left to do.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow") is not None}
    items.sort(key=lambda item: item.path not in slow)
    # Hosts for the GPU tests may lack the plugin.
    tried_twice = TRIED_TWICE if config.pluginmanager.hasplugin("rerunfailures") else ()
    for item in items:
        if item.path.relative_to(Path(__file__).parent).parts[0] in tried_twice:
            item.add_marker(pytest.mark.flaky(reruns=1))
        if (marker := item.get_closest_marker("quarantined")) is not None:
            item.add_marker(pytest.mark.xfail(strict=False, reason=QUARANTINED + marker.args[0]))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List at the end of the run what needs repair: quarantined tests, and tests that failed once."""
    failed = {report.nodeid for report in terminalreporter.getreports("failed")}
    failed_once = [report for report in terminalreporter.getreports("rerun") if report.nodeid not in failed]
    if failed_once:
        terminalreporter.section("TESTS THAT FAILED ONCE: find out why", red=True, bold=True)
        for report in failed_once:
            terminalreporter.line(report.nodeid, red=True)
            for text in (report.longreprtext, *(content for _, content in report.sections)):
                terminalreporter.line(text)
    reports = [
        (outcome, report)
        for outcome, shown in (("failed", "xfailed"), ("passed", "xpassed"))
        for report in terminalreporter.getreports(shown)
        if QUARANTINED in getattr(report, "wasxfail", "")
    ]
    if reports:
        terminalreporter.section("QUARANTINED TESTS: repair them", red=True, bold=True)
        for outcome, report in reports:
            terminalreporter.line(f"{outcome}: {report.nodeid}: {report.wasxfail}", red=True)


@pytest.fixture(scope="session")
def tiny_v1() -> Path:
    """Folder of a small first-generation checkpoint, with results of the published package."""
    return FIXTURES / "tiny-v1"


@pytest.fixture(scope="session")
def tiny_v2() -> Path:
    """Folder of a small second-generation checkpoint, with results of the published package."""
    return FIXTURES / "tiny-v2"


@pytest.fixture(scope="session")
def manifests() -> Path:
    """Folder of the official files' tensor names, shapes and dtypes."""
    return FIXTURES / "manifests"
