"""JSON log lines on stdout, each with service, level, request id and, where there is a trace, its ids."""

import logging
import sys
from pathlib import Path
from typing import Any

from opentelemetry import trace
from pythonjsonlogger.json import JsonFormatter

from webstore_chassis import context
from webstore_chassis.settings import Settings


class _Context(logging.Filter):
    """Adds what the line belongs to; a filter, because it must be read in the task that logs."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.service = context.service.get()
        record.request_id = context.request_id.get()
        span = trace.get_current_span().get_span_context()
        record.trace_id = format(span.trace_id, "032x") if span.is_valid else None
        record.span_id = format(span.span_id, "016x") if span.is_valid else None
        return True


class _Lines(JsonFormatter):
    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in log_data.items() if value is not None}


def configure(settings: Settings, *, stream: Any = None) -> None:
    """Sends the process's log to stdout (or the given stream), and to the log file if one is set."""
    lines = _Lines(
        "{asctime}{levelname}{service}{name}{message}{request_id}{trace_id}{span_id}",
        style="{",
        rename_fields={"asctime": "timestamp", "levelname": "level", "name": "logger"},
        datefmt="%Y-%m-%dT%H:%M:%S%z",
    )
    text = logging.Formatter("{asctime} {levelname:7} {service}: {message}", style="{", datefmt="%H:%M:%S")
    console = logging.StreamHandler(stream or sys.stdout)
    console.setFormatter(lines if settings.log_format == "json" else text)
    handlers: list[logging.Handler] = [console]
    if settings.log_file:
        file = logging.FileHandler(Path(settings.log_file))
        file.setFormatter(lines)
        handlers.append(file)
    for handler in handlers:
        handler.addFilter(_Context())
    logging.basicConfig(level=settings.log_level, handlers=handlers, force=True)
    for noisy in ("httpx", "httpcore", "aiokafka", "alembic", "uvicorn.access"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLevelName(settings.log_level)))
