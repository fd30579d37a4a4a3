"""The product service: its settings, and how its parts are put together."""

from functools import partial
from pathlib import Path

from fastapi import FastAPI
from pydantic import Field

from webstore_chassis import main as program
from webstore_chassis.auth import auth
from webstore_chassis.consumer import Consumer
from webstore_chassis.database import Database
from webstore_chassis.service import Surroundings, application, every
from webstore_chassis.settings import HttpUrl, Settings
from webstore_product.api import routes
from webstore_product.events import CONSUMES, release_left_behind, settle
from webstore_product.store import Store

NAME = "product"
SUMMARY = "Products, their stock, and the reservations of orders."


class ProductSettings(Settings):
    """What the product service can be told."""

    order_url: HttpUrl = Field("http://order:8080", description="Where the order service is")


database = partial(Database, migrations=Path(__file__).parent / "migrations", application=NAME)


def build(settings: ProductSettings, surroundings: Surroundings | None = None) -> FastAPI:
    """The service's application."""
    surroundings = surroundings or Surroundings()
    own = database(settings)
    store = Store(own)
    transport = surroundings.transport_for(settings, NAME, CONSUMES)
    order = surroundings.downstream(settings, NAME, "order", settings.order_url)
    consumer = Consumer(NAME, CONSUMES, settle(store), transport)
    sweep = release_left_behind(store, order, settings.sweep_age_seconds)
    return application(
        NAME,
        SUMMARY,
        settings,
        own,
        routes(store, auth(settings)),
        background={
            "consumer": consumer.run,
            "release of reservations left behind": every(settings.sweep_seconds, sweep),
        },
        closing=[order.close, transport.close],
    )


def main() -> None:
    """The program `webstore-product`."""
    program.run(NAME, SUMMARY, ProductSettings, build, database)
