"""Layer kinds, boolean masks and key tables, against the reference's masks."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.config import ModelConfig
from model.network.masks import LayerKind, full_mask, image_mask, key_table, layer_kinds
from tests.support.architectures import architectures, read_config

ROW, COL, CONV, LAST = LayerKind.ROW, LayerKind.COL, LayerKind.CONV, LayerKind.LAST_CONV


def test_layer_kinds_repeat_and_the_last_layer_is_special():
    expected = [ROW, COL, ROW, CONV, ROW, COL, ROW, LAST]
    assert layer_kinds(ModelConfig(8, 32, 2, 5, 3, 4, 3, 5)) == expected
    assert layer_kinds(ModelConfig(5, 32, 2, 5, 3, 4, 3, 5)) == [ROW, COL, ROW, CONV, LAST]


def test_last_layer_in_a_column_place_stays_a_column_layer():
    assert layer_kinds(ModelConfig(6, 32, 2, 5, 3, 4, 3, 5))[-1] is COL


@pytest.mark.parametrize("name", ["tiny_v1", "tiny_v2"])
def test_masks_equal_the_recorded_ones(name: str, request: pytest.FixtureRequest):
    folder: Path = request.getfixturevalue(name)
    config = read_config(folder)
    digests = [
        hashlib.sha256(np.packbits(full_mask(config, kind).numpy()).tobytes()).hexdigest()
        for kind in layer_kinds(config)
    ]
    assert digests == json.loads((folder / "expected.json").read_text())["layer_masks"]


@settings(derandomize=True, max_examples=40, deadline=None)
@given(architectures(), st.sampled_from(LayerKind))
def test_key_table_lists_exactly_what_the_mask_allows(config: ModelConfig, kind: LayerKind):
    mask, table = image_mask(config, kind), key_table(config, kind)
    assert table.max_keys == int(mask.sum(dim=1).max())
    for cell in range(config.image_length):
        assert table.cells[cell][table.valid[cell]].tolist() == mask[cell].nonzero().flatten().tolist()
        assert set(table.cells[cell][~table.valid[cell]].tolist()) <= {cell}


def test_published_sizes_read_few_keys():
    config = ModelConfig(24, 1024, 16, 64, 16, 64, 7, 9)
    assert {kind: key_table(config, kind).max_keys for kind in LayerKind} == {
        ROW: 17,
        COL: 16,
        CONV: 25,
        LAST: 41,
    }


def test_text_sees_everything_before_it_and_nothing_behind():
    config = ModelConfig(4, 32, 2, 5, 3, 4, 3, 5)
    for kind in LayerKind:
        mask = full_mask(config, kind)
        causal = torch.ones_like(mask).tril()
        assert torch.equal(mask[:5], causal[:5])
        assert torch.equal(mask[14:], causal[14:])
        assert mask[5:14, :5].all()
