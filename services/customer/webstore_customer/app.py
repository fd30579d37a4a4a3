"""The customer service: its settings, and how its parts are put together."""

from functools import partial
from pathlib import Path
from typing import Literal

from fastapi import FastAPI
from pydantic import Field, SecretStr, model_validator

from webstore_chassis import main as program
from webstore_chassis.auth import auth
from webstore_chassis.consumer import Consumer
from webstore_chassis.database import Database
from webstore_chassis.service import Surroundings, application
from webstore_chassis.settings import Settings
from webstore_customer.api import routes
from webstore_customer.events import CONSUMES, write_mails
from webstore_customer.mailer import Folder, Mailer, Outbox, Smtp
from webstore_customer.store import Store

NAME = "customer"
SUMMARY = "Customers, and the e-mails that tell them of their orders."


class CustomerSettings(Settings):
    """What the customer service can be told."""

    smtp_host: str | None = Field(
        None, description="SMTP server for the mails about orders; this or MAIL_FOLDER is required"
    )
    smtp_port: int = Field(25, ge=1, le=65535, description="Port of the SMTP server")
    smtp_security: Literal["none", "starttls", "tls"] = Field(
        "none", description="How the connection to it is protected"
    )
    smtp_username: str | None = Field(None, description="User at the SMTP server")
    smtp_password: SecretStr | None = Field(None, description="Password at the SMTP server")
    mail_from: str = Field(
        "store@webstore.example", pattern=r"^[^@\s<>]+@[^@\s<>]+$", description="Sender of the mails"
    )
    mail_folder: Path | None = Field(
        None, description="Without an SMTP server: folder in which the mails are kept as files"
    )

    @model_validator(mode="after")
    def _mails_go_somewhere(self) -> "CustomerSettings":
        if not self.smtp_host and not self.mail_folder:
            raise ValueError(
                "WEBSTORE_SMTP_HOST is not set: name an SMTP server, or a folder for the mails in WEBSTORE_MAIL_FOLDER"
            )
        return self

    def outbox(self) -> Outbox:
        """Where mails go."""
        if self.smtp_host:
            password = self.smtp_password.get_secret_value() if self.smtp_password else None
            return Smtp(self.smtp_host, self.smtp_port, self.smtp_security, self.smtp_username, password)
        assert self.mail_folder is not None  # noqa: S101 - what the validator ensures
        return Folder(self.mail_folder)


database = partial(Database, migrations=Path(__file__).parent / "migrations", application=NAME)


def build(settings: CustomerSettings, surroundings: Surroundings | None = None) -> FastAPI:
    """The service's application."""
    surroundings = surroundings or Surroundings()
    own = database(settings)
    store = Store(own)
    transport = surroundings.transport_for(settings, NAME, CONSUMES)
    mailer = Mailer(store, settings.outbox(), settings.mail_from)
    consumer = Consumer(NAME, CONSUMES, write_mails(store, mailer), transport)
    return application(
        NAME,
        SUMMARY,
        settings,
        own,
        routes(store, auth(settings)),
        background={"consumer": consumer.run, "mailer": mailer.run},
        closing=[transport.close],
    )


def main() -> None:
    """The program `webstore-customer`."""
    program.run(NAME, SUMMARY, CustomerSettings, build, database)
