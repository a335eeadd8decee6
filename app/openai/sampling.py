"""Fields that image and text routes translate in the same way."""

from typing import Any

from app.openai.schemas import SamplingFields

MIN_TEMPERATURE = 0.01


def sampling_fields(body: SamplingFields) -> dict[str, Any]:
    """Return the native sampling settings. Temperature 0 is greedy, which natively is top_k 1."""
    fields = given(body, *SamplingFields.model_fields)
    if fields.get("temperature", 1.0) < MIN_TEMPERATURE:
        del fields["temperature"]
        fields["top_k"] = 1
    return fields


def given(body: SamplingFields, *names: str) -> dict[str, Any]:
    return {name: value for name in names if (value := getattr(body, name)) is not None}
