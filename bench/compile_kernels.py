"""Compile the Triton kernels for Hopper without a GPU: `python -m bench.compile_kernels`.

Says what the compiler made of them (registers, spills, shared memory), for the shapes of a preset; runs
nothing.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, cast

import torch
import triton
from torch import Tensor, nn
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from model.config import PRESETS, ModelConfig
from model.kernels.triton_attention import AttentionTuning, attend
from model.kernels.triton_norm import EmbeddingTables, add_and_norm, embed_and_norm
from model.kernels.triton_sampling import Board, DrawRows, draw_onto
from model.masks import LayerKind, key_table

HOPPER = GPUTarget("cuda", 90, 32)
ROWS = 2


class _NoDevice:
    """What Triton asks a driver for before it compiles; launching is never asked for."""

    def get_current_target(self) -> GPUTarget:
        return HOPPER

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return device

    def get_active_torch_device(self) -> torch.device:
        return torch.device("cpu")


def _record_instead_of_launching(compiled: list[dict[str, Any]]) -> None:
    run: Any = JITFunction.run

    def compile_only(self: Any, *args: Any, grid: Any, warmup: bool, **options: Any) -> Any:
        start = time.perf_counter()
        kernel = run(self, *args, grid=grid, warmup=True, **options)
        compiled.append(
            {
                "name": kernel.metadata.name,
                "num_warps": kernel.metadata.num_warps,
                "shared_bytes": kernel.metadata.shared,
                "machine_code_bytes": len(kernel.asm["cubin"]),
                "compile_s": round(time.perf_counter() - start, 3),
                **_resources(kernel.asm["ptx"]),
            }
        )
        return kernel

    JITFunction.run = compile_only


def _resources(ptx: str) -> dict[str, int]:
    """Registers and spilled bytes, as the assembler reports them."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "kernel.ptx"
        source.write_text(ptx)
        report = subprocess.run(
            [knobs.nvidia.ptxas.path, "-v", "--gpu-name=sm_90a", str(source), "-o", str(source) + ".cubin"],
            capture_output=True,
            text=True,
            check=True,
        ).stderr
    registers = re.search(r"Used (\d+) registers", report)
    spilled = re.search(r"(\d+) bytes spill stores", report)
    return {
        "registers": int(registers.group(1)) if registers else -1,
        "spilled_registers": int(spilled.group(1)) // 4 if spilled else -1,
    }


def compile_all(config: ModelConfig, dtype: torch.dtype) -> None:
    """Call every wrapper once for each variant that a decode step of this architecture launches."""
    hidden = config.hidden_size
    places = torch.zeros(ROWS, dtype=torch.int64)
    body_length = config.image_length + config.right_text_length

    def pool(length: int) -> Tensor:
        return torch.zeros(ROWS, length, 2, config.num_heads, config.head_size, dtype=dtype)

    for kind in LayerKind:
        cells = key_table(config, kind).cells.to(torch.int32)
        fused = torch.zeros(ROWS, 3 * hidden, dtype=dtype)
        left, body = pool(config.left_text_length), pool(body_length)
        attend(fused, left, body, places, places, places, cells, config, AttentionTuning())
    norm = nn.LayerNorm(hidden, dtype=dtype)
    branch, residual = torch.zeros(ROWS, hidden, dtype=dtype), torch.zeros(ROWS, hidden)
    add_and_norm(branch, residual, norm, norm, branch.clone(), clamp=True)
    add_and_norm(branch, residual, norm, norm, branch.clone())
    add_and_norm(branch, residual, norm, norm, branch.clone(), last=norm)
    table = torch.zeros(4, hidden, dtype=dtype)
    tokens = torch.zeros(ROWS, config.total_length, dtype=torch.int64)
    tables = EmbeddingTables(table, table, table, table, table, table)
    embed_and_norm(tokens, places, places, tables, norm, config, residual, branch)
    ones = torch.ones(ROWS)
    rows = DrawRows(ones, places, ones, places, places, places, places, places, ones)
    board = Board(tokens, torch.zeros_like(tokens, dtype=torch.bool), places, places, places)
    # Pictures with and without guidance, texts.
    for vocab, guided in (
        (config.image_codebook_size, False),
        (config.image_codebook_size, True),
        (config.text_vocab_size, False),
    ):
        draw_onto(torch.zeros(ROWS, vocab, dtype=dtype), rows, board, places.clone(), guided=guided)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="350M", choices=sorted(PRESETS))
    parser.add_argument("--json", action="store_true", help="print a list of objects instead of a table")
    options = parser.parse_args()
    if knobs.runtime.interpret:
        sys.exit("TRITON_INTERPRET is set: nothing would be compiled")
    driver.set_active(cast(Any, _NoDevice()))
    compiled: list[dict[str, Any]] = []
    _record_instead_of_launching(compiled)
    compile_all(PRESETS[options.preset].config, torch.float16)
    if options.json:
        print(json.dumps(compiled))
        return
    print(f"triton {triton.__version__}, sm_90, {options.preset}, float16")
    for kernel in compiled:
        print(
            f"{kernel['name']:<22} warps {kernel['num_warps']:>2}  registers {kernel['registers']:>3}"
            f"  spilled {kernel['spilled_registers']:>3}  shared {kernel['shared_bytes']:>5} B"
        )


if __name__ == "__main__":
    main()
