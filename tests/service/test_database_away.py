"""A service whose database does not answer says so, whichever way the connection fails: 503, ask again."""

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy.engine import make_url

from tests.databases import Databases
from tests.service.conftest import build
from webstore_chassis.service import Surroundings
from webstore_chassis.transport import Local


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes connections and never says a word, as one does whose machine is about to go."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"postgresql://ann@127.0.0.1:{listener.getsockname()[1]}/store"


@pytest.fixture
def refusing() -> str:
    """A port at which nobody listens."""
    return "postgresql://ann@127.0.0.1:1/store"


@pytest.fixture
def locked(databases: Databases) -> str:
    """A server that does not let the user in, as while passwords are changed."""
    return make_url(databases.of("product")).set(username="nobody").render_as_string(hide_password=False)


@pytest.mark.parametrize("way", ["silent", "refusing", "locked"])
async def test_a_database_that_cannot_be_reached_is_503(
    way: str, databases: Databases, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    surroundings = Surroundings(Local(1, tmp_path / "dead"))
    app = build("product", databases, surroundings, database_url=request.getfixturevalue(way))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
        answer = await client.get("/product/001")
    assert answer.status_code == 503, answer.text
    assert answer.headers["Retry-After"] == "1"
