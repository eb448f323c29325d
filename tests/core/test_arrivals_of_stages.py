"""Deliveries for different stages: each is registered by the task of its stage, and never by another's."""

import pytest
from core.test_arrivals import Airflow, deliver, ready

from sim2edge.arrivals import pending, register, survey
from sim2edge.bus import Bus


def go(bus: Bus, airflow: Airflow, run: str, stage: str, emit: bool = True) -> list[str]:
    airflow.states[run] = "running"
    report = register(bus, run, airflow, stage=stage)
    if emit:
        airflow.succeed(run, report)
    else:
        airflow.states[run] = "failed"
    return list(report.registered)


@pytest.mark.parametrize(
    ("path", "named", "stage"),
    [
        ("a.mcap", {}, "ingest"),
        ("monday/notes.json", {}, "ingest"),
        ("annotations/instances_default.json", {}, "annotate"),
        ("train/_annotations.coco.json", {}, "annotate"),
        ("result.json", {}, "annotate"),
        ("monday/notes.json", {"stage": "annotate"}, "annotate"),
        ("annotations/instances_default.json", {"stage": "ingest"}, "ingest"),
    ],
)
def test_the_stage_of_a_delivery_follows_from_its_files_or_is_named(bus, path, named, stage):
    deliver(bus, "lab-1", ready("lab-1", path, **named))
    others = {"ingest", "annotate"} - {stage}
    assert set(survey(bus, stage=stage).complete) == set(pending(bus)) == {"lab-1"}
    assert [dict(survey(bus, stage=other).complete) for other in others] == [{}]


def test_a_stage_that_reads_no_deliveries_is_refused_in_one_line(bus):
    deliver(bus, "lab-1", ready("lab-1", stage="clean"))
    (line,) = survey(bus).refused
    assert line.startswith("inbox/lab-1/READY.json: stage: 'clean': is not one of: ")
    assert not pending(bus)


def test_a_run_takes_over_what_was_lost_for_its_own_stage_only(bus):
    airflow, other = Airflow(), Airflow()  # the events of one asset are not those of the other
    deliver(bus, "lab-1")
    deliver(bus, "office-1", ready("office-1", "result.json"))
    assert go(bus, airflow, "r1", "ingest") == ["lab-1"]
    assert go(bus, other, "r1", "annotate", emit=False) == ["office-1"]
    assert go(bus, airflow, "r2", "ingest") == []
    assert go(bus, other, "r2", "annotate") == ["office-1"]
    assert go(bus, airflow, "r3", "ingest") == go(bus, other, "r3", "annotate") == []
