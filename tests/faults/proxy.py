"""A TCP proxy that does what bad networks do: it swallows replies, delays them, resets lines, is cut."""

import asyncio
import random
import threading
from dataclasses import dataclass

from tests.support.redis_servers import free_port

_SEVERED_POLL_S = 0.02
_SETTLE_S = 0.05
_END_TIMEOUT_S = 1.0


@dataclass
class Weather:
    """Chances for each reply. May be changed at any time."""

    swallow: float = 0.0
    delay: float = 0.0
    delay_s: float = 0.0
    reset: float = 0.0


class Proxy:
    """A proxy for one server, in its own thread."""

    def __init__(self, target_port: int, weather: Weather | None = None, *, seed: int = 0) -> None:
        self.port = free_port()
        self.weather = weather or Weather()
        self.severed = False
        """Nothing passes in either direction, silently; a line that lost bytes is reset when this ends."""
        self.swallowed = self.delayed = self.cut = 0
        self._target_port = target_port
        self._random = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._ready = threading.Event()
        self._stop = asyncio.Event()
        self._ending = False
        self._sides: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def redirect(self, port: int) -> None:
        """Serve another server from now on, and reset all lines to the old one."""

        def reset() -> None:
            self._target_port = port
            for side in self._sides:
                side.transport.abort()

        self._loop.call_soon_threadsafe(reset)

    def __enter__(self) -> "Proxy":
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self._ready.set()
        await self._stop.wait()
        self._ending = True
        await asyncio.sleep(_SETTLE_S)  # a closed server would forget the sockets that it has just accepted
        server.close()
        for side in self._sides:
            side.transport.abort()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=_END_TIMEOUT_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await asyncio.sleep(_SETTLE_S)  # transports close in the next turns of the loop

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sides = [writer]
        self._sides.add(writer)
        pumps: list[asyncio.Task[None]] = []
        try:
            await self._until_mended()  # like packets without an answer
            if self._ending:
                return
            upstream, to_server = await asyncio.open_connection("127.0.0.1", self._target_port)
            sides.append(to_server)
            self._sides.add(to_server)
            pumps.append(asyncio.create_task(self._pump(reader, to_server, spoil=False)))
            pumps.append(asyncio.create_task(self._pump(upstream, writer, spoil=True)))
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        except OSError:
            return  # the server is away
        finally:
            for pump in pumps:
                pump.cancel()
            for side in sides:
                side.transport.abort()
                self._sides.discard(side)
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _until_mended(self) -> None:
        while self.severed and not self._ending:
            await asyncio.sleep(_SEVERED_POLL_S)

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, spoil: bool) -> None:
        swallowing = False
        while data := await source.read(1 << 16):
            if self.severed:
                await self._until_mended()
                return
            if spoil and not swallowing:
                weather = self.weather
                if self._random.random() < weather.reset:
                    self.cut += 1
                    return
                if self._random.random() < weather.delay:
                    self.delayed += 1
                    await asyncio.sleep(weather.delay_s)
                if self._random.random() < weather.swallow:
                    self.swallowed += 1
                    swallowing = True  # from here on the line is silent, as after a lost route
            if not swallowing:
                target.write(data)
                await target.drain()
