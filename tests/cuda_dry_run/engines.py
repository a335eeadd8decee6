"""Networks and engines of the published sizes on a device that computes nothing."""

from dataclasses import replace
from typing import cast

import torch

from model.backends.cuda.backend import CudaBackend
from model.config import PRESETS, ModelConfig, VqganConfig
from model.image_tokenizer import ImageTokenizer
from model.network.layout import Segment
from model.network.transformer import Transformer
from model.rudolph import Rudolph
from model.tasks import Ids, caption_slice, text2text_slice
from model.text_tokenizer import TextTokenizer
from workers.engine.engine import Engine
from workers.engine.settings import EngineSettings
from workers.engine.work import Generate, Sampling, Score, ScoredSequence

SMALL_VQGAN = VqganConfig(channels=32, z_channels=32, embed_dim=32, num_res_blocks=1)


def network_of(
    config: ModelConfig, device: str = "cuda:0", dtype: torch.dtype = torch.float16
) -> Transformer:
    with torch.device("meta"):
        network = Transformer(config)
    for module in network.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            fake = torch.empty(weight.shape, dtype=dtype, device=device)
            module._parameters[name] = torch.nn.Parameter(fake, requires_grad=False)
        for name, buffer in list(module.named_buffers(recurse=False)):
            module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype, device=device)
    return network


def tokenizer_of(config: VqganConfig, device: str = "cuda:0") -> ImageTokenizer:
    with torch.device("meta"):
        tokenizer = ImageTokenizer(config)
    for name, part in tokenizer.named_modules():
        is_exact = name.startswith(("encoder", "quant_conv", "quantize.proj"))
        for key, weight in list(part.named_parameters(recurse=False)):
            fake = torch.empty(
                weight.shape, dtype=torch.float32 if is_exact else torch.float16, device=device
            )
            part._parameters[key] = torch.nn.Parameter(fake, requires_grad=False)
        for key, buffer in list(part.named_buffers(recurse=False)):
            part._buffers[key] = torch.empty(buffer.shape, dtype=torch.float16, device=device)
    return tokenizer


# The shapes of 350M in a few layers, one of each kind: every layer is given the device alike.
CONFIG = replace(PRESETS["350M"].config, num_layers=4)


def engine_of(config: ModelConfig = CONFIG, num_slots: int = 16, device: str = "cuda:0") -> Engine:
    network, tokenizer = network_of(config, device), tokenizer_of(SMALL_VQGAN, device)
    rudolph = Rudolph(
        config=config,
        transformer=network,
        text_tokenizer=cast(TextTokenizer, None),
        image_tokenizer=tokenizer,
        device=torch.device(device),
        dtype=torch.float16,
        name="dry run",
        revision="none",
        tasks=frozenset(),
    )
    return Engine(rudolph, EngineSettings(num_slots=num_slots), CudaBackend(network, tokenizer))


def left_text(config: ModelConfig, number: int = 0) -> Ids:
    return tuple(4 + (number + index) % 1000 for index in range(config.left_text_length))


def image_of(config: ModelConfig, number: int = 0) -> Ids:
    return tuple((number + index) % 100 for index in range(config.image_length))


def drawing(config: ModelConfig, *, seeds: int = 1, number: int = 0, guidance: float = 0.0) -> Generate:
    left = left_text(config, number)
    return Generate(
        Segment.IMAGE,
        left,
        tuple(range(seeds)),
        Sampling(1.0, 768, 0.99),
        guidance=guidance,
        uncond_left=left_text(config, 999) if guidance else (),
    )


def captioning(config: ModelConfig, *, number: int = 0, prompt: int = 1, seeds: int = 1) -> Generate:
    return Generate(
        Segment.RIGHT_TEXT,
        left_text(config, 500),
        tuple(range(seeds)),
        Sampling(0.9, 64, 0.8),
        image=image_of(config, number),
        right=tuple(range(2, 2 + prompt)),
        max_tokens=config.right_text_length,
        text_slice=caption_slice(config),
    )


def continuing(config: ModelConfig, *, prompt: int = 5) -> Generate:
    return Generate(
        Segment.LEFT_TEXT,
        tuple(range(2, 2 + prompt)),
        (1,),
        Sampling(0.9, 64, 0.8),
        text_slice=text2text_slice(config),
    )


def classifying(config: ModelConfig, classes: int, *, longest: int = 7, number: int = 0) -> Score:
    return Score(
        tuple(
            ScoredSequence(
                left_text(config, 500),
                image_of(config, number),
                (2, 5, *(6 + nth % 90 for nth in range(1 + index % longest)), 3),
            )
            for index in range(classes)
        ),
        right=True,
    )
