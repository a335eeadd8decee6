"""generation_config.json of a checkpoint folder: its sampling defaults and its examples, in the hub's format.

`do_sample` and the settings of `SamplingDefaults` at the top level have their meaning in transformers, and
apply to every task. A section named after a task (`text2image`, `image2text`, `text2text`) overrides them for
that task. The sections `classify`, `rank_images` and `rank_texts` have one setting, the `temperature` of the
probabilities. It affects no order and no other score. `examples` holds request bodies by task.
See docs/adr/0015-generation-config.md.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from model.config import GenerationConfig, SamplingDefaults
from model.files.weights import CheckpointError

_log = logging.getLogger(__name__)

GENERATION_CONFIG_FILE = "generation_config.json"
AUTO, NONE = "auto", "none"
SAMPLED_TASKS = ("text2image", "image2text", "text2text")
SCORED_TASKS = ("rank_images", "rank_texts", "classify")
TASKS = (*SAMPLED_TASKS, *SCORED_TASKS, "answer")
MAX_EXAMPLES_BYTES = 64 * 1024
"""Every heartbeat of a worker carries the examples."""
# Fields that transformers writes and that decide nothing here.
_IGNORED_FIELDS = frozenset(
    {
        "_from_model_config",
        "transformers_version",
        "bos_token_id",
        "eos_token_id",
        "pad_token_id",
        "use_cache",
    }
)
_SAMPLING_FIELDS = ("do_sample", *(setting.name for setting in fields(SamplingDefaults)))


MAX_GENERATION_CONFIG_BYTES = 16 << 20


class GenerationConfigError(ValueError):
    """A generation_config.json that is refused; the message names the field."""


def read_generation_config(folder: Path, choice: str = AUTO) -> GenerationConfig:
    """Read the generation config that `choice` names.

    choice: "auto" is the file in the checkpoint's folder, if there is one. "none" is the published defaults.
    Any other value is the path of a file, or of a folder that holds one.

    Raises CheckpointError naming the file and the field at fault.
    """
    if choice == NONE:
        return GenerationConfig()
    if choice == AUTO:
        path = folder / GENERATION_CONFIG_FILE
        if not path.is_file():
            return GenerationConfig()
    else:
        path = Path(choice)
        path = path / GENERATION_CONFIG_FILE if path.is_dir() else path
        if not path.is_file():
            raise CheckpointError(
                f"{path} does not exist. --generation-config must be auto, none or the path of a "
                f"{GENERATION_CONFIG_FILE}."
            )
    try:
        if path.stat().st_size > MAX_GENERATION_CONFIG_BYTES:
            raise GenerationConfigError(
                f"The file is larger than {MAX_GENERATION_CONFIG_BYTES} bytes. Use fewer or smaller examples."
            )
        return parse_generation_config(json.loads(path.read_text(encoding="utf-8")))
    except GenerationConfigError as error:
        raise CheckpointError(f"{path.name}: {error}") from error
    except (ValueError, RecursionError, OSError) as error:
        raise CheckpointError(f"{path.name} is not valid JSON. Correct it.") from error


def parse_generation_config(document: Any) -> GenerationConfig:
    """Read a decoded generation_config.json.

    Raises GenerationConfigError naming the field that is unknown, of the wrong type or out of range. Unknown
    fields of the top level are logged and ignored, unless they hold an object: hubs add fields, but an object
    is a misspelt section.
    """
    source = _object(document, "The file")
    known = {*SAMPLED_TASKS, *SCORED_TASKS, *_SAMPLING_FIELDS, "examples"}
    unknown = sorted(source.keys() - known - _IGNORED_FIELDS)
    for name in unknown:
        if isinstance(source[name], dict):
            raise GenerationConfigError(
                f"{name} is not a section. The sections are "
                f"{', '.join((*SAMPLED_TASKS, *SCORED_TASKS))} and examples."
            )
    if unknown:
        _log.warning("%s: ignored the unknown fields %s", GENERATION_CONFIG_FILE, ", ".join(unknown))
    shared = {name: source[name] for name in _SAMPLING_FIELDS if name in source}
    _sampling(shared, "")
    sampling: dict[str, SamplingDefaults] = {}
    for task in SAMPLED_TASKS:
        section = _section(source, task, _SAMPLING_FIELDS)
        _sampling(section, f"{task}.")
        sampling[task] = _sampling({**shared, **section}, f"{task}.")
    return GenerationConfig(
        sampling={task: values for task, values in sampling.items() if values != SamplingDefaults()},
        probability_temperature={
            task: temperature
            for task in SCORED_TASKS
            if (temperature := _sampling(_section(source, task, ("temperature",)), f"{task}.").temperature)
        },
        examples=_examples(source.get("examples", {})),
    )


def _section(source: Mapping[str, Any], task: str, known: Sequence[str]) -> Mapping[str, Any]:
    section = _object(source.get(task, {}), task)
    if extra := sorted(section.keys() - set(known)):
        names = ", ".join(known)
        raise GenerationConfigError(f"{task}.{extra[0]} is unknown. The section may have {names}.")
    return section


def _sampling(source: Mapping[str, Any], prefix: str) -> SamplingDefaults:
    do_sample = source.get("do_sample", True)
    if not isinstance(do_sample, bool):
        raise GenerationConfigError(f"{prefix}do_sample must be true or false; got {do_sample!r}.")
    values: dict[str, Any] = {}
    for setting in fields(SamplingDefaults):
        value = source.get(setting.name)
        if value is not None and not _is_in_range(value, setting.metadata):
            raise GenerationConfigError(
                f"{prefix}{setting.name} must be {_range(setting.metadata)}; got {value!r}."
            )
        values[setting.name] = None if value is None else setting.metadata["kind"](value)
    if not do_sample:
        values["top_k"] = 1  # as transformers, which takes the likeliest token
    return SamplingDefaults(**values)


def _examples(value: Any) -> dict[str, list[dict[str, Any]]]:
    examples = _object(value, "examples")
    for task, bodies in examples.items():
        if task not in TASKS:
            raise GenerationConfigError(f"examples.{task} is not a task. The tasks are {', '.join(TASKS)}.")
        if not isinstance(bodies, list) or not all(isinstance(body, dict) for body in bodies):
            raise GenerationConfigError(f"examples.{task} must be a list of request bodies (objects).")
    size = len(json.dumps(examples, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    if size > MAX_EXAMPLES_BYTES:
        raise GenerationConfigError(
            f"examples have {size} bytes; at most {MAX_EXAMPLES_BYTES} are possible. "
            "Use fewer or smaller images."
        )
    return dict(examples)


def _object(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise GenerationConfigError(f"{name} must be an object.")
    return value


def _is_in_range(value: Any, rule: Mapping[str, Any]) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return rule["low"] <= value <= rule["high"] and (rule["kind"] is float or isinstance(value, int))


def _range(rule: Mapping[str, Any]) -> str:
    return f"{'an integer' if rule['kind'] is int else 'a number'} from {rule['low']} to {rule['high']}"
