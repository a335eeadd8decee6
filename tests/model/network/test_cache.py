"""The two pools of keys and values."""

import torch

from model.config import PRESETS, ModelConfig
from model.network.cache import KeyValueCache

CONFIG = ModelConfig(3, 8, 2, 5, 3, 4, 3, 5, bpe_vocab_size=50, image_codebook_size=20)


def test_a_sequence_of_the_published_size_takes_36_mebibytes():
    config = PRESETS["350M"].config
    cache = KeyValueCache(config, 1, 1, "meta", torch.float16)
    assert cache.bytes == 36 * 2**20


def test_copied_body_equals_its_source_up_to_the_length():
    cache = KeyValueCache(CONFIG, 1, 4)
    for pool in cache.body:
        pool.normal_()
    untouched = [pool[0].clone() for pool in cache.body]
    tails = [pool[:, 9:].clone() for pool in cache.body]
    cache.copy_body(2, torch.tensor([1, 3]), 9)
    for pool, first, tail in zip(cache.body, untouched, tails, strict=True):
        assert torch.equal(pool[1, :9], pool[2, :9])
        assert torch.equal(pool[3, :9], pool[2, :9])
        assert torch.equal(pool[0], first)
        assert torch.equal(pool[:, 9:], tail)


def test_copied_left_text_equals_its_source_up_to_the_length():
    cache = KeyValueCache(CONFIG, 3, 1)
    for pool in cache.left:
        pool.normal_()
    cache.copy_left(0, torch.tensor([2]), 5)
    for pool in cache.left:
        assert torch.equal(pool[2], pool[0])
        assert not torch.equal(pool[1], pool[0])
