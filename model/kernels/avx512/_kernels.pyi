# Addresses are integers; 0 stands for none.

Shape = tuple[int, int, int, int, int, int]
Linear = tuple[int, int, int, int, int]
Settings = tuple[int, int, int, int, int]
Tokens = tuple[int, int, int, int, int]

def is_supported() -> bool: ...
def has_half() -> bool: ...
def linear_bytes(rows: int, inputs: int, /) -> int: ...
def linear(
    x: int, rows: int, inputs: int, linear: Linear, outputs: int, gelu: bool, out: int, scratch: int,
    row_scales: int, threads: int, /,
) -> None: ...  # fmt: skip
def scratch_bytes(shape: Shape, tokens: int, threads: int, /) -> int: ...
def run(
    shape: Shape, layers: int, tokens: Tokens, positions: int, left_slots: int, slots: int,
    picture_slots: int, hidden: int, scratch: int, threads: int, /,
) -> None: ...  # fmt: skip
def sample_bytes(vocab: int, threads: int, /) -> int: ...
def sample(
    logits: int, rows: int, vocab: int, settings: Settings, drawn: int, scratch: int, threads: int, /
) -> None: ...
