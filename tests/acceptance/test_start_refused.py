"""What cannot start says why in one sentence, without a traceback, and ends with an error."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent


def refused(*command: object, **environment: str) -> str:
    """What a program says that does not start."""
    ended = subprocess.run(
        [BIN / str(command[0]), *map(str, command[1:])],
        capture_output=True,
        text=True,
        timeout=120,
        env={"PATH": os.environ["PATH"], **environment},
        check=False,
    )
    assert ended.returncode == 1, ended.stderr
    (line,) = ended.stderr.splitlines()
    return line


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        line = refused("webstore", "run", "--data", tmp_path / "data", "--port", port)
    assert f"Cannot listen on 127.0.0.1:{port}: Address already in use" in line
    assert "--port" in line
    assert not (tmp_path / "data").exists()


def test_a_data_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    line = refused("webstore", "run", "--data", tmp_path / "file" / "data", "--port", 0)
    assert f"The data folder {tmp_path}/file/data cannot be written" in line
    assert "--data names another" in line


def test_a_database_that_cannot_start(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "PG_VERSION").write_text("9\n")
    line = refused("webstore", "run", "--data", tmp_path, "--port", 0)
    assert f"The PostgreSQL in {tmp_path}/postgres does not start" in line
    assert f"Its log is {tmp_path}/postgres/log" in line


def test_a_database_that_is_gone() -> None:
    url = "postgresql://ann:secret@127.0.0.1:1/product"
    line = refused("webstore-product", WEBSTORE_DATABASE_URL=url, WEBSTORE_KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1")
    assert "127.0.0.1:1/product cannot be used" in line
    assert "WEBSTORE_DATABASE_URL" in line
    assert "secret" not in line


def test_a_wrong_setting_is_named() -> None:
    assert "WEBSTORE_DATABASE_URL is not set" in refused("webstore-order")
    wrong = {"WEBSTORE_DATABASE_URL": "postgresql://x/x", "WEBSTORE_PORT": "many"}
    assert "WEBSTORE_PORT is wrong" in refused("webstore-order", **wrong)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("WEBSTORE_PRODUCT_URL", "product:8080"),
        ("WEBSTORE_PRODUCT_URL", "http://"),
        ("WEBSTORE_PRODUCT_URL", "http://product:http"),
        ("WEBSTORE_LOG_FILE", "/nonexistent/a.log"),
        ("WEBSTORE_LOG_FILE_BYTES", "67108865"),
    ],
)
def test_a_setting_that_would_fail_later_is_named_at_the_start(variable: str, value: str) -> None:
    assert f"{variable} is wrong" in refused(
        "webstore-order", WEBSTORE_DATABASE_URL="postgresql://x/x", **{variable: value}
    )


def test_an_embedded_store_names_a_wrong_setting_before_it_does_anything(tmp_path: Path) -> None:
    def run(port: int, **environment: str) -> str:
        return refused("webstore", "run", "--data", tmp_path / "data", "--port", port, **environment)

    assert "WEBSTORE_PORT is wrong" in run(99999)
    assert "WEBSTORE_LOG_LEVEL is wrong" in run(0, WEBSTORE_LOG_LEVEL="LOUD")
    assert not (tmp_path / "data").exists()
    assert "WEBSTORE_LOG_FILE is wrong" in run(0, WEBSTORE_LOG_FILE="/nonexistent/a.log")
    assert not (tmp_path / "data" / "postgres").exists()


def test_a_demo_without_a_store() -> None:
    line = refused("webstore", "demo", "--url", "http://127.0.0.1:1")
    assert "Is the store running there?" in line
