"""A dead, slow or full receiver of traces costs spans, which are counted; it neither slows nor fails a request."""

import socket
from pathlib import Path

import pytest

from tests.telemetry.receiver import receiving
from tests.telemetry.shop import Shop, running
from webstore_embedded import demo

FAST = {"OTEL_BSP_SCHEDULE_DELAY": "50"}


def _shop_as_always(shop: Shop) -> None:
    demo.play(shop.url)
    order = shop.call("POST", f"/shopping-query/{shop.filled_cart()}/checkout")
    assert shop.call("POST", f"/order/{order['id']}/place")["status"] == "PLACED"


def test_while_the_receiver_hangs_requests_are_answered_and_the_store_stops(tmp_path: Path) -> None:
    with receiving() as receiver:
        receiver.hold.clear()
        with running(tmp_path / "data", OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url, **FAST) as shop:
            _shop_as_always(shop)
            assert receiver.asked.wait(30), "the receiver was asked, and has not answered"
            _shop_as_always(shop)
            assert shop.figure("webstore_spans_total") > 0
        assert not receiver.spans, "not one request for spans was answered all the while"


def test_a_dead_receiver_is_no_reason_to_refuse_anything(tmp_path: Path) -> None:
    with socket.socket() as nobody_listens:
        nobody_listens.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody_listens.getsockname()[1]}"
        with running(tmp_path / "data", OTEL_EXPORTER_OTLP_ENDPOINT=url, **FAST) as shop:
            _shop_as_always(shop)


def test_sending_resumes_and_what_the_full_queue_dropped_is_counted(tmp_path: Path) -> None:
    bounds = {"OTEL_BSP_MAX_QUEUE_SIZE": "20", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "5"}
    with receiving() as receiver:
        receiver.hold.clear()
        with running(tmp_path / "data", OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url, **FAST, **bounds) as shop:
            assert receiver.asked.wait(30)
            _shop_as_always(shop)
            receiver.hold.set()
            cart = shop.filled_cart()
            path = f"/shopping-query/{cart}/checkout"
            shop.call("POST", path)
            receiver.wait(lambda spans: [span for span in spans if span.attributes.get("url.path") == path])
            outcomes = {name: shop.figure(rf'webstore_spans_total\{{outcome="{name}"\}}') for name in ("ended", "sent")}
        assert outcomes["ended"] > outcomes["sent"] + 20, "the figures tell that more were lost than wait"


@pytest.mark.parametrize("off", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}])
def test_the_standard_switches_turn_it_off(tmp_path: Path, off: dict[str, str]) -> None:
    with receiving() as receiver:
        with running(tmp_path / "data", OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url, **FAST, **off) as shop:
            _shop_as_always(shop)
        assert not receiver.asked.is_set()
