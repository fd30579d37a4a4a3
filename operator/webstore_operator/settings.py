"""Settings: environment variables that start with `WEBSTORE_OPERATOR_`, checked once, at the start."""

import os
import socket
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

RELEASE = version("webstore-operator")


class Settings(BaseSettings):
    """What the operator can be told; its chart sets what depends on the cluster."""

    model_config = SettingsConfigDict(env_prefix="WEBSTORE_OPERATOR_", frozen=True, extra="ignore")

    namespace: str = Field("default", description="Namespace of the Lease by which one of several copies is chosen")
    identity: str = Field(
        default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}", description="Name of this copy"
    )
    chart: Path = Field(
        Path(__file__).parents[2] / "charts" / "webstore", description="Folder of the chart of a whole store"
    )
    helm: str = Field("helm", description="The helm program")
    host: str = Field("0.0.0.0", description="Address of /livez, /readyz and /metrics")  # noqa: S104
    port: int = Field(8080, ge=0, le=65535, description="Their port")
    ready_seconds: float = Field(
        300, gt=0, description="How long a rollout may go on without one more ready pod before it is rolled back"
    )
    lease_seconds: int = Field(15, ge=4, le=600, description="How long a copy that is gone keeps the Lease")
    workers: int = Field(16, ge=1, le=200, description="WebStores that are reconciled at the same time")
    renders: int = Field(2, ge=1, le=64, description="Helm processes at the same time")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Least severe level written")
    log_format: Literal["json", "text"] = Field("json", description="JSON lines, or text for people")
