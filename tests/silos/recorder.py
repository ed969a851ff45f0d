"""A provider in the middle: takes one gateway's requests to another one, keeps them, and passes them on. It can, because it
holds both certificates. For replays: what was recorded can be posted again."""

import http.client
import socket
import ssl
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from .certs import Pair

_HOP = {"connection", "content-length", "transfer-encoding", "keep-alive", "host"}


@dataclass
class Recorded:
    method: str
    path: str
    body: bytes
    status: int

    @property
    def endpoint(self) -> str:
        return self.path.split("/")[2] if self.path.startswith("/v1/") else ""


class Recorder:
    """Listens on `port` as `server` does, and talks to `upstream` (a port) as `client` does."""

    def __init__(self, port: int, upstream: int, server: Pair, client: Pair, ca: Path, upstream_name: str):
        self.requests: list[Recorded] = []
        recorder, lock = self, threading.Lock()
        to_upstream = ssl.create_default_context(cafile=str(ca))
        to_upstream.load_cert_chain(client.cert, client.key)
        listening = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        listening.load_cert_chain(server.cert, server.key)
        listening.load_verify_locations(str(ca))
        listening.verify_mode = ssl.CERT_REQUIRED
        listening.set_alpn_protocols(["http/1.1"])

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                self.request.settimeout(60)
                self.request = listening.wrap_socket(self.request, server_side=True)
                super().setup()

            def log_message(self, *_) -> None:
                pass

            def pass_on(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                connection = http.client.HTTPConnection(upstream_name, upstream, timeout=60)
                try:
                    connection.sock = to_upstream.wrap_socket(socket.create_connection(("127.0.0.1", upstream), 10),
                                                              server_hostname=upstream_name)
                    connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                    for name, value in self.headers.items():
                        if name.lower() not in _HOP - {"host"}:
                            connection.putheader(name, value)
                    connection.putheader("Content-Length", str(len(body)))
                    connection.endheaders(body)
                    answer = connection.getresponse()
                    data = answer.read()
                finally:
                    connection.close()
                if self.path.startswith("/.well-known/"):  # the directory's URLs name the upstream's port
                    data = data.replace(f":{upstream}/".encode(), f":{port}/".encode())
                with lock:
                    recorder.requests.append(Recorded(self.command, self.path, body, answer.status))
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in _HOP:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = pass_on

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_) -> None:
                pass  # a broken connection: the gateway tries again

        self._server = Server(("127.0.0.1", port), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def of(self, endpoint: str) -> list[Recorded]:
        return [request for request in list(self.requests) if request.endpoint == endpoint]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
