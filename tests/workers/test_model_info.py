"""What a worker announces of its model."""

from dataclasses import replace
from pathlib import Path

from jobs.contract.requests import IMAGE_SAMPLING, TEXT_SAMPLING, Sampling, Task
from model.config import GenerationConfig, SamplingDefaults
from model.rudolph import Rudolph
from workers.process import model_info


def test_model_is_as_old_as_its_newest_file(rudolph: Rudolph, tiny_v2: Path) -> None:
    newest = max(file.stat().st_mtime for file in tiny_v2.iterdir())
    assert model_info(rudolph, tiny_v2).created_s == newest
    assert model_info(rudolph).created_s == 0


def test_its_own_sampling_stands_over_the_published(rudolph: Rudolph) -> None:
    examples = {"text2text": [{"prompt": "морда"}]}
    generation = GenerationConfig({"text2image": SamplingDefaults(0.5, None, 0.9)}, examples)
    announced = model_info(replace(rudolph, generation=generation))
    assert announced.sampling_of(Task.TEXT2IMAGE) == Sampling(0.5, IMAGE_SAMPLING.top_k, 0.9)
    assert announced.sampling_of(Task.IMAGE2TEXT) == TEXT_SAMPLING
    assert announced.sampling_of(Task.CLASSIFY) is None
    assert announced.examples == examples
