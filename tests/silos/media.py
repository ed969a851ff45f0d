"""A step of the play about files: whatever is sent on one side is there on the other, byte by byte."""

import random

from .play_parts import Wrong

VOICE = "org.matrix.msc3245.voice"
AUDIO = "org.matrix.msc1767.audio"


class Post:
    """A room in which files are sent as clients send them, and looked at as the other side's clients get them."""

    def __init__(self, play, room, name: str, reader: str):
        self.play, self.room, self.name, self.reader = play, room, name, reader
        self.client, self.person = play.person(name).client, play.person(reader)
        self.random = random.Random(f"{name} {reader}")

    def upload(self, size: int, kind: str) -> tuple[str, bytes]:
        data = self.random.randbytes(size)
        return self.client.upload(data, kind), data

    def send(self, content: dict, told: str, kind: str = "m.room.message") -> str:
        self.play.tell.act(self.name, told)
        path = f"/_matrix/client/v3/rooms/{self.play.here(self.room, self.name)}/send/{kind}/{self.client.next_txn()}"
        return self.client.call("PUT", path, content)["event_id"]

    def shown(self, what: str, mark: int, kind: str = "m.room.message", wanted=lambda content: "url" in content) -> dict:
        """The next event of the sender with a file, as the reader gets it."""
        sender, here = self.play.as_seen_by(self.reader, self.name), self.play.here(self.room, self.reader)
        seen = self.person.wait(f"{what} of {sender}", lambda seen: seen.room == here and seen.sender == sender
                                and seen.kind == kind and wanted(seen.content), self.play.patience, mark)
        self.play.tell.seen(self.reader, f"sees {what} {seen.content.get('filename') or seen.body!r}", seen)
        return seen.event

    def same(self, what: str, mxc: str, data: bytes) -> None:
        server = self.play.silo(self.reader).server_name
        if not mxc.startswith(f"mxc://{server}/"):
            raise Wrong(f"{what} lies at {mxc}, and not on {server}")
        if self.person.client.download(mxc) != data:
            raise Wrong(f"{what} has other bytes at {self.reader}")


def expect(what: str, found, wanted) -> None:
    if found != wanted:
        raise Wrong(f"{what}: {found}, not {wanted}")


def crossed(what: str, content: dict, sent: dict) -> None:
    """All that was said of a file is said of it on the other side, but for where it lies."""
    places = ("url", "thumbnail_url")
    info = {key: value for key, value in content.get("info", {}).items() if key not in places}
    expect(f"what is said of {what}", info, {key: value for key, value in sent["info"].items() if key not in places})
    for key in sent:
        if key not in ("url", "info"):
            expect(f"{key} of {what}", content.get(key), sent[key])


def picture(post: Post) -> str:
    (url, data), (small, tiny) = post.upload(30_000, "image/png"), post.upload(2_000, "image/jpeg")
    sent = {"msgtype": "m.image", "body": "Our new *stage*", "filename": "stage.png", "url": url,
            "format": "org.matrix.custom.html", "formatted_body": "Our new <em>stage</em>",
            "info": {"mimetype": "image/png", "size": len(data), "w": 640, "h": 480,
                     "xyz.amorgan.blurhash": "LEHV6nWB2yk8pyo0adR*.7kCMdnj", "thumbnail_url": small,
                     "thumbnail_info": {"mimetype": "image/jpeg", "size": len(tiny), "w": 64, "h": 48}}}
    mark = post.person.mark()
    post.send(sent, "sends a picture with a caption, and 'Look!' right behind it")
    post.client.send(post.play.here(post.room, post.name), f"Look! says {post.name}")
    event = post.shown("the picture", mark)
    content = event["content"]
    crossed("the picture", content, sent)
    post.same("the picture", content["url"], data)
    post.same("its thumbnail", content["info"]["thumbnail_url"], tiny)
    text = post.person.wait_text(post.play.here(post.room, post.reader), f"Look! says {post.name}", post.play.patience, mark)
    order = [seen.event["event_id"] for seen in post.person.seen[mark:] if seen.kind == "m.room.message"]
    if order.index(event["event_id"]) > order.index(text.event["event_id"]):
        raise Wrong("what was said behind the picture came before it")
    return event["event_id"]


def others(post: Post) -> None:
    url, data = post.upload(5_000, "audio/ogg")
    sent = {"msgtype": "m.audio", "body": "Voice message", "filename": "voice.ogg", "url": url, VOICE: {},
            AUDIO: {"duration": 2100, "waveform": [0, 512, 1024, 3]},
            "info": {"mimetype": "audio/ogg", "size": len(data), "duration": 2100}}
    mark = post.person.mark()
    post.send(sent, "sends a voice message")
    content = post.shown("the voice message", mark)["content"]
    crossed("the voice message", content, sent)
    post.same("the voice message", content["url"], data)

    url, data = post.upload(123_457, "application/pdf")
    sent = {"msgtype": "m.file", "body": "programme.pdf", "filename": "programme.pdf", "url": url,
            "info": {"mimetype": "application/pdf", "size": len(data)}}
    mark = post.person.mark()
    post.send(sent, "sends a file")
    content = post.shown("the file", mark)["content"]
    crossed("the file", content, sent)
    post.same("the file", content["url"], data)

    url, data = post.upload(9_000, "image/webp")
    sent = {"body": "A cat that claps", "url": url, "info": {"mimetype": "image/webp", "size": len(data), "w": 256, "h": 256}}
    mark = post.person.mark()
    post.send(sent, "sends a sticker", "m.sticker")
    content = post.shown("the sticker", mark, "m.sticker")["content"]
    crossed("the sticker", content, sent)
    post.same("the sticker", content["url"], data)

    files = [post.upload(4_000 + index, "image/png") for index in range(3)]
    items = [{"itemtype": "m.image", "body": f"{index}.png", "filename": f"{index}.png", "url": url,
              "info": {"mimetype": "image/png", "size": len(data), "w": 10, "h": 20}} for index, (url, data) in enumerate(files)]
    mark = post.person.mark()
    gallery = post.send({"msgtype": "dm.filament.gallery", "body": "Three of us", "itemtypes": items}, "sends three pictures at once")
    shown = []
    for index, (item, (_, data)) in enumerate(zip(items, files)):
        event = post.shown(f"picture {index + 1}", mark, wanted=lambda content, index=index: content.get("filename") == f"{index}.png")
        content = event["content"]
        expect(f"picture {index + 1}", (content["msgtype"], content["body"], content["info"]),
               ("m.image", f"{index}.png" if index else "Three of us", item["info"]))
        post.same(f"picture {index + 1}", content["url"], data)
        shown.append(event["event_id"])
    mark = post.person.mark()
    post.play.tell.act(post.name, "deletes them")
    post.client.redact(post.play.here(post.room, post.name), gallery)
    for event in shown:
        post.person.wait(f"the deletion of {event}", lambda seen, event=event: seen.kind == "m.room.redaction"
                         and (seen.event.get("redacts") or seen.content.get("redacts")) == event, post.play.patience, mark)


def refused(post: Post) -> None:
    """A file that nobody has: its sender is told, its caption crosses."""
    gone = f"mxc://{post.play.silo(post.name).server_name}/nothingisthere"
    mark, own = post.person.mark(), post.play.person(post.name)
    seen_own = own.mark()
    post.send({"msgtype": "m.image", "body": "You should see this", "filename": "gone.png", "url": gone,
               "info": {"mimetype": "image/png", "size": 12_345}}, "sends a picture that its homeserver lost")
    post.person.wait_text(post.play.here(post.room, post.reader), "You should see this", post.play.patience, mark)
    notice = own.wait("a notice about gone.png", lambda seen: seen.room == post.play.here(post.room, post.name)
                      and "gone.png" in (seen.body or "") and seen.content.get("msgtype") == "m.notice",
                      post.play.patience, seen_own)
    post.play.tell.seen(post.name, f"is told: {notice.body}", notice)


def media(play) -> None:
    room = play.gather("Theatre group", guests=1)
    for name, reader in (("a1", "b1"), ("b1", "a1")):
        post = Post(play, room, name, reader)
        shown = picture(post)
        # An answer on the other side points at the picture here.
        back = Post(play, room, reader, name)
        mark = back.person.mark()
        back.send({"msgtype": "m.text", "body": "Nice!", "m.relates_to": {"m.in_reply_to": {"event_id": shown}}},
                  "answers 'Nice!'")
        event = back.shown("the answer", mark, wanted=lambda content: content.get("body") == "Nice!")
        target = event["content"]["m.relates_to"]["m.in_reply_to"]["event_id"]
        original = next(seen for seen in play.person(name).seen if seen.event.get("event_id") == target)
        expect("what is answered", original.content.get("filename"), "stage.png")
        others(post)
        refused(post)
    if not play.say(room, "a1", "Curtain!"):
        raise Wrong("nobody is there in the end")
