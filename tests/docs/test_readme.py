"""What the README says is what the code does."""

from pathlib import Path

import yaml

from webstore_chassis.settings import Settings, table
from webstore_customer.app import CustomerSettings
from webstore_order.app import OrderSettings
from webstore_order.events import PUBLISHES as ORDER
from webstore_product.app import ProductSettings
from webstore_shopping_command.app import ShoppingCommandSettings
from webstore_shopping_command.events import PUBLISHES as COMMAND
from webstore_shopping_query.app import ShoppingQuerySettings
from webstore_shopping_query.events import PUBLISHES as QUERY

ROOT = Path(__file__).parents[2]
MODELS: list[type[Settings]] = [
    Settings,
    CustomerSettings,
    OrderSettings,
    ProductSettings,
    ShoppingCommandSettings,
    ShoppingQuerySettings,
]


def test_the_readme_lists_every_setting_with_its_default_and_meaning() -> None:
    rows = [f"| `{name}` | {default} | {meaning} |" for name, default, meaning in table(MODELS)]
    readme = (ROOT / "README.md").read_text()
    listed = [line for line in readme.splitlines() if line.startswith("| `WEBSTORE_")]
    assert listed == rows


def test_the_topics_page_has_every_topic_that_is_published() -> None:
    topics = yaml.safe_load((ROOT / "docs" / "topics.yaml").read_text())
    assert set(topics["channels"]) == {*ORDER, *COMMAND, *QUERY}
