"""One checkout is one trace, from the request to the mail, whatever happens in between and after the answer."""

import secrets
from collections.abc import Iterator

import pytest

from tests.telemetry.receiver import Receiver, Span, receiving
from tests.telemetry.shop import EMAIL, Shop, running

FIVE = {"customer", "product", "order", "shopping-command", "shopping-query"}


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def shop(receiver: Receiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    with running(tmp_path_factory.mktemp("traced") / "data", **environment) as shop:
        yield shop


@pytest.fixture(scope="module")
def checkout(receiver: Receiver, shop: Shop) -> list[Span]:
    """The spans of one checkout whose customer sends no trace context."""
    cart = shop.filled_cart()
    order = shop.call("POST", f"/shopping-query/{cart}/checkout")
    shop.call("POST", f"/order/{order['id']}/place")
    spans = receiver.wait(lambda spans: _whole(spans, cart))
    return _whole(spans, cart)


def _whole(spans: list[Span], cart: str) -> list[Span]:
    """The checkout's trace, once its mail is sent and the read model has heard of it; before that, nothing."""
    traces = {span.trace for span in spans if span.attributes.get("url.path") == f"/shopping-query/{cart}/checkout"}
    found = [span for span in spans if span.trace in traces]
    ends = {"customer: send mail", "shopping-query: process cart-checked-out", "product: process order-placed"}
    return found if ends <= {f"{span.service}: {span.name}" for span in found} else []


def _one(spans: list[Span], service: str, name: str) -> Span:
    (found,) = [span for span in spans if (span.service, span.name) == (service, name)]
    return found


def test_all_five_services_are_in_it(checkout: list[Span]) -> None:
    assert len({span.trace for span in checkout}) == 1
    assert {span.service for span in checkout} == FIVE


def test_every_span_has_its_parent_in_it(checkout: list[Span]) -> None:
    ids = {span.id for span in checkout}
    assert [span.name for span in checkout if span.parent not in ids] == ["POST /shopping-query/{cart_number}/checkout"]


def test_it_goes_through_http_the_journal_and_the_topics_to_the_mail(checkout: list[Span]) -> None:
    by_id = {span.id: span for span in checkout}

    def way(span: Span) -> list[str]:
        steps = [f"{span.service}: {span.name}"]
        while span.parent in by_id:
            span = by_id[span.parent]
            steps.append(f"{span.service}: {span.name}")
        return steps[::-1]

    begun = "shopping-query: POST /shopping-query/{cart_number}/checkout"
    placed = [begun, "shopping-query: POST", "order: POST /order", "order: place order"]
    assert way(_one(checkout, "customer", "send mail")) == [
        *placed, "order: send order-placed", "customer: process order-placed", "customer: send mail",
    ]  # fmt: skip
    reserved = [span for span in checkout if span.name == "PUT /internal/reservations/{order_id}"]
    assert way(reserved[0])[:5] == [*placed, "order: PUT"]
    assert way(_one(checkout, "shopping-query", "process cart-checked-out")) == [
        begun,
        "shopping-query: send cart-checkout", "shopping-command: process cart-checkout",
        "shopping-command: send cart-checked-out", "shopping-query: process cart-checked-out",
    ]  # fmt: skip


def test_spans_follow_the_semantic_conventions(checkout: list[Span]) -> None:
    server = _one(checkout, "order", "POST /order")
    assert (server.kind, server.attributes["http.route"]) == ("SERVER", "/order")
    assert server.attributes["http.response.status_code"] == 201
    sent, taken = _one(checkout, "order", "send order-placed"), _one(checkout, "customer", "process order-placed")
    assert (sent.kind, taken.kind) == ("PRODUCER", "CONSUMER")
    assert {span.attributes["messaging.destination.name"] for span in (sent, taken)} == {"order-placed"}
    assert sent.attributes["messaging.message.id"] == taken.attributes["messaging.message.id"]
    assert taken.attributes["messaging.consumer.group.name"] == "customer"
    statement = next(span for span in checkout if span.name == "INSERT order")
    assert statement.kind == "CLIENT"
    assert statement.attributes["db.system.name"] == "postgresql"
    assert statement.attributes["db.query.text"].startswith("INSERT INTO customer_order")


def test_statements_are_seen_and_their_values_are_not(receiver: Receiver, shop: Shop, checkout: list[Span]) -> None:
    product = {"productNumber": "taken-already", "name": "Earl Grey", "price": 3, "stock": {"quantity": 9}}
    shop.call("POST", "/product", product)
    other = shop.call("POST", "/product", {**product, "productNumber": "other"})["id"]
    assert shop.answer("POST", f"/product/{other}", product).status_code == 409, "its error message has the number"
    spans = receiver.wait(lambda spans: [span for span in spans if span.failed and span.name == "UPDATE product"])
    said = " ".join(str(value) for span in spans for value in span.attributes.values())
    assert "INSERT INTO customer" in said
    for value in (EMAIL, "Smith", "Springfield", "Earl Grey", "taken-already"):
        assert value not in said


def test_what_a_caller_sends_is_in_a_span_masked_and_cut(receiver: Receiver, shop: Shop) -> None:
    agent = "odd" * 5_000
    shop.answer("GET", "/product/ann.smith@mail.example", **{"User-Agent": agent})
    span = _that(receiver, "user_agent.original", agent[:512])
    assert span.attributes["url.path"] == "/product/***"


def test_a_request_is_named_by_its_route_as_the_openapi_has_it(receiver: Receiver, shop: Shop) -> None:
    shop.answer("GET", f"/customer/{shop.customer}")
    assert _that(receiver, "url.path", f"/customer/{shop.customer}").name == "GET /customer/{customer_id}"


def test_a_path_that_leads_nowhere_is_no_name(receiver: Receiver, shop: Shop) -> None:
    shop.answer("GET", "/product/a/b/c")
    span = _that(receiver, "url.path", "/product/a/b/c")
    assert span.name == "GET", "there would be as many names as paths"
    assert "http.route" not in span.attributes


def _that(receiver: Receiver, attribute: str, value: str) -> Span:
    def those(spans: list[Span]) -> list[Span]:
        return [span for span in spans if span.attributes.get(attribute) == value]

    (span,) = those(receiver.wait(those))
    return span


def test_placing_is_linked_with_the_request_that_asked_for_it(receiver: Receiver, checkout: list[Span]) -> None:
    placing = _one(checkout, "order", "place order")
    ((trace, span),) = placing.links
    request = next(each for each in receiver.wait(lambda s: [x for x in s if x.id == span]) if each.id == span)
    assert (request.trace, request.name) == (trace, "POST /order/{order_id}/place")
    assert (placing.trace, checkout[0].trace) in {(placing.trace, link) for link, _ in request.links}


def test_a_caller_who_traces_has_everything_in_its_own_trace(receiver: Receiver, shop: Shop) -> None:
    cart, trace = shop.filled_cart(), secrets.token_hex(16)
    theirs = {"traceparent": f"00-{trace}-{secrets.token_hex(8)}-01"}
    order = shop.call("POST", f"/shopping-query/{cart}/checkout", **theirs)
    shop.call("POST", f"/order/{order['id']}/place", **theirs)
    spans = receiver.wait(lambda spans: _whole(spans, cart))
    assert {span.service for span in spans if span.trace == trace} == FIVE


def traceparent(*, kept: bool) -> dict[str, str]:
    """The header of one who traces, with a trace of its own for each request, as a gateway does."""
    return {"traceparent": f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-{'01' if kept else '00'}"}


def test_behind_a_gateway_that_traces_each_request_it_is_one_trace_too(receiver: Receiver, shop: Shop) -> None:
    cart, begun = shop.filled_cart(), traceparent(kept=True)
    order = shop.call("POST", f"/shopping-query/{cart}/checkout", **begun)
    shop.call("POST", f"/order/{order['id']}/place", **traceparent(kept=True))
    spans = receiver.wait(lambda spans: _whole(spans, cart))
    assert {span.service for span in spans if span.trace == begun["traceparent"].split("-")[1]} == FIVE


def test_where_the_checkouts_trace_is_not_kept_placing_is_in_its_requests(receiver: Receiver, shop: Shop) -> None:
    cart, placing = shop.filled_cart(), traceparent(kept=True)
    order = shop.call("POST", f"/shopping-query/{cart}/checkout", **traceparent(kept=False))
    shop.call("POST", f"/order/{order['id']}/place", **placing)

    def of_placing(spans: list[Span]) -> set[str]:
        return {span.name for span in spans if span.trace == placing["traceparent"].split("-")[1]}

    assert "place order" not in of_placing(receiver.wait(lambda spans: "send mail" in of_placing(spans)))


def test_a_trace_context_that_is_too_long_to_keep_begins_a_new_trace(receiver: Receiver, shop: Shop) -> None:
    # What is longer than version 00 has a meaning only in a later version (https://www.w3.org/TR/trace-context/#versioning-of-traceparent).
    taken, refused = secrets.token_hex(16), secrets.token_hex(16)
    shop.call("GET", "/product", traceparent=f"01-{refused}-{secrets.token_hex(8)}-01-{'x' * 600}")
    shop.call("GET", "/product", traceparent=f"01-{taken}-{secrets.token_hex(8)}-01-x")
    traces = {span.trace for span in receiver.wait(lambda spans: [span for span in spans if span.trace == taken])}
    assert refused not in traces


def test_what_the_caller_does_not_sample_leaves_no_span(receiver: Receiver, shop: Shop) -> None:
    cart, trace = shop.filled_cart(), secrets.token_hex(16)
    shop.call("POST", f"/shopping-query/{cart}/checkout", traceparent=f"00-{trace}-{secrets.token_hex(8)}-00")
    later = shop.filled_cart()
    order = shop.call("POST", f"/shopping-query/{later}/checkout")
    shop.call("POST", f"/order/{order['id']}/place")
    spans = receiver.wait(lambda spans: _whole(spans, later))
    assert not [span for span in spans if span.trace == trace]


def test_work_without_a_request_makes_no_noise(receiver: Receiver, checkout: list[Span]) -> None:
    roots = {span.name.partition(" ")[0] for span in receiver.spans if not span.parent}
    assert roots <= {"POST", "GET", "DELETE"}, "no trace for each look of a relay or a mailer"


def test_requests_whose_work_is_done_at_once_are_linked(receiver: Receiver, shop: Shop) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        numbers = [secrets.token_hex(4) for _ in range(40)]
        products = [{"productNumber": n, "name": "x", "price": 1, "stock": {"quantity": 1}} for n in numbers]
        list(pool.map(lambda body: shop.call("POST", "/product", body), products))
    spans = receiver.wait(lambda spans: sum(span.name == "POST /product" for span in spans) >= 40)
    requests = {span.id for span in spans if span.name == "POST /product"}
    statements = [span for span in spans if span.name == "INSERT product"]
    served = {span.parent for span in statements} | {request for span in statements for _, request in span.links}
    assert requests <= served, "each request leads to the statement that served it"
