"""The Kafka transport (aiokafka): an idempotent producer, and consumers that commit after the effect."""

import asyncio
import logging
import ssl
from collections.abc import Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError

from webstore_chassis.settings import Settings
from webstore_chassis.transport import DEAD_LETTERS, Deliver, Message

log = logging.getLogger(__name__)

_MOST_RECORDS = 500


class Kafka:
    """Messages over a Kafka cluster.

    Args:
        client: how this process calls itself at the brokers.
        topics: what this process publishes or consumes; created, each with its dead-letter topic, where they do not
            exist.
    """

    def __init__(self, settings: Settings, client: str, topics: Sequence[str]) -> None:
        self._topics = topics
        self._partitions = settings.kafka_partitions
        self._created = asyncio.Lock()
        self._ensured = False
        self._producer: AIOKafkaProducer | None = None
        self._connection: dict[str, Any] = {
            "bootstrap_servers": settings.kafka_bootstrap_servers,
            "client_id": client,
            "security_protocol": settings.kafka_security_protocol,
            "request_timeout_ms": 10_000,
        }
        if settings.kafka_security_protocol.endswith("SSL"):
            self._connection["ssl_context"] = ssl.create_default_context(cafile=settings.kafka_ca_file)
        if settings.kafka_security_protocol.startswith("SASL"):
            self._connection |= {
                "sasl_mechanism": settings.kafka_sasl_mechanism,
                "sasl_plain_username": settings.kafka_username,
                "sasl_plain_password": settings.kafka_password.get_secret_value() if settings.kafka_password else None,
            }

    async def publish(self, messages: Sequence[Message]) -> None:
        """Returns when all in-sync replicas have the messages.

        Raises:
            KafkaError: some may not be there; publish all of them again.
        """
        try:
            if self._producer is None:
                await self._ensure_topics()
                producer = AIOKafkaProducer(**self._connection, acks="all", enable_idempotence=True, linger_ms=0)
                await producer.start()
                self._producer = producer
            sent = [
                await self._producer.send(
                    message.topic,
                    message.value,
                    key=message.key.encode(),
                    headers=[(name, value.encode()) for name, value in message.headers.items()],
                )
                for message in messages
            ]
            await asyncio.gather(*sent)
        except (KafkaError, OSError):
            # A producer that lost a batch has a gap in its sequence: the next attempt begins with a new one.
            await self.close()
            raise

    async def consume(self, group: str, topics: Sequence[str], deliver: Deliver) -> None:
        """Takes part in a consumer group.

        Raises:
            KafkaError: the brokers are gone; begin again.
        """
        await self._ensure_topics()
        consumer = AIOKafkaConsumer(
            *topics,
            **self._connection,
            group_id=group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            # An event may be handled again and again while a database is away, which is no reason to leave the group.
            max_poll_interval_ms=600_000,
        )
        try:
            await consumer.start()
            while True:
                records = await consumer.getmany(timeout_ms=1000, max_records=_MOST_RECORDS)
                messages = [_message(record) for batch in records.values() for record in batch]
                if messages:
                    await deliver(messages)
                    await consumer.commit({partition: batch[-1].offset + 1 for partition, batch in records.items()})
        finally:
            await consumer.stop()

    async def close(self) -> None:
        """Lets go of the producer."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()

    async def _ensure_topics(self) -> None:
        async with self._created:
            if self._ensured:
                return
            admin = AIOKafkaAdminClient(**self._connection)
            await admin.start()
            try:
                wanted = [name for topic in self._topics for name in (topic, topic + DEAD_LETTERS)]
                missing = sorted(set(wanted) - set(await admin.list_topics()))
                for name in missing:
                    try:
                        await admin.create_topics([NewTopic(name, self._partitions, -1)])
                    except TopicAlreadyExistsError:
                        log.debug("another service created %s first", name)
                self._ensured = True
            finally:
                await admin.close()


def _message(record: "ConsumerRecord[bytes, bytes]") -> Message:
    headers = {name: value.decode(errors="replace") for name, value in record.headers}
    return Message(record.topic, (record.key or b"").decode(errors="replace"), record.value or b"", headers)
