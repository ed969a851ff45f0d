"""`mimi-gateway mirror`: many rooms at once on a real Synapse, with gateway and command killed on the way, and undone. E2E_MIRROR_ROOMS
(100) says how many."""

import json
import os
import subprocess
import time
from collections.abc import Callable

from silos.gateway import binary
from silos.matrix import Watcher
from silos.play import Play, Wrong
from silos.stage import Silos

# Rooms a minute: so many that the test is short, so few that a kill comes in between.
RATE = 200


class Mirror:
    def __init__(self, silos: Silos, play: Play, say: Callable[[str], None]):
        self.silos, self.play, self.say = silos, play, say
        self.gateway, self.bot = silos.a.gateway, silos.a.gateway.bot
        self.rooms: list[str] = []
        self.job = 0
        self.cases = [
            ("mirror: a dry run tells what rooms need and lose", self.dry_run),
            ("mirror: many rooms, gateway and command killed, each once", self.many),
            ("mirror: undone", self.undo),
        ]

    # ------------------------------------------------------------------------------------------------ helpers

    @property
    def owner(self) -> Watcher:
        return self.play.person("a1")

    def set_up(self) -> None:
        """Of each ten rooms five are ready, three lack the bot, one gives it no power, and one is encrypted."""
        if self.rooms:
            return
        count, client = int(os.environ.get("E2E_MIRROR_ROOMS", "100")), self.owner.client
        for n in range(count):
            kind, options = n % 10, {}
            if kind < 5:
                options = {"invite": [self.bot], "power_level_content_override": {"users": {client.user: 100, self.bot: 100}}}
            if kind == 8:
                options = {"invite": [self.bot]}
            if kind == 9:
                options = {"initial_state": [{"type": "m.room.encryption", "state_key": "",
                                              "content": {"algorithm": "m.megolm.v1.aes-sha2"}}]}
            if kind == 1:
                options |= {"initial_state": [{"type": "m.room.history_visibility", "state_key": "",
                                               "content": {"history_visibility": "world_readable"}}]}
            # One in three is of a version whose creators stand above all levels.
            version = "12" if n % 3 == 0 else "11"
            if version == "12" and "power_level_content_override" in options:
                options["power_level_content_override"] = {"users": {self.bot: 100}}
            self.rooms.append(client.create_room(name=f"Mirror {n}", preset="private_chat", room_version=version, **options))
        for n, room in enumerate(self.rooms):
            if n % 10 in (0, 1, 2, 3, 4, 8):
                self.owner.wait_member(room, self.bot, "join", self.play.patience)
        # A list as people write it.
        (self.gateway.plan.folder / "rooms.txt").write_text(
            "# rooms\n" + "".join(f"{room}  Mirror {n}\n" for n, room in enumerate(self.rooms)))

    def of_kind(self, *kinds: int) -> list[str]:
        return [room for n, room in enumerate(self.rooms) if n % 10 in kinds]

    def rows(self, *arguments: str, status: int = 0) -> dict[str, dict]:
        done = self.gateway.run("mirror", *arguments, "--json", seconds=120)
        if done.returncode != status:
            raise Wrong(f"mirror {arguments} ends with {done.returncode}: {done.stderr}")
        return {row["room"]: row for row in map(json.loads, done.stdout.splitlines())}

    def bridge_states(self, room: str) -> list[dict]:
        state = self.owner.client.state(room)
        return [event["content"] for event in state if event["type"] == "m.bridge" and event["content"].get("protocol")]

    def said(self, room: str, words: str) -> int:
        events = self.owner.client.messages(room)
        return sum(event["sender"] == self.bot and words in event["content"].get("body", "") for event in events)

    def wait(self, what: str, done: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            if time.monotonic() > deadline:
                raise Wrong(f"{what}: not within {seconds:.0f} s")
            time.sleep(0.1)

    # -------------------------------------------------------------------------------------------------- cases

    def dry_run(self) -> None:
        self.set_up()
        rows = self.rows("--file", "rooms.txt", "--rate", str(RATE))
        codes = {room: [finding["code"] for finding in row["findings"]] for room, row in rows.items()}
        for kinds, expected in (((0, 2, 3, 4), []), ((1,), ["world_readable"]), ((5, 6, 7), ["bot_outside"]), ((8,), ["lacks_power"]),
                                ((9,), ["encrypted", "bot_outside"])):
            wrong = {room: codes.get(room) for room in self.of_kind(*kinds) if codes.get(room) != expected}
            if wrong:
                raise Wrong(f"kinds {kinds}: {wrong}")
        if set(rows) != set(self.rooms) or any(self.bridge_states(room) for room in self.rooms):
            raise Wrong("a dry run lists each room, and changes none")
        everything = self.rows("--all", "--rate", str(RATE))
        reports = [finding["code"] for finding in everything[self.gateway.plan.admin_room]["findings"]]
        if not set(self.rooms) <= set(everything) or reports != ["admin_room"]:
            raise Wrong(f"all rooms of the homeserver: {sorted(everything)}, the room of reports: {reports}")
        client, children = self.owner.client, self.rooms[:2]
        would = self.rows("--file", "rooms.txt", "--make-admin", "--rate", str(RATE))
        first = {n: [finding["code"] for finding in would[room]["findings"]] for n, room in enumerate(self.rooms)}
        if first[5] != ["brings_bot"] or first[8] != ["gives_power"] or would[self.rooms[8]]["outcome"] != "fit":
            raise Wrong(f"a dry run tells what --make-admin would do: {first}")
        for space, told in (("foo", "is no room's id"), ("#nope:x", "cannot be"), (f"#nope:{self.silos.a.server_name}", "there is no space")):
            began = time.monotonic()
            done = self.gateway.run("mirror", "--space", space, seconds=60)
            if done.returncode != 1 or told not in done.stdout + done.stderr:
                raise Wrong(f"--space {space} ends with {done.returncode}: {done.stdout}{done.stderr}")
            self.say(f"--space {space}: {time.monotonic() - began:.1f} s")
        space = client.create_room(name="House", preset="private_chat", creation_content={"type": "m.space"})
        for room in children:
            client.set_state(space, "m.space.child", {"via": [self.silos.a.server_name]}, room)
        if set(self.rows("--space", space, "--rate", str(RATE))) != set(children):
            raise Wrong("a space is its rooms")
        table = self.gateway.run("mirror", "--file", "rooms.txt", "--rate", str(RATE), seconds=120)
        for part in ("MIMI ROOM", "Cannot be mirrored:", "Needs something first:", "Nothing was changed."):
            if part not in table.stdout:
                raise Wrong(f"the table lacks {part!r}: {table.stdout}")

    def many(self) -> None:
        self.set_up()
        fit = [room for room in self.rooms if room not in self.of_kind(9)]
        proc, began, mark = self.gateway.proc, time.monotonic(), self.owner.mark()
        command = [str(binary()), "--config", str(self.gateway.config), "mirror", "--file", "rooms.txt", "--yes", "--make-admin",
                   "--rate", str(RATE)]
        told = open(self.silos.folder / "mirror.log", "w+", encoding="utf-8")

        def watch() -> subprocess.Popen:
            return subprocess.Popen(command, cwd=self.gateway.plan.folder, stdin=subprocess.DEVNULL, stdout=told, stderr=told)

        watching = watch()

        def mirrored() -> int:
            own = self.owner.seen[mark:]
            return len({seen.room for seen in own if seen.kind == "m.bridge" and seen.content.get("protocol")} & set(fit))

        try:
            # The command survives the second kill; after the others, the same command finds the job that it had begun.
            for share, both in ((0.25, True), (0.4, False), (0.55, True)):
                self.wait(f"{share} of all are mirrored", lambda part=share * len(fit): mirrored() >= part, 120)
                proc.kill()
                if both:
                    watching.kill()
                    watching.wait()
                proc.start()
                if both:
                    watching = watch()
            status = watching.wait(240)
        finally:
            if watching.poll() is None:
                watching.kill()
                watching.wait()
            told.seek(0)
            text = told.read()
            told.close()
        # Encrypted ones were named, and left out.
        if status != 15 or f"{len(fit)} rooms mirrored" not in text:
            raise Wrong(f"the command ends with {status}: {text[-2000:]}")
        self.wait("all say so", lambda: mirrored() == len(fit), self.play.patience)
        self.say(f"{len(fit)} rooms mirrored, {len(self.rooms) - len(fit)} left out, 3 kills of the gateway and 2 of the command: {time.monotonic() - began:.1f} s")
        jobs = [json.loads(line) for line in self.gateway.run("mirror", "--jobs", "--json").stdout.splitlines()]
        self.job = jobs[-1]["job"]
        listed = [json.loads(line) for line in self.gateway.run("rooms", "--json").stdout.splitlines()]
        for room in self.rooms:
            active = [row for row in listed if row.get("matrix_room") == room and row["state"] == "active"]
            times = 1 if room in fit else 0
            states = len(self.bridge_states(room))
            notices = self.said(room, "This room is mirrored as") if room in fit else 0
            back = self.said(room, "I am back") if room in fit else 0
            if back:
                raise Wrong(f"{room}: the bot says that it is back, and was never away")
            if (len(active), states, notices) != (times, times, times):
                raise Wrong(f"{room}: {len(active)} MIMI rooms, {states} m.bridge, {notices} notices; wanted {times} each")
        # The mirrored rooms are rooms: somebody of B comes into one of those that the bot was brought into.
        room = self.of_kind(5)[0]
        mark = self.play.person("b1").mark()
        self.play.command(room, "a1", f"!mimi invite {self.play.mimi('b1')}", "is asked to join")
        portal = self.play.person("b1").wait_invite("an invite of A1's ghost", lambda seen: seen.sender == self.play.as_seen_by(
            "b1", "a1") and (("b1", seen.room) not in self.play.gathered), self.play.patience, mark).room
        self.play.person("b1").client.join(portal)
        self.owner.wait_member(room, self.play.as_seen_by("a1", "b1"), "join", self.play.patience)
        self.owner.client.send(room, "A room of many")
        self.play.person("b1").wait_text(portal, "A room of many", self.play.patience)

    def undo(self) -> None:
        if not self.job:
            raise Wrong("nothing was mirrored")
        fit, used = [room for room in self.rooms if room not in self.of_kind(9)], self.of_kind(5)[0]
        shown = self.rows("--undo", str(self.job))
        if set(shown) != set(fit) or not all(self.bridge_states(room) for room in fit):
            raise Wrong("without --yes nothing is undone")
        rows = self.rows("--undo", str(self.job), "--yes", status=15)
        if rows[used]["outcome"] != "kept" or "MIMI users are in it" not in rows[used]["why"]:
            raise Wrong(f"a room that is used: {rows[used]}")
        rows = self.rows("--undo", str(self.job), "--used", "--yes")
        wrong = {room: rows[room]["outcome"] for room in fit if rows[room]["outcome"] != "undone"}
        if wrong:
            raise Wrong(f"not undone: {wrong}")
        self.wait("no room is mirrored", lambda: not any(self.bridge_states(room) for room in fit), self.play.patience)
        ghost = self.play.as_seen_by("a1", "b1")
        self.owner.wait_member(used, ghost, "leave", self.play.patience)
        for room in self.of_kind(5, 6, 7):
            if self.owner.client.membership(room, self.bot) != "leave":
                raise Wrong(f"the bot was brought into {room}, and stays")
            levels = next(event["content"] for event in self.owner.client.state(room) if event["type"] == "m.room.power_levels")
            if self.bot in levels.get("users", {}):
                raise Wrong(f"the bot keeps its power in {room}")
        for room in self.of_kind(8):
            levels = next(event["content"] for event in self.owner.client.state(room) if event["type"] == "m.room.power_levels")
            if self.bot in levels.get("users", {}) or self.owner.client.membership(room, self.bot) != "join":
                raise Wrong(f"the bot was in {room} without power, and has some")
        for room in self.of_kind(0):
            if self.owner.client.membership(room, self.bot) != "join":
                raise Wrong(f"the bot was in {room} before, and left")
