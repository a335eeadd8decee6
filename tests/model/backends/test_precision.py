import pytest
import torch

from model.backends.precision import (
    choose_decoder_dtype,
    choose_dtype,
    has_fast_bfloat16,
    has_native_bfloat16,
)
from model.backends.x86 import is_available

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def processor(tmp_path, line):
    path = tmp_path / "cpuinfo"
    path.write_text(f"processor\t: 0\nmodel name\t: bf16 avx512_bf16\n{line}\n")
    return path


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("flags\t\t: fpu avx2 avx512f avx512_bf16", True),
        ("flags\t\t: fpu avx512f amx_bf16 amx_tile", True),
        ("flags\t\t: fpu avx2 avx512f avx512_vnni", False),
        ("Features\t: fp asimd bf16", True),
        ("Features\t: fp asimd", False),
        ("bugs\t\t: avx512_bf16", False),
    ],
)
def test_bfloat16_needs_the_processors_own_instructions(tmp_path, line, expected):
    assert has_native_bfloat16(processor(tmp_path, line)) is expected


@pytest.mark.parametrize(
    ("vendor", "flags", "expected"),
    [
        ("GenuineIntel", "avx512f avx512_bf16", False),
        ("GenuineIntel", "avx512f avx512_bf16 amx_bf16", True),
        ("AuthenticAMD", "avx512f avx512_bf16", True),
        ("AuthenticAMD", "avx512f", False),
    ],
)
def test_bfloat16_of_intels_processors_is_fast_with_amx_only(tmp_path, vendor, flags, expected):
    assert has_fast_bfloat16(processor(tmp_path, f"vendor_id\t: {vendor}\nflags\t\t: {flags}")) is expected


def test_decoder_takes_the_faster_format():
    half = torch.bfloat16 if has_fast_bfloat16() else torch.float32
    assert choose_decoder_dtype(CPU, torch.bfloat16) is half
    assert choose_decoder_dtype(CPU, torch.float16) is torch.float32
    assert choose_decoder_dtype(CPU, torch.float32) is torch.float32
    assert choose_decoder_dtype(CUDA, torch.float16) is torch.float16


def test_silent_system_counts_as_without_bfloat16(tmp_path):
    assert not has_native_bfloat16(tmp_path / "absent")
    assert not has_fast_bfloat16(tmp_path / "absent")


def test_device_decides_where_nothing_is_asked():
    assert choose_dtype(CUDA) is choose_dtype(CUDA, "auto") is torch.float16
    reads_bfloat16 = has_native_bfloat16() or is_available()
    assert choose_dtype(CPU) is (torch.bfloat16 if reads_bfloat16 else torch.float32)
    assert choose_dtype(torch.device("meta")) is torch.float32


@pytest.mark.parametrize("kernels", [False, True])
def test_kernels_read_bfloat16_where_the_processor_does_not_multiply_it(kernels, monkeypatch):
    monkeypatch.setattr("model.backends.precision.has_native_bfloat16", lambda: False)
    monkeypatch.setattr("model.backends.precision.is_available", lambda: kernels)
    assert choose_dtype(CPU) is (torch.bfloat16 if kernels else torch.float32)


def test_request_decides_where_there_is_one():
    assert choose_dtype(CPU, "float16") is torch.float16
    assert choose_dtype(CUDA, torch.float32) is torch.float32


@pytest.mark.parametrize("requested", ["int8", "", torch.int64, torch.float64])
def test_other_formats_are_refused(requested):
    with pytest.raises(ValueError, match="number format"):
        choose_dtype(CPU, requested)
