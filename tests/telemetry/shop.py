"""A store of this machine, started as its user starts it, and a customer who shops in it."""

import os
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

EMAIL, PHONE, STREET = "ann.smith@example.com", "+1 555 010 0123", "17 Rosewood Lane"


@dataclass
class Shop:
    url: str
    data: Path

    def __post_init__(self) -> None:
        self.http = httpx.Client(base_url=self.url, timeout=20, trust_env=False)
        self.customer = self.call("POST", "/customer", {
            "firstName": "Ann", "lastName": "Smith", "email": EMAIL, "phoneNumber": PHONE,
            "address": {"street": STREET, "city": "Springfield", "zip": "12345"},
        })["id"]  # fmt: skip

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        answer = self.answer(method, path, body, **headers)
        assert answer.is_success, (path, answer.status_code, answer.text)
        return answer.json() if answer.content else None

    def answer(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        known = {"Customer-ID": self.customer} if hasattr(self, "customer") else {}
        return self.http.request(method, path, json=body, headers={**known, **headers})

    def filled_cart(self) -> str:
        number, cart = secrets.token_hex(4), secrets.token_hex(4)
        self.call("POST", "/product", {"productNumber": number, "name": "tea", "price": 3, "stock": {"quantity": 9}})
        self.call("POST", f"/shopping-command/add-to-cart/{cart}", {"productNumber": number, "quantity": 2})
        return cart

    def figure(self, name: str) -> float:
        """The sum of a figure over its labels, from /metrics."""
        lines = self.http.get("/metrics").text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if re.match(rf"{name}[{{ ]", line))


@contextmanager
def running(data: Path, **environment: str) -> Iterator[Shop]:
    command = [str(Path(sys.executable).parent / "webstore"), "run", "--data", str(data), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | environment) as process:
        assert process.stdout is not None
        found = re.search(r"http://localhost:\d+", process.stdout.readline())
        assert found, "the store says where it answers"
        try:
            yield Shop(found.group(), data)
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
