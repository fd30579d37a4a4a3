"""Every refusal is a class with its status; clients get RFC 9457 problem details (https://www.rfc-editor.org/rfc/rfc9457)."""

import logging
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any
from uuid import UUID

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.routing import Match

log = logging.getLogger(__name__)


class InvalidField(BaseModel):
    """One thing that is wrong in a request."""

    location: str = Field(examples=["body.stock.quantity"])
    message: str = Field(examples=["Input should be greater than or equal to 0"])


class ProblemDetails(BaseModel):
    """The body of every refusal (RFC 9457), media type application/problem+json."""

    model_config = ConfigDict(extra="allow")

    type: str = Field("about:blank", examples=["urn:webstore:problem:not-found"])
    title: str = Field(examples=["Not found"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["There is no order 7. List yours with GET /order."])
    errors: list[InvalidField] | None = Field(None, description="What is wrong, where a request did not fit the schema")


class Problem(Exception):
    """A request is refused.

    Args:
        detail: a sentence for the caller that says what happened and what to do.
        extra: members added to the problem's body.
    """

    status = 500
    title = "Internal error"

    def __init__(self, detail: str, *, headers: Mapping[str, str] | None = None, **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.headers = dict(headers or {})
        self.extra = extra

    def response(self) -> JSONResponse:
        """The answer to send."""
        body = {
            "type": "urn:webstore:problem:" + self.title.lower().replace(" ", "-"),
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            **self.extra,
        }
        return JSONResponse(body, self.status, self.headers, media_type="application/problem+json")


class BadRequest(Problem):
    """The request cannot be read."""

    status, title = 400, "Bad request"


class Unauthorized(Problem):
    """The caller did not say, or did not prove, who it is."""

    status, title = 401, "Unauthorized"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": "Bearer"})


class Forbidden(Problem):
    """The caller is known and may not do this."""

    status, title = 403, "Forbidden"


class NotFound(Problem):
    """There is no such thing, or none that is the caller's."""

    status, title = 404, "Not found"


def id_in_path(value: str, unknown: Callable[[str], NotFound]) -> UUID:
    """What is no id at all is the id of nothing."""
    try:
        return UUID(value)
    except ValueError:
        raise unknown(value) from None


class Conflict(Problem):
    """The state of things does not allow it (out of stock, an empty cart, a number that exists)."""

    status, title = 409, "Conflict"


class TooLarge(Problem):
    """The body is larger than this service takes."""

    status, title = 413, "Body too large"


class Unprocessable(Problem):
    """The request is well-formed and wrong."""

    status, title = 422, "Invalid request"


class Unavailable(Problem):
    """Something that the request needs cannot be reached; trying again later may help.

    Args:
        retry_after: seconds, sent as Retry-After.
    """

    status, title = 503, "Unavailable"

    def __init__(self, detail: str, *, retry_after: float = 1) -> None:
        super().__init__(detail, headers={"Retry-After": str(max(1, round(retry_after)))})


class _Other(Problem):
    """What the framework refuses itself: an unknown path, a method that a path does not have."""

    def __init__(self, error: HTTPException, request: Request) -> None:
        phrase = HTTPStatus(error.status_code).phrase
        asked = f"{request.method} {request.url.path}"
        detail = {
            404: f"There is nothing at {asked}. The service's paths are in its OpenAPI description.",
            405: f"{asked} is not supported. The header Allow names the methods that are.",
        }.get(error.status_code, str(error.detail))
        headers = {"Allow": ", ".join(_methods(request))} if error.status_code == 405 else error.headers
        super().__init__(_printable(detail), headers=headers)
        self.status, self.title = error.status_code, phrase.capitalize()


def _methods(request: Request) -> list[str]:
    """What a path has methods for; the framework itself names those of the first of its routes only."""
    return [
        method
        for method in ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in request.app.routes)
    ]


def handle(app: FastAPI) -> None:
    """Makes the application answer every error with problem details."""

    @app.exception_handler(Problem)
    async def refused(_: Request, problem: Problem) -> JSONResponse:
        return problem.response()

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        # The input is not repeated: it may be large, secret, or not text at all.
        errors = [
            {"location": _printable(".".join(map(str, e["loc"]))), "message": _printable(e["msg"])}
            for e in error.errors()
        ]
        first = errors[0]
        problem: Problem
        if any(e["type"] == "json_invalid" for e in error.errors()):
            problem = BadRequest("The body is not valid JSON: " + first["message"])
        else:
            problem = Unprocessable(f"{first['location']}: {first['message']}", errors=errors[:20])
        return problem.response()

    @app.exception_handler(HTTPException)
    async def framework(request: Request, error: HTTPException) -> JSONResponse:
        return _Other(error, request).response()

    @app.exception_handler(DBAPIError)
    async def database_failed(request: Request, error: DBAPIError) -> JSONResponse:
        if not is_outage(error):
            raise error
        log.warning("the database cannot be used: %s", error.orig)
        return DATABASE_UNAVAILABLE.response()

    @app.exception_handler(PoolTimeout)
    async def database_busy(_: Request, error: PoolTimeout) -> JSONResponse:
        log.warning("no database connection was free in time")
        return DATABASE_UNAVAILABLE.response()


DATABASE_UNAVAILABLE = Unavailable(
    "The database cannot be reached, so whether this was done is not certain. Ask again shortly."
)


def is_outage(error: BaseException) -> bool:
    """Whether the database is gone, starting, stopping, read-only or out of resources, rather than the statement wrong.

    SQLSTATE classes: 08 connection, 25006 read-only, 53 resources, 55P03 lock not available, 57 operator intervention,
    58 system, 40 rolled back (https://www.postgresql.org/docs/17/errcodes-appendix.html).
    """
    if isinstance(error, PoolTimeout):
        return True
    if not isinstance(error, DBAPIError):
        return False
    state = getattr(error.orig, "sqlstate", None)
    if state is None:  # the driver itself failed: no connection
        return error.connection_invalidated or isinstance(error, OperationalError | InterfaceError)
    return state[:2] in ("08", "40", "53", "57", "58") or state in ("25006", "55P03")


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")


def responses(*problems: type[Problem]) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's description of the refusals that a route can answer with, besides those of every route."""
    documented: dict[int | str, dict[str, Any]] = {}
    of_every_route: tuple[type[Problem], ...] = (BadRequest, TooLarge, Unprocessable, Unavailable)
    for problem in of_every_route + problems:
        documented[problem.status] = {
            "description": (problem.__doc__ or "").splitlines()[0],
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}},
        }
    return documented
