"""Files that are large, and files that somebody changed: the gateways' memory does not grow with a file, and what is not what was
sent is shown to nobody. E2E_LARGE_MB (100) says how large; 1000 is what the homeservers and gateways of these tests take."""

import hashlib
import http.client
import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from silos.media import Post
from silos.play import Play, Wrong
from silos.stage import LETTERS, Silos

# What a gateway may have more in memory while a file goes through it, in MB: pieces on their way, and what allocators keep.
GROWTH_MB = 48


def peak(pid: int) -> float:
    """The most that a process had in memory since `forget_peak`, in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise Wrong("no VmHWM")


def forget_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")


class Large:
    def __init__(self, silos: Silos, play: Play, say: Callable[[str], None]):
        self.silos, self.play, self.say = silos, play, say
        self.room = None
        self.cases = [
            ("media: a large file crosses in constant memory", self.large),
            ("media: a file over the limit is told to its sender", self.over),
            ("media: a tampered asset is not shown", self.tampered),
        ]

    def post(self, name: str, reader: str) -> Post:
        if self.room is None:
            self.room = self.play.gather("Archive", guests=1)
        return Post(self.play, self.room, name, reader)

    def call(self, post: Post, who: str, method: str, path: str, body=None, length: int = 0) -> http.client.HTTPResponse:
        client = self.play.person(who).client
        where = urlsplit(client.url)
        connection = http.client.HTTPConnection(where.hostname, where.port, timeout=600)
        headers = {"Authorization": f"Bearer {client.token}", "Content-Type": "application/octet-stream"}
        connection.request(method, path, body, headers | ({"Content-Length": str(length)} if body else {}))
        answer = connection.getresponse()
        if answer.status != 200:
            raise Wrong(f"{method} {path}: {answer.status} {answer.read()[:200]}")
        return answer

    def large(self) -> None:
        size, seed = int(os.environ.get("E2E_LARGE_MB", "100")) * 1_000_000, random.Random(7)
        post, patience = self.post("a1", "b1"), max(self.play.patience, size / 400_000)
        path, hashed, left = self.silos.folder / "large", hashlib.sha256(), size
        with open(path, "wb") as file:
            while left:
                piece = seed.randbytes(min(left, 1 << 20))
                file.write(piece)
                hashed.update(piece)
                left -= len(piece)
        with open(path, "rb") as file:
            url = json.loads(self.call(post, "a1", "POST", "/_matrix/media/v3/upload", file, size).read())["content_uri"]
        path.unlink()
        gateways = {letter: self.silos.silos[letter].gateway.proc for letter in LETTERS}
        for proc in gateways.values():
            forget_peak(proc.pid)
        before = {letter: proc.resident_mb() for letter, proc in gateways.items()}
        mark, began = post.person.mark(), time.monotonic()
        post.send({"msgtype": "m.file", "body": "archive.tar", "filename": "archive.tar", "url": url,
                   "info": {"mimetype": "application/x-tar", "size": size}}, f"sends a file of {size} bytes")
        post.play.patience, short = patience, post.play.patience
        try:
            content = post.shown("the file", mark)["content"]
        finally:
            post.play.patience = short
        seconds = time.monotonic() - began
        grown = {letter: peak(proc.pid) - before[letter] for letter, proc in gateways.items()}
        answer = self.call(post, "b1", "GET", f"/_matrix/client/v1/media/download/{content['url'].removeprefix('mxc://')}")
        came, bytes_came = hashlib.sha256(), 0
        while piece := answer.read(1 << 20):
            came.update(piece)
            bytes_came += len(piece)
        if (bytes_came, came.digest()) != (size, hashed.digest()):
            raise Wrong(f"{bytes_came} other bytes came of {size}")
        self.say(f"{size // 1_000_000} MB in {seconds:.1f} s; the gateways' memory grew by " +
                 " and ".join(f"{grown[letter]:.0f} MB" for letter in LETTERS))
        if max(grown.values()) > GROWTH_MB:
            raise Wrong(f"the gateways grew by {grown} MB")

    def over(self) -> None:
        post = self.post("b1", "a1")
        own = self.play.person("b1")
        mark = own.mark()
        url, _ = post.upload(1000, "video/mp4")
        post.send({"msgtype": "m.video", "body": "film.mp4", "filename": "film.mp4", "url": url,
                   "info": {"mimetype": "video/mp4", "size": 5_000_000_000}}, "sends a file that is too large, as it says")
        here = self.play.here(self.room, "b1")
        own.wait("a notice about film.mp4", lambda seen: seen.room == here and "film.mp4 (video, 5 GB): it is larger than"
                 in (seen.body or ""), self.play.patience, mark)

    def tampered(self) -> None:
        post = self.post("a1", "b1")
        reader, folder = self.silos.b.gateway.proc, self.silos.a.gateway.plan.folder / "data" / "assets"
        known = set(folder.iterdir())
        url, _ = post.upload(20_000, "image/png")
        mark = post.person.mark()
        reader.freeze()
        try:
            post.send({"msgtype": "m.image", "body": "Is it you?", "filename": "face.png", "url": url,
                       "info": {"mimetype": "image/png", "size": 20_000}}, "sends a picture that is changed on its way")
            deadline = time.monotonic() + self.play.patience
            while not (new := [path for path in folder.iterdir() if path not in known and not path.suffix]):
                if time.monotonic() > deadline:
                    raise Wrong("there is no asset")
                time.sleep(0.05)
            data = bytearray(new[0].read_bytes())
            data[100] ^= 1
            new[0].write_bytes(data)
        finally:
            reader.thaw()
        here = self.play.here(self.room, "b1")
        post.person.wait("a note about face.png", lambda seen: seen.room == here and "face.png" in (seen.body or "")
                         and "could not be fetched" in seen.body, self.play.patience, mark)
        post.person.wait_text(here, "Is it you?", self.play.patience, mark)
        if [seen for seen in post.person.seen[mark:] if "url" in seen.content]:
            raise Wrong("a changed picture is shown")
