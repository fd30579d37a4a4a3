"""JSON log lines on stdout and in the log file, each with service, level, request id and the ids of its trace.

What logs only puts a record into a bounded queue; a thread formats and writes. So a disk or a reader of stdout that
stalls costs lines, which are counted, and never time of a request.
"""

import atexit
import logging
import queue
import sys
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from logging.handlers import QueueHandler, QueueListener, RotatingFileHandler
from typing import Any, cast

from pythonjsonlogger.json import JsonEncoder, JsonFormatter

from webstore_chassis import context
from webstore_chassis.masking import masked
from webstore_chassis.metrics import LOG_LINES, LOG_LINES_LOST
from webstore_chassis.settings import Settings

_QUEUED_LINES = 4096
_LONGEST_TEXT = 8192
_STOP_SECONDS = 2.0
# Waking the thread for each line would cost the requests more than the line does.
_GATHER_SECONDS = 0.05
# What is ours alone needs no look for personal data.
_OURS = frozenset({"timestamp", "level", "service", "logger", "trace_id", "span_id"})
# Made once: `json.dumps` would make one for each line.
_encode = JsonEncoder().encode
_listener: QueueListener | None = None


class _Entrance(QueueHandler):
    """What the loggers see: completes a record in the task that logs, and queues it or drops it."""

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        record.service = context.service.get()
        record.request_id = context.request_id.get()
        trace_id, span_id, *_, is_valid = context.span.get().get_span_context()
        record.trace_id = format(trace_id, "032x") if is_valid else None
        record.span_id = format(span_id, "016x") if is_valid else None
        # What the arguments and the traceback refer to may have changed by the time that the thread gets to it.
        record.msg, record.args = _shortened(record.getMessage()), None
        if record.exc_info:
            record.exc_text = _shortened(logging.Formatter().formatException(record.exc_info))
            record.exc_info = None
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            LOG_LINES_LOST.labels("queue full").inc()


class _Target:
    """Where lines go: buffered, until the listener has no more of them."""

    def __init__(self, stream: Any, formatter: logging.Formatter, name_in_figures: str) -> None:
        self.stream = stream
        self.formatter = formatter
        self.name_in_figures = name_in_figures
        self._unflushed = 0

    def write(self, line: str) -> None:
        self.stream.write(line)
        self._unflushed += 1

    def flush(self) -> None:
        self.stream.flush()
        LOG_LINES.labels(self.name_in_figures).inc(self._unflushed)
        self._unflushed = 0


class _File(_Target):
    """A file, and the one before it: a reader that is behind by no more than that misses nothing."""

    def __init__(self, path: str, most_bytes: int, formatter: logging.Formatter) -> None:
        # Of the handler, what opens and rotates; what it does for each line would cost more than to format it.
        self._rotating = RotatingFileHandler(path, backupCount=1, encoding="utf-8")
        self._most_bytes = most_bytes
        super().__init__(self._rotating.stream, formatter, "file")
        self._size = self.stream.tell()

    def write(self, line: str) -> None:
        # A line more than the bound, or a character that is two bytes, does no harm.
        if self._size >= self._most_bytes:
            self._rotating.doRollover()
            self.stream, self._size = self._rotating.stream, 0
        super().write(line)
        self._size += len(line)


class _Listener(QueueListener):
    """The thread that writes."""

    def __init__(self, records: "queue.Queue[logging.LogRecord]", targets: Sequence[_Target]) -> None:
        super().__init__(records)
        self._targets = targets

    def dequeue(self, block: bool) -> logging.LogRecord:
        records = cast("queue.Queue[logging.LogRecord]", self.queue)
        try:
            return records.get_nowait()
        except queue.Empty:
            self.write_out()
            first = records.get()
            time.sleep(_GATHER_SECONDS)
            return first

    def handle(self, record: logging.LogRecord) -> None:
        formatter, line = None, ""
        for target in self._targets:
            try:
                if target.formatter is not formatter:
                    line, formatter = f"{target.formatter.format(record)}\n", target.formatter
                target.write(line)
            except Exception:
                LOG_LINES_LOST.labels(target.name_in_figures).inc()

    def stop(self) -> None:
        super().stop()
        self.write_out()

    def write_out(self) -> None:
        for target in self._targets:
            try:
                target.flush()
            except (OSError, ValueError):
                LOG_LINES_LOST.labels(target.name_in_figures).inc()

    def enqueue_sentinel(self) -> None:
        self.queue.put(self._sentinel)  # type: ignore[attr-defined]  # unlike the base's, waits for a place


class _Lines(JsonFormatter):
    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        return {
            name: value if name in _OURS else masked(value, name)
            for name, value in log_data.items()
            if value is not None
        }


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return str(masked(super().format(record)))


def configure(settings: Settings, *, stream: Any = None) -> None:
    """Sends the process's log to stdout (or the given stream), and to the log file if one is set."""
    global _listener  # noqa: PLW0603 - a process has one
    close()
    lines = _Lines(
        "{asctime}{levelname}{service}{name}{message}{request_id}{trace_id}{span_id}",
        style="{",
        rename_fields={"asctime": "timestamp", "levelname": "level", "name": "logger"},
        json_serializer=lambda fields, **_: _encode(fields),
    )
    text = _Text("{asctime} {levelname:7} {service}: {message}", style="{", datefmt="%H:%M:%S")
    targets = [_Target(stream or sys.stdout, lines if settings.log_format == "json" else text, "stdout")]
    if settings.log_file:
        targets.append(_File(settings.log_file, settings.log_file_bytes, lines))
    # Nobody reads these of a record, and each costs a look (https://docs.python.org/3/howto/logging.html#optimization).
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None
    records: queue.Queue[logging.LogRecord] = queue.Queue(_QUEUED_LINES)
    _listener = _Listener(records, targets)
    _listener.start()
    logging.basicConfig(level=settings.log_level, handlers=[_Entrance(records)], force=True)
    for noisy in ("httpx", "httpcore", "aiokafka", "alembic", "uvicorn.access", "urllib3"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLevelName(settings.log_level)))


@atexit.register
def close() -> None:
    """Writes what is queued, for a few seconds at the most."""
    global _listener
    listener, _listener = _listener, None
    if listener:
        last = threading.Thread(target=listener.stop, daemon=True)
        last.start()
        last.join(_STOP_SECONDS)


def _shortened(text: str) -> str:
    if len(text) <= _LONGEST_TEXT:
        return text
    return f"{text[:_LONGEST_TEXT]} … ({len(text) - _LONGEST_TEXT:,} characters left out)"
