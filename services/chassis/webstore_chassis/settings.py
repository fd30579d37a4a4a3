"""Settings: environment variables that start with `WEBSTORE_`, checked once, at the start (https://12factor.net/config)."""

from typing import Annotated, Literal, TypeVar

from pydantic import Field, FilePath, SecretStr, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

PREFIX = "WEBSTORE_"

Seconds = Annotated[float, Field(gt=0, le=3600)]
HttpUrl = Annotated[str, Field(pattern=r"^https?://([^/\s:\[\]]+|\[[0-9A-Fa-f:]+\])(:\d{1,5})?(/\S*)?$")]


class SettingsError(Exception):
    """A setting is missing or wrong; the message names each one and says what is expected."""


class Settings(BaseSettings):
    """What every service can be told. A service adds its own in a subclass."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", hide_input_in_errors=True)

    host: str = Field("127.0.0.1", description="Address to listen on; containers set 0.0.0.0")
    port: int = Field(8080, ge=0, le=65535, description="Port to listen on; 0 takes a free one")
    shutdown_seconds: Seconds = Field(20.0, description="How long requests in flight may take to finish after SIGTERM")
    max_body_bytes: int = Field(1_048_576, ge=1024, description="Largest request body; above it the answer is 413")

    database_url: str = Field(description="`postgresql://user@host:5432/database`, without the password")
    database_password: SecretStr | None = Field(None, description="Password of the database's user")
    database_pool_size: int = Field(
        10,
        ge=1,
        le=200,
        description="Most connections that a process opens for requests (the embedded store: 4 for each service)",
    )
    migrate_on_start: bool = Field(True, description="Bring the database's schema up to date before serving")

    kafka_bootstrap_servers: str = Field("", description="`host:port,host:port`; required unless embedded")
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="How to talk to the brokers"
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", description="How to log in where the protocol is SASL_…"
    )
    kafka_username: str | None = Field(None, description="User at the brokers")
    kafka_password: SecretStr | None = Field(None, description="Password at the brokers")
    kafka_ca_file: FilePath | None = Field(
        None, description="PEM file of the authority that signed the brokers' certificates"
    )
    kafka_partitions: int = Field(3, ge=1, le=1000, description="Partitions of a topic that does not exist yet")

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Least severe level written")
    log_format: Literal["json", "text"] = Field("json", description="JSON lines, or text for people")
    log_file: str | None = Field(None, description="Write the log as JSON lines to this file too")
    log_file_bytes: int = Field(
        10_485_760,
        ge=1024,
        le=67_108_864,  # the volume that the charts give it holds this file, the one before it, and as much again
        description="Size at which the log file is begun anew; the one before it is kept",
    )

    auth_mode: Literal["header", "oidc"] = Field(
        "header", description="Trust the `Customer-ID` header (trusted networks only), or verify a bearer JWT"
    )
    auth_issuer: str | None = Field(None, description="OpenID Connect issuer URL; required in oidc mode")
    auth_audience: str | None = Field(None, description="Audience that tokens must carry; required in oidc mode")
    auth_roles_claim: str = Field("roles", description="Claim that lists roles; dots descend (`realm_access.roles`)")
    internal_token: SecretStr | None = Field(
        None, description="Secret that the services show each other; required in oidc mode"
    )

    http_deadline_seconds: Seconds = Field(2.0, description="Time for one call to another service, retries included")
    breaker_failures: int = Field(5, ge=1, description="Failures in a row that open a breaker")
    breaker_reset_seconds: Seconds = Field(2.0, description="How long an open breaker refuses before it tries again")
    sweep_seconds: Seconds = Field(5.0, description="How often unfinished work is looked for")
    sweep_age_seconds: Seconds = Field(30.0, description="Age at which work counts as left behind by a crash")

    @field_validator("database_url")
    @classmethod
    def _database_is_postgresql(cls, value: str) -> str:
        try:
            url = make_url(value)
        except ArgumentError:
            url = None
        if url is None or url.get_backend_name() not in ("postgresql", "postgres") or not url.database:
            raise ValueError("expected postgresql://user@host:5432/database")
        return value

    @model_validator(mode="after")
    def _oidc_is_complete(self) -> "Settings":
        if self.auth_mode == "oidc":
            needed = {
                "AUTH_ISSUER": self.auth_issuer,
                "AUTH_AUDIENCE": self.auth_audience,
                "INTERNAL_TOKEN": self.internal_token,
            }
            missing = [PREFIX + name for name, value in needed.items() if not value]
            if missing:
                raise ValueError(f"{PREFIX}AUTH_MODE=oidc needs {' and '.join(missing)} too")
        return self

    @model_validator(mode="after")
    def _kafka_login_is_complete(self) -> "Settings":
        if self.kafka_security_protocol.startswith("SASL"):
            needed = {"KAFKA_USERNAME": self.kafka_username, "KAFKA_PASSWORD": self.kafka_password}
            missing = [PREFIX + name for name, value in needed.items() if not value]
            if missing:
                raise ValueError(
                    f"{PREFIX}KAFKA_SECURITY_PROTOCOL={self.kafka_security_protocol} needs {' and '.join(missing)} too"
                )
        return self

    def sqlalchemy_url(self) -> URL:
        """The database's address for SQLAlchemy, password included: never log it."""
        url = make_url(self.database_url).set(drivername="postgresql+psycopg")
        return url.set(password=self.database_password.get_secret_value()) if self.database_password else url


AnySettings = TypeVar("AnySettings", bound=Settings)


def load(model: type[AnySettings], **overrides: object) -> AnySettings:
    """Reads the settings from the environment.

    Raises:
        SettingsError: one or more are missing or wrong.
    """
    try:
        return model(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        raise SettingsError("\n".join(_sentence(model, problem) for problem in error.errors())) from None


def _sentence(model: type[Settings], problem: ErrorDetails) -> str:
    message = problem["msg"].removeprefix("Value error, ")
    if not problem["loc"]:
        return message
    field = str(problem["loc"][0])
    meaning = model.model_fields[field].description or ""
    found = "is not set" if problem["type"] == "missing" else "is wrong"
    return f"{PREFIX}{field.upper()} {found}: {message[:1].lower()}{message[1:]}. It means: {meaning}."


def table(models: list[type[Settings]]) -> list[tuple[str, str, str]]:
    """Every setting of the given models once, as (variable, default, meaning)."""
    rows: dict[str, tuple[str, str, str]] = {}
    for model in models:
        for name, field in model.model_fields.items():
            default = "required" if field.is_required() else "" if field.default in (None, "") else str(field.default)
            rows.setdefault(name, (PREFIX + name.upper(), default, field.description or ""))
    return list(rows.values())
