"""The Kafka transport (aiokafka): an idempotent producer, and consumers that commit after the effect."""

import asyncio
import logging
import ssl
import time
from collections.abc import Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError, TopicAlreadyExistsError, for_code

from webstore_chassis.metrics import CONSUMER_BACKLOG
from webstore_chassis.settings import PREFIX, Settings, SettingsError
from webstore_chassis.transport import DEAD_LETTERS, Deliver, Message

log = logging.getLogger(__name__)

_MOST_RECORDS = 500
_REQUEST_SECONDS = 10
_MOST_REPLICAS = 3  # of a new topic, where there are as many brokers
# Letting go waits for what is under way, which without brokers would be for ever.
_STOP_SECONDS = 5
# Whatever the brokers do with other topics: events are kept for a week, however many there are, for consumers that are
# away (https://kafka.apache.org/documentation/#topicconfigs).
_KEPT = {"retention.ms": str(7 * 24 * 60 * 60 * 1000), "retention.bytes": "-1"}


class _OnceAMinute(logging.Filter):
    """aiokafka says many times a second that a broker is away; once a minute will do."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record's kind was not let through within the last minute."""
        now, kind = time.monotonic(), str(record.msg)
        if now - self._said.get(kind, -float("inf")) < 60:
            return False
        self._said[kind] = now
        return True


# A filter of a logger does not see what its children log, so each gets one.
for _name in ("", ".cluster", ".conn", ".consumer.fetcher", ".consumer.group_coordinator", ".producer.sender"):
    logging.getLogger("aiokafka" + _name).addFilter(_OnceAMinute())


class Kafka:
    """Messages over a Kafka cluster.

    Args:
        client: how this process calls itself at the brokers.
        topics: what this process publishes or consumes; created, each with its dead-letter topic, where they do not
            exist.
    """

    system = "kafka"

    def __init__(self, settings: Settings, client: str, topics: Sequence[str]) -> None:
        self._topics = [name for topic in topics for name in (topic, topic + DEAD_LETTERS)]
        self._partitions = settings.kafka_partitions
        self._preparing = asyncio.Lock()
        self._topics_exist = False
        self._producer: AIOKafkaProducer | None = None
        self._connection: dict[str, Any] = {
            "bootstrap_servers": settings.kafka_bootstrap_servers,
            "client_id": client,
            "security_protocol": settings.kafka_security_protocol,
            "request_timeout_ms": _REQUEST_SECONDS * 1000,
            # Topics that others create are seen soon.
            "metadata_max_age_ms": 30_000,
        }
        if settings.kafka_security_protocol.endswith("SSL"):
            self._connection["ssl_context"] = _trust(settings)
        if settings.kafka_security_protocol.startswith("SASL"):
            self._connection |= {
                "sasl_mechanism": settings.kafka_sasl_mechanism,
                "sasl_plain_username": settings.kafka_username,
                "sasl_plain_password": settings.kafka_password.get_secret_value() if settings.kafka_password else None,
            }

    async def publish(self, messages: Sequence[Message]) -> None:
        """Returns when all in-sync replicas have the messages; while the brokers are away it waits for them.

        Raises:
            KafkaError: some may not be there; publish all of them again.
        """
        try:
            producer = await self._ready_producer()
            sent = [
                await producer.send(
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
            self._topics_exist = False
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
                behind = await _behind(consumer)
                if behind is not None:
                    CONSUMER_BACKLOG.labels(group).set(behind + len(messages))
                if messages:
                    await deliver(messages)
                    await _commit(consumer, {partition: batch[-1].offset + 1 for partition, batch in records.items()})
                elif behind == 0:
                    await deliver(())
        finally:
            await consumer.stop()

    async def close(self) -> None:
        """Lets go of the producer; what it has not sent by now will be published again."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await _stop(producer)

    async def _ready_producer(self) -> AIOKafkaProducer:
        await self._ensure_topics()
        async with self._preparing:
            if self._producer is None:
                producer = AIOKafkaProducer(**self._connection, acks="all", enable_idempotence=True, linger_ms=0)
                try:
                    await producer.start()
                except BaseException:
                    await _stop(producer)
                    raise
                self._producer = producer
            return self._producer

    async def _ensure_topics(self) -> None:
        async with self._preparing:
            if self._topics_exist:
                return
            admin = AIOKafkaAdminClient(**self._connection)
            try:
                await admin.start()
                while missing := sorted(set(self._topics) - set(await admin.list_topics())):
                    await self._create(admin, missing)
                    await asyncio.sleep(0.1)  # the controller knows them before the brokers do
                self._topics_exist = True
            finally:
                await admin.close()

    async def _create(self, admin: AIOKafkaAdminClient, topics: Sequence[str]) -> None:
        replicas = min(_MOST_REPLICAS, len((await admin.describe_cluster())["brokers"]))
        new = [NewTopic(name, self._partitions, replicas, topic_configs=_KEPT) for name in topics]
        for name, code, message in (await admin.create_topics(new)).topic_errors:
            error = for_code(code)
            if code and error is not TopicAlreadyExistsError:  # another service may have been faster
                raise error(f"topic {name} cannot be created: {message or error.__name__}")


async def _stop(producer: AIOKafkaProducer) -> None:
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await producer.stop()
    except (TimeoutError, KafkaError) as error:
        log.warning("the producer is given up with messages in it, which will be published again: %s", repr(error))


async def _behind(consumer: AIOKafkaConsumer) -> int | None:
    """How many messages there are in all its partitions beyond those that it gave, as far as the brokers said; None
    while they have not.
    """
    ends = {partition: consumer.highwater(partition) for partition in consumer.assignment()}
    if None in ends.values():
        return None
    try:
        # A position is known where an end is: nothing is asked or waited for.
        behind: int = sum([end - await consumer.position(partition) for partition, end in ends.items()])
    except IllegalStateError:  # the partition has gone to another member
        return None
    return behind


async def _commit(consumer: AIOKafkaConsumer, offsets: dict[Any, int]) -> None:
    try:
        await consumer.commit(offsets)
    except (CommitFailedError, IllegalStateError) as error:
        # The partitions went to another member meanwhile. It gets these messages too, and finds their effects there.
        log.info("not committed after a rebalance: %s", error)


def _trust(settings: Settings) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=settings.kafka_ca_file)
    except ssl.SSLError as error:
        raise SettingsError(f"{PREFIX}KAFKA_CA_FILE is not a PEM file of certificates: {error.reason}.") from None


def _message(record: "ConsumerRecord[bytes, bytes]") -> Message:
    # A header's value may be null, whatever the types say.
    headers = {name: (value or b"").decode(errors="replace") for name, value in record.headers}
    return Message(record.topic, (record.key or b"").decode(errors="replace"), record.value or b"", headers)
