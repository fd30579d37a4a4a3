"""A real Kafka broker for tests: the one that WEBSTORE_TEST_KAFKA names, or one in a container of its own."""

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from tests import needs
from tests.ports import free_port

IMAGE = "apache/kafka:4.1.1"
_START_SECONDS = 90
_ANSWER_SECONDS = 30


@dataclass(frozen=True)
class Broker:
    """One Kafka broker.

    Args:
        address: its `host:port`.
        container: what it runs in, where that is ours to stop.
    """

    address: str
    container: str | None = None

    def kill(self) -> None:
        """Ends it as a power cut does; what it has acknowledged is there when it starts again."""
        self._docker("kill")

    def start(self) -> None:
        """Starts it again, and returns when it answers."""
        self._docker("start")
        self.wait()

    def pause(self) -> None:
        """Stops it in the middle of what it does: connections stay, nothing is answered."""
        self._docker("pause")

    def resume(self) -> None:
        """Lets it go on after `pause`."""
        self._docker("unpause")

    def wait(self) -> None:
        """Returns when it answers."""
        asyncio.run(self._wait())

    def forget(self) -> None:
        """Deletes all topics, and with them what groups know of them."""
        asyncio.run(self._forget())

    def publish(self, topic: str, value: bytes, **headers: str) -> None:
        """Puts a message there."""
        asyncio.run(self._publish(topic, value, headers))

    def take(self, topic: str, count: int) -> list[dict[str, str]]:
        """The headers of a topic's first messages, once there are so many."""
        return asyncio.run(self._take(topic, count))

    async def _publish(self, topic: str, value: bytes, headers: dict[str, str]) -> None:
        async with AIOKafkaProducer(bootstrap_servers=self.address) as producer:
            await producer.send_and_wait(topic, value, headers=[(k, v.encode()) for k, v in headers.items()])

    async def _take(self, topic: str, count: int) -> list[dict[str, str]]:
        consumer = AIOKafkaConsumer(topic, bootstrap_servers=self.address, auto_offset_reset="earliest")
        async with consumer, asyncio.timeout(_ANSWER_SECONDS):
            return [{k: v.decode() for k, v in (await consumer.getone()).headers} for _ in range(count)]

    async def _wait(self) -> None:
        ends = time.monotonic() + _START_SECONDS
        while True:
            admin = AIOKafkaAdminClient(bootstrap_servers=self.address)
            try:
                await admin.start()
                await admin.list_topics()
                return
            except (KafkaError, OSError) as error:
                if time.monotonic() > ends:
                    raise AssertionError(f"no Kafka answers at {self.address}: {error}") from error
                await asyncio.sleep(0.2)
            finally:
                await admin.close()

    async def _forget(self) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.address)
        try:
            await admin.start()
            while topics := [name for name in await admin.list_topics() if not name.startswith("__")]:
                await admin.delete_topics(topics)
        finally:
            await admin.close()

    def _docker(self, verb: str) -> None:
        if self.container is None:
            needs.missing(
                f"a Kafka broker that can be stopped: unset WEBSTORE_TEST_KAFKA, and have Docker with {IMAGE}"
            )
        subprocess.run(["docker", verb, self.container], check=True, capture_output=True)


@contextmanager
def running_broker() -> Iterator[Broker]:
    """A broker without topics. The one that WEBSTORE_TEST_KAFKA names loses all that it has."""
    if address := os.environ.get("WEBSTORE_TEST_KAFKA"):
        named = Broker(address)
        named.wait()
        named.forget()
        yield named
        return
    if not _image_is_there():
        needs.missing(f"Kafka: Docker with the image {IMAGE}, or WEBSTORE_TEST_KAFKA=host:port of a broker for tests")
    started = _in_container()
    try:
        started.wait()
        yield started
    finally:
        subprocess.run(
            ["docker", "rm", "--force", "--volumes", str(started.container)], check=True, capture_output=True
        )


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    """A broker for the tests of one file."""
    with running_broker() as found:
        yield found


def _image_is_there() -> bool:
    inspect = ["docker", "image", "inspect", IMAGE]
    return bool(shutil.which("docker")) and not subprocess.run(inspect, check=False, capture_output=True).returncode


def _in_container() -> Broker:
    port = free_port()
    settings = {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_LISTENERS": f"PLAINTEXT://:{port},CONTROLLER://localhost:9093",
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://127.0.0.1:{port}",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS": "1",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "KAFKA_HEAP_OPTS": "-Xms256m -Xmx512m",
    }
    environment = [argument for name, value in settings.items() for argument in ("--env", f"{name}={value}")]
    name = f"webstore-test-kafka-{port}"
    subprocess.run(
        ["docker", "run", "--detach", "--name", name, "--publish", f"127.0.0.1:{port}:{port}", *environment, IMAGE],
        check=True,
        capture_output=True,
    )
    return Broker(f"127.0.0.1:{port}", name)
