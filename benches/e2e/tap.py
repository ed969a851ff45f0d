"""A TCP proxy that notes when marked messages pass. It looks at what clients send, not at answers, and changes nothing."""

import asyncio
import re
import threading
import time

_KEEP = 64  # a marker may be cut in two by the chunks


class Tap:
    """Listens on `port`, passes everything on to `upstream`; `seen[marker]` is when it first came from the client's side
    (time.perf_counter, taken before it is passed on), `count` how many passed."""

    def __init__(self, port: int, upstream: int, marker: re.Pattern[bytes]):
        self.seen: dict[bytes, float] = {}
        self.count = 0
        self._port, self._upstream, self._marker = port, upstream, marker
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"tap {port}", daemon=True)
        self._thread.start()
        self._ready.wait()

    def _run(self) -> None:
        async def main() -> None:
            server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
            self._ready.set()
            async with server:
                await server.serve_forever()

        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(main())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._upstream)
        except OSError:
            writer.close()  # as if nothing listened
            return
        await asyncio.gather(self._pump(reader, up_writer, True), self._pump(up_reader, writer, False))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, look: bool) -> None:
        tail = b""
        try:
            while chunk := await reader.read(1 << 16):
                if look:
                    now = time.perf_counter()
                    text = tail + chunk
                    for found in self._marker.finditer(text):
                        self.seen.setdefault(found[0], now)
                        self.count += found.end() > len(tail)  # else it was whole in the chunk before
                    tail = text[-_KEEP:]
                writer.write(chunk)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()
