"""Who calls: the `Customer-ID` header in a trusted network, or an OpenID Connect bearer token (RFC 6750, RFC 7519)."""

import asyncio
import hmac
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import httpx
import jwt
from fastapi import Depends, Header, params
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import AfterValidator, SecretStr

from webstore_chassis import context
from webstore_chassis.problems import Forbidden, Unauthorized, Unavailable
from webstore_chassis.settings import Settings

log = logging.getLogger(__name__)

STAFF = "staff"
_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
_KEYS_FRESH_SECONDS = 300
_KEYS_RETRY_SECONDS = 10

# What a subject may be (OpenID Connect Core 1.0, 2: at most 255 ASCII characters), and a header's value can carry.
_CUSTOMER_ID = r"^[\x21-\x7e]([\x20-\x7e]{0,253}[\x21-\x7e])?$"
_CUSTOMER_HEADER = Header(
    alias="Customer-ID",
    pattern=_CUSTOMER_ID,
    description="The customer who calls. Believed in header mode, and from the store's own services.",
    examples=["3f0c1b58-7a55-4c43-9f5b-7d6c1f1f2c11"],
)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls, and what it may do.

    Args:
        customer_id: None for a caller that is no customer.
        staff: may edit products and see customers.
    """

    customer_id: str | None
    staff: bool


@dataclass(frozen=True)
class Auth:
    """What routes declare. Where nothing is asked there is no dependency: solving an empty one takes 25 µs.

    Args:
        caller: anybody who may call at all.
        customer: marks a parameter as the id of the customer that calls: `Annotated[str, *auth.customer]`.
        staff: dependencies of a route for those who may edit products and see customers.
        internal: dependencies of a route for other services of the store.
    """

    caller: Callable[..., Awaitable[Principal]]
    customer: Sequence[Any]
    staff: Sequence[params.Depends]
    internal: Sequence[params.Depends]


def auth(settings: Settings) -> Auth:
    """The dependencies for the mode that is set."""
    return _oidc(settings, Issuer(settings)) if settings.auth_mode == "oidc" else _header(settings)


_bearer = HTTPBearer(auto_error=False, description="A JWT of the issuer")
Bearer = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


def _internal(token: SecretStr | None) -> Sequence[params.Depends]:
    if token is None:
        return ()
    expected = f"Bearer {token.get_secret_value()}".encode()

    async def internal(authorization: Annotated[str, Header()] = "") -> None:
        if not hmac.compare_digest(authorization.encode(), expected):
            raise Unauthorized("This path is for the store's own services.")

    return (Depends(internal),)


def _header(settings: Settings) -> Auth:
    async def anybody() -> Principal:
        return Principal(None, staff=True)

    def acting(customer_id: str) -> str:
        context.actor.set(customer_id)
        return customer_id

    return Auth(anybody, (_CUSTOMER_HEADER, AfterValidator(acting)), (), _internal(settings.internal_token))


def _oidc(settings: Settings, issuer: "Issuer") -> Auth:
    token = settings.internal_token.get_secret_value().encode() if settings.internal_token else None

    # Not `customer_id`: that is the name of a path's part, and the framework would take it from there.
    async def caller(credentials: Bearer, named_customer: Annotated[str | None, _CUSTOMER_HEADER] = None) -> Principal:
        if credentials is None:
            raise Unauthorized("Send a bearer token of the store's issuer in the Authorization header.")
        if token is not None and hmac.compare_digest(credentials.credentials.encode(), token):
            principal = Principal(named_customer, staff=True)
        else:
            principal = await issuer.verify(credentials.credentials)
        context.actor.set(principal.customer_id)
        return principal

    async def customer(principal: Annotated[Principal, Depends(caller)]) -> str:
        if principal.customer_id is None:
            raise Unauthorized(
                "There is no customer to act for: the token's subject is missing, or is not up to 255 printable ASCII "
                "characters."
            )
        return principal.customer_id

    async def staff(principal: Annotated[Principal, Depends(caller)]) -> Principal:
        if not principal.staff:
            raise Forbidden(f"This needs the role {STAFF}.")
        return principal

    return Auth(caller, (Depends(customer),), (Depends(staff),), _internal(settings.internal_token))


class Issuer:
    """Verifies tokens with the issuer's published keys, which it fetches when needed and keeps for five minutes.

    OpenID Connect Discovery 1.0 tells where the keys (RFC 7517) are. A key id that is not known makes it look again,
    as keys are rotated, but not more often than every ten seconds; only such a request waits for that. While the
    issuer is away the last keys stay good.

    Args:
        transport: what carries the requests, where that is not the network.
    """

    def __init__(self, settings: Settings, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._issuer = str(settings.auth_issuer)
        self._audience = str(settings.auth_audience)
        self._roles_claim = settings.auth_roles_claim.split(".")
        self._transport = transport
        self._keys: Mapping[str, jwt.PyJWK] = {}
        self._fetched = self._tried = -float("inf")
        self._fetching = asyncio.Lock()
        self._refresh: asyncio.Task[None] | None = None

    async def verify(self, token: str) -> Principal:
        """Who a token speaks for.

        Raises:
            Unauthorized: it is not a valid token of the issuer for this audience.
            Unavailable: the issuer's keys cannot be had.
        """
        try:
            key = await self._key(str(jwt.get_unverified_header(token).get("kid", "")))
            claims = jwt.decode(
                token,
                key.key,
                algorithms=[key.algorithm_name] if key.algorithm_name in _ALGORITHMS else [],
                audience=self._audience,
                issuer=self._issuer,
                leeway=30,
                options={"require": ["exp", "iss", "aud"]},
            )
        except jwt.PyJWTError as error:
            raise Unauthorized(f"The bearer token is not valid: {error}") from None
        except (ValueError, TypeError, RecursionError):  # what a forged header makes of the library
            raise Unauthorized("The bearer token is not a JWT.") from None
        subject = str(claims.get("sub", ""))
        return Principal(subject if re.fullmatch(_CUSTOMER_ID, subject) else None, staff=STAFF in self._roles(claims))

    async def _key(self, key_id: str) -> jwt.PyJWK:
        if key_id not in self._keys:
            async with self._fetching:  # whoever comes while the keys are fetched has to see them
                if key_id not in self._keys:
                    await self._fetch_if_due()
        elif time.monotonic() - self._fetched > _KEYS_FRESH_SECONDS and (self._refresh is None or self._refresh.done()):
            self._refresh = asyncio.create_task(self._fetch_if_due())
        if not self._keys:
            raise Unavailable("The issuer's keys cannot be fetched, so no token can be checked. Try again shortly.",
                              retry_after=_KEYS_RETRY_SECONDS)  # fmt: skip
        if key_id not in self._keys:
            raise jwt.InvalidKeyError("its key is not one of the issuer's")
        return self._keys[key_id]

    async def _fetch_if_due(self) -> None:
        if time.monotonic() - self._tried <= _KEYS_RETRY_SECONDS:
            return
        self._tried = time.monotonic()
        try:
            async with httpx.AsyncClient(transport=self._transport, timeout=3, trust_env=False) as client:
                discovery = await client.get(self._issuer.rstrip("/") + "/.well-known/openid-configuration")
                document = discovery.raise_for_status().json()
                if document["issuer"] != self._issuer:
                    raise ValueError(f"it calls itself {document['issuer']!r}, which has to be the same to the letter")
                keys = await client.get(document["jwks_uri"])
                key_set = jwt.PyJWKSet.from_dict(keys.raise_for_status().json())
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError, jwt.PyJWTError) as error:
            log.warning("the keys of the issuer %s cannot be fetched: %s %s", self._issuer, type(error).__name__, error)
            return  # the keys at hand stay good; `_key` says so if there are none
        self._keys = {str(key.key_id): key for key in key_set.keys}
        self._fetched = time.monotonic()

    def _roles(self, claims: Mapping[str, Any]) -> list[str]:
        value: Any = claims
        for part in self._roles_claim:
            value = value.get(part, {}) if isinstance(value, Mapping) else {}
        return (
            list(map(str, value)) if isinstance(value, list) else str(value).split() if isinstance(value, str) else []
        )
