"""End-to-end measurements on two real Synapses, as ratios within one run; part of `make bench`.

Noise on shared machines is large: look at ratios, not at absolute numbers. Sizes: BENCH_MESSAGES (400), BENCH_ROUNDS (3),
BENCH_LATENCY_MESSAGES (200, at two a second), BENCH_ROOMS (100). Arguments choose parts: latency, cpu, rate, memory, size, and members, which takes minutes and runs only if it
is named.
"""

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from members import members  # noqa: E402
from tap import Tap  # noqa: E402

from silos import gateway as gateways  # noqa: E402
from silos.gateway import GatewayPlan  # noqa: E402
from silos.matrix import Client  # noqa: E402
from silos.paths import TARGET  # noqa: E402
from silos.play import Play, Room, Wrong  # noqa: E402
from silos.procs import StartError, end_on_signals  # noqa: E402
from silos.ports import allocate  # noqa: E402
from silos.stage import Silos, build_gateway, in_parallel, start_all  # noqa: E402


def number(name: str, default: int) -> int:
    return int(os.environ.get(name, default))


class Quiet:
    """The play's narrator: says nothing."""

    def step(self, number: int, title: str) -> None: ...
    def act(self, who: str, what: str) -> None: ...
    def saw(self, who: str, what: str, milliseconds: float) -> None: ...


class Results:
    """What came out, against the goals."""

    def __init__(self) -> None:
        self.rows: list[dict] = []

    def add(self, what: str, value: float, unit: str, goal: str, good: bool | None, detail: str = "") -> None:
        self.rows.append({"what": what, "value": round(value, 4), "unit": unit, "goal": goal, "met": good, "detail": detail})
        verdict = {True: "ok", False: "MISSED", None: ""}[good]
        print(f"   {what}: {value:.4g} {unit}   (goal: {goal}) {verdict}\n      {detail}", flush=True)


def bodies(silos: Silos, room: Room, letter: str) -> list[str]:
    """All message bodies that a person of this silo may read."""
    client = silos.silos[letter].person(f"{letter}1").client
    return [event["content"].get("body", "") for event in client.messages(room.ids[letter]) if event["type"] == "m.room.message"]


def wait_last(silos: Silos, room: Room, letter: str, last: set[str], seconds: float = 300.0) -> float:
    """Looks at the newest events until these bodies have come; when that was. Few events a look: reading all of them would be
    work for a homeserver that is being measured. Once nothing moves any more, all are looked at."""
    client, missing = silos.silos[letter].person(f"{letter}1").client, set(last)
    path, deadline = f"/_matrix/client/v3/rooms/{room.ids[letter]}/messages", time.monotonic() + seconds
    newest, moved, limit = None, time.monotonic(), 30
    while True:
        page = client.call("GET", path, query={"dir": "b", "limit": limit})["chunk"]
        now = time.monotonic()
        missing -= {event["content"].get("body") for event in page}
        if page and page[0]["event_id"] != newest:
            newest, moved = page[0]["event_id"], now
        if not missing:
            return moved
        limit = 1000 if now - moved > 0.5 else 30
        if now > deadline:
            raise Wrong(f"{sorted(missing)} did not arrive at {letter} within {seconds:.0f} s")
        time.sleep(0.05)


def must_have(silos: Silos, room: Room, letter: str, wanted: list[str]) -> None:
    """A measurement of a run that lost or doubled something is worth nothing."""
    found = [body for body in bodies(silos, room, letter) if body in set(wanted)]
    if sorted(found) != sorted(wanted):
        raise Wrong(f"{letter} has {len(found)} of {len(wanted)} messages ({len(set(found))} different ones)")


def quiet_people(silos: Silos) -> None:
    """Ends all `/sync` polling: what the homeservers do then is done for the messages alone."""
    for silo in silos.silos.values():
        for person in silo.people.values():
            person.stop()


# ------------------------------------------------------------------------------------------------------- latency


def latency(results: Results) -> None:
    """From A's transaction arriving at gateway A to gateway B's request leaving, as seen by proxies on both ways."""
    count, marker = number("BENCH_LATENCY_MESSAGES", 200), re.compile(rb"marked-\d{6}")

    def hook(plan: GatewayPlan, silo: int) -> None:
        if silo == 0:
            plan.appservice_public_port = ports[0]
        else:
            upstream.append(int(plan.homeserver_url.rsplit(":", 1)[1]))
            plan.homeserver_url = f"http://127.0.0.1:{ports[1]}"

    upstream: list[int] = []
    allocated = allocate()
    ports = (allocated.proxy(0), allocated.proxy(1))
    with Silos.build("bench", plan_hook=hook, ports=allocated) as silos:
        at_a = Tap(ports[0], silos.a.gateway.plan.appservice_port, marker)
        at_b = Tap(ports[1], upstream[0], marker)
        silos.start()
        room = Play(silos, Quiet()).gather("Latency", guests=1)
        quiet_people(silos)
        client, began = silos.a.person("a1").client, time.monotonic()
        print(f"   {count} messages at two a second", flush=True)
        for i in range(count):
            time.sleep(max(0.0, began + i * 0.5 - time.monotonic()))
            client.send(room.ids["a"], f"marked-{i:06}")
        wait_last(silos, room, "b", {f"marked-{count - 1:06}"})
        markers = [f"marked-{i:06}".encode() for i in range(count)]
        delays = sorted((at_b.seen[m] - at_a.seen[m]) * 1000 for m in markers if m in at_a.seen and m in at_b.seen)
    if len(delays) < count:
        raise Wrong(f"only {len(delays)} of {count} marked messages passed both proxies")
    median, p99 = statistics.median(delays), delays[min(len(delays) - 1, int(len(delays) * 0.99))]
    detail = f"{count} messages; fastest {delays[0]:.1f} ms, slowest {delays[-1]:.1f} ms; one pass through a proxy is included"
    results.add("latency, median", median, "ms", "at most 10", median <= 10, detail)
    results.add("latency, p99", p99, "ms", "at most 40", p99 <= 40, detail)


# ------------------------------------------------------------------------------------------------- CPU and rate


def unhurried(plan, _index: int) -> None:
    """The tests have the list of reports looked at every second: no gateway outside does."""
    plan.report_poll_seconds = None


def settle() -> None:
    """For 15 s after its start a gateway compares timelines before every transaction: that is not what is measured."""
    time.sleep(number("BENCH_SETTLE_SECONDS", 17))


def say_all(client: Client, room_id: str, texts: list[str]) -> None:
    for text in texts:
        client.send(room_id, text)


def cpu(results: Results, silos: Silos, room: Room) -> None:
    """CPU of both gateways against both Synapses over the same messages, a quarter from each of four people."""
    count = number("BENCH_MESSAGES", 400) // 4
    speakers = ("a1", "a2", "b1", "b2")
    texts = {name: [f"cpu {name} {i}" for i in range(count)] for name in speakers}
    groups = {"gateways": silos.gateway_procs(), "synapses": silos.synapses()}
    before = {name: sum(proc.cpu_seconds() for proc in procs) for name, procs in groups.items()}
    in_parallel(*(lambda name=name: say_all(silos.silos[name[0]].person(name).client, room.ids[name[0]], texts[name])
                  for name in speakers))
    for letter in ("a", "b"):
        wait_last(silos, room, letter, {texts[name][-1] for name in speakers})
    used = {name: sum(proc.cpu_seconds() for proc in procs) - before[name] for name, procs in groups.items()}
    for letter in ("a", "b"):
        must_have(silos, room, letter, [text for name in speakers for text in texts[name]])
    ratio, each = used["gateways"] / used["synapses"], 1000 / (4 * count)
    results.add("CPU, both gateways / both Synapses", ratio * 100, "%", "at most 6", ratio <= 0.06,
                f"{4 * count} messages; per message: gateways {used['gateways'] * each:.2f} ms, Synapses "
                f"{used['synapses'] * each:.2f} ms; nobody polls /sync meanwhile")


def through_gateways(silos: Silos, room: Room, senders: int, count: int, label: str) -> float:
    """Messages a second from the first send at A until B has the last one."""
    names = ("a1", "a2")[:senders]
    texts = {name: [f"{label} {name} {i}" for i in range(count // senders)] for name in names}
    began = time.monotonic()
    in_parallel(*(lambda name=name: say_all(silos.a.person(name).client, room.ids["a"], texts[name]) for name in names))
    ended = wait_last(silos, room, "b", {texts[name][-1] for name in names})
    must_have(silos, room, "b", [text for name in names for text in texts[name]])
    return sum(len(each) for each in texts.values()) / (ended - began)


def shown_with(silos: Silos, room: Room) -> dict:
    """What a message that the gateway shows at B has in its content besides its text."""
    events = silos.b.person("b1").client.messages(room.ids["b"])
    content = next(e["content"] for e in reversed(events) if "/_mimi_" in f"/{e['sender'][1:]}" and e["type"] == "m.room.message")
    return {key: value for key, value in content.items() if key not in ("msgtype", "body")}


def baseline(silos: Silos, rooms: dict[str, str], senders: int, count: int, label: str, ghosts: dict[str, Client],
             more: dict) -> float:
    """The same sends by a script: to A by clients, at the same time to B by ghosts with the content that the gateway would send,
    one after the other, as order asks for."""
    names = ("a1", "a2")[:senders]
    texts = {name: [f"{label} {name} {i}" for i in range(count // senders)] for name in names}

    def as_ghosts() -> None:
        for i in range(count // senders):
            for name in names:
                ghosts[name].send(rooms["b"], texts[name][i], ts=int(time.time() * 1000), more=more)

    began = time.monotonic()
    in_parallel(as_ghosts, *(lambda name=name: say_all(silos.a.person(name).client, rooms["a"], texts[name]) for name in names))
    return sum(len(each) for each in texts.values()) / (time.monotonic() - began)


def rate(results: Results, silos: Silos, room: Room) -> None:
    """End-to-end rate A to B against the baseline, rounds in turn: gateways on, gateways off."""
    count, rounds = number("BENCH_MESSAGES", 400), number("BENCH_ROUNDS", 3)
    # Rooms like the mirrored one, but mirrored by nobody. The ghosts join unasked: one that is invited to such a room declines.
    ghosts = {name: silos.b.ghost("a.example", name) for name in ("a1", "a2")}
    rooms = {"a": silos.a.person("a1").client.create_room(invite=[silos.a.person("a2").user]),
             "b": silos.b.person("b1").client.create_room(
                 preset="public_chat", invite=[silos.b.person("b2").user])}
    silos.a.person("a2").client.join(rooms["a"])
    silos.b.person("b2").client.join(rooms["b"])
    for ghost in ghosts.values():
        ghost.join(rooms["b"])
    more = shown_with(silos, room)
    measured: dict[tuple[int, str], list[float]] = {(s, what): [] for s in (1, 2) for what in ("gateways", "baseline")}
    for turn in range(rounds):
        for senders in (1, 2):
            label = f"rate {turn}"
            measured[senders, "gateways"].append(through_gateways(silos, room, senders, count, f"{label} of {senders}"))
        for proc in silos.gateway_procs():
            proc.stop()
        for senders in (1, 2):
            measured[senders, "baseline"].append(baseline(silos, rooms, senders, count, f"base {turn} of {senders}", ghosts, more))
        start_all(silos.gateway_procs())
        silos.a.person("a1").client.send(room.ids["a"], f"again {turn}")
        wait_last(silos, room, "b", {f"again {turn}"})
        settle()
        print(f"   round {turn + 1} of {rounds} done", flush=True)
    for senders in (1, 2):
        with_gateways, without = (statistics.median(measured[senders, what]) for what in ("gateways", "baseline"))
        ratio = with_gateways / without
        results.add(f"rate A to B / baseline, {senders} sender{'s' if senders > 1 else ''}", ratio * 100, "%", "at least 90",
                    ratio >= 0.9, f"{with_gateways:.1f} against {without:.1f} messages/s; medians of {rounds} rounds of {count}")


# ----------------------------------------------------------------------------------------------- memory and size


def memory(results: Results, silos: Silos, play: Play) -> None:
    """Resident memory of each gateway with idle mirrored rooms, each with people of both sides."""
    count = number("BENCH_ROOMS", 100)
    for proc in silos.gateway_procs():
        proc.stop()
    start_all(silos.gateway_procs())  # what earlier measurements left in memory does not count
    for person in [person for silo in silos.silos.values() for person in silo.people.values()]:
        person.resume()
    began = time.monotonic()
    for i in range(count):
        room = play.gather(f"Idle {i}", guests=1)
        play.say(room, "a1", f"in room {i}")
        if (i + 1) % 10 == 0:
            print(f"   {i + 1} of {count} rooms after {time.monotonic() - began:.0f} s", flush=True)
    worst = max(proc.resident_mb() for proc in silos.gateway_procs())
    both = ", ".join(f"{proc.name} {proc.resident_mb():.1f} MB" for proc in silos.gateway_procs())
    for proc in silos.gateway_procs():
        proc.stop()
    start_all(silos.gateway_procs())
    fresh = ", ".join(f"{proc.resident_mb():.1f} MB" for proc in silos.gateway_procs())
    results.add(f"resident memory with {count} rooms", worst, "MB", "under 60", worst < 60, f"{both}; after a restart {fresh}")


def size(results: Results) -> None:
    binary = gateways.binary()
    with tempfile.TemporaryDirectory() as folder:
        stripped = Path(folder) / "stripped"
        tool = shutil.which("strip")
        if not tool or subprocess.run([tool, "-o", str(stripped), str(binary)], check=False).returncode != 0:
            stripped = binary  # the release profile strips already
        megabytes = stripped.stat().st_size / 1e6
    results.add("stripped binary", megabytes, "MB", "under 50", megabytes < 50, str(binary))


def main() -> int:
    end_on_signals()
    parts = sys.argv[1:] or ["latency", "cpu", "rate", "memory", "size"]
    build_gateway()
    results, failed = Results(), []

    def part(name: str, measure) -> None:
        if name not in parts:
            return
        print(f"== {name}", flush=True)
        try:
            measure()
        except Exception as error:  # the other parts still count
            failed.append(name)
            print(f"   FAILED: {type(error).__name__}: {error}", flush=True)

    part("latency", lambda: latency(results))
    if {"cpu", "rate", "memory"} & set(parts):
        with Silos.build("bench", plan_hook=unhurried) as silos:
            silos.start(lambda text: print(f"== {text}", flush=True))
            play = Play(silos, Quiet())
            room = play.gather("Bench")
            quiet_people(silos)
            settle()
            part("cpu", lambda: cpu(results, silos, room))
            part("rate", lambda: rate(results, silos, room))
            part("memory", lambda: memory(results, silos, play))
    part("size", lambda: size(results))
    part("members", lambda: members(results.add, Quiet()))

    print("\n== end to end")
    for row in results.rows:
        verdict = {True: "ok", False: "MISSED", None: ""}[row["met"]]
        print(f"   {row['what']:<44} {row['value']:>9.4g} {row['unit']:<3} goal {row['goal']:<12} {verdict}")
    out = TARGET / "bench-e2e.json"
    out.write_text(json.dumps(results.rows, indent=1) + "\n")
    print(f"   also in {out}" + (f"; FAILED: {', '.join(failed)}" if failed else ""), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except StartError as error:
        raise SystemExit(f"could not start: {error}") from None
