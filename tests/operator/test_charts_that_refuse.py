"""A newer operator's charts may refuse what older ones took: that is told, and nothing that serves suffers."""

import json
import shutil
from pathlib import Path

import pytest

from tests.operator.kube import Kube, eventually
from tests.operator.process import ROOT, Rights, operating
from tests.operator.stores import Store

pytestmark = pytest.mark.usefixtures("kubelet")
REFUSED = {"config": {"WEBSTORE_LOG_LEVEL": "DEBUG"}}


def _stricter_charts(folder: Path) -> Path:
    charts = folder / "charts"
    shutil.copytree(ROOT / "charts", charts)
    schema = charts / "webstore/values.schema.json"
    content = json.loads(schema.read_text())
    config = {"properties": {"WEBSTORE_LOG_LEVEL": {"enum": ["INFO"]}}}
    content["properties"]["global"] = {"type": "object", "properties": {"config": config}}
    schema.write_text(json.dumps(content))
    return charts / "webstore"


async def test_a_spec_that_the_charts_refuse_is_told_and_what_runs_is_repaired(
    store: Store, rights: Rights, folder: Path, tmp_path: Path, kube: Kube
) -> None:
    async with operating(rights, folder, chart=_stricter_charts(tmp_path)):
        await store.apply()
        await store.until("Ready")
        await store.apply(REFUSED)
        await store.until("Degraded", reason="Refused", saying="WEBSTORE_LOG_LEVEL")
        await kube.delete("deployments", store.namespace, "store-order")
        await eventually("it is back", lambda: kube.get("deployments", store.namespace, "store-order"), within=5)
        await store.apply()
        await store.until("Ready")


async def test_a_spec_that_was_ready_and_is_refused_now_can_be_corrected(
    store: Store, rights: Rights, folder: Path, tmp_path: Path
) -> None:
    async with operating(rights, folder):
        await store.apply(REFUSED)
        await store.until("Ready")
    async with operating(rights, folder, chart=_stricter_charts(tmp_path)):
        await store.until("Degraded", reason="Refused", saying="WEBSTORE_LOG_LEVEL")
        await store.apply({"config": {"WEBSTORE_LOG_LEVEL": "INFO"}})
        await store.until("Ready")
