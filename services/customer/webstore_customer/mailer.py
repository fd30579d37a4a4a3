"""Sending mails: by SMTP (aiosmtplib), or into a folder where there is no SMTP server."""

import asyncio
import logging
from email.message import EmailMessage
from pathlib import Path
from typing import Literal, Protocol
from uuid import UUID

import aiosmtplib
from opentelemetry.trace import SpanKind
from prometheus_client import Counter

from webstore_chassis import context, telemetry
from webstore_chassis.database import FAILURES
from webstore_customer.domain import Mail, compose, pause_after
from webstore_customer.store import Store

log = logging.getLogger(__name__)

MAILS = Counter("webstore_mails_total", "Mails about placed orders", ["outcome"])
for _outcome in ("sent", "postponed", "refused", "unknown customer"):
    MAILS.labels(_outcome)
_CONNECT_SECONDS = 10.0
# A server may think for long about a mail that it has; who gives up too soon sends it twice (RFC 5321, 4.5.3.2.6).
_ACCEPT_SECONDS = 600.0
_HOLD_SECONDS = 10.0  # a third of what a mail is taken for: else another replica would send it too
_LAST_SECONDS = 5.0  # that a mail which is being sent holds up the service's stop
_POLL_SECONDS = 5.0
_NOTE_SECONDS = 0.5


class Outbox(Protocol):
    """Where mails go."""

    async def send(self, message: EmailMessage) -> None:
        """Returns once the message is accepted.

        Raises:
            aiosmtplib.SMTPException: not now, or never (see `_is_permanent`).
            OSError: not now.
        """


class Smtp:
    """An SMTP server (RFC 5321), by default without a login and in the clear, as inside a cluster."""

    def __init__(
        self,
        host: str,
        port: int,
        security: Literal["none", "starttls", "tls"],
        username: str | None,
        password: str | None,
    ):
        self._options = {
            "hostname": host,
            "port": port,
            "use_tls": security == "tls",
            "start_tls": security == "starttls",
            "username": username,
            "password": password,
            "timeout": _CONNECT_SECONDS,
        }

    async def send(self, message: EmailMessage) -> None:
        """Hands the message to the server."""
        async with aiosmtplib.SMTP(**self._options) as server:  # type: ignore[arg-type]
            await server.send_message(message, timeout=_ACCEPT_SECONDS)


class Folder:
    """A folder with a file (message/rfc822) for each mail, named after the order: mail programs open them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def send(self, message: EmailMessage) -> None:
        """Writes the message."""
        await asyncio.to_thread(self._write, message)

    def _write(self, message: EmailMessage) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        name = str(message["Message-ID"]).strip("<>").partition("@")[0]
        partial = self._folder / f".{name}"
        partial.write_bytes(message.as_bytes())
        partial.rename(self._folder / f"{name}.eml")


class Mailer:
    """Sends the mails that wait, one after the other, until each is accepted or can never be."""

    def __init__(self, store: Store, outbox: Outbox, sender: str) -> None:
        self._store = store
        self._outbox = outbox
        self._sender = sender
        self._new = asyncio.Event()

    def wake(self) -> None:
        """There are new mails: do not wait for the next look."""
        self._new.set()

    async def run(self) -> None:
        """Sends for ever."""
        while True:
            self._new.clear()
            while await self._send_next():
                pass
            due = await self._store.seconds_to_next_mail()
            try:
                async with asyncio.timeout(_POLL_SECONDS if due is None else min(max(due, 0.0), _POLL_SECONDS)):
                    await self._new.wait()
            except TimeoutError:
                pass

    async def _send_next(self) -> bool:
        mail = await self._store.take_mail()
        if mail is None:
            return False
        sending = asyncio.create_task(self._send(mail))
        try:
            await asyncio.shield(sending)
        except asyncio.CancelledError:
            # The service stops. The server may have the mail already, so whoever finds it not ended sends a second.
            await asyncio.wait([sending], timeout=_LAST_SECONDS)
            sending.cancel()
            raise
        return True

    async def _send(self, mail: Mail) -> None:
        holding = asyncio.create_task(self._hold(mail))
        try:
            with telemetry.span("send mail", SpanKind.CLIENT, {"network.protocol.name": "smtp"}, parent=mail.trace):
                await self._deliver(mail)
        finally:
            holding.cancel()

    async def _hold(self, mail: Mail) -> None:
        while True:
            await asyncio.sleep(_HOLD_SECONDS)
            try:
                await self._store.hold_mail(mail.order_id)
            except FAILURES as error:
                log.warning("the mail about order %s may be sent twice: %s", mail.order_id, type(error).__name__)

    async def _deliver(self, mail: Mail) -> None:
        recipient = await self._store.recipient(mail.customer_id)
        if recipient is None:
            MAILS.labels("unknown customer").inc()
            log.warning("no mail for order %s: its customer is not known", mail.order_id)
            await self._store.end_mail(mail.order_id, "undeliverable", "the customer is not known")
            return
        try:
            await self._outbox.send(compose(mail, recipient, self._sender))
        except Exception as error:  # whatever is wrong with one mail, the others are to be sent
            await self._failed(mail.order_id, mail.attempts, error)
        else:
            MAILS.labels("sent").inc()
            await self._note_sent(mail.order_id)

    async def _note_sent(self, order_id: UUID) -> None:
        """Does not give up: the server has the mail, and one that is not noted as sent goes out again."""
        while True:
            try:
                return await self._store.end_mail(order_id, "sent")
            except FAILURES as error:
                log.warning("the mail about order %s is sent and not noted yet: %s", order_id, type(error).__name__)
                await asyncio.sleep(_NOTE_SECONDS)

    async def _failed(self, order_id: UUID, attempts: int, error: Exception) -> None:
        reason = type(error).__name__  # the server's words may repeat the address
        telemetry.fail(context.span.get(), reason)
        if _is_permanent(error):
            MAILS.labels("refused").inc()
            log.error("the mail about order %s is refused for good: %s", order_id, reason)
            await self._store.end_mail(order_id, "undeliverable", reason)
            return
        MAILS.labels("postponed").inc()
        pause = pause_after(attempts)
        log.warning("the mail about order %s waits %.0f s: %s", order_id, pause, reason)
        await self._store.postpone_mail(order_id, pause, reason)


def _is_permanent(error: Exception) -> bool:
    """Whether the recipient is refused for good: 550 to 559 (RFC 5321, 4.2.1); a refusal of the sender, of the mail or
    of us may be mended.
    """
    if not isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        return False
    return all(550 <= refusal.code < 560 for refusal in error.recipients)
