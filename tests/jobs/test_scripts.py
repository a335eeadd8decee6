"""The Lua scripts and their Python signatures agree."""

import inspect
import re
from importlib import resources

import pytest

from jobs.redis import scripts

_LUA = {
    file.name.removesuffix(".lua"): file.read_text(encoding="utf-8")
    for file in resources.files("jobs.redis").joinpath("lua").iterdir()
}
_NAMES = sorted(set(_LUA) - {"common"})
_ARGUMENT = re.compile(r"ARGV\[(\d+)\]|unpack\(ARGV, (\d+)\)")


def _parameters(name: str) -> list[str]:
    parameters = inspect.signature(getattr(scripts, name)).parameters.values()
    assert all(parameter.kind is inspect.Parameter.KEYWORD_ONLY for parameter in parameters)
    return [parameter.name for parameter in parameters]


def _named_arguments(text: str) -> list[tuple[str, int]]:
    """The local name of each ARGV and its index, from the statements at the head of a script."""
    found: list[tuple[str, int]] = []
    for line in text.splitlines():
        names, is_assignment, values = line.removeprefix("local ").partition(" = ")
        if not (line.startswith("local ") and is_assignment and "ARGV" in values):
            continue
        indices = [int(first or second) for first, second in _ARGUMENT.findall(values)]
        found += zip(names.split(", "), indices, strict=True)
    return found


@pytest.mark.parametrize("name", _NAMES)
def test_a_script_names_its_arguments_as_its_signature_does(name: str) -> None:
    assert _named_arguments(_LUA[name]) == list(zip(_parameters(name), range(1, 100), strict=False))


@pytest.mark.parametrize("name", _NAMES)
def test_a_script_uses_its_arguments_by_name_only(name: str) -> None:
    code = [line for line in _LUA[name].splitlines() if not line.startswith("--")]
    uses = sum(line.count("ARGV") for line in code)
    assert uses == len(_parameters(name))


@pytest.mark.parametrize("name", _NAMES)
def test_a_script_says_what_it_does_and_returns(name: str) -> None:
    head = _LUA[name].split("\nlocal ")[0].split("\nreturn ")[0]
    assert head.startswith("-- ")
    assert "Returns" in head


def test_every_script_has_one_signature() -> None:
    functions = [
        name
        for name, value in vars(scripts).items()
        if inspect.isfunction(value) and value.__module__ == scripts.__name__ and not name.startswith("_")
    ]
    assert sorted(set(functions) - {"load_scripts"}) == _NAMES


def test_arguments_are_sent_in_the_order_of_the_signature() -> None:
    call = scripts.renew(worker="w", lease_s=1.5, held={"a": 1, "b": 2})
    assert call == scripts.Call("renew", ("w", 1.5, "a", 1, "b", 2))
    number_of_fixed = {"crash": 3, "release": 1, "renew": 2, "states": 0}
    values = {"held": {}, "job_ids": (), "accept_loss": True, "is_progress": False, "synchronous": False}
    values["again"] = True
    for name in _NAMES:
        given = {parameter: values.get(parameter, parameter) for parameter in _parameters(name)}
        sent = getattr(scripts, name)(**given).arguments
        expected = tuple(int(v) if isinstance(v, bool) else v for v in given.values())
        assert sent == expected[: number_of_fixed.get(name, len(expected))], name
