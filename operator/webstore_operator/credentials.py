"""The passwords that a store needs: made once, kept in a Secret, never logged. And the Secrets that users bring."""

import base64
import hashlib
import json
import secrets
from collections.abc import Iterator

from webstore_operator.cluster import ApiError, Cluster, Object
from webstore_operator.desired import (
    COMPONENT,
    CREDENTIALS,
    INSTANCE,
    MANAGED_BY,
    MANAGER,
    NAME,
    PART_OF,
    SERVICES,
    Owner,
)
from webstore_operator.health import Problem
from webstore_operator.kinds import KINDS
from webstore_operator.spec import WebStoreSpec

SECRET = KINDS["Secret"]
KEYS = ("postgres-password", *(f"{service}-password" for service in SERVICES), "internal-token")


async def ensure(cluster: Cluster, owner: Owner) -> tuple[Object, str]:
    """Makes the credentials if they are not there, and what is missing in them; returns the Secret's metadata, and a
    digest of what is in it: a label that somebody puts on it is no reason to restart a store.

    Two copies of the operator may do so at the same time: the one that comes second takes what the first made.
    """
    name = CREDENTIALS.format(owner.name)
    found = await cluster.get(SECRET, owner.namespace, name)
    if found is None:
        try:
            found = await cluster.request("POST", SECRET.path(owner.namespace), body=_new(owner, name))
        except ApiError as error:
            found = await cluster.get(SECRET, owner.namespace, name) if error.status == 409 else None
            if found is None:
                raise
    lacking = [key for key in KEYS if key not in (found.get("data") or {})]
    if lacking:
        patch = {
            "metadata": {"resourceVersion": found["metadata"]["resourceVersion"]},
            "data": {key: _password() for key in lacking},
        }
        found = await cluster.request(
            "PATCH", SECRET.path(owner.namespace, name), body=patch, content_type="application/merge-patch+json"
        )
    content = json.dumps(found.get("data"), sort_keys=True).encode()
    return found["metadata"], hashlib.sha256(content).hexdigest()[:16]


def _new(owner: Owner, name: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {
            "name": name,
            "namespace": owner.namespace,
            "labels": {
                NAME: "credentials",
                INSTANCE: owner.name,
                PART_OF: "webstore",
                COMPONENT: "system",
                MANAGED_BY: MANAGER,
            },
            "ownerReferences": [owner.reference],
        },
        "data": {key: _password() for key in KEYS},
    }


def _password() -> str:
    return base64.b64encode(secrets.token_urlsafe(24).encode()).decode()


def wanted(spec: WebStoreSpec) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """The Secrets that the spec names: (field, name, keys that it must have)."""
    login = ("username", "password")
    database, kafka = spec.database.external, spec.kafka.external
    if database.host and database.secret:
        yield "database.external.secret", database.secret, tuple(f"{service}-password" for service in SERVICES)
    if database.host and database.ca_secret:
        yield "database.external.caSecret", database.ca_secret, ("ca.crt",)
    if kafka.bootstrap_servers and kafka.secret:
        yield "kafka.external.secret", kafka.secret, login
    if kafka.bootstrap_servers and kafka.ca_secret:
        yield "kafka.external.caSecret", kafka.ca_secret, ("ca.crt",)
    if spec.logging.enabled and spec.logging.external.secret:
        yield "logging.external.secret", spec.logging.external.secret, login
    if spec.mail.host and spec.mail.secret:
        yield "mail.secret", spec.mail.secret, login
    if spec.ingress.enabled and spec.ingress.tls_secret:
        yield "ingress.tlsSecret", spec.ingress.tls_secret, ("tls.crt", "tls.key")
    for name in spec.images.pull_secrets:
        yield "images.pullSecrets", name, (".dockerconfigjson",)


async def missing(cluster: Cluster, namespace: str, spec: WebStoreSpec) -> list[Problem]:
    """Which of the Secrets that the spec names are not there, or lack a key."""
    found = []
    for field, name, keys in wanted(spec):
        secret = await cluster.get(SECRET, namespace, name)
        lacking = keys if secret is None else tuple(key for key in keys if key not in (secret.get("data") or {}))
        if lacking:
            what = "does not exist" if secret is None else "lacks keys"
            found.append(
                Problem(
                    "SecretMissing",
                    f"The Secret {name} in namespace {namespace}, which spec.{field} names, {what}: "
                    f"create it with the key{'s' if len(lacking) > 1 else ''} {', '.join(lacking)}. Nothing is "
                    f"changed until then.",
                )
            )
    return found
