"""`make demo`: plays the conversation and prints it. With DEMO_ONCE=1 it ends, with status 0 only if every step was seen;
otherwise it keeps running, so that you can log in yourself."""

import os
import shutil
import signal
import sys
import textwrap
import threading
import time

from .play import Play
from .procs import StartError, end_on_signals
from .stage import PASSWORD, Silos, build_gateway

_TTY = sys.stdout.isatty() and "NO_COLOR" not in os.environ
_COLOURS = {"a1": "36", "a2": "34", "b1": "33", "b2": "35", "good": "32", "bad": "31", "dim": "2", "bold": "1"}


def paint(colour: str, text: str) -> str:
    return f"\033[{_COLOURS[colour]}m{text}\033[0m" if _TTY and colour in _COLOURS else text


class Transcript:
    """Prints what people do and see."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def _print(self, text: str) -> None:
        with self._lock:
            print(text, flush=True)

    def step(self, number: int, title: str) -> None:
        self._print("\n" + paint("bold", f"{number}. {title}"))

    def act(self, who: str, what: str) -> None:
        self._print(f"   {self._name(who)} {_wrapped(_one_line(what), 7)}")

    def saw(self, who: str, what: str, milliseconds: float) -> None:
        delay = paint("dim", f"  ({milliseconds:.0f} ms)") if milliseconds >= 1 else ""
        self._print(f"   {self._name(who)} · {_wrapped(_one_line(what), 9)}{delay}")

    def _name(self, who: str) -> str:
        label = who.upper() if len(who) == 2 else who
        return paint(who, f"{label:<3}")


def _one_line(text: str) -> str:
    text = " ⏎ ".join(line for line in text.splitlines() if line.strip())
    return text if len(text) <= 600 else text[:599] + "…"


def _wrapped(text: str, indent: int) -> str:
    """As wide as the terminal, the lines after the first one further in."""
    width = max(min(shutil.get_terminal_size((110, 24)).columns, 140), 60)
    lines = textwrap.wrap(text, width - indent, break_long_words=False, break_on_hyphens=False, replace_whitespace=False)
    return ("\n" + " " * (indent + 2)).join(lines)


def cast(silos: Silos) -> str:
    """Who is who, for one who sees the transcript for the first time."""
    lines = ["== who is who"]
    for letter, silo in silos.silos.items():
        names = " and ".join(f"{letter.upper()}{number}" for number in (1, 2))
        lines.append(f"   {names} have their accounts on {silo.server_name}; its gateway is the MIMI provider {silo.domain}")
    lines += [
        f"   The homeservers do not federate. @_mimi_b.example=2fb1:{silos.a.server_name} is what {silos.a.server_name} calls",
        f"   {silos.b.mimi('b1')}; clients show it as “b1 (b.example)”.",
        "   B3, another user of B, comes in later: nobody has asked or found B3 before.",
        "   A line with · is what somebody's client shows, with the time since the act above it. “/messages” says what both",
        "   homeservers have in the end: that is compared message by message, for all who are in the room.",
    ]
    return "\n".join(lines)


def main() -> int:
    end_on_signals()
    once = os.environ.get("DEMO_ONCE", "") not in ("", "0")
    built = os.environ.get("GATEWAY_BINARY")
    print(paint("bold", f"== using the gateway {built}" if built else "== building the gateway"), flush=True)
    build_gateway()
    print(paint("bold", "== starting two homeservers that know nothing of each other, and a gateway for each"), flush=True)
    with Silos.build("demo") as silos:
        silos.start(lambda text: print(f"   {text}", flush=True))
        print("\n" + cast(silos), flush=True)
        results: list[tuple[str, str, float]] = []

        def finished(name: str, error: Exception | None, seconds: float) -> None:
            if error is None:
                print("   " + paint("good", f"✓ seen, and both homeservers agree ({seconds:.1f} s)"), flush=True)
            else:
                print("   " + paint("bad", f"✗ {type(error).__name__}: {error}"), flush=True)
            results.append((name, "" if error is None else str(error), seconds))

        play = Play(silos, Transcript())
        good = play.run(finished)
        seen = sum(1 for _, error, _ in results if not error)
        verdict = f"{seen} of {len(results)} steps seen"
        print("\n" + paint("bold", "== " + paint("good" if good else "bad", verdict)), flush=True)
        if not good:
            print(f"   logs: {silos.folder}/*.log")
        if once:
            return 0 if good else 1
        print("== everything keeps running; log in with any Matrix client (Ctrl-C ends it)")
        for silo in silos.silos.values():
            print(f"   {silo.server_name}: {silo.synapse.url}   users: {', '.join(sorted(silo.people))}   password: {PASSWORD}")
            print(f"      bot {silo.gateway.bot}, provider {silo.domain} at {silo.gateway.mimi_url}, log {silo.gateway.log}")
        print(f"   for programs: {silos.env_file}", flush=True)
        while True:
            time.sleep(3600)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        print("\n== stopped")
    except StartError as error:
        raise SystemExit(f"could not start: {error}") from None
