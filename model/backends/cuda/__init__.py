"""Kernels in Triton and captured graphs, for CUDA devices. Importing this package imports no Triton."""
