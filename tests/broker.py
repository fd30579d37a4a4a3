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
LOGIN = ("webstore", "not-a-real-secret")
# Images that were built from a read-only tree have read-only settings, which the image's start then cannot write.
_START = "chmod --recursive u+w /opt/kafka/config /etc/kafka/docker && exec /etc/kafka/docker/run"
_START_SECONDS = 180
_ANSWER_SECONDS = 30


@dataclass(frozen=True)
class Broker:
    """One Kafka broker.

    Args:
        address: its `host:port`.
        container: what it runs in, where that is ours to stop.
        login_address: where it asks for the login `LOGIN` (SASL PLAIN), where it does.
    """

    address: str
    container: str | None = None
    login_address: str | None = None

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
    port, login_port = free_port(), free_port()
    user, password = LOGIN
    module = "org.apache.kafka.common.security.plain.PlainLoginModule"
    settings = {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_LISTENERS": f"PLAINTEXT://:{port},LOGIN://:{login_port},CONTROLLER://localhost:9093",
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://127.0.0.1:{port},LOGIN://127.0.0.1:{login_port}",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,LOGIN:SASL_PLAINTEXT",
        "KAFKA_LISTENER_NAME_LOGIN_SASL_ENABLED_MECHANISMS": "PLAIN",
        "KAFKA_LISTENER_NAME_LOGIN_PLAIN_SASL_JAAS_CONFIG": f'{module} required user_{user}="{password}";',
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
    ports = [argument for p in (port, login_port) for argument in ("--publish", f"127.0.0.1:{p}:{p}")]
    command = ["docker", "run", "--detach", "--name", name, *ports, *environment, IMAGE, "sh", "-c", _START]
    subprocess.run(command, check=True, capture_output=True)
    return Broker(f"127.0.0.1:{port}", name, f"127.0.0.1:{login_port}")
