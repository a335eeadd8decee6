"""`python -m bench.gpu`: what this project does on a GPU, in one command of at most eight minutes.

Needs torch, triton and this checkout. First the measurements that decide the plan, then correctness, then
the ladder of techniques, then the engine as it serves, then the published package where it is installed.
Results go to `bench/results/<gpu>.json` after every section, a table to the screen. `--device cpu --tiny`
runs every line of it at toy sizes in Triton's interpreter; its times mean nothing and are not saved.
"""

import argparse
import os
import re
import sys
import time
from pathlib import Path

MAX_S = 450.0
"""No section starts after this; the longest takes about half a minute."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--preset", default="350M")
    parser.add_argument("--tiny", action="store_true", help="toy sizes, to see that everything runs")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--checkpoint", type=Path, help="trained weights, for the acceptance of Jacobi decoding"
    )
    parser.add_argument("--max-s", type=float, default=MAX_S, help="no section starts after so many seconds")
    parser.add_argument("--output", type=Path, help="where the JSON goes")
    options = parser.parse_args()
    if options.device == "cpu":
        # Before anything imports Triton's kernels.
        os.environ.setdefault("TRITON_INTERPRET", "1")
    import torch

    if options.device != "cpu" and not torch.cuda.is_available():
        sys.exit("no CUDA device; `--device cpu --tiny` runs through everything at toy sizes")
    from bench import gpu_engine, gpu_model
    from bench.gpu_tools import RESULTS, Bench, Record, sizes

    device = torch.device(options.device)
    config, vqgan = sizes(tiny=options.tiny, preset=options.preset)
    output = options.output
    if output is None and not options.tiny:
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu-interpreted"
        output = RESULTS / f"{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-')}.json"
    bench = Bench(
        device=device,
        dtype=torch.float16 if device.type == "cuda" else torch.float32,
        config=config,
        vqgan=vqgan,
        tiny=options.tiny,
        repeats=1 if options.tiny else options.repeats,
        deadline=time.monotonic() + options.max_s,
        checkpoint=options.checkpoint,
    )
    record = Record(output)
    record.begin(bench)
    sections = [
        ("first measurements", gpu_model.first_measurements),
        ("correctness", gpu_model.correctness),
        ("ladder", gpu_model.ladder),
        ("engine", gpu_engine.serving),
        ("reference beside", gpu_engine.beside),
        ("Jacobi acceptance", gpu_engine.jacobi),
    ]
    complete = [
        record.section(bench, name, lambda measure=measure: measure(bench, record))
        for name, measure in sections
    ]
    record.save()
    if output is not None:
        print(f"written to {output}")
    if not all(complete):
        sys.exit("some sections failed or were left out; see the notes")


if __name__ == "__main__":
    main()
