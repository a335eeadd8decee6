"""Runs the programs of `tests/clients` against a server.

Each program runs in the environment of its client, and prints a JSON line for each feature.
"""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.proxies import PROXIES
from tests.support.servers import ROOT, Server, serving

FOLDER = Path(__file__).parent
ENVIRONMENTS = ROOT / ".venv"
NODE = ENVIRONMENTS / "clients-node"
JAVA = "java"
DEMO = ROOT / "checkpoints" / "demo"
BEGIN, END = "<!-- clients: begin -->\n", "<!-- clients: end -->\n"


@dataclass(frozen=True)
class Program:
    """A program, and the environment in `.venv` that has its client."""

    path: Path
    environment: str
    proxy: str | None = None
    """A reverse proxy between the client and the server."""

    @property
    def name(self) -> str:
        return self.path.stem if self.proxy is None else f"{self.path.stem}-{self.proxy}"

    @property
    def missing(self) -> str | None:
        """Why the program cannot run here."""
        if self.proxy is not None and shutil.which(self.proxy) is None:
            return f"{self.proxy} is not installed"
        if self.environment == JAVA:
            return None if shutil.which("java") else "Java 17 or newer is not installed"
        if self.environment != NODE.name:
            python = ENVIRONMENTS / self.environment / "bin" / "python"
            return None if python.exists() else f"{self.environment} is not installed"
        if shutil.which("node") is None or not (NODE / "node_modules").exists():
            return "Node and its packages are not installed"
        return None

    def command(self, python: str | None = None) -> list[str]:
        """Return the command without its arguments. `python`: another interpreter for a Python program."""
        if self.environment == JAVA:
            return ["java", "-Dfile.encoding=UTF-8", str(self.path)]
        if self.environment == NODE.name:
            shutil.copy(self.path, NODE)
            shutil.copy(self.path.with_name("harness.mjs"), NODE)
            return ["node", str(NODE / self.path.name)]
        return [python or str(ENVIRONMENTS / self.environment / "bin" / "python"), str(self.path)]


def _python(name: str, environment: str = "clients") -> Program:
    return Program(FOLDER / "programs" / f"{name}.py", environment)


def _node(name: str) -> Program:
    return Program(FOLDER / "node" / f"{name}.mjs", NODE.name)


def _java(name: str, proxy: str | None = None) -> Program:
    return Program(FOLDER / "java" / f"{name}.java", JAVA, proxy)


PROGRAMS = (
    _python("openai_python"),
    _python("huggingface_hub_client"),
    _python("mcp_client"),
    _python("cohere_sdk"),
    _python("langchain_openai_sdk"),
    _python("pydantic_ai_sdk"),
    _python("openai_agents_sdk"),
    _python("litellm_sdk", "clients-openai2"),
    _python("llama_index_sdk", "clients-openai2"),
    _python("instructor_sdk", "clients-openai2"),
    _python("litellm_proxy", "clients-litellm-proxy"),
    _node("openai_node"),
    _node("vercel_ai"),
    _node("huggingface_js"),
    _java("JavaHttpClient"),
    _java("JavaHttpClient", "nginx"),
    _java("JavaHttpClient", "haproxy"),
)
OWN = PROGRAMS[:3]
"""Their clients are in the environment of the tests too, so that `make test` runs them."""


@dataclass(frozen=True)
class Result:
    client: str
    feature: str
    result: str
    failed: bool


@contextmanager
def client_server(folder: Path) -> Iterator[tuple[Server, Path]]:
    """Serve the demo checkpoint; yield the server and an image that it has drawn."""
    with serving(DEMO, folder, RUDOLPH_MCP="true") as server:
        body = {"prompt": "сова на зелёном фоне", "seed": 7}
        reply = server.client.post("/v1/text2image", json=body, headers={"Accept": "image/png"})
        image = folder / "owl.png"
        image.write_bytes(reply.raise_for_status().content)
        yield server, image


def run_program(
    program: Program, server: Server, image: Path, *, python: str | None = None
) -> tuple[list[Result], str]:
    """Return the results, and what the program wrote to stderr. Raises AssertionError if it ends early."""
    with _address(program, server) as address:
        arguments = [address, str(image), *([f"through {program.proxy}"] if program.proxy else [])]
        done = subprocess.run(
            [*program.command(python), *arguments], capture_output=True, text=True, check=False, timeout=240
        )
    assert done.returncode == 0, f"{program.name} ended with {done.returncode}:\n{done.stderr[-3000:]}"
    # A client may print lines of its own.
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"client"')]
    return [Result(**json.loads(line)) for line in lines], done.stderr


@contextmanager
def _address(program: Program, server: Server) -> Iterator[str]:
    """Yield the address that the program calls: that of its proxy, or of the server."""
    if program.proxy is None:
        yield server.url
        return
    with tempfile.TemporaryDirectory() as folder:
        port = int(server.url.rpartition(":")[2])
        with PROXIES[program.proxy](port, Path(folder)) as own_port:
            yield f"http://127.0.0.1:{own_port}"


def table(results: Sequence[Result]) -> str:
    """Return the table of Markdown: a row for each feature of each client."""
    rows = ["| client | feature | result |", "|---|---|---|"]
    last = ""
    for item in results:
        client, last = ("" if item.client == last else item.client), item.client
        rows.append(f"| {client} | {item.feature} | {item.result} |")
    return "\n".join(rows) + "\n"


def write_table(document: Path, results: Sequence[Result]) -> None:
    """Replace the table between the markers of a document."""
    text = document.read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGIN)
    _, found, tail = rest.partition(END)
    assert found, f"{document} has no markers"
    document.write_text(head + BEGIN + table(results) + END + tail, encoding="utf-8")
