"""Settings of torch that a CUDA backend makes; they exist without a GPU too."""

import pytest
import torch

from model.backends.cuda.numerics import use_exact_arithmetic


@pytest.fixture(autouse=True)
def _restore():
    matmul = torch.backends.cuda.matmul
    before = (
        torch.backends.cudnn.allow_tf32,
        matmul.allow_tf32,
        matmul.allow_fp16_reduced_precision_reduction,
        matmul.allow_bf16_reduced_precision_reduction,
        torch.backends.cuda.cudnn_sdp_enabled(),
    )
    yield
    torch.backends.cudnn.allow_tf32, matmul.allow_tf32, *halves, sdp = before
    matmul.allow_fp16_reduced_precision_reduction, matmul.allow_bf16_reduced_precision_reduction = halves
    torch.backends.cuda.enable_cudnn_sdp(sdp)


def test_nothing_rounds_more_than_the_weights_and_no_shape_is_planned():
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = True
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = True
    torch.backends.cuda.enable_cudnn_sdp(True)
    use_exact_arithmetic()
    assert not torch.backends.cudnn.allow_tf32
    assert torch.backends.cudnn.conv.fp32_precision != "tf32"
    assert not torch.backends.cuda.matmul.allow_tf32
    assert not torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction
    assert not torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction
    assert not torch.backends.cuda.cudnn_sdp_enabled()
