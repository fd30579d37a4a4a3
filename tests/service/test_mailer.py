"""Mails about orders, through a real SMTP server that can be down, busy or unwilling."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from email import message_from_bytes
from email.message import Message as Mail
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from sqlalchemy.exc import TimeoutError as PoolTimeout

from tests.databases import Databases
from tests.service.conftest import build, living
from webstore_chassis.service import Surroundings
from webstore_chassis.transport import Local, Message

CUSTOMER = {"firstName": "Ann", "lastName": "Smith", "email": "ann@example.com"}


class Server:
    """What the SMTP server does: keeps mails, and answers what it is told."""

    def __init__(self) -> None:
        self.mails: list[Mail] = []
        self.recipients: list[str] = []
        self.answers: dict[str, str] = {}
        self.once: list[str] = []
        self.senders: list[str] = []
        self.thinks_seconds = 0.0

    async def until_it_has_a_mail(self) -> None:
        async with asyncio.timeout(20):
            while not self.mails:
                await asyncio.sleep(0.02)

    async def handle_MAIL(self, _: SMTP, __: Session, envelope: Envelope, address: str, ___: list[str]) -> str:
        if self.senders:
            return self.senders.pop(0)
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(self, _: SMTP, __: Session, envelope: Envelope, address: str, ___: list[str]) -> str:
        self.recipients.append(address)
        if self.once:
            return self.once.pop(0)
        if address in self.answers:
            return self.answers[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _: SMTP, __: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        self.mails.append(message_from_bytes(envelope.content))
        await asyncio.sleep(self.thinks_seconds)
        return "250 OK"


@contextmanager
def smtp(server: Server, port: int) -> Iterator[None]:
    controller = Controller(server, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        yield
    finally:
        controller.stop()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class Service:
    """The customer service, and what it is told of placed orders."""

    def __init__(self, client: httpx.AsyncClient, transport: Local, url: str, dead_letters: Path) -> None:
        self.client, self.dead_letters = client, dead_letters
        self.transport, self._url = transport, url

    async def customer(self, **changes: Any) -> str:
        created = await self.client.post("/customer", json={**CUSTOMER, **changes})
        assert created.status_code == 201
        return str(created.json()["id"])

    async def placed(self, customer_id: str, order_id: str | None = None) -> str:
        order_id = order_id or str(uuid4())
        await self.transport.publish([order_placed(order_id, customer_id)])
        return order_id

    async def mail(self, order_id: str) -> Mapping[str, Any]:
        async with await psycopg.AsyncConnection.connect(self._url, row_factory=psycopg.rows.dict_row) as connection:
            found = await connection.execute("SELECT * FROM mail WHERE order_id = %s", [order_id])
            return await found.fetchone() or {}

    async def disconnected(self) -> None:
        """Ends the service's sessions, as a restart of PostgreSQL does."""
        async with await psycopg.AsyncConnection.connect(self._url) as connection:
            await connection.execute("""
                SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid()
            """)

    async def until(self, order_id: str, **wanted: Any) -> Mapping[str, Any]:
        """Waits until the order's mail is so."""
        async with asyncio.timeout(20):
            while True:
                mail = await self.mail(order_id)
                if wanted.items() <= mail.items():
                    return mail
                await asyncio.sleep(0.02)


def order_placed(order_id: str, customer_id: str) -> Message:
    lines = [{"productNumber": "001", "quantity": 2}]
    value = {"orderId": order_id, "customerId": customer_id, "orderLines": lines}
    return Message(
        "order-placed", f"order/{order_id}", json.dumps(value).encode(), {"type": "order-placed", "version": "1"}
    )


@asynccontextmanager
async def running(databases: Databases, folder: Path, port: int) -> AsyncIterator[Service]:
    url = databases.of("customer")
    transport = Local(1, folder / "dead")
    settings = {"smtp_host": "127.0.0.1", "smtp_port": port, "database_url": url}
    app = build("customer", databases, Surroundings(transport), **settings)
    async with living(app) as client:
        yield Service(client, transport, url, folder / "dead")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses of hundredths of seconds, in the same proportions."""
    monkeypatch.setattr("webstore_customer.domain._FIRST_PAUSE_SECONDS", 0.05)


async def test_a_placed_order_has_one_mail_with_text_and_html_and_the_orders_message_id(
    databases: Databases, tmp_path: Path
) -> None:
    server, port = Server(), free_port()
    with smtp(server, port):
        async with running(databases, tmp_path, port) as service:
            order_id = await service.placed(await service.customer(firstName="Änn"))
            await service.until(order_id, state="sent")
    (mail,) = server.mails
    assert mail["Message-ID"] == f"<order-{order_id}@webstore.example>"
    assert [part.get_content_type() for part in mail.walk()] == ["multipart/alternative", "text/plain", "text/html"]
    assert server.recipients == ["ann@example.com"]


async def test_an_event_that_comes_again_sends_no_second_mail(databases: Databases, tmp_path: Path) -> None:
    server, port = Server(), free_port()
    with smtp(server, port):
        async with running(databases, tmp_path, port) as service:
            customer_id = await service.customer()
            order_id = await service.placed(customer_id)
            await service.until(order_id, state="sent")
            await service.placed(customer_id, order_id)
            later = await service.placed(customer_id)
            await service.until(later, state="sent")
    assert [mail["Message-ID"].split("@")[0] for mail in server.mails] == [f"<order-{order_id}", f"<order-{later}"]


@pytest.mark.usefixtures("quick")
async def test_a_server_that_is_down_is_tried_again_until_it_is_up(databases: Databases, tmp_path: Path) -> None:
    server, port = Server(), free_port()
    async with running(databases, tmp_path, port) as service:
        order_id = await service.placed(await service.customer())
        async with asyncio.timeout(20):
            while (await service.mail(order_id)).get("attempts", 0) < 3:
                await asyncio.sleep(0.02)
        assert (await service.client.get("/customer")).status_code == 200
        with smtp(server, port):
            await service.until(order_id, state="sent")
    assert len(server.mails) == 1


@pytest.mark.usefixtures("quick")
async def test_a_server_that_says_later_is_asked_later_with_growing_pauses(
    databases: Databases, tmp_path: Path
) -> None:
    server, port = Server(), free_port()
    server.once = ["451 try later", "421 too busy", "452 full"]
    with smtp(server, port):
        async with running(databases, tmp_path, port) as service:
            order_id = await service.placed(await service.customer())
            mail = await service.until(order_id, state="sent")
    assert mail["attempts"] == 4
    assert len(server.mails) == 1


async def test_a_refusal_for_good_ends_it_and_holds_up_no_other(databases: Databases, tmp_path: Path) -> None:
    server, port = Server(), free_port()
    server.answers["gone@example.com"] = "550 no such user"
    with smtp(server, port):
        async with running(databases, tmp_path, port) as service:
            refused = await service.placed(await service.customer(email="gone@example.com"))
            good = await service.placed(await service.customer())
            assert (await service.until(refused, state="undeliverable"))["attempts"] == 1
            await service.until(good, state="sent")
    assert len(server.mails) == 1


@pytest.mark.usefixtures("quick")
async def test_a_refusal_of_the_sender_loses_no_mail(databases: Databases, tmp_path: Path) -> None:
    server, port = Server(), free_port()
    server.senders = ["550 who are you", "553 sender not verified"]
    with smtp(server, port):
        async with running(databases, tmp_path, port) as service:
            mail = await service.until(await service.placed(await service.customer()), state="sent")
    assert mail["attempts"] == 3


async def test_a_server_that_thinks_for_long_gets_a_mail_once(
    databases: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webstore_customer.mailer._CONNECT_SECONDS", 2)
    monkeypatch.setattr("webstore_customer.mailer._HOLD_SECONDS", 0.2)
    server, port = Server(), free_port()
    server.thinks_seconds = 3
    with smtp(server, port):
        async with running(databases, tmp_path, port) as service:
            order_id = await service.placed(await service.customer())
            await server.until_it_has_a_mail()
            taken = await service.mail(order_id)
            mail = await service.until(order_id, state="sent")
    assert mail["next_attempt_at"] > taken["next_attempt_at"], "no other replica gets it meanwhile"
    assert len(server.mails) == mail["attempts"] == 1


async def test_a_mail_that_is_being_sent_when_the_service_stops_is_not_sent_again(
    databases: Databases, tmp_path: Path
) -> None:
    server, port = Server(), free_port()
    server.thinks_seconds = 1
    with smtp(server, port):
        async with running(databases, tmp_path, port) as service:
            order_id = await service.placed(await service.customer())
            await server.until_it_has_a_mail()
    assert (await service.mail(order_id))["state"] == "sent"


async def test_a_mail_that_the_server_has_is_not_sent_again_because_the_database_was_away(
    databases: Databases, tmp_path: Path
) -> None:
    server, port = Server(), free_port()
    server.thinks_seconds = 1
    with smtp(server, port):
        async with running(databases, tmp_path, port) as service:
            order_id = await service.placed(await service.customer())
            await server.until_it_has_a_mail()
            await service.disconnected()
            mail = await service.until(order_id, state="sent")
    assert len(server.mails) == mail["attempts"] == 1


async def test_a_database_that_stays_away_does_not_keep_the_service_from_stopping(
    databases: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = asyncio.Event()

    async def away(*_: object) -> None:
        tried.set()
        raise PoolTimeout

    monkeypatch.setattr("webstore_customer.store.Store.end_mail", away)
    monkeypatch.setattr("webstore_customer.mailer._LAST_SECONDS", 0.2)
    server, port = Server(), free_port()
    with smtp(server, port):
        async with asyncio.timeout(30), running(databases, tmp_path, port) as service:
            await service.placed(await service.customer())
            await tried.wait()


async def test_an_unknown_customer_blocks_nothing(databases: Databases, tmp_path: Path) -> None:
    server, port = Server(), free_port()
    with smtp(server, port):
        async with running(databases, tmp_path, port) as service:
            unknown = await service.placed("nobody")
            good = await service.placed(await service.customer())
            await service.until(unknown, state="undeliverable")
            await service.until(good, state="sent")
    assert len(server.mails) == 1


@pytest.mark.usefixtures("quick")
async def test_a_customer_who_is_deleted_meanwhile_gets_no_mail(databases: Databases, tmp_path: Path) -> None:
    server, port = Server(), free_port()
    async with running(databases, tmp_path, port) as service:
        customer_id = await service.customer()
        order_id = await service.placed(customer_id)
        assert (await service.client.delete(f"/customer/{customer_id}")).status_code == 200
        with smtp(server, port):
            await service.until(order_id, state="undeliverable")
    assert server.recipients == []


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"no JSON",
        b"[" * 100_000,
        b"[]",
        b"\xff",
        b"{}",
        b'{"orderId": "7"}',
        b'{"orderId": null, "orderLines": 1}',
    ],
)
async def test_what_is_no_event_is_a_dead_letter_and_holds_up_no_other(
    databases: Databases, tmp_path: Path, value: bytes
) -> None:
    server, port = Server(), free_port()
    with smtp(server, port):
        async with running(databases, tmp_path, port) as service:
            good = str(uuid4())
            bad = Message("order-placed", "order/bad", value, {"type": "order-placed", "version": "1"})
            await service.transport.publish([bad, order_placed(good, await service.customer())])
            await service.until(good, state="sent")
    (dead,) = map(json.loads, (tmp_path / "dead").read_text().splitlines())
    assert (dead["topic"], dead["key"], dead["dead-group"]) == ("order-placed.dlq", "order/bad", "customer")
    assert dead["dead-reason"]
