"""`make demo`: plays the conversation and prints it. With DEMO_ONCE=1 it ends, with status 0 only if every step was seen;
otherwise it keeps running, so that you can log in yourself."""

import os
import signal
import sys
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
        self._print(f"   {self._name(who)} {_one_line(what)}")

    def saw(self, who: str, what: str, milliseconds: float) -> None:
        delay = paint("dim", f"  ({milliseconds:.0f} ms)") if milliseconds >= 1 else ""
        self._print(f"   {self._name(who)} · {_one_line(what)}{delay}")

    def _name(self, who: str) -> str:
        label = who.upper() if len(who) == 2 else who
        return paint(who, f"{label:<3}")


def _one_line(text: str) -> str:
    text = " ⏎ ".join(line for line in text.splitlines() if line.strip())
    return text if len(text) <= 240 else text[:239] + "…"


def main() -> int:
    end_on_signals()
    once = os.environ.get("DEMO_ONCE", "") not in ("", "0")
    print(paint("bold", "== building the gateway"), flush=True)
    build_gateway()
    print(paint("bold", "== starting two homeservers that know nothing of each other, and a gateway for each"), flush=True)
    with Silos.build("demo") as silos:
        silos.start(lambda text: print(f"   {text}", flush=True))
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
