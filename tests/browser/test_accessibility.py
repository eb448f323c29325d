"""No page of ours has a serious or critical finding of axe-core, at a desk or on a phone, light or dark."""

import pytest
from airflow_pages import DESK, PHONE
from axe_playwright_python.sync_playwright import Axe

BAD = ("serious", "critical")


@pytest.fixture(scope="module")
def addresses(airflow, batch) -> list[str]:
    """Every page, about a batch that has gone through all DAGs."""
    made = {
        task: airflow.client.result(dag, airflow.run(dag, batch), task)
        for dag, task in (
            *(
                ("sim_capture", "capture"),
                ("data_cleaning", "clean"),
                ("train_model", "augment"),
                ("train_model", "train"),
            ),
            *(("train_model", "validate"), ("release_model", "export"), ("release_model", "push")),
        )
    }
    pages = ["flywheel", "flywheel?text=no-such-batch", "models", "devices", "trends", "timeline", "storage", "compare"]
    pages += ["artifacts", "docs", "docs/flywheel", "actions/capture", f"batches/{batch}", "batches/nosuch"]
    pages += [f"{what}/{reference}" for reference in made.values() for what in ("artifacts", "lineage")]
    return [f"/sim2edge/{page}" for page in [*pages, f"runs/train_model/{airflow.run('train_model', batch)}"]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_no_page_keeps_anybody_out(visit, addresses, size, scheme):
    page = visit("admin", size)
    page.emulate_media(color_scheme=scheme)
    found = []
    for address in addresses:
        page.goto(address)
        violations = [each for each in Axe().run(page).response["violations"] if each["impact"] in BAD]
        found += [f"{address}: {each['id']}: {each['nodes'][0]['html'][:200]}" for each in violations]
    assert not found, "\n".join(found)
