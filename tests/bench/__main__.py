"""`make bench`: measures the services, and writes results.md beside this file.

Each part keeps its figures in .bench/, so that parts can be measured one at a time; the table is written from what is
there.
"""

import argparse
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.bench import following, life, machine, rebuilding, report, requests, streams

_KEPT = Path(".bench")
_SMALL, _LARGE = 10_000, 1_000_000


def main() -> None:
    """The program."""
    options = _options()
    parts: dict[str, Callable[[], Any]] = {
        "requests": lambda: requests.run(options.rounds, options.seconds),
        "streams": lambda: streams.run(options.rounds, options.seconds),
        "following": lambda: following.run(options.seconds * 5, kafka=False),
        "following-kafka": lambda: following.run(options.seconds * 5, kafka=True),
        "rebuild-small": lambda: rebuilding.run(_SMALL),
        "rebuild-large": lambda: rebuilding.run(_LARGE),
        "life": lambda: life.run(options.rounds),
    }
    _KEPT.mkdir(exist_ok=True)
    for name in options.parts or parts:
        began = time.monotonic()
        print(f"{name} ...", flush=True)
        try:
            figures = parts[name]()
        except pytest.skip.Exception as reason:
            print(f"{name}: left out, as it {reason}", flush=True)
            continue
        about = {"on": machine.description(), "at": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", "figures": figures}
        (_KEPT / f"{name}.json").write_text(json.dumps(about, indent=1))
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    kept = {name: json.loads(file.read_text()) for name in parts if (file := _KEPT / f"{name}.json").exists()}
    results = Path(__file__).with_name("results.md")
    results.write_text(report.write(kept))
    print(results.read_text())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("parts", nargs="*", help="what to measure; all, if none is named")
    parser.add_argument("--rounds", type=int, default=5, help="the median of so many counts [%(default)s]")
    parser.add_argument("--seconds", type=float, default=3.0, help="for each measurement of a round [%(default)s]")
    return parser.parse_args()


if __name__ == "__main__":
    main()
