"""How keys are read: plain PyTorch attention over the cache, the measure for faster kernels."""
