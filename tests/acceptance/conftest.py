"""A store as its user starts it."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Where an embedded store answers, and its data folder."""
    data = tmp_path_factory.mktemp("store") / "data"
    command = [str(Path(sys.executable).parent / "webstore"), "run", "--data", str(data), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = re.search(r"http://localhost:\d+", process.stdout.readline())
        assert found, "the store says where it answers"
        yield found.group(), data
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
