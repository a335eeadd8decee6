"""The OpenAPI document against a running server with a worker: the short form of `make fuzz`."""

from pathlib import Path

import pytest

from tests.fuzz.campaign import KEY, Campaign
from tests.support.servers import serving

pytestmark = [pytest.mark.slow, pytest.mark.nightly, pytest.mark.timeout(900)]
WANTED = 200
CASES = 1500
"""The first round also sends every value that the document's bounds suggest."""


def test_the_server_keeps_to_its_document_whatever_is_asked(tiny_v2: Path, tmp_path: Path) -> None:
    with serving(tiny_v2, tmp_path / "server", RUDOLPH_API_KEYS=f"fuzz={KEY}") as server:
        campaign = Campaign(server.url, server.process.pid, tmp_path)
        faulty = campaign.rounds(1, WANTED, parallel=1)
        summary = campaign.summary(server.text)
    assert summary["passed"], f"{summary}\n{faulty}"
    assert summary["cases"] >= CASES
