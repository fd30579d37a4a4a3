"""The order service: its settings, and how its parts are put together."""

from functools import partial
from pathlib import Path

from fastapi import FastAPI
from pydantic import Field

from webstore_chassis import main as program
from webstore_chassis.auth import auth
from webstore_chassis.database import Database
from webstore_chassis.journal import Journal
from webstore_chassis.relay import Relay
from webstore_chassis.service import Surroundings, application
from webstore_chassis.settings import HttpUrl, Settings
from webstore_order.api import routes
from webstore_order.events import PUBLISHES
from webstore_order.placing import Placing
from webstore_order.store import Store

NAME = "order"
SUMMARY = "Orders, from the checkout to being placed."


class OrderSettings(Settings):
    """What the order service can be told."""

    product_url: HttpUrl = Field("http://product:8080", description="Where the product service is")


database = partial(Database, migrations=Path(__file__).parent / "migrations", application=NAME)


def build(settings: OrderSettings, surroundings: Surroundings | None = None) -> FastAPI:
    """The service's application."""
    surroundings = surroundings or Surroundings()
    own = database(settings)
    journal = Journal(own)
    store = Store(own, journal)
    transport = surroundings.transport_for(settings, NAME, PUBLISHES)
    product = surroundings.downstream(settings, NAME, "product", settings.product_url)
    relay = Relay(NAME, own, journal, transport)
    return application(
        NAME,
        SUMMARY,
        settings,
        own,
        routes(store, Placing(store, product), auth(settings)),
        background={"relay": relay.run},
        closing=[product.close, transport.close],
    )


def main() -> None:
    """The program `webstore-order`."""
    program.run(NAME, SUMMARY, OrderSettings, build, database)
