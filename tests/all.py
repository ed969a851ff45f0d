#!/usr/bin/env python3
"""`make test`: cargo's tests, then the end-to-end tests; ends with what failed, and `test: N passed, N failed`. Standard library only."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CARGO = re.compile(r"^test result: \w+\. (\d+) passed; (\d+) failed")
E2E = re.compile(r"^e2e: (\d+) passed, (\d+) failed$")
# Lines that name a test that failed; said again at the very end.
FAILED = re.compile(r"^test (\S.*) \.\.\. FAILED$|^e2e failed: (.*)$")
# Where cargo begins to say why; of that so many lines are said again, too.
WHY = re.compile(r"^---- (\S.*) stdout ----$")
LINES_OF_WHY = 12


def run(title: str, command: list[str], counts: re.Pattern, env: dict[str, str]) -> tuple[int, int, list[str]]:
    """Passes the output on, and adds up the lines that count. The list is what to say of each test that failed."""
    print(f"== {title}: {' '.join(command)}", flush=True)
    began, passed, failed = time.monotonic(), 0, 0
    failures: dict[str, list[str]] = {}
    why: list[str] = []
    child = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **env}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             text=True, errors="replace")
    assert child.stdout
    for line in child.stdout:
        sys.stdout.write(line)
        sys.stdout.flush()
        line = line.rstrip("\n")
        if found := counts.match(line):
            passed, failed = passed + int(found[1]), failed + int(found[2])
        if named := FAILED.match(line):
            failures.setdefault(named[1] or named[2], [])
        if begins := WHY.match(line):
            why = failures.setdefault(begins[1], [])
        elif line == "failures:":
            why = []
        elif line and len(why) < LINES_OF_WHY and (why or "panicked at" in line or line.startswith("Error: ")):
            why.append(f"    {line}")
    status = child.wait()
    if status != 0 and not failed:
        failed = 1
        failures["it did not build, or did not come to its end"] = []
    if status == 0 and not passed:
        failed = 1
        failures["a run without tests proves nothing"] = []
    print(f"== {title}: {passed} passed, {failed} failed, {time.monotonic() - began:.0f} s", flush=True)
    return passed, failed, [said for name, why in failures.items() for said in (f"{title}: {name}", *why)]


def main() -> int:
    profile = os.environ.get("TEST_PROFILE", "dev")
    results = [
        run("cargo", ["cargo", "test", "--locked", "--no-fail-fast", "--profile", profile], CARGO, {}),
        run("end to end", [sys.executable, "tests/silos/launch.py", "e2e"], E2E, {"GATEWAY_PROFILE": profile}),
    ]
    passed, failed = sum(result[0] for result in results), sum(result[1] for result in results)
    for said in (said for result in results for said in result[2]):
        print(f"failed: {said}", flush=True)
    print(f"test: {passed} passed, {failed} failed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
