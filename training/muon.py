"""Muon in the number format that the device computes fast."""

import torch
from torch import Tensor

from model.backends.precision import trains_in_bfloat16


class Muon(torch.optim.Muon):
    """`torch.optim.Muon` with another step; its state and its settings are the same.

    The class of torch orthogonalises in bfloat16. A CPU without instructions for it then spends nearly all of
    a step there. This class uses bfloat16 only where it is faster than float32, and matrices of one shape are
    orthogonalised together.
    """

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Update all matrices with a gradient, with Nesterov momentum."""
        assert closure is None
        for group in self.param_groups:
            shapes: dict[tuple[torch.Size, torch.device], list[Tensor]] = {}
            for matrix in group["params"]:
                if matrix.grad is not None:
                    shapes.setdefault((matrix.shape, matrix.device), []).append(matrix)
            for (shape, device), matrices in shapes.items():
                updates = [self._momentum(matrix, group["momentum"]) for matrix in matrices]
                dtype = torch.bfloat16 if trains_in_bfloat16(device) else torch.float32
                steps = orthogonalise(
                    torch.stack(updates).to(dtype), group["ns_coefficients"], group["ns_steps"], group["eps"]
                )
                # Steps have the size of those of AdamW (arXiv 2502.16982, section 2.2).
                rate = group["lr"] * 0.2 * max(shape) ** 0.5
                for matrix, step in zip(matrices, steps, strict=True):
                    matrix.mul_(1 - group["lr"] * group["weight_decay"])
                    matrix.add_(step, alpha=-rate)

    def _momentum(self, matrix: Tensor, momentum: float) -> Tensor:
        """Add the gradient to the momentum; return the update before it is orthogonalised."""
        assert matrix.grad is not None
        state = self.state[matrix]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(matrix)
        buffer = state["momentum_buffer"]
        buffer.lerp_(matrix.grad, 1 - momentum)
        return matrix.grad.lerp(buffer, momentum)


def orthogonalise(
    matrices: Tensor, coefficients: tuple[float, float, float], steps: int, epsilon: float
) -> Tensor:
    """Move all singular values towards 1 by Newton-Schulz iterations (Jordan et al., 2024).

    matrices: shape = (matrices, rows, columns), in the number format of the products.
    """
    first, second, third = coefficients
    wide = matrices.shape[1] <= matrices.shape[2]
    current = matrices if wide else matrices.mT
    current = current / current.norm(dim=(1, 2), keepdim=True).clamp(min=epsilon)
    for _ in range(steps):
        gram = current @ current.mT
        polynomial = torch.baddbmm(gram, gram, gram, beta=second, alpha=third)
        current = torch.baddbmm(current, polynomial, current, beta=first)
    return current if wide else current.mT
