"""A Matrix room with many real members is mirrored (BENCH_MEMBERS, 1,000): time, memory, and requests, as a proxy between gateway and
homeserver counts them. Making the members takes minutes, so this part runs only when it is asked for by name."""

import os
import re
import time
from collections.abc import Callable

from tap import Tap

from silos.gateway import GatewayPlan
from silos.matrix import register
from silos.play import Play
from silos.ports import allocate
from silos.stage import PASSWORD, Silos, in_parallel

REQUEST = re.compile(rb"(?:GET|PUT|POST|DELETE) /_(?:matrix|synapse)/[^ ]* HTTP/1.1")
WORKERS = 4


def people(silos: Silos, room: str, count: int) -> list:
    """Registers so many users, who join a public room."""
    synapse, clients = silos.a.synapse, []

    def some(first: int) -> None:
        for n in range(first, count, WORKERS):
            client = register(synapse.url, synapse.secret, f"many{n}", PASSWORD)
            client.join(room)
            clients.append(client)
            if len(clients) % 100 == 0:
                print(f"   {len(clients)} of {count} members", flush=True)

    in_parallel(*[lambda first=first: some(first) for first in range(WORKERS)])
    return clients


def members(add: Callable, narrator) -> None:
    """`add` takes a result: what, value, unit, goal, whether it is met, details."""
    count, upstream, allocated = int(os.environ.get("BENCH_MEMBERS", "1000")), [], allocate()
    port = allocated.proxy(0)

    def hook(plan: GatewayPlan, silo: int) -> None:
        plan.report_poll_seconds = None
        if silo == 0:
            upstream.append(int(plan.homeserver_url.rsplit(":", 1)[1]))
            plan.homeserver_url = f"http://127.0.0.1:{port}"

    with Silos.build("bench", plan_hook=hook, ports=allocated) as silos:
        tap = Tap(port, upstream[0], REQUEST)
        silos.start()
        play, gateway = Play(silos, narrator, patience=120), silos.a.gateway
        owner = play.person("a1")
        room = owner.client.create_room(name="Market", preset="public_chat",
                                        power_level_content_override={"users": {gateway.bot: 100}})
        began = time.monotonic()
        clients = people(silos, room, count)
        print(f"   {count} members within {time.monotonic() - began:.0f} s", flush=True)
        owner.client.invite(room, gateway.bot)
        owner.wait_member(room, gateway.bot, "join", 120)
        time.sleep(3)  # the gateway is at rest
        before, calls, began = gateway.proc.resident_mb(), tap.count, time.monotonic()
        play.command(room, "a1", "!mimi bridge", "This room is mirrored")
        seconds, calls = time.monotonic() - began, tap.count - calls
        grown = gateway.proc.resident_mb() - before
        add(f"mirroring {count} members, requests", calls, "", "below 20", calls < 20, f"{grown:.1f} MB more in memory")
        add(f"mirroring {count} members", seconds, "s", "none", None, "from the command to the bot's answer, as A1's client sees it")
        began, calls = time.monotonic(), tap.count
        play.command(room, "a1", f"!mimi invite {play.mimi('b1')}")
        guest = play.person("b1")
        invite = guest.wait_invite("an invite", seconds=120)
        guest.client.join(invite.room)
        owner.wait_member(room, play.as_seen_by("a1", "b1"), "join", 120)
        add("a MIMI user comes in", time.monotonic() - began, "s", "none", None, f"{tap.count - calls} requests to the homeserver")
        began = time.monotonic()
        clients[-1].send(room, "first words")
        guest.wait_text(invite.room, "first words", 120)
        add("first words of a member", time.monotonic() - began, "s", "none", None, "with a leaf of their own")
