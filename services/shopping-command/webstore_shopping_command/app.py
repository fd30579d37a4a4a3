"""The shopping-command service: its settings, and how its parts are put together."""

from functools import partial
from pathlib import Path

from fastapi import FastAPI
from pydantic import Field

from webstore_chassis import main as program
from webstore_chassis.auth import auth
from webstore_chassis.consumer import Consumer
from webstore_chassis.database import Database
from webstore_chassis.journal import Journal
from webstore_chassis.relay import Relay
from webstore_chassis.service import Surroundings, application, every
from webstore_chassis.settings import HttpUrl, Settings
from webstore_shopping_command.api import routes
from webstore_shopping_command.events import CONSUMES, PUBLISHES, record_checkouts
from webstore_shopping_command.store import Store

NAME = "shopping-command"
SUMMARY = "Carts, written: event-sourced commands."
_HOUR_SECONDS = 3600


class ShoppingCommandSettings(Settings):
    """What the shopping-command service can be told."""

    product_url: HttpUrl = Field("http://product:8080", description="Where the product service is")


database = partial(Database, migrations=Path(__file__).parent / "migrations", application=NAME)


def build(settings: ShoppingCommandSettings, surroundings: Surroundings | None = None) -> FastAPI:
    """The service's application."""
    surroundings = surroundings or Surroundings()
    own = database(settings)
    journal = Journal(own)
    store = Store(own, journal)
    transport = surroundings.transport_for(settings, NAME, [*PUBLISHES, *CONSUMES])
    product = surroundings.downstream(settings, NAME, "product", settings.product_url)
    return application(
        NAME,
        SUMMARY,
        settings,
        own,
        routes(store, journal, product, auth(settings)),
        background={
            "relay": Relay(NAME, own, journal, transport).run,
            "consumer": Consumer(NAME, CONSUMES, record_checkouts(store), transport).run,
            "forgetting of old events": every(_HOUR_SECONDS, store.forget_old),
        },
        closing=[product.close, transport.close],
    )


def main() -> None:
    """The program `webstore-shopping-command`."""
    program.run(NAME, SUMMARY, ShoppingCommandSettings, build, database)
