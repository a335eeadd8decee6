"""`python -m bench.gpu`: speed and correctness on a GPU, in one command of at most eight minutes.

Needs torch, Triton, NumPy, Pillow and this checkout. Every section runs in a process of its own, so that an
error of the device ends one section only. `--device cpu --tiny` runs all code at toy sizes in Triton's
interpreter; its times have no meaning.
"""

import argparse
import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
SECTIONS = {
    "first": "bench.gpu_first:first_measurements",
    "correctness": "bench.gpu_correctness:correctness",
    "ladder": "bench.gpu_step:ladder",
    "profile": "bench.gpu_step:profile",
    "engine": "bench.gpu_engine:serving",
    "arrivals": "bench.gpu_traffic:arrivals",
    "shapes": "bench.gpu_traffic:first_seen_shapes",
    "agreement": "bench.gpu_traffic:agreement",
    "tuning": "bench.gpu_step:tuning",
    "reference": "bench.gpu_engine:published_package",
}
"""Module and function of each section, the most important first."""
MAX_S = 450.0
"""Seconds of all sections together."""
SECTION_S = 120.0
"""Seconds after which a section is ended."""
NO_DEVICE = 69
"""Exit code of a section on a machine without a GPU."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--preset", default="350M")
    parser.add_argument("--tiny", action="store_true", help="toy sizes, to check that everything runs")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", choices=SECTIONS, help="one section, in this process")
    parser.add_argument("--max-s", type=float, default=MAX_S, help="seconds of all sections together")
    parser.add_argument("--section-s", type=float, default=SECTION_S, help="seconds of one section")
    parser.add_argument("--output", type=Path, help="file for the results; default: bench/results/<gpu>.json")
    options = parser.parse_args()
    if options.only is not None:
        _run_one(options)
        return
    document = _run_all(options)
    failed = [name for name, section in document["sections"].items() if section["state"] != "complete"]
    if failed:
        sys.exit(f"These sections are not complete, see the notes: {', '.join(failed)}.")


# One section ------------------------------------------------------------------------------------------


def _run_one(options: argparse.Namespace) -> None:
    if options.device == "cpu":
        # Before anything imports Triton's kernels.
        os.environ.setdefault("TRITON_INTERPRET", "1")
    import torch

    if options.device != "cpu" and not torch.cuda.is_available():
        sys.stderr.write("There is no CUDA device. `--device cpu --tiny` runs everything at toy sizes.\n")
        sys.exit(NO_DEVICE)
    from bench.gpu_tools import Bench, Record, sizes

    device = torch.device(options.device)
    config, vqgan = sizes(tiny=options.tiny, preset=options.preset)
    bench = Bench(
        device=device,
        dtype=torch.float16 if device.type == "cuda" else torch.float32,
        config=config,
        vqgan=vqgan,
        tiny=options.tiny,
        repeats=1 if options.tiny else options.repeats,
    )
    record = Record(options.output)
    record.begin(bench)
    module, _, function = SECTIONS[options.only].partition(":")
    with torch.inference_mode():
        getattr(importlib.import_module(module), function)(bench, record)
    record.save()


# All sections -----------------------------------------------------------------------------------------


def _run_all(options: argparse.Namespace) -> dict[str, Any]:
    """Run each section in its own process; write the results after each of them."""
    document: dict[str, Any] = {"rows": [], "notes": [], "sections": {}}
    deadline = time.monotonic() + options.max_s
    output: Path | None = options.output
    for name in SECTIONS:
        print(f"{name}:", flush=True)
        left_s = min(options.section_s, deadline - time.monotonic())
        start = time.monotonic()
        part, state = _section(name, options, left_s) if left_s > 0 else ({}, "not run: the time was used up")
        document["sections"][name] = {"state": state, "s": round(time.monotonic() - start, 1)}
        if state != "complete":
            document["notes"].append(f"{name}: {state}")
            print(f"  {name}: {state}", flush=True)
        for key in ("rows", "notes"):
            document[key] += part.pop(key, [])
        document = {**part, **document, "command": "python -m bench.gpu " + " ".join(sys.argv[1:])}
        if output is None and not options.tiny and "machine" in document:
            output = RESULTS / f"{_file_name(document['machine'].get('gpu', 'cpu-interpreted'))}.json"
        if output is not None:
            output.parent.mkdir(parents=True, exist_ok=True)
            output.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if output is not None:
        print(f"written to {output}")
    return document


def _section(name: str, options: argparse.Namespace, limit_s: float) -> tuple[dict[str, Any], str]:
    """Run a section; return its document, as far as it came, and its state. Exits if there is no GPU."""
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / "part.json"
        command = [
            *(sys.executable, "-m", "bench.gpu", "--only", name, "--output", str(part)),
            *("--device", options.device, "--preset", options.preset, "--repeats", str(options.repeats)),
            *(["--tiny"] if options.tiny else []),
        ]
        try:
            code = subprocess.run(command, check=False, timeout=limit_s).returncode
        except subprocess.TimeoutExpired:
            state = f"ended after {limit_s:.0f} s"
        else:
            state = "complete" if code == 0 else f"failed with code {code}"
            if code == NO_DEVICE:
                sys.exit(NO_DEVICE)
        document = json.loads(part.read_text(encoding="utf-8")) if part.exists() else {}
        return document, state


def _file_name(gpu: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", gpu.lower()).strip("-")


if __name__ == "__main__":
    main()
