"""A client of a served checkpoint that leaves the sampling to the defaults of the checkpoint."""

import math
from collections.abc import Sequence

from torch import Tensor

from examples.demo_checkpoint.metrics import base64_png, pixels_of
from examples.demo_checkpoint.quality import Server

CANDIDATES = 8


class SceneServer(Server):
    """Images have the shape (3, side, side), in [0, 1]."""

    async def images(self, prompt: str, seed: int, *, count: int = 1, candidates: int = 1) -> list[Tensor]:
        """Return the best `count` of `candidates` images."""
        body = {"prompt": prompt, "n": count, "candidates": max(count, candidates), "seed": seed}
        reply = await self._post("/v1/text2image", body)
        return [pixels_of(image["b64_json"]) for image in reply["images"]]

    async def best_caption(self, image: Tensor, seed: int) -> str:
        """Return the best of eight captions."""
        body = {"image": base64_png(image), "n": 1, "candidates": CANDIDATES, "seed": seed}
        return str((await self._post("/v1/image2text", body))["texts"][0]["text"])

    async def class_surprises(self, image: Tensor, classes: Sequence[str]) -> list[float]:
        """Return the logarithm of each class's perplexity."""
        reply = await self._post("/v1/classify", {"image": base64_png(image), "classes": list(classes)})
        return [math.log(score["ppl_text"]) for score in reply["scores"]]

    async def image_scores(self, text: str, images: Tensor) -> list[float]:
        """Return the score of each image for a text; lower is better."""
        body = {"text": text, "images": [base64_png(image) for image in images]}
        return _scores((await self._post("/v1/rank/images", body))["ranking"])

    async def text_scores(self, image: Tensor, texts: Sequence[str]) -> list[float]:
        """Return the score of each text for an image; lower is better."""
        body = {"image": base64_png(image), "texts": list(texts)}
        return _scores((await self._post("/v1/rank/texts", body))["ranking"])


def _scores(ranking: list[dict[str, float]]) -> list[float]:
    return [item["score"] for item in sorted(ranking, key=lambda item: item["index"])]
