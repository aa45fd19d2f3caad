"""A WAN for those who are not root: a TCP relay that delays what it forwards. It cannot lose packets.

`python -m deploy.hybrid.relay LISTEN_PORT SITE_PORT WAN_JSON`
"""

import asyncio
import contextlib
import sys
from collections.abc import Sequence

from deploy.hybrid.line import LAID, Line
from deploy.hybrid.topology import Wan

CHUNK = 16384
IN_FLIGHT = 256
"""Chunks under way on one connection and in one direction."""
Chunks = asyncio.Queue[tuple[float, bytes]]


class Relay:
    """All connections of a WAN share its two lines."""

    def __init__(self, wan: Wan, site_port: int) -> None:
        self._site_port = site_port
        self._rtt = wan.rtt_ms / 1000
        self._there, self._back = Line(wan), Line(wan)

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until either side ends it."""
        writers = [writer]
        try:
            await asyncio.sleep(self._rtt)  # the handshake
            site_reader, site_writer = await asyncio.open_connection("127.0.0.1", self._site_port)
            writers.append(site_writer)
            tasks = [
                *_way(reader, site_writer, self._there),
                *_way(site_reader, writer, self._back),
            ]
            _, left = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in left:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        except OSError:
            pass  # no site: the caller's connection ends too
        finally:
            for each in writers:
                each.close()


def _way(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: Line) -> list[asyncio.Task[None]]:
    chunks: Chunks = asyncio.Queue(IN_FLIGHT)
    return [asyncio.create_task(_take(reader, chunks, line)), asyncio.create_task(_deliver(chunks, writer))]


async def _take(reader: asyncio.StreamReader, chunks: Chunks, line: Line) -> None:
    now = asyncio.get_running_loop().time
    with contextlib.suppress(OSError):
        while chunk := await reader.read(CHUNK):
            await chunks.put((line.arrival(now(), len(chunk)), chunk))
    await chunks.put((line.arrival(now(), 0), b""))
    await asyncio.Event().wait()  # until what is under way has arrived


async def _deliver(chunks: Chunks, writer: asyncio.StreamWriter) -> None:
    now = asyncio.get_running_loop().time
    with contextlib.suppress(OSError):
        while True:
            when, chunk = await chunks.get()
            await asyncio.sleep(when - now())
            if not chunk:
                return
            writer.write(chunk)
            await writer.drain()


async def serve(port: int, site_port: int, wan: Wan) -> None:
    """Relay until the process ends."""
    server = await asyncio.start_server(Relay(wan, site_port).connect, "127.0.0.1", port)
    async with server:
        print(LAID, flush=True)
        await server.serve_forever()


def main(arguments: Sequence[str]) -> None:
    """The command line, for `Wan`'s own use."""
    port, site_port, wan = arguments
    asyncio.run(serve(int(port), int(site_port), Wan.model_validate_json(wan)))


if __name__ == "__main__":
    main(sys.argv[1:])
