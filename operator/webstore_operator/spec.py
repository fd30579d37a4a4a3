"""The spec of a WebStore, defined once: the CustomResourceDefinition and the charts' values are both made from these
models.

The API server checks what is said here, by the schema and by the rules
(https://kubernetes.io/docs/reference/using-api/cel/), before anything is stored: a store that cannot work is refused
with a sentence that says what to write instead.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel

GROUP, VERSION, PLURAL, KIND = "webstore.dev", "v1", "webstores", "WebStore"
API_VERSION = f"{GROUP}/{VERSION}"

# The longest name that is made of it is `<store>-logstash-expire`, a CronJob's, which may have 52 characters; the
# charts have the same bound. Services must begin with a letter.
NAME_PATTERN, NAME_LENGTH = "^[a-z]([-a-z0-9]*[a-z0-9])?$", 36

Text = Annotated[str, Field(max_length=1024)]
Name = Annotated[str, Field(max_length=253, pattern="^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$")]
GivenName = Annotated[str, Field(max_length=253, pattern="^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
Namespace = Annotated[str, Field(max_length=63, pattern="^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$")]
# Where somebody else's server is, and where the store itself is found: an Ingress has no upper case.
Host = Annotated[str, Field(max_length=253, pattern="^([A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?)?$")]
_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
OwnHost = Annotated[str, Field(max_length=253, pattern=rf"^({_LABEL}(\.{_LABEL})*)?$")]
Url = Annotated[str, Field(max_length=1024, pattern=r"^(https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[^\s?#]*)?)?$")]
Port = Annotated[int, Field(ge=1, le=65535)]

_BROKER = "[A-Za-z0-9.-]+:[0-9]{1,5}"
_QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$"
Quantity = Annotated[str | int, WithJsonSchema({"x-kubernetes-int-or-string": True, "pattern": _QUANTITY})]
Size = Annotated[str, Field(max_length=20, pattern=r"^[1-9][0-9]*(\.[0-9]+)?(M|G|T|Mi|Gi|Ti)$")]


def rules(*pairs: tuple[str, str]) -> dict[str, Any]:
    """CEL rules for a schema, each with the message for who breaks it; a message in parentheses is a CEL expression
    itself. A field that has the name of a word of CEL's is `__namespace__` there."""
    return {
        "x-kubernetes-validations": [
            {"rule": rule, "messageExpression" if message.startswith("(") else "message": message}
            for rule, message in pairs
        ]
    }


# The charts have the same (values.schema.json and _check.tpl of webstore-lib).
SETTING = "^(WEBSTORE|OTEL)_[A-Z0-9_]+$"
SECRET_SETTING = "PASSWORD|TOKEN|SECRET|CREDENTIAL|PRIVATE_?KEY|API_?KEY|_HEADERS$"  # noqa: S105

Config = Annotated[
    dict[Annotated[str, Field(max_length=128)], Annotated[str, Field(max_length=4096)]],
    Field(
        max_length=50,
        json_schema_extra=rules(
            (
                f"self.all(name, name.matches('{SETTING}'))",
                "settings are those that begin with WEBSTORE_ or OTEL_, in upper case: WEBSTORE_LOG_LEVEL",
            ),
            (
                f"self.all(name, !name.matches('{SECRET_SETTING}'))",
                "passwords and tokens, and headers that carry them, do not belong into config, which everybody may "
                "read: name a Secret in the field `secret` of database, kafka, mail or logging",
            ),
            (
                "self.all(name, !(name in ['WEBSTORE_HOST', 'WEBSTORE_PORT', 'WEBSTORE_MIGRATE_ON_START']))",
                "WEBSTORE_HOST, WEBSTORE_PORT and WEBSTORE_MIGRATE_ON_START are set by the charts, whose probes "
                "rest on them: remove them",
            ),
        ),
    ),
]


_LABEL_VALUE = "^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"
_LABEL_NAME = r"^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
Labels = Annotated[
    dict[Annotated[str, Field(max_length=317)], Annotated[str, Field(max_length=63, pattern=_LABEL_VALUE)]],
    Field(
        max_length=20,
        json_schema_extra=rules(
            (
                f"self.all(name, name.matches('{_LABEL_NAME}'))",
                "names of labels are letters, digits, `-`, `_` and `.`, up to 63, after a prefix or none: release",
            )
        ),
    ),
]


class Model(BaseModel):
    """Names are camelCase outside; what a newer CRD may have besides is ignored."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, frozen=True)


class Images(Model):
    """Where the images of the services come from."""

    registry: Annotated[str, Field(max_length=1024, pattern="^([a-z0-9][a-z0-9._/:-]*[a-z0-9])?$")] = Field(
        "",
        description="Put before the images' names: `registry.example.com/team` gives "
        "registry.example.com/team/webstore/customer.",
    )
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = Field(
        "IfNotPresent", description="When nodes pull an image."
    )
    pull_secrets: list[GivenName] = Field(
        [], max_length=10, description="Names of Secrets of type kubernetes.io/dockerconfigjson."
    )


class Ingress(Model):
    """How requests come in from outside, by an Ingress."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "self.tlsSecret == '' || self.host != ''",
                "ingress.tlsSecret needs ingress.host: write the host that the certificate is for",
            ),
            (
                "self.enabled || (self.host == '' && self.tlsSecret == '')",
                "ingress.enabled is false, so host and tlsSecret would not be used: remove them, or set "
                "ingress.enabled: true",
            ),
        )
    )

    enabled: bool = Field(True, description="Make an Ingress (or HTTPRoutes, see gateway).")
    host: OwnHost = Field("", description="Host name that the store answers to; empty: every host name.")
    class_name: Name = Field("", description="Ingress class; empty: the cluster's default one.")
    tls_secret: Name = Field(
        "", description="Name of a Secret of type kubernetes.io/tls; empty: no TLS here. Needs `host`."
    )
    annotations: dict[str, Text] = Field(
        {}, max_length=50, description="Annotations of the Ingress, for its controller."
    )
    controller_namespace: Namespace = Field(
        "",
        description="With networkPolicies: the namespace of the ingress controller or gateway. Empty: any "
        "namespace may connect.",
    )


class GatewayParent(Model):
    """The Gateway that HTTPRoutes attach to."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "self.name != '' || (self.__namespace__ == '' && self.sectionName == '')",
                "gateway.parent.namespace and sectionName tell where in a Gateway: write gateway.parent.name too",
            )
        )
    )

    name: Name = Field("", description="Name of the Gateway; empty: an Ingress is made instead.")
    namespace: Namespace = Field("", description="Namespace of the Gateway; empty: the store's own.")
    section_name: Name = Field("", description="Name of the Gateway's listener; empty: all that allow it.")


class Gateway(Model):
    """Gateway API. With a parent, HTTPRoutes take the place of the Ingress."""

    parent: GatewayParent = Field(GatewayParent(), description="The Gateway to attach to.")


class Storage(Model):
    """A volume for each pod."""

    size: Size = Field("2Gi", description="Size of each volume. It cannot be changed later.")
    class_name: Name = Field(
        "", description="Storage class; empty: the cluster's default one. It cannot be changed later."
    )


class ExternalDatabase(Model):
    """A PostgreSQL that is there already."""

    host: Host = Field(
        "",
        description="Host of a PostgreSQL with the databases customer, product, order, shopping_command and "
        "shopping_query, each owned by "
        "the user of the same name. Empty: the store starts its own.",
    )
    port: Port = Field(5432, description="Its port.")
    secret: Name = Field(
        "",
        description="Name of a Secret with the users' passwords: keys customer-password, product-password, "
        "order-password, "
        "shopping-command-password, shopping-query-password. Empty: they are in `<store>-credentials`.",
    )
    ssl_mode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] = Field(
        "require", description="How the connection is protected, as libpq names it."
    )
    ca_secret: Name = Field(
        "",
        description="Name of a Secret with the key `ca.crt`, for verify-ca and verify-full; empty: the public "
        "authorities.",
    )


class Database(Model):
    """The PostgreSQL that the services keep their data in."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "self.external.host != '' || oldSelf.external.host != '' || self.storage == oldSelf.storage",
                "('database.storage cannot be changed once the store is there: set size: ' + oldSelf.storage.size + "
                "', className: \"' + oldSelf.storage.className + '\"')",
            ),
            (
                "self.external.host != '' || (self.external.secret == '' && self.external.caSecret == '')",
                "database.external.secret and caSecret are for an external database: write its host too",
            ),
            (
                "self.external.sslMode != 'verify-ca' || self.external.caSecret != ''",
                "database.external.sslMode verify-ca needs caSecret, or use verify-full, which trusts the public "
                "authorities",
            ),
        )
    )

    storage: Storage = Field(Storage(), description="Volume of the store's own PostgreSQL.")
    external: ExternalDatabase = Field(ExternalDatabase(), description="Use this PostgreSQL and start none.")


class ExternalKafka(Model):
    """A Kafka that is there already."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "!self.securityProtocol.startsWith('SASL') || self.secret != ''",
                "kafka.external.securityProtocol SASL_… needs kafka.external.secret: the name of a Secret with "
                "the keys username and password",
            ),
            (
                "self.secret == '' || self.securityProtocol.startsWith('SASL')",
                "kafka.external.secret is for a login: set kafka.external.securityProtocol to SASL_SSL or "
                "SASL_PLAINTEXT",
            ),
            (
                "self.caSecret == '' || self.securityProtocol.endsWith('SSL')",
                "kafka.external.caSecret is for TLS: set kafka.external.securityProtocol to SSL or SASL_SSL",
            ),
            (
                "self.bootstrapServers != '' || self.securityProtocol == 'PLAINTEXT'",
                "kafka.external.securityProtocol is for an external Kafka: write its bootstrapServers too",
            ),
        )
    )

    bootstrap_servers: Annotated[str, Field(max_length=1024, pattern=rf"^({_BROKER}(,{_BROKER})*)?$")] = Field(
        "",
        description="`host:port,host:port`, of a Kafka for this store alone: topics and consumer groups are called the "
        "same in every store, and two stores would take each other's events. Empty: the store starts its own.",
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="How to talk to the brokers."
    )
    sasl_mechanism: Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"] = Field(
        "SCRAM-SHA-512", description="How to log in where the protocol is SASL_…."
    )
    secret: Name = Field(
        "", description="Name of a Secret with the keys `username` and `password`; required for SASL_…."
    )
    ca_secret: Name = Field(
        "", description="Name of a Secret with the key `ca.crt`; empty: the public certificate authorities are trusted."
    )


class Kafka(Model):
    """The Kafka that carries the events."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            ("self.replicas in [1, 3]", "kafka.replicas is 1 or 3: a quorum of two stops when either is gone"),
            (
                "self.external.bootstrapServers != '' || oldSelf.external.bootstrapServers != '' || "
                "self.replicas == oldSelf.replicas",
                "('kafka.replicas cannot be changed once the store is there: set it to ' + (oldSelf.replicas == "
                "1 ? '1' : '3'))",
            ),
            (
                "self.external.bootstrapServers != '' || oldSelf.external.bootstrapServers != '' || self.storage "
                "== oldSelf.storage",
                "('kafka.storage cannot be changed once the store is there: set size: ' + oldSelf.storage.size + "
                "', className: \"' + oldSelf.storage.className + '\"')",
            ),
        )
    )

    replicas: int = Field(
        1, ge=1, le=3, description="Brokers of the store's own Kafka: 1 or 3. It cannot be changed later."
    )
    storage: Storage = Field(
        Storage(),
        description="Volume of each broker. Events are kept for 7 days; traces and logs take at most 384 MiB of it.",
    )
    external: ExternalKafka = Field(ExternalKafka(), description="Use this Kafka and start none.")


class ExternalTracing(Model):
    """A tracing system that is there already."""

    endpoint: Url = Field(
        "", description="`http://host:4318`: traces go there by OTLP over HTTP. Empty: the store starts a Zipkin."
    )


class Tracing(Model):
    """Traces of requests and events through the services."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "self.enabled || self.external.endpoint == ''",
                "tracing.external.endpoint is set but tracing is off: set tracing.enabled: true, or remove it",
            ),
            (
                "!self.gateway || (self.enabled && self.external.endpoint == '')",
                "tracing.gateway is for the store's own Zipkin: set tracing.enabled: true and remove tracing.external, "
                "or remove it; with an external endpoint, let the gateway send its spans there",
            ),
        )
    )

    enabled: bool = Field(False, description="Record traces.")
    sampling: float = Field(
        1,
        ge=0,
        le=1,
        description="Share of the traces that are kept, 0 to 1; a trace is kept whole or not at all. What a caller, or "
        "a gateway that traces, has decided comes first.",
    )
    gateway: bool = Field(
        False,
        description="Take spans of the ingress controller (or Gateway) too; let it send them by OTLP over HTTP to port "
        "4318 of the Service `<name>-zipkin`. A trace then begins there, and it decides which ones are kept. Whoever "
        "may connect (`ingress.controllerNamespace`) is believed.",
    )
    host: OwnHost = Field(
        "", description="Host under which the ingress (or gateway) shows Zipkin, to everybody; empty: not at all."
    )
    external: ExternalTracing = Field(ExternalTracing(), description="Send traces there and start no Zipkin.")


class ExternalLogging(Model):
    """An Elasticsearch that is there already."""

    url: Url = Field(
        "",
        description="`https://host:9200`, of an Elasticsearch for this store alone: indices are called the same in "
        "every store, whose logs would be mixed, and deleted after the fewest retentionDays. Empty: the store starts "
        "its own.",
    )
    secret: Name = Field("", description="Name of a Secret with the keys `username` and `password`; empty: no login.")


class Logging(Model):
    """The services' logs, brought into Elasticsearch. They are on stdout in any case."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "self.enabled || self.external.url == ''",
                "logging.external.url is set but logging is off: set logging.enabled: true, or remove it",
            ),
            (
                "self.external.secret == '' || self.external.url != ''",
                "logging.external.secret is for an external Elasticsearch: write its url too",
            ),
        )
    )

    enabled: bool = Field(False, description="Bring the logs through Kafka into Elasticsearch.")
    indexer: Literal["rsyslog", "logstash"] = Field(
        "rsyslog", description="What carries them from Kafka to Elasticsearch."
    )
    retention_days: int = Field(7, ge=1, le=3650, description="Days after which logs are deleted.")
    kibana: bool = Field(True, description="Start a Kibana, which shows the log.")
    host: OwnHost = Field(
        "", description="Host under which the ingress (or gateway) shows Kibana, to everybody; empty: not at all."
    )
    external: ExternalLogging = Field(ExternalLogging(), description="Use this Elasticsearch and start none.")


class Metrics(Model):
    """What the services tell Prometheus, at /metrics."""

    monitors: bool = Field(
        False,
        description="Add PodMonitors, alert rules and a Grafana dashboard. The cluster needs the Prometheus operator.",
    )
    labels: Labels = Field(
        {},
        description="Put on the PodMonitor and the alert rules, where Prometheus selects by labels: {release: "
        "kube-prometheus-stack}.",
    )
    namespace: Namespace = Field(
        "",
        description="With networkPolicies: the namespace of Prometheus, which may connect from there. Empty: with "
        "monitors any namespace may, so write it where ingress.controllerNamespace is set.",
    )


class Mail(Model):
    """Where mails about orders go."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            ("self.secret == '' || self.host != ''", "mail.secret is a login at an SMTP server: write mail.host too"),
            ("self.security == 'none' || self.host != ''", "mail.security is for an SMTP server: write mail.host too"),
        )
    )

    host: Host = Field(
        "",
        description="SMTP server. Empty: mails are caught by a Mailpit of the store's own, which shows them and "
        "sends none on.",
    )
    port: Port = Field(25, description="Its port.")
    security: Literal["none", "starttls", "tls"] = Field("none", description="How the connection to it is protected.")
    from_: Annotated[str, Field(max_length=320, pattern=r"^[^@\s<>]+@[^@\s<>]+$")] = Field(
        "store@webstore.example", alias="from", description="Sender of the mails."
    )
    secret: Name = Field("", description="Name of a Secret with the keys `username` and `password`; empty: no login.")


class Auth(Model):
    """How the services know who calls."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "self.mode != 'oidc' || (self.issuer != '' && self.audience != '')",
                "auth.mode oidc needs auth.issuer (the issuer's URL) and auth.audience (what tokens must carry)",
            ),
            (
                "self.mode == 'oidc' || (self.issuer == '' && self.audience == '')",
                "auth.issuer and auth.audience are for OpenID Connect: set auth.mode: oidc, or remove them",
            ),
        )
    )

    mode: Literal["header", "oidc"] = Field(
        "header",
        description="header: the `Customer-ID` header is believed (trusted networks only). oidc: a bearer JWT is "
        "verified.",
    )
    issuer: Url = Field("", description="OpenID Connect issuer URL, for oidc.")
    audience: Text = Field("", description="Audience that tokens must carry, for oidc.")
    roles_claim: Annotated[str, Field(min_length=1, max_length=253)] = Field(
        "roles", description="Claim that lists roles; dots descend (`realm_access.roles`)."
    )


class Autoscaling(Model):
    """A HorizontalPodAutoscaler."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            ("self.min <= self.max", "autoscaling.min is more than autoscaling.max: swap them, or raise max")
        )
    )

    min: int = Field(2, ge=1, le=100, description="Fewest pods.")
    max: int = Field(ge=1, le=100, description="Most pods.")
    cpu: int = Field(70, ge=1, le=1000, description="Average CPU use to aim at, in percent of the CPU request.")


class Quantities(Model):
    """Amounts of resources."""

    cpu: Quantity | None = Field(None, description="CPUs: `500m` is half of one.")
    memory: Quantity | None = Field(None, description="Memory: `256Mi`.")


class Resources(Model):
    """What a pod may use."""

    requests: Quantities | None = Field(None, description="What a node must have free.")
    limits: Quantities | None = Field(
        None,
        description="What it may use at most. Where requests.memory is set and limits.memory is not, there is no limit "
        "of memory: the chart's own may be below what is requested.",
    )


class Service(Model):
    """One of the five services."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "!has(self.replicas) || !has(self.autoscaling)",
                "replicas and autoscaling exclude each other: remove replicas, and set autoscaling.min and max",
            ),
            (
                "!has(self.autoscaling) || !has(self.resources.requests) || !has(self.resources.requests.cpu) || "
                "(type(self.resources.requests.cpu) == string ? self.resources.requests.cpu.matches('[1-9]') : "
                "self.resources.requests.cpu > 0)",
                "autoscaling aims at a share of resources.requests.cpu, which is 0: write more, as 100m, or remove it",
            ),
        )
    )

    replicas: int | None = Field(
        None, ge=1, le=100, description="Number of pods; 1 if neither this nor autoscaling is set."
    )
    autoscaling: Autoscaling | None = Field(None, description="Let the CPU use decide on the number of pods.")
    resources: Resources = Field(Resources(), description="CPU and memory of each pod; empty: the chart's.")
    config: Config = Field(
        {}, description="Settings of this service alone, as environment variables; they win over spec.config."
    )


class Services(Model):
    """What is said for one service alone."""

    customer: Service = Field(Service(), description="Customers, and the mails to them.")
    product: Service = Field(Service(), description="Products and their stock.")
    order: Service = Field(Service(), description="Orders.")
    shopping_command: Service = Field(Service(), description="What changes carts.")
    shopping_query: Service = Field(Service(), description="What shows carts and checks them out.")


# What max_connections of the store's own PostgreSQL carries (values.yaml of charts/postgres), where each pod has its 12
# and a roll-out adds a quarter.
MOST_PODS = 30
_PODS = " + ".join(
    f"(has(self.services.{name}.autoscaling) ? self.services.{name}.autoscaling.max : "
    f"has(self.services.{name}.replicas) ? self.services.{name}.replicas : 1)"
    for name in map(to_camel, Services.model_fields)
)


class WebStoreSpec(Model):
    """What a store shall be. Nothing needs to be set: `spec: {}` is a working store."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "self.gateway.parent.name == '' || (self.ingress.enabled && self.ingress.className == '' && "
                "self.ingress.tlsSecret == '')",
                "with gateway.parent there is no Ingress: remove ingress.className and ingress.tlsSecret (the "
                "Gateway's listener has the "
                "certificate), and leave ingress.enabled true",
            ),
            (
                "self.ingress.enabled || (self.tracing.host == '' && self.logging.host == '')",
                "ingress.enabled is false, so tracing.host and logging.host would not be used: remove them, or set "
                "ingress.enabled: true",
            ),
            (
                "!self.networkPolicies || !self.metrics.monitors || self.ingress.controllerNamespace == '' || "
                "self.metrics.__namespace__ != ''",
                "metrics.monitors with ingress.controllerNamespace needs metrics.namespace, or Prometheus cannot reach "
                "the services: write the namespace it runs in",
            ),
            (
                f"self.database.external.host != '' || {_PODS} <= {MOST_PODS}",
                f"the store's own PostgreSQL serves at most {MOST_PODS} pods of services at once: lower replicas or "
                "autoscaling.max, or use database.external",
            ),
        )
    )

    version: Annotated[str, Field(max_length=63, pattern="^([A-Za-z0-9_][A-Za-z0-9._-]*)?$")] = Field(
        "",
        description="Version of the services' images. Empty: the operator's own version, so that the store is "
        "upgraded with the operator. "
        "An older version rolls the store back.",
    )
    images: Images = Field(Images(), description="Where the images of the services come from.")
    ingress: Ingress = Field(Ingress(), description="How requests come in from outside.")
    gateway: Gateway = Field(Gateway(), description="Gateway API instead of an Ingress.")
    config: Config = Field(
        {},
        description="Settings of all services, as environment variables: {WEBSTORE_LOG_LEVEL: DEBUG}. A "
        "service's own config wins. "
        "Pods that read what changed are replaced.",
    )
    database: Database = Field(Database(), description="The PostgreSQL that the services keep their data in.")
    kafka: Kafka = Field(Kafka(), description="The Kafka that carries the events.")
    tracing: Tracing = Field(Tracing(), description="Traces of requests and events.")
    logging: Logging = Field(Logging(), description="Logs in Elasticsearch.")
    metrics: Metrics = Field(Metrics(), description="Figures of the services.")
    mail: Mail = Field(Mail(), description="Where mails about orders go.")
    auth: Auth = Field(Auth(), description="How the services know who calls.")
    network_policies: bool = Field(True, description="Allow only the connections that the store needs.")
    deletion_policy: Literal["Retain", "Delete"] = Field(
        "Retain",
        description="What happens to the volumes of the store's own database and Kafka when the store is "
        "deleted, or uses external ones.",
    )
    services: Services = Field(Services(), description="What is said for one service alone.")
    paused: bool = Field(
        False, description="Leave the store as it is: nothing is changed, repaired or rolled back until this is false."
    )
