"""The Kafka transport at a real broker."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError
from prometheus_client import REGISTRY

from tests import needs
from tests.broker import IMAGE, LOGIN, Broker
from webstore_chassis.kafka import Kafka
from webstore_chassis.settings import Settings, SettingsError, load
from webstore_chassis.transport import Message

_MESSAGES = [Message("parcels", f"key{n % 5}", f"value{n}".encode(), {"n": str(n)}) for n in range(1000)]


async def _take(kafka: Kafka, group: str, count: int, topic: str = "parcels") -> list[Message]:
    """Consumes until so many came."""
    taken: list[Message] = []
    complete = asyncio.Event()

    async def deliver(messages: Sequence[Message]) -> None:
        taken.extend(messages)
        if len(taken) >= count:
            complete.set()

    consuming = asyncio.create_task(kafka.consume(group, [topic], deliver))
    async with asyncio.timeout(60):
        await complete.wait()
    consuming.cancel()
    await asyncio.gather(consuming, return_exceptions=True)
    return taken


def _settings(address: str, **settings: object) -> Settings:
    return load(Settings, database_url="postgresql://nobody@nowhere/none", kafka_bootstrap_servers=address, **settings)


async def test_topics_are_made_and_a_keys_messages_arrive_in_order_with_their_headers(broker: Broker) -> None:
    kafka = Kafka(_settings(broker.address), "test", ["parcels"])
    try:
        await kafka.publish(_MESSAGES)
        taken = await _take(kafka, "one", len(_MESSAGES))
    finally:
        await kafka.close()
    for key in {message.key for message in _MESSAGES}:
        assert [m for m in taken if m.key == key] == [m for m in _MESSAGES if m.key == key]


async def test_events_are_kept_for_a_week_however_many_there_are(broker: Broker) -> None:
    kafka = Kafka(_settings(broker.address), "test", ["crates"])
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.address)
    await admin.start()
    try:
        await kafka.publish([replace(_MESSAGES[0], topic="crates")])
        (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, "crates")])
    finally:
        await admin.close()
        await kafka.close()
    settings = {name: (value, source) for _, _, _, _, each in answer.resources for name, value, _, source, *_ in each}
    # 1: of this topic, in the protocol's list of sources
    assert settings["retention.ms"] == ("604800000", 1)
    assert settings["retention.bytes"] == ("-1", 1), "brokers may bound what topics do not say"


async def test_the_backlog_is_all_that_a_group_has_not_handled_in_whichever_partition(broker: Broker) -> None:
    kafka = Kafka(_settings(broker.address), "test", ["boxes"])
    await kafka.publish([replace(message, topic="boxes") for message in _MESSAGES])
    handled = 0
    seen: list[tuple[float | None, int]] = []
    none_wait = asyncio.Event()

    async def deliver(messages: Sequence[Message]) -> None:
        nonlocal handled
        backlog = REGISTRY.get_sample_value("webstore_consumer_backlog_messages", {"service": "packers"})
        seen.append((backlog, len(_MESSAGES) - handled))
        handled += len(messages)
        if not messages:
            none_wait.set()

    consuming = asyncio.create_task(kafka.consume("packers", ["boxes"], deliver))
    try:
        async with asyncio.timeout(60):
            await none_wait.wait()
    finally:
        consuming.cancel()
        await asyncio.gather(consuming, return_exceptions=True)
        await kafka.close()
    assert len(seen) > 2, "it takes more than one batch"
    assert [backlog for backlog, _ in seen] == [left for _, left in seen]


async def test_what_another_program_sent_without_key_value_and_headers_value_arrives(broker: Broker) -> None:
    kafka = Kafka(_settings(broker.address), "test", ["letters"])
    try:
        async with AIOKafkaProducer(bootstrap_servers=broker.address) as other:
            await other.send_and_wait("letters", b"", headers=[("odd", None)])
        assert await _take(kafka, "one", 1, "letters") == [Message("letters", "", b"", {"odd": ""})]
    finally:
        await kafka.close()


async def test_two_members_of_a_group_share_and_what_one_leaves_the_other_gets(broker: Broker) -> None:
    kafka = Kafka(_settings(broker.address), "test", ["parcels"])
    seen: dict[str, set[str]] = {"staying": set(), "leaving": set()}
    progress = asyncio.Event()

    async def consume(member: str) -> None:
        async def deliver(messages: Sequence[Message]) -> None:
            seen[member] |= {message.headers["n"] for message in messages}
            progress.set()

        await Kafka(_settings(broker.address), member, ["parcels"]).consume("two", ["parcels"], deliver)

    members = {name: asyncio.create_task(consume(name)) for name in seen}
    sent = 0
    try:
        async with asyncio.timeout(90):
            while not all(seen.values()):  # each has got something
                batch = [Message("parcels", f"key{n}", b"", {"n": f"more{n}"}) for n in range(sent, sent + 50)]
                await kafka.publish(batch)
                sent += len(batch)
                progress.clear()
                await progress.wait()
            members["leaving"].cancel()
            await kafka.publish([Message("parcels", f"key{n}", b"", {"n": f"last{n}"}) for n in range(50)])
            expected = {f"more{n}" for n in range(sent)} | {f"last{n}" for n in range(50)}
            while not expected <= seen["staying"] | seen["leaving"]:
                progress.clear()
                await progress.wait()
            assert {f"last{n}" for n in range(50)} <= seen["staying"]
    finally:
        for task in members.values():
            task.cancel()
        await asyncio.gather(*members.values(), return_exceptions=True)
        await kafka.close()


async def test_a_login_is_used_and_a_wrong_one_is_told(broker: Broker) -> None:
    if broker.login_address is None:
        needs.missing(f"a Kafka broker that asks for a login: unset WEBSTORE_TEST_KAFKA, and have Docker with {IMAGE}")
    user, password = LOGIN
    login = {"kafka_security_protocol": "SASL_PLAINTEXT", "kafka_sasl_mechanism": "PLAIN", "kafka_username": user}
    kafka = Kafka(_settings(broker.login_address, **login, kafka_password=password), "test", ["parcels"])
    try:
        await kafka.publish(_MESSAGES[:1])
    finally:
        await kafka.close()
    wrong = Kafka(_settings(broker.login_address, **login, kafka_password="wrong"), "test", ["parcels"])
    with pytest.raises(KafkaError):
        await wrong.publish(_MESSAGES[:1])


def test_a_login_without_its_password_stops_the_start() -> None:
    with pytest.raises(SettingsError, match="WEBSTORE_KAFKA_PASSWORD"):
        _settings("localhost:9092", kafka_security_protocol="SASL_SSL", kafka_username="webstore")


def test_an_authority_file_that_is_not_there_stops_the_start() -> None:
    with pytest.raises(SettingsError, match="WEBSTORE_KAFKA_CA_FILE"):
        _settings("localhost:9092", kafka_security_protocol="SSL", kafka_ca_file="/nowhere/ca.pem")
