"""Shared by the GPU benchmarks: sizes, random models, clocks, graphs, the result file."""

import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
import triton
from torch import nn

from bench import published, results
from model.config import PRESETS, ModelConfig, VqganConfig
from model.image_tokenizer import ImageTokenizer
from model.network.transformer import Transformer
from model.rudolph import Rudolph
from model.text_tokenizer import TextTokenizer

TINY = ModelConfig(2, 16, 2, 6, 4, 6, 3, 5, bpe_vocab_size=60, image_codebook_size=64)
TINY_VQGAN = VqganConfig(64, 32, 32, 32, 32, (1, 1, 1, 2), 1, (4,))


@dataclass(frozen=True)
class Bench:
    """The device, the sizes and the limits of a run."""

    device: torch.device
    dtype: torch.dtype
    config: ModelConfig
    vqgan: VqganConfig
    tiny: bool
    repeats: int

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"

    def synchronize(self) -> None:
        if self.on_gpu:
            torch.cuda.synchronize(self.device)

    def time_host(self, action: Callable[[], Any], repeats: int | None = None) -> list[float]:
        """Time runs by the host's clock, each from idle device to idle device, after one warm-up run."""
        action()
        samples: list[float] = []
        for _ in range(repeats or self.repeats):
            self.synchronize()
            start = time.perf_counter()
            action()
            self.synchronize()
            samples.append(time.perf_counter() - start)
        return samples

    def time_device(self, action: Callable[[], Any], runs: int = 20) -> list[float]:
        """Time calls by the device's clock; each sample is the mean of `runs` calls in a row."""
        if not self.on_gpu:
            return self.time_host(action, 2)
        for _ in range(3):
            action()
        samples: list[float] = []
        for _ in range(self.repeats):
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            for _ in range(runs):
                action()
            end.record()
            end.synchronize()
            samples.append(start.elapsed_time(end) / 1000 / runs)
        return samples

    def captured(self, action: Callable[[], Any]) -> Callable[[], Any]:
        """Return the replay of a CUDA graph of the action; without a GPU the action."""
        if not self.on_gpu:
            return action
        stream = torch.cuda.Stream(self.device)
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            action()
            action()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            action()
        return graph.replay

    def network(self, dtype: torch.dtype | None = None, seed: int = 1) -> Transformer:
        """Return a network with random weights from a seed: attention is not uniform, and logits differ."""
        with torch.device(self.device):
            network = Transformer(self.config).to(self.device)
        published.randomise(network, seed)
        return network.eval().to(dtype or self.dtype)

    def image_tokenizer(self) -> ImageTokenizer:
        torch.manual_seed(3)
        dtype = self.dtype if self.on_gpu else torch.float32
        tokenizer = ImageTokenizer(self.vqgan).eval().to(self.device, dtype)
        # As in a loaded checkpoint: codes do not depend on the dtype of the transformer.
        for part in (tokenizer.encoder, tokenizer.quant_conv, tokenizer.quantize.proj):
            cast(nn.Module, part).float()
        return tokenizer.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def rudolph(self) -> Rudolph:
        return Rudolph(
            config=self.config,
            transformer=self.network(),
            text_tokenizer=cast(TextTokenizer, None),
            image_tokenizer=self.image_tokenizer(),
            device=self.device,
            dtype=self.dtype,
            name="bench",
            revision="random",
            tasks=frozenset(),
        )


@dataclass
class Record:
    """Figures with quantiles of their samples, in order; written after each of them."""

    path: Path | None
    document: dict[str, Any] = field(default_factory=dict[str, Any])

    def begin(self, bench: Bench) -> None:
        machine: dict[str, Any] = {"system": platform.system(), "device": str(bench.device)}
        if bench.on_gpu:
            properties = torch.cuda.get_device_properties(bench.device)
            machine |= {
                "gpu": properties.name,
                "memory_bytes": properties.total_memory,
                "multiprocessors": properties.multi_processor_count,
            }
        self.document = {
            "command": "python -m bench.gpu " + " ".join(sys.argv[1:]),
            "machine": machine,
            "versions": {
                "python": platform.python_version(),
                "torch": torch.__version__,
                "cuda": torch.version.cuda,
                "triton": triton.__version__,
            },
            "dtype": str(bench.dtype).removeprefix("torch."),
            "tiny": bench.tiny,
            "rows": [],
            "notes": [],
        }

    def seconds(self, section: str, name: str, samples: list[float], **more: Any) -> float:
        """Add a figure in seconds; return its median."""
        median = statistics.median(samples)
        row = {"section": section, "name": name, "unit": "s", "median": median}
        row |= {"seconds": results.quantiles(samples, 9), **more}
        self._add(row)
        extra = "  ".join(
            f"{key} {value:,.4g}" for key, value in more.items() if isinstance(value, int | float)
        )
        print(f"  {name:<58}{median * 1e3:>12.4f} ms   {extra}", flush=True)
        return median

    def figure(self, section: str, name: str, value: float, unit: str, **more: Any) -> None:
        self._add({"section": section, "name": name, "unit": unit, "value": value, **more})
        print(f"  {name:<58}{value:>12.5g} {unit}", flush=True)

    def note(self, text: str) -> None:
        self.document["notes"].append(text)
        print(f"  note: {text}", flush=True)

    def save(self) -> None:
        if self.path is not None:
            results.save(self.path, self.document)

    def _add(self, row: dict[str, Any]) -> None:
        """Add a figure to the file at once: a later one may end the process."""
        self.document["rows"].append(row)
        self.save()


def sizes(*, tiny: bool, preset: str) -> tuple[ModelConfig, VqganConfig]:
    return (TINY, TINY_VQGAN) if tiny else (PRESETS[preset].config, VqganConfig())
