"""Log lines: one JSON object each, with what they belong to, without personal data, and never in a request's way."""

import io
import json
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import trace

from tests.telemetry.shop import EMAIL, PHONE, STREET, running
from webstore_chassis import context, logs, telemetry
from webstore_chassis.masking import MASK, masked
from webstore_chassis.metrics import LOG_LINES, LOG_LINES_LOST
from webstore_chassis.settings import Settings

log = logging.getLogger("shop")


@pytest.fixture
def said() -> Iterator[io.StringIO]:
    """What is logged goes here."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    logs.configure(_settings(), stream=stream)
    yield stream
    logs.close()
    root.handlers, root.level = handlers, level


def _settings(**given: Any) -> Settings:
    return Settings(database_url="postgresql://ann@localhost/shop", **given)


def _lines(stream: io.StringIO) -> list[dict[str, Any]]:
    logs.close()
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_says_service_level_request_and_trace(said: io.StringIO) -> None:
    context.service.set("order")
    context.request_id.set("r-1")
    ids = trace.SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=trace.TraceFlags(1))
    with telemetry.at_hand(trace.NonRecordingSpan(ids)):
        log.warning("out of %s", "tea")
    (line,) = _lines(said)
    assert line.pop("timestamp")
    assert line == {
        "level": "WARNING", "service": "order", "logger": "shop", "message": "out of tea", "request_id": "r-1",
        "trace_id": f"{0xABC:032x}", "span_id": f"{0xDEF:016x}",
    }  # fmt: skip
    context.request_id.set(None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("email", "ann@example.com"),
        ("customerEmail", "ann"),
        ("phoneNumber", "555-0100"),
        ("phone_number", "555-0100"),
        ("address", {"street": "Main Street 1"}),
        ("firstName", "Ann"),
        ("password", "hunter2"),
        ("WEBSTORE_DATABASE_PASSWORD", "hunter2"),
        ("internal_token", "0123"),
        ("Authorization", "Bearer abc"),
        ("set-cookie", "session=1"),
        ("api_key", "k"),
    ],
)
def test_personal_data_and_secrets_are_masked_by_their_names(said: io.StringIO, name: str, value: Any) -> None:
    log.info("a customer", extra={name: value, "body": {"inner": [{name: value}]}})
    (line,) = _lines(said)
    assert line[name] == MASK
    assert line["body"] == {"inner": [{name: MASK}]}


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("mail to ann.smith+shop@mail.example.co.uk refused", "ann.smith"),
        ("sent Authorization: Bearer abc.def.ghi to product", "abc.def.ghi"),
        ("bearer 0123456789abcdef", "0123456789abcdef"),
        ("token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2ln was refused", "eyJzdWIi"),
        ("connect to postgresql://ann:hunter2@db/order failed", "hunter2"),
        ("fe_sendauth: password=hunter2 is wrong", "hunter2"),
        ('{"password": "two words", "a": 1}', "two words"),
        ('the body was "{\\"phoneNumber\\": \\"555-0100\\"}"', "555-0100"),
        ("calls +49 (30) 1234567", "1234567"),
        ('{"address": {"street": "17 Rosewood Lane", "city": "Springfield"}}', "Rosewood"),
        ("{'street': '17 Rosewood Lane'}", "Rosewood"),
        ('duplicate key value violates "customer_email": Key (email)=(ann smith) already exists.', "ann smith"),
    ],
)
def test_personal_data_and_secrets_are_masked_within_texts(said: io.StringIO, text: str, secret: str) -> None:
    log.warning("%s", text)
    try:
        raise ValueError(text)
    except ValueError:
        log.exception("failed")
    first, second = _lines(said)
    assert secret not in json.dumps([first, second])
    assert "ValueError" in second["exc_info"]


@pytest.mark.parametrize(
    "text",
    ["POST /order 201", "breaker to product: closed -> open", "relaying from 745-0", "order 0b5c@7 at 10:30:00+0000"],
)
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert masked(text) == text


@settings(deadline=None, max_examples=50)
@given(
    st.text(), st.recursive(st.text() | st.floats() | st.none(), lambda x: st.lists(x) | st.dictionaries(st.text(), x))
)
def test_whatever_is_logged_is_one_line_of_json(text: str, value: Any) -> None:
    stream = io.StringIO()
    handlers = logging.getLogger().handlers[:]
    try:
        logs.configure(_settings(), stream=stream)
        log.warning("%s", text, extra={"what": value})
        logs.close()
    finally:
        logging.getLogger().handlers = handlers
    (line,) = stream.getvalue().split("\n")[:-1]
    assert json.loads(line)["logger"] == "shop"


def test_a_reader_that_stalls_stops_nobody_and_lost_lines_are_counted() -> None:
    reading, writing = os.pipe()
    handlers = logging.getLogger().handlers[:]
    before = LOG_LINES_LOST.labels("queue full")._value.get()
    done = threading.Event()

    def write_more_than_the_pipe_and_the_queue_hold() -> None:
        for number in range(10_000):
            log.warning("line %d %s", number, "x" * 100)
        done.set()

    try:
        with os.fdopen(reading) as reader, os.fdopen(writing, "w") as pipe:
            logs.configure(_settings(), stream=pipe)
            threading.Thread(target=write_more_than_the_pipe_and_the_queue_hold, daemon=True).start()
            assert done.wait(60), "nobody reads the pipe, and yet all has been logged"
            assert LOG_LINES_LOST.labels("queue full")._value.get() > before
            seen: list[str] = []
            reads = threading.Thread(target=lambda: seen.extend(reader))
            reads.start()
            logs.close()
            pipe.close()
            reads.join()
        numbers = [int(json.loads(line)["message"].split()[1]) for line in seen]
        assert numbers[:1000] == list(range(1000)), "what the queue took is written when the reader comes back"
    finally:
        logging.getLogger().handlers = handlers


def test_the_log_file_is_bounded_and_its_end_is_kept(tmp_path: Path) -> None:
    handlers = logging.getLogger().handlers[:]
    try:
        logs.configure(_settings(log_file=str(tmp_path / "shop.log"), log_file_bytes=10_000), stream=io.StringIO())
        for number in range(1000):
            log.warning("line %d", number)
        logs.close()
    finally:
        logging.getLogger().handlers = handlers
    assert sorted(file.name for file in tmp_path.iterdir()) == ["shop.log", "shop.log.1"]
    assert all(file.stat().st_size < 11_000 for file in tmp_path.iterdir())
    kept = [*(tmp_path / "shop.log.1").read_text().splitlines(), *(tmp_path / "shop.log").read_text().splitlines()]
    numbers = [int(json.loads(line)["message"].split()[1]) for line in kept]
    assert numbers == list(range(numbers[0], 1000))


def test_a_log_file_that_cannot_be_written_costs_lines_only(tmp_path: Path) -> None:
    before = LOG_LINES_LOST.labels("file")._value.get()
    handlers = logging.getLogger().handlers[:]
    stream = io.StringIO()
    try:
        logs.configure(_settings(log_file="/dev/full"), stream=stream)
        log.warning("still here")
        logs.close()
    finally:
        logging.getLogger().handlers = handlers
    assert "still here" in stream.getvalue()
    assert LOG_LINES_LOST.labels("file")._value.get() > before


def test_lines_are_counted_so_that_those_which_nobody_fetched_can_be_told(tmp_path: Path) -> None:
    before = LOG_LINES.labels("file")._value.get()
    handlers = logging.getLogger().handlers[:]
    path = tmp_path / "shop.log"
    try:
        logs.configure(_settings(log_file=str(path), log_file_bytes=10_000), stream=io.StringIO())
        for _ in range(7):
            log.warning("a line")
        logs.close()
    finally:
        logging.getLogger().handlers = handlers
    assert len(path.read_text().splitlines()) == 7
    assert LOG_LINES.labels("file")._value.get() - before == 7


def test_a_whole_visit_leaves_nothing_personal_in_the_log(tmp_path: Path) -> None:
    with running(tmp_path / "data", WEBSTORE_LOG_LEVEL="INFO") as shop:
        order = shop.call("POST", f"/shopping-query/{shop.filled_cart()}/checkout")
        shop.call("POST", f"/order/{order['id']}/place")
        assert shop.answer("POST", "/customer", {"firstName": "Ann", "email": "not an address"}).status_code in (
            400,
            422,
        )
    lines = [json.loads(line) for line in (tmp_path / "data" / "webstore.log").read_text().splitlines()]
    access = [line for line in lines if line["logger"] == "webstore.access"]
    assert {"customer", "product", "order", "shopping-command", "shopping-query"} == {
        line["service"] for line in access
    }
    assert all({"method", "route", "status", "duration_ms", "request_id"} <= line.keys() for line in access)
    for personal in (EMAIL, PHONE, STREET, "Smith", "not an address"):
        assert personal not in json.dumps(lines)
