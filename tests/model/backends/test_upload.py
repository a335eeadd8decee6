"""Host values on a device: shapes, order, and the alignment of each."""

import numpy as np
import torch

from model.backends.upload import ALIGNMENT, upload

CPU = torch.device("cpu")


def test_arrays_keep_their_values_and_shapes():
    table = [[1, 2, 3], [4, 5, -6]]
    moved = upload([table, [7], [], np.arange(40), [[]]], CPU)
    assert [tuple(tensor.shape) for tensor in moved] == [(2, 3), (1,), (0,), (40,), (1, 0)]
    assert moved[0].tolist() == table
    assert moved[3].tolist() == list(range(40))
    assert all(tensor.dtype == torch.int64 for tensor in moved)


def test_every_array_is_aligned():
    for tensor in upload([[1], [2, 3], [4] * 17, [5]], CPU):
        assert tensor.storage_offset() % ALIGNMENT == 0


def test_seeds_of_63_bits_are_exact():
    assert upload([[2**63 - 1, 2**53 + 1]], CPU)[0].tolist() == [2**63 - 1, 2**53 + 1]
