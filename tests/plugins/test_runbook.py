"""A runbook is read the way people write it."""

import pytest

from sim2edge_airflow.alerts.report import owner, part, purpose

RUNBOOK = """
### sim_capture: one batch of simulated drives

`capture` drives.

**Start a batch**: *Trigger*, with the batch id, or

    POST /api

**When it fails**: red and not retried is **bad config**:
the last line names the field.

Owner: simulation engineering.
"""


def test_its_parts_are_found():
    assert purpose(RUNBOOK) == "one batch of simulated drives"
    assert owner(RUNBOOK) == "simulation engineering"
    assert part(RUNBOOK, "when it fails") == "red and not retried is **bad config**: the last line names the field."
    assert part(RUNBOOK, "Start a batch") == "*Trigger*, with the batch id, or"


@pytest.mark.parametrize("text", ["", "no heading", "**When", "Owner:", "### x:"])
def test_what_is_not_there_is_empty(text):
    assert (purpose(text), owner(text), part(text, "When it fails")) == ("", "", "")
