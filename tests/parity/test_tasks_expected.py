"""Every task, through planner and engine, against what the reference computed from the small checkpoints."""

import io
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from jobs.contract.job import Job
from jobs.contract.requests import (
    Borders,
    ClassifyRequest,
    Codes,
    Image2TextRequest,
    ImagePrompt,
    RankImagesRequest,
    RankTextsRequest,
    Request,
    Sampling,
    Task,
    Text2ImageRequest,
    Text2TextRequest,
)
from jobs.contract.results import (
    ClassifyResult,
    ImagesResult,
    JobFailure,
    RankedItem,
    RankingResult,
    Result,
    TextsResult,
)
from model.files.checkpoint import load_rudolph
from model.rudolph import Rudolph
from workers.engine.settings import EngineSettings
from workers.session import Finished, Session

GREEDY = Sampling(temperature=1.0, top_k=1, top_p=1.0)
PROMPTS = ("красный круг на белом фоне", "старый кот у моря", "большой синий мяч")
PICTURES = range(3)


class Checkpoint:
    """A small checkpoint with a session over it, and the expected values."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rudolph: Rudolph = load_rudolph(folder, dtype="float32", normalization="none")
        self.session = Session(self.rudolph, EngineSettings(num_slots=4, max_step_tokens=96))
        self.values: dict[str, Any] = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
        self.tensors = load_file(folder / "expected.safetensors")

    def picture(self, number: int) -> bytes:
        return (self.folder / f"picture{number}.png").read_bytes()

    def run(self, request: Request) -> Result:
        self.session.submit(Job("job", Task.TEXT2IMAGE, request))
        while self.session.has_work:
            for event in self.session.step().events:
                if isinstance(event, Finished):
                    assert not isinstance(event.outcome, JobFailure), event.outcome
                    return event.outcome
        raise AssertionError("the job never finished")


@pytest.fixture(scope="module", params=[1, 2], ids=["v1", "v2"])
def checkpoint(request: pytest.FixtureRequest, tiny_v1: Path, tiny_v2: Path) -> Iterator[Checkpoint]:
    checkpoint = Checkpoint(tiny_v1 if request.param == 1 else tiny_v2)
    yield checkpoint
    checkpoint.session.close()


@pytest.fixture(scope="module")
def second(tiny_v2: Path) -> Iterator[Checkpoint]:
    checkpoint = Checkpoint(tiny_v2)
    yield checkpoint
    checkpoint.session.close()


def codes_of(result: Result) -> tuple[int, ...]:
    assert isinstance(result, ImagesResult)
    assert len(result.images) == 1
    assert result.images[0].codes is not None
    return result.images[0].codes


def test_greedy_pictures_have_the_reference_codes(checkpoint: Checkpoint) -> None:
    for number, prompt in enumerate(PROMPTS):
        result = checkpoint.run(Text2ImageRequest(prompt, seed=1, sampling=GREEDY, return_codes=True))
        expected = checkpoint.tensors[f"text2image.greedy.{number}"][0].tolist()
        assert list(codes_of(result)) == expected


def test_picture_files_are_read_to_the_reference_codes(checkpoint: Checkpoint) -> None:
    for number in PICTURES:
        codes = checkpoint.tensors["vae.codes"][number].tolist()
        result = checkpoint.run(RankImagesRequest("кот", (checkpoint.picture(number), Codes(tuple(codes)))))
        assert isinstance(result, RankingResult)
        assert result.ranking[0].ppl_image == pytest.approx(result.ranking[1].ppl_image, rel=1e-6)


def test_guidance_of_one_draws_the_unprompted_picture(second: Checkpoint) -> None:
    for number, prompt in enumerate(PROMPTS):
        request = Text2ImageRequest(prompt, seed=1, sampling=GREEDY, return_codes=True, guidance=1.0)
        expected = second.tensors[f"guidance.w1.greedy.{number}"][0].tolist()
        assert list(codes_of(second.run(request))) == expected


def test_image_prompt_keeps_the_borders_and_draws_the_rest_as_the_reference(second: Checkpoint) -> None:
    picture = (second.folder / "prompt_picture.png").read_bytes()
    borders = Borders(**second.values["image_prompt"]["borders"])
    result = second.run(
        Text2ImageRequest(
            PROMPTS[0],
            seed=1,
            sampling=GREEDY,
            return_codes=True,
            image_prompt=ImagePrompt(picture, borders),
        )
    )
    codes = codes_of(result)
    assert list(codes) == second.tensors["image_prompt.greedy"][0].tolist()
    given = second.tensors["image_prompt.codes"][0].tolist()
    assert all(codes[cell] == given[cell] for cell in second.values["image_prompt"]["idx"])


def test_captions_are_the_reference_texts(checkpoint: Checkpoint) -> None:
    for number in PICTURES:
        expected = checkpoint.values[f"image2text.greedy.{number}"]
        result = checkpoint.run(
            Image2TextRequest(
                checkpoint.picture(number),
                seed=1,
                candidates=2,
                template=expected["template"],
                sampling=GREEDY,
                return_tokens=True,
            )
        )
        assert isinstance(result, TextsResult)
        assert [text.text for text in result.texts] == expected["texts"]
        assert [text.count for text in result.texts] == expected.get("counts", [2])
        if "tokens" in expected:
            tokens = list(result.texts[0].tokens or ())
            # The reference continues after eos; its tokens there are cut off.
            assert tokens == expected["tokens"][: len(tokens)]
            assert tokens[-1] == 3 or len(tokens) == len(expected["tokens"])


def test_continued_texts_are_the_reference_texts(checkpoint: Checkpoint) -> None:
    for expected in checkpoint.values["text2text.greedy"]:
        request = Text2TextRequest(expected["template"], seed=1, candidates=2, sampling=GREEDY)
        result = checkpoint.run(request)
        assert isinstance(result, TextsResult)
        (text,) = result.texts
        assert text.count == 2
        if "out" in expected:
            assert text.text == expected["out"][0]["text"]
            assert round(text.ppl_text or 0, 2) == pytest.approx(expected["out"][0]["ppl_txt"], rel=1e-4)
        else:
            assert text.text == expected["text"]


def assert_ranking(result: Result, expected: dict[str, Any]) -> None:
    assert isinstance(result, RankingResult)
    ranked = sorted(result.ranking, key=lambda item: item.index)

    def column(name: str) -> list[float]:
        return [getattr(item, name) for item in ranked]

    assert column("ppl_text") == pytest.approx(expected["ppl_txt"], rel=1e-4)
    assert column("ppl_image") == pytest.approx(expected["ppl_img"], rel=1e-4)
    if "scores" in expected:
        assert column("score") == pytest.approx(expected["scores"], rel=1e-3, abs=1e-4)
        order = torch.tensor(expected["scores"]).argsort().tolist()
        assert [item.index for item in result.ranking] == order
    assert is_sorted(result.ranking)


def is_sorted(ranking: tuple[RankedItem, ...]) -> bool:
    return all(a.score <= b.score for a, b in itertools.pairwise(ranking))


def test_pictures_are_ranked_as_the_reference_ranks_them(checkpoint: Checkpoint) -> None:
    pictures = tuple(Codes(tuple(codes)) for codes in checkpoint.tensors["rank_images.codes"].tolist())
    for number in range(3):
        expected = checkpoint.values[f"rank_images.{number}"]
        assert_ranking(checkpoint.run(RankImagesRequest(expected["text"], pictures)), expected)


def test_texts_are_ranked_as_the_reference_ranks_them(checkpoint: Checkpoint) -> None:
    for number in PICTURES:
        expected = checkpoint.values[f"rank_texts.{number}"]
        request = RankTextsRequest(checkpoint.picture(number), tuple(expected["texts"]))
        assert_ranking(checkpoint.run(request), expected)


def test_classes_are_scored_as_the_reference_scores_them(checkpoint: Checkpoint) -> None:
    for number in PICTURES:
        expected = checkpoint.values[f"classify.{number}"]
        result = checkpoint.run(
            ClassifyRequest(checkpoint.picture(number), tuple(expected["classes"]), expected["template"])
        )
        assert isinstance(result, ClassifyResult)
        assert result.scores[result.label].class_name == expected["class"]
        assert [item.score for item in result.scores] == pytest.approx(expected["scores"], rel=1e-4)


def test_picture_file_of_drawn_codes_is_the_decoded_picture(checkpoint: Checkpoint) -> None:
    request = Text2ImageRequest(PROMPTS[0], seed=1, sampling=GREEDY, return_codes=True)
    result = checkpoint.run(request)
    assert isinstance(result, ImagesResult)
    codes = torch.tensor([codes_of(result)])
    pixels = (checkpoint.rudolph.image_tokenizer.decode(codes)[0] * 255).to(torch.uint8)
    picture = Image.open(io.BytesIO(result.images[0].data))
    assert torch.equal(
        torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8),
        pixels.permute(1, 2, 0).contiguous().flatten(),
    )
