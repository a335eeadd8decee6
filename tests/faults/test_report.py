"""The report of a campaign names missed marks, and it survives an interruption."""

from pathlib import Path

from tests.faults import record
from tests.faults.report import Report, quantile


def test_figure_beyond_its_mark_is_named_with_both_numbers() -> None:
    report = Report()
    report.at_most("refusal p99, s", 0.0721, 0.05)
    report.at_least("times what is served", 9.0, 10)
    report.exactly("results that changed", 1, 0)
    assert report.missed == [
        "refusal p99, s is 0.0721, more than 0.05",
        "times what is served is 9, less than 10",
        "results that changed is 1, not 0",
    ]


def test_recovery_that_never_happened_is_no_quick_one() -> None:
    report = Report()
    report.recovered_within(3.0)
    assert report.missed == ["something had to recover"]
    report = Report(recovery_s=[0.5, 3.5, 1.0])
    report.recovered_within(3.0)
    assert report.missed == ["slowest recovery, s is 3.5, more than 3"]
    assert report.summary()["recovery_p50_s"] == 1.0
    assert report.summary()["recovery_p99_s"] == 3.5


def test_quantile_is_a_value_that_was_measured() -> None:
    values = [float(number) for number in range(1, 101)]
    assert (quantile(values, 0.5), quantile(values, 0.99), quantile([7.0], 0.99)) == (51.0, 100.0, 7.0)


def test_report_keeps_the_latest_run_of_each_row(tmp_path: Path) -> None:
    path = tmp_path / "reports" / "chaos.json"
    assert record.read(path) == {}
    record.write(path, [{"name": "flood", "passed": False}, {"name": "failover", "passed": True}])
    known = record.read(path)
    known["flood"] = {"name": "flood", "passed": True}
    record.write(path, list(known.values()))
    assert record.read(path) == {
        "flood": {"name": "flood", "passed": True},
        "failover": {"name": "failover", "passed": True},
    }
    assert list(path.parent.iterdir()) == [path]


def test_row_is_written_down_with_its_circumstances() -> None:
    seen = record.circumstances()
    assert seen["began"].endswith("+00:00")
    assert seen["load_before"] >= 0
    assert "server" in seen["server"]
