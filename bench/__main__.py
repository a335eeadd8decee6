"""`python -m bench`, or `make bench`: every task, ours and the published package, on this processor.

Further commands are `ladder` (`make bench ARGS=ladder`), `long-run`, `agreement`, `int8`, `server` and
`cold-start`. `tables` writes the stored results into the documents.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from bench import results, tables

app = typer.Typer(add_completion=False, no_args_is_help=False)

Quick = Annotated[bool, typer.Option(help="A toy size, to check that everything runs; stores no file.")]
Output = Annotated[Path | None, typer.Option(help="File for the results.")]


@app.callback(invoke_without_command=True)
def compare(  # noqa: PLR0917 - an argument for each option
    context: typer.Context,
    quick: Quick = False,
    dtype: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "auto",
    int8: Annotated[bool, typer.Option("--int8", help="Run ours with int8 layers.")] = False,
    repeats: Annotated[int, typer.Option(min=1, help="Counted runs of ours; the package runs once.")] = 3,
    only: Annotated[
        str, typer.Option(help="Measure rows whose name contains this; replace them in the file.")
    ] = "",
    output: Output = None,
) -> None:
    """Measure every task on both sides, print the table of ratios, and store the results."""
    if context.invoked_subcommand is not None:
        return
    from bench.cpu import measure

    path = output or results.RESULTS / ("cpu-int8.json" if int8 else "cpu.json")
    stored = results.read(path) if only and path.exists() else None
    content: dict[str, Any] = {}
    for so_far in measure(quick=quick, dtype_name=dtype, int8=int8, repeats=repeats, only=only):
        content = so_far if stored is None else _merged(stored, so_far)
        _store(content, path, quick=quick and output is None)
    tables.show(
        f"seconds, medians; ours in {content['dtype']}, the package in float32", tables.comparison(content)
    )
    tables.show("memory", tables.memory(content))
    print("The package ran once for each row; its figures at n = 16 are those at its batch of 4.")
    if any(row["disturbed"] for row in content["rows"]):
        print("* Other processes used the processor: measure the row again with --only.")


@app.command()
def ladder(quick: Quick = False, output: Output = None) -> None:
    """The gain of each technique, in milliseconds per code."""
    from bench.ladder import climb

    content = results.document(rows=[], shape="toy" if quick else "350M")
    path = output or results.RESULTS / "ladder.json"
    for rung in climb(quick=quick):
        median_s = results.median(rung.samples)
        print(f"  {rung.name:<50} {median_s * 1e3:9.2f} ms", flush=True)
        content["rows"].append({"name": rung.name, "median_s": median_s, **results.summary(rung.samples)})
        _store(content, path, quick=quick and output is None)
    tables.show("one code in the middle of an image", tables.ladder(content))


@app.command()
def long_run(
    jobs: Annotated[int, typer.Option(min=100, help="How many jobs.")] = 10_000,
    dtype: Annotated[str, typer.Option(help="float32 or bfloat16.")] = "float32",
    output: Output = None,
) -> None:
    """Ten thousand small jobs of every kind: memory, slots, step time."""
    from bench.long_run import run

    _show_figures("a long run", run(jobs, dtype), output or results.RESULTS / "long-run.json")


@app.command()
def agreement(
    images: Annotated[int, typer.Option(min=2, help="Images per batch size.")] = 96,
    output: Output = None,
) -> None:
    """Count the seeds that draw the same image alone and in a batch, by number format."""
    from bench.agreement import compare

    _show_figures("equal images", compare(images), output or results.RESULTS / "agreement.json")


@app.command()
def int8(output: Output = None) -> None:
    """Speed and quality of int8 weights."""
    from bench.int8 import compare

    _show_figures(
        "int8 weights: one step's products, and quality", compare(), output or results.RESULTS / "int8.json"
    )


@app.command()
def server(
    requests: Annotated[int, typer.Option(min=100, help="Requests per round, at 64 connections.")] = 2000,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; the servers take turns.")] = 3,
    output: Output = None,
) -> None:
    """Latency of HTTP, queue and commit, and throughput against LitServe, with a null engine."""
    from bench.server import measure, ratio

    content = measure(requests, rounds)
    _show_figures("a null engine", content, output or results.RESULTS / "server.json")
    if (share := ratio(content)) is not None:
        print(f"throughput against LitServe: {share:.2f}×")


@app.command()
def cold_start(
    repeats: Annotated[int, typer.Option(min=1, help="Counted starts, after one that is not counted.")] = 3,
    output: Output = None,
) -> None:
    """Seconds from `rudolph serve` to the first image."""
    from bench.cold_start import measure

    _show_figures("a cold start", measure(repeats), output or results.RESULTS / "cold-start.json")


@app.command("tables")
def write_tables() -> None:
    """Write the stored results into the documents that quote them."""
    for table in tables.quoted():
        changed = table.put()
        print(
            f"{table.document.relative_to(tables.ROOT)}: {table.name} {'written' if changed else 'unchanged'}"
        )


def _show_figures(title: str, content: dict[str, Any], path: Path) -> None:
    tables.show(title, tables.figures(content))
    results.save(path, content)


def _merged(stored: dict[str, Any], again: dict[str, Any]) -> dict[str, Any]:
    """Return the stored document with the new rows in place of the old ones of the same name."""
    rows = {row["name"]: row for row in (*stored["rows"], *again["rows"])}
    repeated = [
        *stored.get("repeated", []),
        {name: again[name] for name in ("command", "began", "load_average")},
    ]
    return {**stored, "rows": list(rows.values()), "repeated": repeated}


def _store(content: dict[str, Any], path: Path, *, quick: bool) -> None:
    if not quick:
        results.save(path, content)


if __name__ == "__main__":
    app()
