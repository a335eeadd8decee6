"""GPU benchmarks' checks: the kernels against plain PyTorch, and the whole model against float32."""

import torch
from torch.nn import functional

from bench.gpu_step import StepCase
from bench.gpu_tools import Bench, Record
from model.backends.cuda.fused_step import FusedStep, StepInputs
from model.backends.cuda.triton_sampling import draw
from model.network.cache import KeyValueCache
from model.network.layout import StepLayout
from model.network.sampler import SamplingBatch, sample
from model.network.transformer import Transformer


def correctness(bench: Bench, record: Record) -> None:
    """Compare kernels with plain PyTorch, then the whole model in this dtype with float32."""
    exact = bench.network(torch.float32)
    rows = 2 if bench.tiny else 16
    case = StepCase(bench, exact, rows)
    # Over all three segments, the ends included.
    places = torch.linspace(0, bench.config.total_length - 1, rows).long().tolist()
    case.positions = torch.tensor(places, device=bench.device)
    case.left_slots = torch.zeros_like(case.slots)
    step = FusedStep(exact)
    got = step.hidden(StepInputs(case.tokens, case.positions, case.left_slots, case.slots), case.cache)[0]
    expected = exact.decode(
        case.tokens[case.slots, case.positions],
        case.positions,
        case.cache,
        case.left_slots,
        case.slots,
        layout=StepLayout.of(bench.config, places),
    )
    error = (got - expected).norm() / expected.norm()
    record.figure("correctness", "fused step against plain, float32", float(error), "relative error")
    codes = bench.config.image_codebook_size
    inputs = StepInputs(case.tokens, case.positions, case.left_slots, case.slots)
    logits = step.logits(inputs, case.cache, codes, is_image=True)
    plain = exact.image_logits(expected, codes)
    error = (logits - plain).norm() / plain.norm()
    record.figure(
        "correctness", "logits of a few rows against plain, float32", float(error), "relative error"
    )
    alone = step.logits(
        StepInputs(case.tokens, case.positions[:1], case.left_slots[:1], case.slots[:1]),
        case.cache,
        codes,
        is_image=True,
    )
    equal = float((alone == logits[:1]).all())
    record.figure("correctness", f"logits of a sequence equal alone and among {rows}", equal, "of 1")
    logits = torch.randn(rows * 8, bench.config.image_codebook_size, device=bench.device) * 3
    settings = SamplingBatch.of(
        temperature=[0.9] * len(logits),
        top_k=[50] * len(logits),
        top_p=[0.95] * len(logits),
        seeds=list(range(len(logits))),
        positions=[5] * len(logits),
        device=bench.device,
    )
    equal = (draw(logits, settings) == sample(logits, settings)).float().mean()
    record.figure("correctness", "draws equal to the plain sampler's", float(equal), "of 1")
    _whole_model(bench, record, exact)


def _whole_model(bench: Bench, record: Record, exact: Transformer) -> None:
    """Share of greedy codes of the fused steps in this dtype that the float32 network would draw too."""
    config, rows = bench.config, 2 if bench.tiny else 4
    network = bench.network()
    cache = KeyValueCache(config, rows, rows, bench.device, bench.dtype)
    tokens = torch.zeros(rows, config.total_length, dtype=torch.int64, device=bench.device)
    tokens[:, : config.left_text_length] = torch.randint(
        4, config.bpe_vocab_size, (rows, config.left_text_length), device=bench.device
    )
    every = torch.arange(rows, device=bench.device)
    hidden = network.prefill(tokens[:, : config.image_start], cache, every, every)[:, -1]
    tokens[:, config.image_start] = network.image_logits(hidden, config.image_codebook_size).argmax(1)
    step = FusedStep(network)
    for place in range(config.image_start, config.right_start - 1):
        at = StepInputs(tokens, torch.full_like(every, place), every, every)
        normed = step.hidden(at, cache)[1]
        tokens[:, place + 1] = step.image_logits(normed, config.image_codebook_size).argmax(1)
    given = tokens[:, : config.right_start]
    codes = given[:, config.image_start :]

    def judged(by: Transformer) -> tuple[float, float]:
        states = by.encode(given)[:, config.image_start - 1 : -1]
        logits = by.image_logits(states, config.image_codebook_size).float()
        losses = functional.cross_entropy(logits.flatten(0, 1), codes.flatten())
        return float((logits.argmax(-1) == codes).float().mean()), float(losses.exp())

    agreement, ppl = judged(exact)
    own_agreement, own_ppl = judged(network)
    record.figure("correctness", "greedy codes that float32 would draw too", agreement, "of 1")
    record.figure("correctness", "greedy codes that its own whole pass draws too", own_agreement, "of 1")
    record.figure("correctness", "ppl against float32", own_ppl / ppl - 1, "relative error")
