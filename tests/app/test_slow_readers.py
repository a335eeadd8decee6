"""Readers of event streams who take nothing: what waits for them is bounded, and they are cut off."""

import io
import json
import socket
import time
from typing import Any

import httpx

from jobs.client.inbox import Inbox
from jobs.contract.events import Event, PartialImage, StateChanged
from jobs.contract.job import JobState
from tests.app.conftest import Running

NUM_READERS = 20
INBOX_BYTES = 1 << 20
PARTIALS = 16
"""Of 200 kB each: more than three times what is kept for a reader."""


def ask_and_read_nothing(api: Running) -> socket.socket:
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", int(api.url.rpartition(":")[2])))
    body = json.dumps({"prompt": "большой кот", "partial_images": PARTIALS, "stream": True}).encode()
    head = b"POST /v1/text2image HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    return connection


def unread_bytes(api: Running) -> list[int]:
    inboxes = api.services.client._events._inboxes
    return [inbox._num_bytes for of_job in list(inboxes.values()) for inbox in list(of_job)]


def test_many_readers_who_take_nothing_cost_little_and_are_cut_off(start_api: Any, log: io.StringIO) -> None:
    logged_before = len(log.getvalue())
    with start_api(
        write_timeout_s=2.0, max_event_streams=NUM_READERS, tenant_max_event_streams=NUM_READERS
    ) as api:
        connections = [ask_and_read_nothing(api) for _ in range(NUM_READERS)]
        most, ends_s = 0, time.monotonic() + 60
        with httpx.Client(base_url=api.url, timeout=20) as http:
            while not api.services.streams._open:
                assert time.monotonic() < ends_s
            while api.services.streams._open:
                most = max([most, *unread_bytes(api)])
                assert http.get("/health/live").status_code == 200
                assert time.monotonic() < ends_s, "the readers were not cut off"
                time.sleep(0.02)
            assert http.post("/v1/text2text", json={"prompt": "раз"}).status_code == 200
        assert most <= INBOX_BYTES
        for connection in connections:
            connection.close()
    # A reader who takes nothing is no fault of the server's.
    assert '"level": "error"' not in log.getvalue()[logged_before:]


def event(number: int, body: PartialImage | StateChanged) -> Event:
    return Event(f"{number}-0", "job_1", 1, body)


def test_of_unread_pictures_the_newest_are_kept_and_the_last_word_always() -> None:
    inbox = Inbox()
    for number in range(100):
        inbox.put(event(number, PartialImage(0, number, bytes(100_000))))
    inbox.put(event(100, StateChanged(JobState.SUCCEEDED)))
    kept = []
    while (one := inbox.take()) is not None:
        kept.append(one.id)
    assert kept == [f"{number}-0" for number in range(90, 101)]
    assert inbox._num_bytes == 0


def test_a_picture_larger_than_the_limit_is_kept_alone() -> None:
    inbox = Inbox()
    inbox.put(event(1, StateChanged(JobState.RUNNING)))
    inbox.put(event(2, PartialImage(0, 0, bytes(2 * INBOX_BYTES))))
    assert [inbox.take(), inbox.take()][0] == event(2, PartialImage(0, 0, bytes(2 * INBOX_BYTES)))
