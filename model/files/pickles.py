"""Reads the program of a PyTorch file without running it, and refuses one that does more than name tensors.

PyTorch's restricted reader runs no code of a file, but a small file can make it hang or fill the memory:
tuples in tuples whose hash takes exponential time, functions that allocate, tensors that are larger than
their storage, compressed records. Opens files; creates no tensor.
"""

import math
import pickletools
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

ZIP_MAGIC = b"PK\x03\x04"
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
"""First value of the format before PyTorch 1.6. Four more pickles and the storages follow it."""
LEGACY_PICKLES = 5
MAX_PICKLE_BYTES = 64 << 20
MAX_TUPLE_NODES = 1000
MAX_HASHED_NODES = 10_000_000

# A file of a training run also holds objects of these packages. They are read as empty shells.
BOOKKEEPING_PACKAGES = ("pytorch_lightning.", "lightning.", "lightning_fabric.", "omegaconf.", "numpy.")

_REBUILD_TENSOR = frozenset({"torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2"})
_ITEM_BYTES = {
    "Double": 8, "Float": 4, "Half": 2, "BFloat16": 2,
    "Long": 8, "Int": 4, "Short": 2, "Char": 1, "Byte": 1, "Bool": 1,
}  # fmt: skip
_STORAGES = {f"torch.{name}Storage": item_bytes for name, item_bytes in _ITEM_BYTES.items()}
_DTYPES = ("float16", "float32", "float64", "bfloat16", "int8", "int16", "int32", "int64", "uint8", "bool")
_GLOBALS = frozenset(
    {
        "collections.OrderedDict",
        "_codecs.encode",
        "torch.Size",
        "torch.device",
        "torch._utils._rebuild_parameter",
        *_REBUILD_TENSOR,
        *_STORAGES,
        *(f"torch.{name}" for name in _DTYPES),
    }
)
_PLAIN = frozenset({"NONE", "NEWTRUE", "NEWFALSE", "BINFLOAT", "EMPTY_LIST", "EMPTY_DICT", "EMPTY_SET"})
_CONSTANTS = frozenset(
    {"BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE", "SHORT_BINSTRING"}  # those of PyTorch's reader
)
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class ForeignObjects(ValueError):
    """A file with objects besides tensors."""


class DamagedFile(ValueError):
    """A file that is cut, of another format, or whose values do not fit together."""


@dataclass(frozen=True, slots=True)
class _Value:
    """What the scan knows of a value on the stack."""

    nodes: int = 1
    """Number of values that a hash of it visits."""
    constant: int | str | None = None
    items: "tuple[_Value, ...] | None" = None
    name: str = ""
    """Of a global."""
    storage_items: int | None = None
    """Of a storage: its number of elements."""


_MARK = _Value()
_OBJECT = _Value()


def check_pickles(path: Path) -> list[str]:
    """Return the names of bookkeeping classes in a PyTorch file. Raises ForeignObjects, DamagedFile."""
    num_bytes = path.stat().st_size
    names: set[str] = set()
    if is_archive(path):
        for program in _programs(path, num_bytes):
            names |= _Scan(num_bytes).run(pickletools.genops(program))
        return sorted(names)
    with path.open("rb") as file:
        for index in range(LEGACY_PICKLES):
            scan = _Scan(num_bytes)
            names |= scan.run(_bounded(file))
            if index == 0 and scan.result.constant != LEGACY_MAGIC:
                raise DamagedFile("It does not begin as a PyTorch file.")
    return sorted(names)


def is_archive(path: Path) -> bool:
    """Whether a file has the format since PyTorch 1.6."""
    with path.open("rb") as file:
        return file.read(len(ZIP_MAGIC)) == ZIP_MAGIC


def _programs(path: Path, num_bytes: int) -> Iterator[bytes]:
    """Yield the pickles of an archive, whose records must be stored as they are."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                raise DamagedFile("It has compressed records.")
            if len({entry.filename for entry in entries}) < len(entries):
                raise DamagedFile("It has two records with the same name.")
            if sum(entry.file_size for entry in entries) > num_bytes:
                raise DamagedFile("Its records are larger than the file.")
            programs = [entry for entry in entries if entry.filename.endswith(".pkl")]
            if not programs or any(entry.file_size > MAX_PICKLE_BYTES for entry in programs):
                raise DamagedFile("It has no list of tensors, or the list is too long.")
            for entry in programs:
                yield archive.read(entry)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, OSError) as error:
        raise DamagedFile(f"It cannot be read: {str(error).rstrip('.')}.") from error


def _bounded(file: IO[bytes]) -> Iterator[tuple[Any, Any, int | None]]:
    start = file.tell()
    for operation in pickletools.genops(file):
        if file.tell() - start > MAX_PICKLE_BYTES:
            raise DamagedFile("Its list of tensors is too long.")
        yield operation


class _Scan:
    """One pass over a pickle with the stack and the memo of PyTorch's reader."""

    def __init__(self, num_bytes: int) -> None:
        self.names: set[str] = set()
        self.result = _OBJECT
        self._num_bytes = num_bytes
        self._stack: list[_Value] = []
        self._memo: dict[int, _Value] = {}
        self._storages: dict[str, int] = {}
        self._hashed_nodes = 0

    def run(self, operations: Iterable[tuple[Any, Any, int | None]]) -> set[str]:
        """Return the names of bookkeeping classes."""
        try:
            for operation, argument, _ in operations:
                self._step(operation.name, argument)
            self.result = self._stack.pop()
        except (ForeignObjects, DamagedFile):
            raise
        except (ValueError, IndexError, KeyError, UnicodeDecodeError) as error:
            raise DamagedFile(f"It cannot be read: {str(error).rstrip('.')}.") from error
        return self.names

    def _step(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name in _CONSTANTS:
            stack.append(_Value(constant=argument))
        elif name in _PLAIN:
            stack.append(_OBJECT)
        elif name == "MARK":
            stack.append(_MARK)
        elif name in _TUPLES:
            self._push_tuple(self._pop(_TUPLES[name]))
        elif name == "TUPLE":
            self._push_tuple(self._pop_mark())
        elif name in ("BINPUT", "LONG_BINPUT"):
            self._memo[argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self._memo[argument])
        elif name not in ("PROTO", "STOP"):
            self._step_of_objects(name, argument)

    def _step_of_objects(self, name: str, argument: Any) -> None:
        match name:
            case "GLOBAL":
                self._stack.append(self._global(argument))
            case "BUILD" | "APPEND":
                self._pop(1)
            case "APPENDS":
                self._pop_mark()
            case "SETITEM":
                self._count_keys(self._pop(2))
            case "SETITEMS":
                self._count_keys(self._pop_mark())
            case "REDUCE" | "NEWOBJ":
                function, arguments = self._pop(2)
                self._stack.append(self._call(function, arguments))
            case "BINPERSID":
                (identifier,) = self._pop(1)
                self._stack.append(self._storage(identifier))
            case _:
                raise DamagedFile(f"It has the operation {name}, which PyTorch does not write.")

    def _pop(self, count: int) -> list[_Value]:
        taken = self._stack[len(self._stack) - count :] if count else []
        if len(taken) < count or any(value is _MARK for value in taken):
            raise DamagedFile("Its list of tensors has no valid form.")
        del self._stack[len(self._stack) - count :]
        return taken

    def _pop_mark(self) -> list[_Value]:
        taken: list[_Value] = []
        while (value := self._stack.pop()) is not _MARK:
            taken.append(value)
        return taken[::-1]

    def _push_tuple(self, items: list[_Value]) -> None:
        nodes = 1 + sum(item.nodes for item in items)
        if nodes > MAX_TUPLE_NODES:
            raise DamagedFile("It has nested tuples, which no tensor needs.")
        self._stack.append(_Value(nodes=nodes, items=tuple(items)))

    def _count_keys(self, pairs: list[_Value]) -> None:
        self._hashed_nodes += sum(key.nodes for key in pairs[::2])
        if self._hashed_nodes > MAX_HASHED_NODES:
            raise DamagedFile("It has too many names.")

    def _global(self, argument: str) -> _Value:
        name = argument.replace(" ", ".", 1)
        if name.startswith(BOOKKEEPING_PACKAGES):
            self.names.add(name)
        elif name not in _GLOBALS:
            raise ForeignObjects(name)
        return _Value(name=name)

    def _storage(self, identifier: _Value) -> _Value:
        """Note a storage. All storages together must fit into the file."""
        items = identifier.items or ()
        if len(items) < 5 or items[0].constant != "storage" or items[1].name not in _STORAGES:
            raise DamagedFile("It names a storage in an unknown way.")
        key, count = str(items[2].constant), items[4].constant
        if not isinstance(count, int) or count < 0:
            raise DamagedFile("It has a storage without a size.")
        self._storages[key] = max(self._storages.get(key, 0), count * _STORAGES[items[1].name])
        if sum(self._storages.values()) > self._num_bytes:
            raise DamagedFile("Its tensors are larger than the file.")
        return _Value(storage_items=count)

    def _call(self, function: _Value, arguments: _Value) -> _Value:
        if not function.name:
            raise DamagedFile("It calls a value that is not a function.")
        if function.name in _REBUILD_TENSOR:
            _check_tensor(arguments.items or ())
        return _Value(nodes=1 + arguments.nodes)


def _check_tensor(arguments: tuple[_Value, ...]) -> None:
    """Raise DamagedFile unless the tensor is inside its storage and no two elements share a place."""
    if len(arguments) < 4 or arguments[0].storage_items is None:
        raise DamagedFile("It has a tensor without a storage.")
    offset = _number(arguments[1])
    shape = [_number(item) for item in arguments[2].items or ()]
    strides = [_number(item) for item in arguments[3].items or ()]
    if len(shape) != len(strides):
        raise DamagedFile("It has a tensor whose shape and strides differ in length.")
    if 0 in shape:
        return
    last = offset + sum((side - 1) * stride for side, stride in zip(shape, strides, strict=True))
    if last >= arguments[0].storage_items or math.prod(shape) > last - offset + 1:
        raise DamagedFile("It has a tensor that is larger than its storage.")


def _number(value: _Value) -> int:
    if not isinstance(value.constant, int) or value.constant < 0:
        raise DamagedFile("It has a tensor whose size is not a number.")
    return value.constant
