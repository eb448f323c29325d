"""The inbox: what a producer drops there himself, and how a listing that is wrong, tampered or changed is met."""

import hashlib
import json
from pathlib import Path

import pytest
from ingest.foreign_logs import robot_drive, write_bag

from sim2edge import cli, inbox
from sim2edge.bus import Bus
from sim2edge.errors import BadInput
from sim2edge.ingest.config import IngestConfig


@pytest.fixture
def drop(s3, partition, tmp_path):
    """Drop a log into the inbox as a producer would, by plain puts; keyword arguments replace fields of READY.json."""

    def put(name: str = "a.mcap", ticks: int = 3, file: dict | None = None, **fields) -> dict:
        data = write_bag(tmp_path / "producer" / "a.mcap", robot_drive(ticks)).read_bytes()
        s3.put(f"inbox/{partition}/{name}", data)
        listed = {"path": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} | (file or {})
        ready = {"version": 1, "batch": partition, "files": [listed]} | fields
        s3.put(f"inbox/{partition}/READY.json", json.dumps(ready).encode())
        return ready

    return put


def refuse(ingest, s3: Bus, partition: str) -> str:
    result = ingest()
    assert result.code == cli.EXIT_BAD_INPUT, result.out
    assert list(s3.list(f"episodes/{partition}")) == []
    return result.err


def test_what_a_producer_drops_is_ingested(ingest, drop, s3, partition, fetch):
    drop()
    manifest, made = fetch(ingest())
    assert (made / f"{partition}.0000" / "simulation.mcap").is_file()
    listing = s3.get(f"inbox/{partition}/READY.json")
    assert manifest.config["ready"] == hashlib.sha256(listing).hexdigest()
    assert manifest.cost.bytes_in == len(listing) + s3.size(f"inbox/{partition}/a.mcap")


def test_what_a_producer_drops_into_a_folder_of_its_own_is_ingested_by_its_path_there(ingest, drop, partition, fetch):
    drop("by-hand/1/a.mcap", version=2, folder="by-hand/1", file={"path": "a.mcap"})
    manifest, made = fetch(ingest())
    assert (made / f"{partition}.0000" / "simulation.mcap").is_file()
    assert manifest.config["ready"]


def test_no_ready_json_is_no_batch_yet(ingest, s3, partition):
    s3.put(f"inbox/{partition}/a.mcap", b"x")
    assert f"inbox/{partition}/READY.json: missing" in refuse(ingest, s3, partition)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"version": 3}, "READY.json: version: Input should be 1 or 2"),
        ({"version": 2}, "READY.json: folder: '': at most 8 parts of 1 to 128 of"),
        ({"folder": "b"}, "READY.json: folder: needs version 2"),
        *(
            ({"version": 2, "folder": folder}, "READY.json: folder: ")
            for folder in ("../../refs", "..", "/etc", "a//b", "a/", ".a", "READY.json", "a b", "a/" * 8 + "a")
        ),
        ({"version": 2, "folder": 3}, "READY.json: folder: "),
        ({"version": 2, "folder": "b"}, "/b/a.mcap: missing, READY.json lists"),
        ({"batch": "other"}, "READY.json: batch: is 'other': the listing of another batch"),
        ({"files": []}, "READY.json: files: "),
        ({"more": 1}, "READY.json: more: "),
        ({"file": {"path": "../../refs/models/champion"}}, "files.0.path: "),
        ({"file": {"path": "/etc/passwd"}}, "files.0.path: "),
        ({"file": {"path": "READY.json"}}, "files: "),
        ({"file": {"path": "a b.mcap"}}, "files: "),
        ({"file": {"sha256": "0" * 64}}, "a.mcap: its bytes do not match the sha256 in inbox/"),
        ({"file": {"bytes": 7}}, "READY.json lists 7 bytes"),
        ({"file": {"bytes": 10**12}}, "1000000.0 MB, more than max_file_mb=4096"),
        ({"file": {"path": "b.mcap"}}, "b.mcap: missing, READY.json lists"),
    ],
)
def test_a_listing_that_is_wrong(ingest, drop, s3, partition, fields, message):
    drop(**fields)
    assert message in refuse(ingest, s3, partition)


def test_a_path_listed_twice(ingest, drop, s3, partition):
    ready = drop()
    drop(files=ready["files"] * 2)
    assert "duplicate path" in refuse(ingest, s3, partition)


def test_what_is_no_json(ingest, s3, partition):
    s3.put(f"inbox/{partition}/READY.json", b"soon")
    assert "READY.json: content: Invalid JSON" in refuse(ingest, s3, partition)


def test_an_object_with_a_flipped_byte(ingest, drop, s3, partition):
    drop()
    data = bytearray(s3.get(f"inbox/{partition}/a.mcap"))
    data[len(data) // 2] ^= 1
    s3.put(f"inbox/{partition}/a.mcap", bytes(data))
    assert "a.mcap: its bytes do not match the sha256" in refuse(ingest, s3, partition)


def test_a_delivery_that_changes_after_it_was_taken_is_refused(ingest, drop, s3, partition):
    drop()
    made = ingest().committed["reference"]
    drop(ticks=4)
    result = ingest()
    assert result.code == cli.EXIT_BAD_INPUT
    assert f"READY.json: changed since {made} was made from it" in result.err
    assert s3.read_ref(f"refs/batches/{partition}").target == made
    assert ingest("floor=wood").code == cli.EXIT_BAD_INPUT


def test_another_config_makes_another_artifact_of_the_same_delivery(ingest, drop):
    drop()
    first = ingest().committed["reference"]
    refused = ingest("floor=wood")
    assert refused.code == cli.EXIT_BAD_INPUT
    assert "made with other settings (floor empty, now wood): name another batch, or replace it" in refused.err
    assert ingest("floor=wood", "--replace").committed["reference"] != first


def test_a_second_delivery_under_the_same_id_is_refused(ingest, folder, s3, partition):
    write_bag(folder / "a.mcap", robot_drive(3))
    made = ingest(folder).committed["reference"]
    before = {key: s3.get(key) for key in s3.list(f"inbox/{partition}")}
    write_bag(folder / "b.mcap", robot_drive(4))
    result = ingest(folder)
    assert result.code == cli.EXIT_BAD_INPUT
    assert f"inbox/{partition}: has another delivery: name another batch" in result.err
    assert {key: s3.get(key) for key in s3.list(f"inbox/{partition}")} == before
    assert ingest().committed["reference"] == made


def test_a_batch_of_the_simulator_is_not_taken_over(ingest, folder, s3, partition, capture_batch):
    captured = capture_batch(s3, partition, "episodes=1")
    write_bag(folder / "a.mcap", robot_drive(3))
    result = ingest(folder)
    assert result.code == cli.EXIT_BAD_INPUT
    assert f"batch '{partition}' is {captured.reference}, made by capture" in result.err
    assert s3.read_ref(f"refs/batches/{partition}").target == captured.reference


def test_ready_may_be_insisted_on(ingest, drop, s3, partition):
    drop()
    assert "not aaaaaaaaaaaa as config.ready requires" in ingest(f"ready={'a' * 64}").err
    assert ingest(f"ready={hashlib.sha256(s3.get(f'inbox/{partition}/READY.json')).hexdigest()}").code == 0


def test_a_delivery_that_changes_while_it_is_read(drop, s3, partition, tmp_path):
    drop()
    with pytest.raises(BadInput, match="changed while it was read"):
        inbox.fetch(s3, IngestConfig(ready="0" * 64), partition, tmp_path / "fetched")


def test_a_crashed_delivery_is_taken_up_again(ingest, folder, s3, partition):
    write_bag(folder / "a.mcap", robot_drive(3))
    s3.put(f"inbox/{partition}/a.mcap", b"half")
    assert ingest(folder).code == 0


def test_the_keys_of_ingest_are_enough_and_those_of_clean_are_not(
    ingest, folder: Path, s3_server, s3, monkeypatch, partition
):
    write_bag(folder / "a.mcap", robot_drive(3))
    for name, value in s3_server.role("clean").items():
        monkeypatch.setenv(name, value)
    assert ingest(folder).code == cli.EXIT_BAD_INPUT
    for name, value in s3_server.role("ingest").items():
        monkeypatch.setenv(name, value)
    assert ingest(folder).code == 0
    assert ingest().committed["cached"]
