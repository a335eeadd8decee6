"""LiteLLM's proxy before the server, and the official `openai` package that calls the proxy."""

import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import httpx
import openai
from harness import BASE, PICTURE, PICTURE_URI, WORD, is_png, refused, run

NAMES = {"rudolph": "openai/rudolph", "rudolph-text": "text-completion-openai/rudolph"}
KEY = "sk-" + secrets.token_hex(32)
START_TIMEOUT_S = 180.0
MESSAGES = [
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "What's in this image?"},
            {"type": "image_url", "image_url": {"url": PICTURE_URI}},
        ],
    }
]


@contextmanager
def proxy() -> Iterator[str]:
    """Run the proxy; yield its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    models = [
        {"model_name": name, "litellm_params": {"model": model, "api_base": BASE, "api_key": "none"}}
        for name, model in NAMES.items()
    ]
    program = Path(sys.executable).with_name("litellm")
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.yaml"
        config.write_text(json.dumps({"model_list": models}), encoding="utf-8")  # JSON is YAML
        environment = os.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MASTER_KEY": KEY}
        command = [str(program), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=sys.stderr, stderr=sys.stderr)
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until_ready(url, process)
            yield url
        finally:
            process.terminate()
            process.wait(60)


def wait_until_ready(url: str, process: "subprocess.Popen[bytes]") -> None:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline_s:
        assert process.poll() is None, "the proxy ended"
        try:
            if httpx.get(f"{url}/health/liveliness", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    raise AssertionError("the proxy did not become ready")


with proxy() as address:
    client = openai.OpenAI(base_url=f"{address}/v1", api_key=KEY, max_retries=0, timeout=120)

    def draw() -> None:
        reply = client.images.generate(model="rudolph", prompt="клубника", size="1024x1024")
        assert is_png(reply.data[0].b64_json)

    def edit() -> None:
        file = ("picture.png", PICTURE, "image/png")
        reply = client.images.edit(model="rudolph", image=file, prompt="клубника")
        assert is_png(reply.data[0].b64_json)

    def chat() -> str:
        reply = client.chat.completions.create(model="rudolph", messages=MESSAGES)
        assert WORD in reply.choices[0].message.content
        return "works; the text is ignored, with a warning"

    def chat_stream() -> None:
        chunks = client.chat.completions.create(model="rudolph", messages=MESSAGES, stream=True)
        assert WORD in "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)

    def complete() -> None:
        reply = client.completions.create(model="rudolph-text", prompt="морда", max_tokens=8)
        assert reply.choices[0].text

    def tools() -> str:
        tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
        return refused(
            lambda: client.chat.completions.create(model="rudolph", messages=MESSAGES, tools=[tool]),
            "unsupported_parameter",
            words="tools is not supported",
        )

    run(
        f"litellm proxy {version('litellm')}",
        {
            "images.generate with size": draw,
            "images.edit": edit,
            "chat.completions, text and image": chat,
            "chat.completions, streamed": chat_stream,
            "completions": complete,
            "tools": tools,
        },
    )
