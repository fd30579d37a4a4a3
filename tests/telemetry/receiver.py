"""A real receiver of OTLP over HTTP (https://opentelemetry.io/docs/specs/otlp/#otlphttp) on this machine's loopback."""

import gzip
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan
from opentelemetry.proto.trace.v1.trace_pb2 import Status


@dataclass(frozen=True)
class Span:
    service: str
    name: str
    kind: str
    trace: str
    id: str
    parent: str
    failed: bool
    attributes: dict[str, Any]
    links: list[tuple[str, str]]
    start: int
    end: int


@dataclass
class Receiver:
    """Where spans arrive.

    Args:
        hold: while it is not set, requests are taken and not answered.
    """

    url: str = ""
    spans: list[Span] = field(default_factory=list)
    hold: threading.Event = field(default_factory=threading.Event)
    asked: threading.Event = field(default_factory=threading.Event)
    _news: threading.Condition = field(default_factory=threading.Condition)

    def take(self, body: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        with self._news:
            self.spans += [span for part in request.resource_spans for span in _spans(part)]
            self._news.notify_all()

    def wait(self, enough: Callable[[list[Span]], object], seconds: float = 30) -> list[Span]:
        """The spans so far, once they are enough."""
        with self._news:
            assert self._news.wait_for(lambda: enough(self.spans), seconds), sorted(
                (span.trace[:6], span.service, span.name) for span in self.spans
            )
            return list(self.spans)


@contextmanager
def receiving() -> Iterator[Receiver]:
    receiver = Receiver()
    receiver.hold.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.asked.set()
            receiver.hold.wait()
            receiver.take(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
            answer = ExportTraceServiceResponse().SerializeToString()
            try:
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)
            except ConnectionError:
                pass  # who was kept waiting may have gone

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.hold.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _spans(part: Any) -> Iterator[Span]:
    service = _attributes(part.resource.attributes)["service.name"]
    for scope in part.scope_spans:
        for span in scope.spans:
            yield Span(
                service, span.name, ProtoSpan.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"), span.trace_id.hex(),
                span.span_id.hex(), span.parent_span_id.hex(), span.status.code == Status.STATUS_CODE_ERROR,
                _attributes(span.attributes), [(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
                span.start_time_unix_nano, span.end_time_unix_nano,
            )  # fmt: skip


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
