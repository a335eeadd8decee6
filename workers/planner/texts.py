"""How the texts of a request are read: refusals, and warnings for the client. Knows no task."""

from collections.abc import Callable, Hashable, Iterable, Sequence

from jobs.contract.results import ResultWarning, Warnings
from model.tasks import Ids, Prompts, TextFit
from model.text_tokenizer import TextError
from workers.planner.refusal import Refused

MAX_WARNINGS = 16
"""A list of a thousand classes may have as many warnings. The last one states how many more there are."""
MAX_SHOWN_LETTERS = 10


def require_text(prompts: Prompts, text: str, param: str) -> None:
    """Refuse a text without tokens, or one that cannot be encoded."""
    if _is_empty(prompts, text, param):
        raise Refused(
            "invalid_text",
            f"{param} is empty: it has no visible character. Write at least one word.",
            param,
        )


def check_text(prompts: Prompts, text: str, param: str) -> None:
    """Refuse a text that cannot be encoded, or has invisible characters only. It may be empty."""
    if _is_empty(prompts, text, param) and text.strip():
        raise Refused(
            "invalid_text", f"{param} has no visible character. Write at least one word, or omit it.", param
        )


def reading(ids: Ids, fit: TextFit) -> tuple[Ids, str]:
    """Return what remains of a text: equal for two texts that differ only in what is cut or normalised.

    Texts that differ in unknown letters stay different. The client gets a warning about these letters.
    """
    return ids, "" if fit.is_cut else fit.unknown_letters


def require_room(prompts: Prompts, text: str, param: str, fit_in: Callable[..., TextFit]) -> TextFit:
    """Return how a prompt is read that is continued in the region of `fit_in`. It may be empty.

    Refuses one that leaves no room for generated tokens.
    """
    check_text(prompts, text, param)
    fit = fit_in(text, is_open=True)
    if fit.is_cut:
        message = (
            f"{param} has {fit.num_tokens} tokens. The model continues a text of at most {max(fit.room, 0)}. "
            "Shorten it."
        )
        raise Refused("context_length_exceeded", message, param)
    return fit


def require_different(
    readings: Sequence[Hashable], texts: Sequence[str], param: str, *, of_template: bool = False
) -> None:
    """Refuse candidates of which the same remains although the client sent different ones.

    readings: see `reading`, in the order of `texts`. of_template: the template leaves no room.
    """
    first: dict[Hashable, int] = {}
    for index, reading in enumerate(readings):
        other = first.setdefault(reading, index)
        if texts[other] == texts[index]:
            continue
        fault = f"{param}[{index}] is read as the same text as {param}[{other}], so their scores are equal"
        if of_template:
            raise Refused(
                "invalid_duplicate",
                f"{fault}: the template leaves no room for what differs. Shorten the template.",
                "template",
            )
        raise Refused(
            "invalid_duplicate",
            f"{fault}: they differ only after the last token that is read, or in invisible characters. "
            "Shorten or change one of them.",
            f"{param}[{index}]",
        )


def text_warnings(*fits: tuple[str, TextFit]) -> Warnings:
    """Return what the client should know about its texts. fits: name of the field, and how it is read.

    A field has each kind of warning once.
    """
    found: dict[tuple[str, str], ResultWarning] = {}
    for fit in fits:
        for warning in _warnings(*fit):
            found.setdefault((warning.code, warning.param), warning)
    warnings = tuple(found.values())
    if len(warnings) <= MAX_WARNINGS:
        return warnings
    shown, hidden = warnings[: MAX_WARNINGS - 1], warnings[MAX_WARNINGS - 1 :]
    message = f"{len(hidden)} more warnings, the first of {hidden[0].param}."
    return (*shown, ResultWarning("more_warnings", message, hidden[0].param))


def _warnings(param: str, fit: TextFit) -> Iterable[ResultWarning]:
    if fit.is_cut:
        message = (
            f"{param} has {fit.num_tokens} tokens, and the model reads the first {max(fit.room, 0)}. "
            "Shorten the text."
        )
        yield ResultWarning("text_cut", message, param)
    if letters := fit.unknown_letters:
        shown = " ".join(letters[:MAX_SHOWN_LETTERS]) + (" …" if len(letters) > MAX_SHOWN_LETTERS else "")
        message = (
            f"{param} has characters that the model does not know: {shown}. It reads all of them as one."
        )
        yield ResultWarning("unknown_letters", message, param)


def _is_empty(prompts: Prompts, text: str, param: str) -> bool:
    try:
        return prompts.encodes_to_nothing(text)
    except TextError as error:
        raise Refused("invalid_text", str(error), param) from error
