"""Runs the end-to-end tests, one line each, and ends with `e2e: N passed, N failed`.

Arguments are parts of test names: only those run, and what they need. E2E_MESSAGES (500: each way) and E2E_SEED (random) steer
the long conversation; SILOS_STORE chooses the store engine.
"""

import json
import os
import socket
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from silos.play import Play, Wrong
from silos.procs import StartError, end_on_signals
from silos.stage import LETTERS, Silos, build_gateway

from . import chaos, judge_tests
from .attacks import Attacks
from .federated import Federated
from .large import Large
from .membership import Membership
from .mirror import Mirror
from .sdk import sdk
from .three import Three


class Report:
    """Counts, prints, and keeps the transcript of the play in a file beside the logs."""

    def __init__(self, only: list[str]):
        self.only, self.passed, self.failed = only, 0, 0
        self.failures: list[str] = []
        self.transcript = None

    def wants(self, name: str) -> bool:
        return not self.only or any(part in name for part in self.only)

    def done(self, name: str, error: BaseException | None, seconds: float) -> None:
        if error is None:
            self.passed += 1
            print(f"e2e: {name} ... ok ({seconds:.1f} s)", flush=True)
            return
        self.failed += 1
        why = f"{type(error).__name__}: {error}"
        self.failures.append(f"{name}: {why}".replace("\n", " | ")[:1500])
        print(f"e2e: {name} ... FAILED ({seconds:.1f} s)\n     {why}", flush=True)
        if self.transcript:
            traceback.print_exception(error, file=self.transcript)
            self.transcript.flush()

    def run(self, name: str, test: Callable[[], None]) -> bool:
        if not self.wants(name):
            return True
        began, error = time.monotonic(), None
        try:
            test()
        except Exception as caught:  # a test may fail in any way
            error = caught
        self.done(name, error, time.monotonic() - began)
        return error is None

    # What the play tells goes into the file.
    def step(self, number: int, title: str) -> None:
        self._write(f"\n{number}. {title}")

    def act(self, who: str, what: str) -> None:
        self._write(f"   {who} {what}")

    def saw(self, who: str, what: str, milliseconds: float) -> None:
        self._write(f"   {who} . {what} ({milliseconds:.0f} ms)")

    def _write(self, text: str) -> None:
        if self.transcript:
            self.transcript.write(text + "\n")
            self.transcript.flush()


def environment_file(silos: Silos) -> None:
    """`env.json` says what other programs rely on."""
    env = json.loads(silos.env_file.read_text())
    for letter in LETTERS:
        silo = env["silos"][letter]
        missing = {"server_name", "homeserver_url", "registration_shared_secret", "domain", "mimi_url", "ca", "config"} - set(silo)
        if missing:
            raise Wrong(f"silo {letter} lacks {missing}")
    peer = env["peer"]
    paths = [peer[key] for key in ("cert", "key", "ca", "ca_key")]
    paths += [env["silos"][letter][key] for letter in LETTERS for key in ("ca", "config")]
    for path in paths:
        if not Path(path).is_absolute() or not Path(path).exists():
            raise Wrong(f"{path} is not there, or not absolute")
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", peer["port"])) == 0:
            raise Wrong("something listens at the spare peer's port")


def quiet_start(silos: Silos) -> None:
    """Nothing that an operator would have to look at is in the logs of two gateways that were just started."""
    for letter in LETTERS:
        loud = [line for line in silos.silos[letter].gateway.log_text().splitlines() if " WARN " in line or " ERROR " in line]
        if loud:
            raise Wrong(f"gateway {letter} says after its start: {loud[0]}")


def told_once(silos: Silos, strikes: int) -> None:
    """Each absence of the homeserver or the other gateway is a line or two in the log, however often they were called meanwhile."""
    for letter in LETTERS:
        lines = silos.silos[letter].gateway.log_text().splitlines()
        tries = [line for line in lines if "not sent yet" in line]
        away = [line for line in lines if " WARN " in line and ("is away;" in line or "takes nothing" in line)]
        # A strike takes one of four processes, and may be felt on two sides; steps "killed gateways" and "told", an upgrade
        # and a moderator whose gateway was away are four more.
        if tries or len(away) > 2 * (strikes + 4):
            raise Wrong(f"gateway {letter}: {len(away)} absences and {len(tries)} tries in the log after {strikes} strikes: {away[-3:]}")


def play_and_attack(report: Report, silos: Silos) -> None:
    report.run("environment: env.json says what others need", lambda: environment_file(silos))
    report.run("environment: gateways start without a warning", lambda: quiet_start(silos))
    play = Play(silos, report, patience=float(os.environ.get("E2E_PATIENCE", "60")))
    names = {name for name, *_ in play.steps if report.wants(f"flow: {name}")}
    for _ in play.steps:  # and what those need
        names |= {need for name, _, needs, _ in play.steps if name in names for need in needs}
    play.steps = [step for step in play.steps if step[0] in names]
    play.run(lambda name, error, seconds: report.done(f"flow: {name}", error, seconds))

    report.run("matrix-js-sdk: all that is called full, both ways", lambda: sdk(play, lambda text: print(f"     {text}", flush=True)))

    large = Large(silos, play, lambda text: print(f"     {text}", flush=True))
    for name, case in large.cases:
        report.run(name, case)

    mirror = Mirror(silos, play, lambda text: print(f"     {text}", flush=True))
    for name, case in mirror.cases:
        report.run(name, case)

    attacks = Attacks(silos, play)
    try:
        for name, case in attacks.cases:
            report.run(f"bad input: {name}", case)
    finally:
        attacks.close()

    three = Three(silos, play, lambda text: print(f"     {text}", flush=True))
    try:
        for name, case in three.cases:
            report.run(name, case)
        for name, case in Membership(silos, play, three, lambda text: print(f"     {text}", flush=True)).cases:
            report.run(name, case)
    finally:
        three.close()
    federated = Federated(silos, play)
    try:
        for name, case in federated.cases:
            report.run(name, case)
    finally:
        federated.close()

    def conversation() -> None:
        seed, messages = chaos.seed_from_environment(), chaos.messages_from_environment()
        talk = chaos.Conversation(silos, play.gather("Storm"), messages, seed, lambda text: print(f"     {text}", flush=True))
        print(f"     E2E_SEED={seed} E2E_MESSAGES={messages}: {4 * talk.each} messages and {len(talk.strikes)} strikes in "
              f"{talk.seconds:.0f} s", flush=True)
        talk.run()
        talk.judge()
        told_once(silos, len(talk.strikes))

    report.run("kills: a long conversation survives them", conversation)


def main() -> int:
    end_on_signals()
    report = Report(sys.argv[1:])
    for name, test in judge_tests.TESTS:
        report.run(name, test)
    try:
        build_gateway()
        with Silos.build("e2e") as silos:
            report.transcript = open(silos.folder / "transcript.txt", "w", encoding="utf-8")
            print(f"e2e: logs and transcript in {silos.folder}", flush=True)
            silos.start(lambda text: print(f"e2e: {text}", flush=True))
            play_and_attack(report, silos)
    except (StartError, SystemExit) as error:
        report.done("environment", error, 0.0)
    for failure in report.failures:  # again, where whoever looks at the end sees them
        print(f"e2e failed: {failure}", flush=True)
    print(f"e2e: {report.passed} passed, {report.failed} failed", flush=True)
    return 0 if report.failed == 0 and report.passed else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
