"""Settings of torch that decide how a CUDA device rounds, for the whole process."""

import torch


def use_exact_arithmetic() -> None:
    """Turn off what rounds more than the number format of the weights, or differs between batches.

    TF32 has ten bits of mantissa: the image encoder is float32 so that codes do not depend on it. Sums of
    partial products stay in float32. cuDNN's attention plans each new shape for up to 0.4 s and keeps every
    plan.
    """
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    torch.backends.cuda.enable_cudnn_sdp(False)
