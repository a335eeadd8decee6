"""`python -m bench`, or `make bench`: model and engine beside the published package on this processor.

Further measurements are commands: `python -m bench ladder` (`make bench ARGS=ladder`), `long-run`,
`agreement`, `int8`, `png`, `server`, `cold-start`; `tables` writes what was kept into the documents.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from bench import results, tables

app = typer.Typer(add_completion=False, no_args_is_help=False)

Quick = Annotated[bool, typer.Option(help="A toy size, to see that everything runs; keeps no file.")]
Output = Annotated[Path | None, typer.Option(help="Where the JSON goes.")]


@app.callback(invoke_without_command=True)
def compare(  # noqa: PLR0917 - an argument for each option
    context: typer.Context,
    quick: Quick = False,
    dtype: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "auto",
    int8: Annotated[bool, typer.Option("--int8", help="Our layers in whole numbers.")] = False,
    repeats: Annotated[int, typer.Option(min=1, help="Counted runs of ours; the package runs once.")] = 3,
    only: Annotated[str, typer.Option(help="Rows whose name holds this, put into the kept file.")] = "",
    output: Output = None,
) -> None:
    """Measure every task on both sides, print the table of ratios, and keep the raw samples."""
    if context.invoked_subcommand is not None:
        return
    from bench.cpu import measure

    path = output or results.RESULTS / ("cpu-int8.json" if int8 else "cpu.json")
    kept = results.read(path) if only and path.exists() else None
    content: dict[str, Any] = {}
    for so_far in measure(quick=quick, dtype_name=dtype, int8=int8, repeats=repeats, only=only):
        content = so_far if kept is None else _merged(kept, so_far)
        _keep(content, path, quick=quick and output is None)
    tables.show(
        f"seconds, medians; ours in {content['dtype']}, the package in float32", tables.comparison(content)
    )
    tables.show("memory", tables.memory(content))
    print("The package's figures are one run each, those at n = 16 its figures at its batch of 4.")
    if any(row["disturbed"] for row in content["rows"]):
        print("* other processes took part of the processor: measure the row again with --only")


@app.command()
def ladder(quick: Quick = False, output: Output = None) -> None:
    """What each technique brought, in milliseconds a code."""
    from bench.ladder import climb

    content = results.document(rows=[], shape="toy" if quick else "350M")
    path = output or results.RESULTS / "ladder.json"
    for rung in climb(quick=quick):
        median_s = results.median(rung.samples)
        print(f"  {rung.name:<50} {median_s * 1e3:9.2f} ms", flush=True)
        content["rows"].append(
            {"name": rung.name, "median_s": median_s, "samples": results.as_json(rung.samples)}
        )
        _keep(content, path, quick=quick and output is None)
    tables.show("one code of a picture, half of it drawn", tables.ladder(content))


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
    pictures: Annotated[int, typer.Option(min=2, help="Pictures a batch size and checkpoint.")] = 96,
    output: Output = None,
) -> None:
    """Whether a seed draws the same picture alone and among others, by number format."""
    from bench.agreement import compare

    _show_figures("equal pictures", compare(pictures), output or results.RESULTS / "agreement.json")


@app.command("int8")
def whole_numbers(output: Output = None) -> None:
    """What int8 weights bring and cost."""
    from bench.int8 import compare

    _show_figures(
        "int8 weights: one step's products, and quality", compare(), output or results.RESULTS / "int8.json"
    )


@app.command()
def png(output: Output = None) -> None:
    """Writers of PNG files."""
    from bench.png import compare

    _show_figures("one picture to a PNG file", compare(), output or results.RESULTS / "png.json")


@app.command()
def server(
    requests: Annotated[int, typer.Option(min=100, help="Requests at 64 connections, a round.")] = 2000,
    rounds: Annotated[int, typer.Option(min=1, help="How often the servers take turns.")] = 3,
    output: Output = None,
) -> None:
    """What HTTP, queue and commit add, and throughput beside LitServe, with an engine that takes no time."""
    from bench.server import measure, ratio

    content = measure(requests, rounds)
    _show_figures("a null engine", content, output or results.RESULTS / "server.json")
    if (share := ratio(content)) is not None:
        print(f"throughput against LitServe: {share:.2f}× (must 0.7×, aim 1.2×)")


@app.command()
def cold_start(
    repeats: Annotated[int, typer.Option(min=1, help="Counted starts, behind one that is not.")] = 3,
    output: Output = None,
) -> None:
    """From `rudolph serve` to the first picture."""
    from bench.cold_start import measure

    _show_figures("a cold start", measure(repeats), output or results.RESULTS / "cold-start.json")


@app.command("tables")
def write_tables() -> None:
    """Write the kept figures into the documents that quote them."""
    for document, name, cells in tables.quoted():
        changed = tables.put(document, name, cells)
        print(f"{document.relative_to(tables.ROOT)}: {name} {'written' if changed else 'as it was'}")


def _show_figures(title: str, content: dict[str, Any], path: Path) -> None:
    tables.show(title, tables.figures(content))
    results.save(path, content)


def _merged(kept: dict[str, Any], again: dict[str, Any]) -> dict[str, Any]:
    """The kept document with the rows that were measured again."""
    rows = {row["name"]: row for row in (*kept["rows"], *again["rows"])}
    repeated = [
        *kept.get("repeated", []),
        {name: again[name] for name in ("command", "began", "load_average")},
    ]
    return {**kept, "rows": list(rows.values()), "repeated": repeated}


def _keep(content: dict[str, Any], path: Path, *, quick: bool) -> None:
    if not quick:
        results.save(path, content)


if __name__ == "__main__":
    app()
