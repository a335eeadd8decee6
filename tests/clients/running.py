"""Runs the programs of `tests/clients/programs` and `tests/clients/node` against a server.

Each program runs in the environment of its client, and prints a JSON line for each feature.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.servers import ROOT, Server, serving

FOLDER = Path(__file__).parent
ENVIRONMENTS = ROOT / ".venv"
NODE = ENVIRONMENTS / "clients-node"
DEMO = ROOT / "checkpoints" / "demo"
BEGIN, END = "<!-- clients: begin -->\n", "<!-- clients: end -->\n"


@dataclass(frozen=True)
class Program:
    """A program, and the environment in `.venv` that has its client."""

    path: Path
    environment: str

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def missing(self) -> str | None:
        """Why the program cannot run here."""
        if self.environment != NODE.name:
            python = ENVIRONMENTS / self.environment / "bin" / "python"
            return None if python.exists() else f"{self.environment} is not installed"
        if shutil.which("node") is None or not (NODE / "node_modules").exists():
            return "Node and its packages are not installed"
        return None


def _python(name: str, environment: str = "clients") -> Program:
    return Program(FOLDER / "programs" / f"{name}.py", environment)


def _node(name: str) -> Program:
    return Program(FOLDER / "node" / f"{name}.mjs", NODE.name)


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
    _node("openai_node"),
    _node("vercel_ai"),
    _node("huggingface_js"),
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
    if program.environment == NODE.name:
        shutil.copy(program.path, NODE)
        shutil.copy(program.path.with_name("harness.mjs"), NODE)
        command = ["node", str(NODE / program.path.name)]
    else:
        command = [python or str(ENVIRONMENTS / program.environment / "bin" / "python"), str(program.path)]
    done = subprocess.run(
        [*command, server.url, str(image)], capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, f"{program.name} ended with {done.returncode}:\n{done.stderr[-3000:]}"
    # A client may print lines of its own.
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"client"')]
    return [Result(**json.loads(line)) for line in lines], done.stderr


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
