"""Small files that would hang the reader or fill the memory. Each is refused at once, with the file's name.

Every test has an address space of a few gigabytes and ten seconds, so a bound that fails ends the test.
"""

import io
import json
import pickle
import resource
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Generator

import pytest
import torch

from tests.model.checkpoint_folders import TRANSFORMER, VQGAN, edit_config, edit_transformer, refusal

pytestmark = pytest.mark.timeout(30)
SPARE_BYTES = 2 << 30


@pytest.fixture(autouse=True)
def _little_memory() -> Generator[None]:
    """Allow two gigabytes more than the process has."""
    with open("/proc/self/statm", encoding="ascii") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + SPARE_BYTES, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def archive(program: bytes, *, compression: int = zipfile.ZIP_STORED, data: bytes = b"") -> bytes:
    """A file of PyTorch with `program` as its list of tensors and one storage."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", compression) as file:
        file.writestr("archive/data.pkl", program)
        file.writestr("archive/version", b"3\n")
        file.writestr("archive/byteorder", b"little")
        file.writestr("archive/data/0", data)
    return sink.getvalue()


def tensor_program(count: int, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0) -> bytes:
    """A dictionary with one float32 tensor over a storage that claims `count` elements."""

    class Storage:
        pass

    class Pickler(pickle.Pickler):
        def persistent_id(self, value: object) -> object:
            return ("storage", torch.FloatStorage, "0", "cpu", count) if isinstance(value, Storage) else None

        def reducer_override(self, value: object) -> object:
            if value is marker:
                hooks: OrderedDict[str, object] = OrderedDict()
                arguments = (Storage(), offset, shape, strides, False, hooks)
                return torch._utils._rebuild_tensor_v2, arguments
            return NotImplemented

    class Marker:
        pass

    marker = Marker()
    sink = io.BytesIO()
    Pickler(sink, protocol=2).dump({"to_logits.1.bias": marker})
    return sink.getvalue()


def call(function: str, *arguments: int) -> bytes:
    module, name = function.rsplit(".", 1)
    numbers = b"".join(b"J" + struct.pack("<i", number) for number in arguments)
    return b"\x80\x02}X\x01\x00\x00\x00ac" + f"{module}\n{name}\n".encode() + b"(" + numbers + b"tRs."


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (archive(pickle.dumps({"a": "x" * (1 << 28)}, 2), compression=zipfile.ZIP_DEFLATED), "compressed"),
        (archive(tensor_program(10**12, (264,), (1,))), "larger than the file"),
        (archive(tensor_program(264, (10**11,), (1,)), data=bytes(1056)), "larger than its storage"),
        (archive(tensor_program(264, (10**6, 10**5), (0, 0)), data=bytes(1056)), "larger than its storage"),
        (archive(tensor_program(264, (264,), (0,)), data=bytes(1056)), "larger than its storage"),
        (archive(tensor_program(264, (264,), (1,), 10**9), data=bytes(1056)), "larger than its storage"),
        (archive(call("builtins.bytearray", 2**31 - 1)), "Python objects"),
        (archive(call("torch._utils._rebuild_meta_tensor_no_storage", 1)), "Python objects"),
        (archive(call("builtins.set", 1)), "Python objects"),
        (archive(b"\x80\x02" + b"(" * 1_000_000 + b"."), "damaged"),
        (archive(b"\x80\x02}h\x07K\x01s."), "damaged"),
        (archive(b"\x80\x02}c\n"), "damaged"),
        (archive(b""), "damaged"),
        (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19." * 5, "damaged"),
    ],
)
@pytest.mark.parametrize("name", [TRANSFORMER, VQGAN])
def test_a_bomb_is_refused(folder, name, data, words):
    (folder / name).write_bytes(data)
    message = refusal(folder)
    assert name in message
    assert any(word in message for word in words.split("|")), message


def test_a_tuple_whose_hash_never_ends_is_refused(folder):
    body = b"\x80\x02})q\x00"
    for level in range(60):
        body += b"h" + bytes([level]) + b"\x86q" + bytes([level + 1])  # (before, before): one is on the stack
    (folder / TRANSFORMER).write_bytes(archive(body + b"K\x01s."))
    assert "nested tuples" in refusal(folder)


def test_a_legacy_file_with_a_huge_storage_is_refused(folder):
    tensors = {"to_logits.1.bias": torch.zeros(264)}
    sink = io.BytesIO()
    torch.save(tensors, sink, _use_new_zipfile_serialization=False)
    data = sink.getvalue()
    count = struct.pack("<H", 264)
    assert b"M" + count in data
    (folder / TRANSFORMER).write_bytes(data.replace(b"M" + count, b"J" + struct.pack("<i", 2**31 - 1)))
    assert "larger than the file" in refusal(folder)


def test_two_records_of_one_name_are_refused(folder):
    sink = io.BytesIO(archive(pickle.dumps({}, 2)))
    with zipfile.ZipFile(sink, "a") as file, pytest.warns(UserWarning, match="Duplicate"):
        file.writestr("archive/data.pkl", pickle.dumps({"a": 1}, 2))
    (folder / TRANSFORMER).write_bytes(sink.getvalue())
    assert "two records with the same name" in refusal(folder)


def test_many_views_of_one_storage_are_refused(folder):
    one = torch.zeros(264, 64)
    edit_transformer(
        folder, lambda tensors: tensors.update({f"view{index}": one.view(-1) for index in range(200)})
    )
    assert "larger than the file" in refusal(folder)


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"num_layers": 10**6}, "num_layers"),
        ({"image_tokens_per_dim": 10**5}, "image_tokens_per_dim"),
        ({"l_text_seq_length": 4096, "r_text_seq_length": 4096, "vocab_size": 9000}, "positions"),
        ({"hidden_size": 10**9}, "hidden_size"),
        ({"num_attention_heads": 10**9}, "num_attention_heads"),
        ({"vocab_size": 2**40}, "vocab_size"),
        ({"image_vocab_size": 2**63 - 1}, "image_vocab_size"),
        ({"text_special_tokens": 2**40}, "text_special_tokens"),
        ({"kernel_size": 10**9}, "kernel_size"),
        ({"vae": {"num_res_blocks": 10**7}}, "vae.num_res_blocks"),
        ({"vae": {"ch_mult": [1] * 10**5}}, "vae.ch_mult"),
        ({"vae": {"ch_mult": []}}, "vae.ch_mult"),
        ({"vae": {"ch": 10**9}}, "vae.ch"),
        ({"vae": {"embed_dim": 10**9}}, "vae.embed_dim"),
        ({"vae": {"resolution": 10**9}}, "vae.resolution"),
        ({"vae": {"attn_resolutions": [8] * 1000}}, "vae.attn_resolutions"),
        ({"vae": {"num_groups": 10**9}}, "vae.num_groups"),
        ({"vae": {"num_groups": 7}}, "vae"),
        ({"name": "x" * 10**6}, "name"),
        ({"name": "a\x1b[31mb"}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "\ud800"}, "config.json"),
    ],
)  # fmt: skip
def test_sizes_and_names_out_of_range_are_refused_by_name(folder, fields, name):
    if "vae" in fields:
        fields = {"vae": json.loads((folder / "config.json").read_text())["vae"] | fields["vae"]}
    edit_config(folder, **fields)
    message = refusal(folder)
    assert "config.json" in message
    assert name in message
    assert len(message) < 500


def test_a_config_larger_than_any_is_refused_unread(folder):
    with (folder / "config.json").open("wb") as file:
        file.truncate(1 << 33)
    assert "config.json: The file is larger" in refusal(folder)


def test_names_of_tensors_are_shown_without_control_characters_and_cut(folder):
    names = ("a\x1b[2Jb", "c" * 10**6)
    edit_transformer(folder, lambda tensors: tensors.update({name: torch.ones(2) for name in names}))
    message = refusal(folder)
    assert "\x1b" not in message
    assert len(message) < 1500
