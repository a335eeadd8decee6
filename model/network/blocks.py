"""The layers of the network: sandwich-LayerNorm blocks around attention and a feed-forward part.

Knows weights and the order of operations; the caller computes attention.
"""

from collections.abc import Callable

from torch import Tensor, nn

from model.config import ModelConfig

LAYER_NORM_EPSILON = 1e-5
HALF_MAX = 65504.0
"""Largest float16; the attention output is clamped to ± this, as in the reference."""

Attend = Callable[[int, Tensor], Tensor]
"""(layer, fused query-key-value) → context, of shapes (…, 3 · hidden) and (…, hidden)."""


class Attention(nn.Module):
    """The two projections around attention."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.query_key_value = nn.Linear(hidden_size, 3 * hidden_size)
        self.dense = nn.Linear(hidden_size, hidden_size)


class FeedForward(nn.Module):
    """Linear, tanh-GELU, linear; the inner width is four times the hidden size."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.dense_h_to_4h = nn.Linear(hidden_size, 4 * hidden_size)
        self.gelu = nn.GELU(approximate="tanh")
        self.dense_4h_to_h = nn.Linear(4 * hidden_size, hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.dense_4h_to_h(self.gelu(self.dense_h_to_4h(x)))


class Block(nn.Module):
    """x + LN(attention(LN x)), then x + LN(mlp(LN x)): the sandwich of CogView (arXiv 2105.13290)."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.input_layernorm = nn.LayerNorm(hidden_size, eps=LAYER_NORM_EPSILON)
        self.before_first_addition_layernorm = nn.LayerNorm(hidden_size, eps=LAYER_NORM_EPSILON)
        self.before_second_addition_layernorm = nn.LayerNorm(hidden_size, eps=LAYER_NORM_EPSILON)
        self.attention = Attention(hidden_size)
        self.post_attention_layernorm = nn.LayerNorm(hidden_size, eps=LAYER_NORM_EPSILON)
        self.mlp = FeedForward(hidden_size)

    def forward(self, x: Tensor, layer: int, attend: Attend) -> Tensor:
        context = attend(layer, self.attention.query_key_value(self.input_layernorm(x)))
        attended = self.attention.dense(context).clamp_(-HALF_MAX, HALF_MAX)
        x = x + self.before_first_addition_layernorm(attended)
        return x + self.before_second_addition_layernorm(self.mlp(self.post_attention_layernorm(x)))


class SparseStack(nn.Module):
    """The blocks and the final LayerNorm, which is applied with the head."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Block(config.hidden_size) for _ in range(config.num_layers))
        self.final_layernorm = nn.LayerNorm(config.hidden_size, eps=LAYER_NORM_EPSILON)
