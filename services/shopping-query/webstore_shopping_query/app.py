"""The shopping-query service: its settings, and how its parts are put together."""

from functools import partial
from pathlib import Path

from fastapi import FastAPI
from pydantic import Field

from webstore_chassis import main as program
from webstore_chassis.auth import auth
from webstore_chassis.consumer import Consumer
from webstore_chassis.database import Database
from webstore_chassis.journal import Journal
from webstore_chassis.metrics import PROJECTION_LAG
from webstore_chassis.relay import Relay
from webstore_chassis.service import Surroundings, application, every
from webstore_chassis.settings import HttpUrl, Settings
from webstore_shopping_query.api import routes
from webstore_shopping_query.checkout import Checkouts
from webstore_shopping_query.command import ShoppingCommand
from webstore_shopping_query.events import CONSUMES, PUBLISHES, project
from webstore_shopping_query.rebuild import Rebuild
from webstore_shopping_query.store import Store

NAME = "shopping-query"
SUMMARY = "Carts, read, and the checkout."
_PAGE_SECONDS = 60.0  # a page of the journal is thousands of events, and nobody waits for a rebuild's request


class ShoppingQuerySettings(Settings):
    """What the shopping-query service can be told."""

    order_url: HttpUrl = Field("http://order:8080", description="Where the order service is")
    shopping_command_url: HttpUrl = Field(
        "http://shopping-command:8080", description="Where the shopping-command service is"
    )


database = partial(Database, migrations=Path(__file__).parent / "migrations", application=NAME)


def build(settings: ShoppingQuerySettings, surroundings: Surroundings | None = None) -> FastAPI:
    """The service's application."""
    surroundings = surroundings or Surroundings()
    own = database(settings)
    journal = Journal(own)
    store = Store(own, journal)
    transport = surroundings.transport_for(settings, NAME, [*PUBLISHES, *CONSUMES])
    order = surroundings.downstream(settings, NAME, "order", settings.order_url)
    shopping_command = surroundings.downstream(settings, NAME, "shopping-command", settings.shopping_command_url)
    command = ShoppingCommand(store, shopping_command)
    checkouts = Checkouts(store, command, order)
    projection = Consumer(NAME, CONSUMES, project(store, command), transport)
    PROJECTION_LAG.labels(NAME).set_function(projection.lag)
    sweep = partial(checkouts.finish_left_behind, settings.sweep_age_seconds)
    return application(
        NAME,
        SUMMARY,
        settings,
        own,
        routes(store, checkouts, auth(settings)),
        background={
            "relay": Relay(NAME, own, journal, transport).run,
            "projection": projection.run,
            "finishing of checkouts left behind": every(settings.sweep_seconds, sweep),
        },
        closing=[order.close, shopping_command.close, transport.close],
    )


async def rebuild(settings: ShoppingQuerySettings, surroundings: Surroundings | None = None) -> None:
    """Makes the read model anew, and says how far it is and what came of it."""
    surroundings = surroundings or Surroundings()
    own = database(settings)
    patient = settings.model_copy(update={"http_deadline_seconds": _PAGE_SECONDS})
    # The last stretch holds up whoever changes a cart, so there a call takes no longer than usual.
    quick, journal = (
        surroundings.downstream(each, NAME, "shopping-command", settings.shopping_command_url)
        for each in (settings, patient)
    )
    try:
        command = ShoppingCommand(Store(own, Journal(own)), quick)
        result = await Rebuild(own, command, journal, print).run()
    finally:
        for downstream in (quick, journal):
            await downstream.close()
        await own.close()
    rate = result.events / max(result.seconds, 1e-9)
    print(f"The read model is rebuilt from {result.events:,} events in {result.seconds:.1f} s ({rate:,.0f}/s).")
    if result.different:
        print(f"{len(result.different)} carts were different before: {', '.join(result.different[:5])} …")
    else:
        print("It equals the one that it replaced.")


def main() -> None:
    """The program `webstore-shopping-query`."""
    rebuild_command = ("make the read model anew from shopping-command's journal, compare and swap", rebuild)
    program.run(NAME, SUMMARY, ShoppingQuerySettings, build, database, commands={"rebuild": rebuild_command})
