"""What the GPU measurements share: sizes, random models, clocks, graphs, the record. Measures nothing."""

import json
import platform
import statistics
import sys
import time
import traceback
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
import triton
from torch import nn

if "youtokentome" not in sys.modules:
    try:
        import youtokentome  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ImportError:
        # No text is tokenized here, and a bare GPU host need not have the package.
        sys.modules["youtokentome"] = types.ModuleType("youtokentome")

from model.config import PRESETS, ModelConfig, VqganConfig
from model.image_tokenizer import ImageTokenizer
from model.rudolph import Rudolph
from model.text_tokenizer import TextTokenizer
from model.transformer import Transformer

RESULTS = Path(__file__).parent / "results"
TINY = ModelConfig(2, 16, 2, 6, 4, 6, 3, 5, bpe_vocab_size=60, image_codebook_size=64)
TINY_VQGAN = VqganConfig(64, 32, 32, 32, 32, (1, 1, 1, 2), 1, (4,))


@dataclass(frozen=True)
class Bench:
    """Where to measure, and how much of it."""

    device: torch.device
    dtype: torch.dtype
    config: ModelConfig
    vqgan: VqganConfig
    tiny: bool
    repeats: int
    deadline: float
    """time.monotonic() after which no further section starts."""
    checkpoint: Path | None = None

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"

    def synchronize(self) -> None:
        if self.on_gpu:
            torch.cuda.synchronize(self.device)

    def time_host(self, action: Callable[[], Any], repeats: int | None = None) -> list[float]:
        """Seconds by the host's clock, from idle device to idle device, after one run that is not counted."""
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
        """Seconds a call by the device's clock: `runs` calls in a row, several times over."""
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
        """The action as a CUDA graph's replay; itself where there is no GPU."""
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
        """Lively random weights of the shape, the same for one seed."""
        with torch.device(self.device):
            network = Transformer(self.config).to(self.device)
        generator = torch.Generator(self.device).manual_seed(seed)
        with torch.no_grad():
            for name, weight in network.named_parameters():
                weight.normal_(generator=generator)
                if "layernorm" in name or name.startswith("to_logits.0"):
                    weight.mul_(0.2).add_(1.0 if name.endswith("weight") else 0.0)
                elif name.endswith("bias"):
                    weight.mul_(0.2)
                elif "embeddings" not in name:
                    weight.mul_(1.5 / weight.shape[1] ** 0.5)
        return network.eval().to(dtype or self.dtype)

    def pictures(self) -> ImageTokenizer:
        torch.manual_seed(3)
        dtype = self.dtype if self.on_gpu else torch.float32
        tokenizer = ImageTokenizer(self.vqgan).eval().to(self.device, dtype)
        # As a checkpoint is loaded: codes do not depend on the transformer's dtype.
        for part in (tokenizer.encoder, tokenizer.quant_conv, tokenizer.quantize.proj):
            cast(nn.Module, part).float()
        return tokenizer.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def rudolph(self) -> Rudolph:
        return Rudolph(
            config=self.config,
            transformer=self.network(),
            text_tokenizer=cast(TextTokenizer, None),
            image_tokenizer=self.pictures(),
            device=self.device,
            dtype=self.dtype,
            name="bench",
            revision="random",
            tasks=frozenset(),
        )


@dataclass
class Record:
    """Figures with their raw samples, in the order in which they came; written after every section."""

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
        """A figure in seconds; returns its median."""
        median = statistics.median(samples)
        row = {"section": section, "name": name, "unit": "s", "median": median, "samples": samples, **more}
        self.document["rows"].append(row)
        extra = "  ".join(
            f"{key} {value:,.4g}" for key, value in more.items() if isinstance(value, int | float)
        )
        print(f"  {name:<58}{median * 1e3:>12.4f} ms   {extra}", flush=True)
        return median

    def figure(self, section: str, name: str, value: float, unit: str, **more: Any) -> None:
        self.document["rows"].append({"section": section, "name": name, "unit": unit, "value": value, **more})
        print(f"  {name:<58}{value:>12.5g} {unit}", flush=True)

    def note(self, text: str) -> None:
        self.document["notes"].append(text)
        print(f"  note: {text}", flush=True)

    def save(self) -> None:
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps(self.document, indent=1, ensure_ascii=False)
            self.path.write_text(text + "\n", encoding="utf-8")

    def section(self, bench: Bench, name: str, measure: Callable[[], None]) -> bool:
        """Run one section; what fails is noted, and the next ones run all the same."""
        if time.monotonic() > bench.deadline:
            self.note(f"{name}: not measured, the time was up")
            return False
        print(f"{name}:", flush=True)
        start = time.monotonic()
        try:
            with torch.inference_mode():
                measure()
        except Exception as error:
            self.note(f"{name}: failed: {error!r}")
            traceback.print_exc()
            return False
        finally:
            self.document["rows"].append(
                {"section": name, "name": "section", "unit": "s", "value": time.monotonic() - start}
            )
            self.save()
        return True


def sizes(*, tiny: bool, preset: str) -> tuple[ModelConfig, VqganConfig]:
    return (TINY, TINY_VQGAN) if tiny else (PRESETS[preset].config, VqganConfig())
