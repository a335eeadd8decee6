"""LitServe with an engine that takes no time and a fixed image: `litserve_server.py PORT FILE`.

Runs with `.venv/litserve` on its path; imports nothing of this project.
"""

import sys
from pathlib import Path
from typing import Any

import litserve  # pyright: ignore[reportMissingImports]
from fastapi import Response


class NullApi(litserve.LitAPI):  # pyright: ignore[reportUntypedBaseClass]
    def setup(self, device: str) -> None:
        self.file = Path(sys.argv[2]).read_bytes()

    def decode_request(self, request: dict[str, Any]) -> str:
        return request["prompt"]

    def predict(self, prompt: str) -> str:
        return prompt

    def encode_response(self, output: str) -> Response:
        return Response(self.file, media_type="image/png")


if __name__ == "__main__":
    server = litserve.LitServer(NullApi(), accelerator="cpu", workers_per_device=1)
    server.run(port=int(sys.argv[1]), host="127.0.0.1", generate_client_file=False, log_level="warning")
