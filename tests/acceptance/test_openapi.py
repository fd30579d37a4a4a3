"""What each service says of itself in OpenAPI is what it does, whatever it is sent: no 500, no answer and no refusal
that the schema does not tell of.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

SERVICES = ("customer", "product", "order", "shopping-command", "shopping-query")
EXAMPLES_EACH = 25
# The contract's paths overlap: add-to-cart/900 is what DELETE /{cart}/{product} takes too, and Allow says so.
UNFIT_CHECKS = {"shopping-command": ["--exclude-checks=allow_header_conformance"]}


@pytest.mark.parametrize("service", SERVICES)
def test_what_is_generated_from_the_schema_is_answered_as_the_schema_says(
    store: tuple[str, Path], service: str, tmp_path: Path
) -> None:
    # The tool prints its seed, and the request, of what it finds.
    schemathesis = subprocess.run(
        [
            Path(sys.executable).parent / "schemathesis",
            "run",
            f"{store[0]}/{service}/-/openapi.json",
            "--checks=all",
            "--phases=examples,coverage,fuzzing",
            f"--max-examples={EXAMPLES_EACH}",
            "--request-timeout=60",
            "--no-color",
            *UNFIT_CHECKS.get(service, []),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert schemathesis.returncode == 0, schemathesis.stdout


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield f"{method.upper()} {path}", operation


@pytest.mark.parametrize("service", SERVICES)
def test_every_operation_tells_of_its_refusals_and_shows_an_example_of_what_it_takes(
    store: tuple[str, Path], service: str
) -> None:
    document = httpx.get(f"{store[0]}/{service}/-/openapi.json").json()
    for name, operation in operations(document):
        assert operation["summary"], name
        refusals = {code for code in operation["responses"] if code >= "400"}
        assert refusals >= {"400", "413", "422", "503"}, name
        for code in refusals:
            assert list(operation["responses"][code]["content"]) == ["application/problem+json"], (name, code)
        for parameter in operation.get("parameters", []):
            if parameter["required"]:
                assert "examples" in parameter["schema"], (name, parameter["name"])
        if "requestBody" in operation:
            body = operation["requestBody"]["content"]["application/json"]["schema"]
            assert "examples" in json.dumps(resolved(document, body)), name


def resolved(document: dict[str, Any], schema: Any) -> Any:
    """A schema with what it refers to in its place."""
    if isinstance(schema, dict):
        if reference := schema.get("$ref"):
            return resolved(document, document["components"]["schemas"][reference.rpartition("/")[2]])
        return {name: resolved(document, value) for name, value in schema.items()}
    return [resolved(document, value) for value in schema] if isinstance(schema, list) else schema


def test_one_page_lists_the_five_and_each_has_its_pages(store: tuple[str, Path]) -> None:
    page = httpx.get(store[0]).text
    for service in SERVICES:
        assert f"/{service}/-/docs" in page
        assert httpx.get(f"{store[0]}/{service}/-/docs").status_code == 200
