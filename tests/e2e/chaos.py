"""A long conversation while gateways and homeservers are killed, and one gateway hangs for 70 seconds.

What counts as failure, judged from both homeservers' `/messages` alone: a message that a homeserver accepted is missing on the
other side, or stands there twice; a sender's messages are out of order; remote users' messages are not in the hub's order.
What does not count: delay, and a client that has to repeat a send (same transaction id) because its homeserver was down.
"""

import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from silos import judge
from silos.matrix import Client
from silos.play import Room, Wrong
from silos.procs import Proc
from silos.stage import LETTERS, Silos, domain, in_parallel

FREEZE_SECONDS = 70.0
STRIKE_EVERY = 9.0  # seconds between strikes, on average
CALM = 8.0  # seconds of talk after the last strike
SETTLE = 300.0  # seconds without any progress after which a message counts as lost


@dataclass
class Strike:
    """One blow: `hold` seconds pass before the process runs again."""

    at: float
    target: str
    hold: float
    freeze: bool = False


def plan(rng: random.Random, targets: list[str], messages: int) -> tuple[list[Strike], float]:
    """Strikes and the length of the conversation: each target at least three times for 500 messages each way, more for longer
    ones, and one frozen gateway."""
    kills = targets * max(3, round(3 * messages / 500))
    rng.shuffle(kills)
    frozen_before = rng.randrange(1, len(kills))
    strikes, clock = [], 4.0
    for number, target in enumerate(kills):
        if number == frozen_before:
            gateway = rng.choice([name for name in targets if name.startswith("gateway")])
            strikes.append(Strike(clock, gateway, FREEZE_SECONDS, freeze=True))
            clock += FREEZE_SECONDS + 4
        hold = rng.choice([0.0, 0.0, rng.uniform(0, 1), rng.uniform(0, 5)])
        strikes.append(Strike(clock, target, hold))
        clock += hold + rng.uniform(0.5, 1.5) * STRIKE_EVERY
    return strikes, clock + CALM


class Conversation:
    """Four speakers, two a side, each saying numbered things at an own steady pace."""

    def __init__(self, silos: Silos, room: Room, messages: int, seed: int, say: Callable[[str], None]):
        self.silos, self.room, self.seed, self.say = silos, room, seed, say
        self.rng = random.Random(seed)
        self.procs: dict[str, Proc] = {}
        for letter, silo in silos.silos.items():
            self.procs[f"gateway {letter}"] = silo.gateway.proc
            self.procs[f"synapse {letter}"] = silo.synapse.proc
        self.strikes, self.seconds = plan(self.rng, sorted(self.procs), messages)
        self.speakers = ["a1", "a2", "b1", "b2"]
        self.each = -(-messages // 2)
        self.spoken: dict[str, list[str]] = {self.mimi(name): [] for name in self.speakers}
        self.prefix = f"chaos {seed}"

    def mimi(self, name: str) -> str:
        return self.silos.silos[name[0]].mimi(name)

    def speak(self, name: str, began: float) -> None:
        silo = self.silos.silos[name[0]]
        client = silo.person(name).client
        rng = random.Random(f"{self.seed} {name}")
        moments = sorted(rng.uniform(0, self.seconds) for _ in range(self.each))
        for number, moment in enumerate(moments, 1):
            time.sleep(max(0.0, began + moment - time.monotonic()))  # the pace of talking
            body = f"{self.prefix}: {name} says {number} of {self.each}"
            # Said before it is sent: an answer that a kill swallowed may still have been a message.
            self.spoken[self.mimi(name)].append(body)
            client.send(self.room.ids[name[0]], body, txn=f"chaos-{self.seed}-{name}-{number}", seconds=180)

    def strike(self, began: float) -> None:
        for blow in self.strikes:
            time.sleep(max(0.0, began + blow.at - time.monotonic()))
            proc = self.procs[blow.target]
            moment = time.monotonic() - began
            if blow.freeze:
                proc.freeze()
                self.say(f"{moment:6.1f} s  SIGSTOP {blow.target} for {blow.hold:.0f} s")
                time.sleep(blow.hold)
                proc.thaw()
                continue
            proc.kill()
            time.sleep(blow.hold)
            ready = proc.start()
            self.say(f"{moment:6.1f} s  SIGKILL {blow.target}, down for {blow.hold:.1f} s, ready {ready:.1f} s after its start")

    def run(self) -> None:
        began = time.monotonic()
        try:
            in_parallel(lambda: self.strike(began), *(lambda name=name: self.speak(name, began) for name in self.speakers))
        finally:
            for proc in self.procs.values():
                proc.thaw()
                if not proc.alive():
                    proc.start()

    def timeline(self, letter: str) -> list[judge.Line]:
        silo = self.silos.silos[letter]
        client: Client = silo.person(f"{letter}1").client
        events = client.messages(self.room.ids[letter], seconds=60)
        domains = [domain(each) for each in LETTERS]
        return [line for line in judge.lines(events, silo.domain, domains, silo.gateway.bot) if line.body.startswith(self.prefix)]

    def settle(self) -> dict[str, list[judge.Line]]:
        """Waits until both homeservers have everything, or nothing has come for `SETTLE` seconds."""
        total = 4 * self.each
        last, quiet_since = -1, time.monotonic()
        while True:
            timelines = {letter: self.timeline(letter) for letter in LETTERS}
            distinct = sum(len({(line.who, line.body) for line in timeline}) for timeline in timelines.values())
            if distinct == 2 * total or time.monotonic() - quiet_since > SETTLE:
                return timelines
            if distinct != last:
                last, quiet_since = distinct, time.monotonic()
            time.sleep(0.5)

    def judge(self) -> None:
        began = time.monotonic()
        timelines = self.settle()
        self.say(f"settled {time.monotonic() - began:.1f} s after the last word")
        # A duplicate may come late: one more look after everything has been quiet for a while.
        time.sleep(3)
        timelines = {letter: self.timeline(letter) for letter in LETTERS}
        expected = [(who, body) for who, bodies in self.spoken.items() for body in bodies]
        problems = []
        for letter, timeline in timelines.items():
            found = judge.once(timeline, expected) + judge.sender_order(timeline, self.spoken) + judge.hub_order(timeline)
            problems += [f"on {letter}: {problem}" for problem in found]
            self.say(f"homeserver {letter}: {len(timeline)} messages, {len(expected)} expected, {len(found)} problems")
        if problems:
            raise Wrong(f"{len(problems)} problems, seed {self.seed}: " + "; ".join(problems[:10]))


def seed_from_environment() -> int:
    told = os.environ.get("E2E_SEED")
    return int(told) if told else random.SystemRandom().randrange(1_000_000)


def messages_from_environment() -> int:
    return int(os.environ.get("E2E_MESSAGES", "500"))


