"""Compile the Triton kernels without a GPU: `python -m bench.compile_kernels --arch 75 90 --dtype bfloat16`.

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
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from model.backends.cuda.launch import TENSOR_CORES_SINCE
from model.backends.cuda.triton_attention import AttentionTuning, attend
from model.backends.cuda.triton_norm import (
    EmbeddingTables,
    TokensAt,
    TokensFrom,
    add_and_norm,
    embed_and_norm,
)
from model.backends.cuda.triton_product import MAX_ROW_BYTES, AddAndNorm, few_rows_product
from model.backends.cuda.triton_sampling import Board, SamplingColumns, draw_onto
from model.backends.cuda.triton_stretch import BLOCK, SMALL_BLOCK, attend_stretch
from model.config import PRESETS, ModelConfig
from model.network.cache import KeyValueCache
from model.network.masks import LayerKind, full_mask, key_table

ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)
"""Compute capabilities: Turing, Ampere (two), Ada, Hopper, Blackwell (two)."""
DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
ROWS = 2


class _NoDevice:
    """The part of a driver that Triton needs to compile; it launches nothing."""

    def __init__(self) -> None:
        self.arch = ARCHITECTURES[0]

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self.arch, 32)

    def get_current_device(self) -> int:
        # Triton keeps the kernels of each device, and here each architecture is one.
        return self.arch

    def get_current_stream(self, device: int) -> int:
        return device

    def get_active_torch_device(self) -> torch.device:
        return torch.device("cpu")


def _record_instead_of_launching(device: _NoDevice, compiled: list[dict[str, Any]]) -> None:
    run: Any = JITFunction.run

    def compile_only(self: Any, *args: Any, grid: Any, warmup: bool, **options: Any) -> Any:
        start = time.perf_counter()
        kernel = run(self, *args, grid=grid, warmup=True, **options)
        compiled.append(
            {
                "name": kernel.metadata.name,
                "arch": device.arch,
                "num_warps": kernel.metadata.num_warps,
                "shared_bytes": kernel.metadata.shared,
                "machine_code_bytes": len(kernel.asm["cubin"]),
                "compile_s": round(time.perf_counter() - start, 3),
                **_resources(kernel.asm["ptx"], device.arch),
            }
        )
        return kernel

    JITFunction.run = compile_only


def _resources(ptx: str, arch: int) -> dict[str, int]:
    """Return registers and spilled bytes from the report of the assembler."""
    tool = knobs.nvidia.ptxas_blackwell if arch >= 100 else knobs.nvidia.ptxas
    name = f"sm_{arch}a" if arch >= 90 else f"sm_{arch}"
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "kernel.ptx"
        source.write_text(ptx)
        report = subprocess.run(
            [tool.path, "-v", f"--gpu-name={name}", str(source), "-o", str(source) + ".cubin"],
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


def compile_all(config: ModelConfig, dtype: torch.dtype, *, tensor_cores: bool = True) -> None:
    """Call every wrapper once for each variant that a network of this architecture launches."""
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
    embed_and_norm(TokensAt(tokens, places, places), tables, norm, config, residual, branch)
    embed_and_norm(TokensFrom(tokens, 0), tables, norm, config, residual, branch)
    _compile_stretches(config, dtype, BLOCK if tensor_cores else SMALL_BLOCK)
    if hidden * dtype.itemsize <= MAX_ROW_BYTES and tensor_cores:
        _compile_products(config, norm, branch, residual)
    ones = torch.ones(ROWS)
    sampling = SamplingColumns(ones, places, ones, ones, places, places, places, places, places, ones)
    board = Board(tokens, torch.zeros_like(tokens, dtype=torch.bool), places, places, places)
    # Pictures with and without guidance, texts.
    for vocab, guided in (
        (config.image_codebook_size, False),
        (config.image_codebook_size, True),
        (config.text_vocab_size, False),
    ):
        draw_onto(torch.zeros(ROWS, vocab, dtype=dtype), sampling, board, places.clone(), guided=guided)


def _compile_stretches(config: ModelConfig, dtype: torch.dtype, block: int) -> None:
    places = torch.zeros(ROWS, dtype=torch.int64)
    cache = KeyValueCache(replace(config, num_layers=1), ROWS, ROWS, dtype=dtype)
    fused = torch.zeros(ROWS * 8, 3 * config.hidden_size, dtype=dtype)
    mask = full_mask(config, LayerKind.ROW)
    for write in (True, False):
        pools = (cache.left[0], cache.body[0])
        attend_stretch(fused, pools, places, places, mask, 3, 8, config, write=write, block=block)


def _compile_products(config: ModelConfig, norm: nn.LayerNorm, branch: Tensor, residual: Tensor) -> None:
    """Compile the products of a layer of `FewRows`, and those of both heads."""
    hidden, dtype = config.hidden_size, branch.dtype

    def product(before: Tensor | AddAndNorm, outer: int, *, gelu: bool = False) -> Tensor:
        inner = before.shape[1] if isinstance(before, Tensor) else hidden
        weight, bias = torch.zeros(outer, inner, dtype=dtype), torch.zeros(outer, dtype=dtype)
        return few_rows_product(before, weight, bias, gelu=gelu)

    add = AddAndNorm(branch, residual, residual.clone(), norm, norm)
    product(branch, 3 * hidden)
    product(branch, hidden)
    product(add, 3 * hidden)
    product(product(replace(add, clamp=True), 4 * hidden, gelu=True), hidden)
    for vocab in (config.image_codebook_size, config.text_vocab_size):
        product(branch, vocab)
        product(replace(add, last=norm), vocab)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", nargs="+", default=["350M"], choices=sorted(PRESETS))
    parser.add_argument("--arch", nargs="+", type=int, default=[90], choices=ARCHITECTURES)
    parser.add_argument("--dtype", nargs="+", default=["float16"], choices=sorted(DTYPES))
    parser.add_argument("--json", action="store_true", help="print a list of objects instead of a table")
    options = parser.parse_args()
    if knobs.runtime.interpret:
        sys.exit("TRITON_INTERPRET is set: nothing would be compiled")
    device = _NoDevice()
    driver.set_active(cast(Any, device))
    compiled: list[dict[str, Any]] = []
    _record_instead_of_launching(device, compiled)
    for device.arch in options.arch:
        for preset in options.preset:
            for dtype in options.dtype:
                count = len(compiled)
                has_cores = device.arch // 10 >= TENSOR_CORES_SINCE
                compile_all(PRESETS[preset].config, DTYPES[dtype], tensor_cores=has_cores)
                for kernel in compiled[count:]:
                    kernel |= {"preset": preset, "dtype": dtype}
    if options.json:
        print(json.dumps(compiled))
        return
    for kernel in compiled:
        print(
            f"sm_{kernel['arch']:<4} {kernel['preset']:<8} {kernel['dtype']:<9} {kernel['name']:<20}"
            f" warps {kernel['num_warps']:>2}  registers {kernel['registers']:>3}"
            f"  spilled {kernel['spilled_registers']:>3}  shared {kernel['shared_bytes']:>6} B"
        )


if __name__ == "__main__":
    main()
