"""Logs without a LiDAR, poses or commands: taken for the recipe that they serve, null in what clean makes of them."""

import json
from pathlib import Path

import pytest
from ingest.foreign_logs import BOX, FOXGLOVE_TOPICS, Sent, changed, robot_drive, write_bag, write_foxglove
from mcap.reader import make_reader

from sim2edge.errors import Misconfigured
from sim2edge.ingest.config import IngestConfig
from sim2edge.ingest.mcap_reader import BadLog
from sim2edge.ingest.understand import understand
from sim2edge.recipes import needs

CAMERA = "/camera/image_raw/compressed"
ONLY_CAMERA = ("topics.scan=[]", "topics.pose=[]", "topics.command=[]", "topics.image=/front", "topics.labels=/truth")


def only(*topics: str) -> list[Sent]:
    return changed(lambda sent: sent if sent[0] in topics else None)


def test_a_labelled_log_with_a_camera_only_becomes_an_episode(folder, ingest, fetch, partition):
    write_foxglove(folder / "car.mcap")
    said = ingest(folder, *ONLY_CAMERA)
    _, made = fetch(said)
    assert "car.mcap: without scan, pose, command: serves perception" in said.lines
    episode = made / f"{partition}.0000"
    result = json.loads((episode / "result.json").read_text())
    assert (result["success"], result["absent"]) == (True, ["scan", "pose", "command"])
    assert (result["path_length_m"], result["min_clearance_m"]) == (None, None)
    assert not (episode / "lidar.csv").exists()
    with (episode / "simulation.mcap").open("rb") as file:
        reader = make_reader(file)
        topics = {channel.topic for channel in reader.get_summary().channels.values()}
        (episode_metadata,) = reader.iter_metadata()
    assert topics == {"/camera/image", "/camera/annotations", "/labels"}
    assert episode_metadata.metadata["absent"] == "scan, pose, command"


def test_a_complete_log_declares_nothing_absent(folder, ingest, fetch, partition):
    write_foxglove(folder / "farm.mcap")
    said = ingest(folder, *FOXGLOVE_TOPICS)
    _, made = fetch(said)
    assert "absent" not in json.loads((made / f"{partition}.0000" / "result.json").read_text())
    assert not any("without" in line for line in said.lines)


def test_a_log_without_labels_and_lidar_is_kept_for_replay(folder, ingest, fetch, partition):
    write_bag(folder / "a.mcap", only(CAMERA, "/odom"))
    said = ingest(folder)
    _, made = fetch(said)
    expected = "a.mcap: without scan, command, labels: serves no recipe; not perception (no labels)"
    assert expected in said.lines
    result = json.loads((made / f"{partition}.0000" / "result.json").read_text())
    assert (result["success"], result["failure_reason"]) == (False, "unlabelled")


@pytest.mark.parametrize(
    ("lost", "role", "found"),
    [("/scan", "scan", "/front/scan"), ("/odom", "pose", "/wheel/odom"), ("/cmd_vel", "command", "/nav/cmd_vel")],
)
def test_a_topic_that_looks_like_an_absent_role_is_not_lost_in_silence(tmp_path, lost, role, found):
    drive = changed(lambda sent: (found, *sent[1:]) if sent[0] == lost else sent)
    log = write_bag(tmp_path / "a.mcap", drive)
    with pytest.raises(BadLog) as error:
        understand(log, IngestConfig())
    assert f"but {found} is " in str(error.value)
    assert str(error.value).endswith(f": set topics.{role}={found}, or topics.{role}=[] to leave it out")
    assert understand(log, IngestConfig(topics={role: found})).log.absent == ("labels",)
    assert understand(log, IngestConfig(topics={role: []})).log.absent == tuple(
        each for each in needs.ROLES if each in (role, "labels")
    )


def test_a_second_lidar_beside_the_chosen_one_is_no_error(tmp_path):
    drive = [*robot_drive(4), *[("/rear/scan", *sent[1:]) for sent in robot_drive(4) if sent[0] == "/scan"]]
    drive.sort(key=lambda sent: sent[2])
    assert "scan" in understand(write_bag(tmp_path / "a.mcap", drive), IngestConfig()).log.streams


class Installed:
    """An entry point of a recipe that somebody installed."""

    def __init__(self, name: str, roles: tuple[str, ...]) -> None:
        self.name, self._roles = name, roles

    def load(self) -> tuple[str, ...]:
        return self._roles


@pytest.fixture
def recipes(monkeypatch):
    """Replace the known recipes."""

    def install(ours: dict[str, frozenset[str]], *installed: Installed) -> None:
        monkeypatch.setattr(needs, "OURS", ours)
        monkeypatch.setattr(needs, "entry_points", lambda group: installed if group == needs.GROUP else ())

    return install


def test_a_log_is_taken_for_the_recipe_that_it_serves(folder, ingest, recipes):
    recipes(dict(needs.OURS), Installed("lidar_policy", ("image", "scan", "command")))
    write_foxglove(folder / "car.mcap")
    lines = ingest(folder, *ONLY_CAMERA).lines
    assert "car.mcap: without scan, pose, command: serves perception; not lidar_policy (no scan, no command)" in lines


def test_a_log_that_serves_no_recipe_is_refused_with_what_it_has(tmp_path, recipes):
    recipes({"lidar_policy": frozenset({"image", "scan", "command"})})
    log = write_bag(tmp_path / "a.mcap", only(CAMERA))
    with pytest.raises(BadLog) as error:
        understand(log, IngestConfig())
    assert str(error.value) == (
        "no messages on /lidar/scan or /scan: topics.scan names where it is; "
        "the file has /camera/image_raw/compressed (sensor_msgs/msg/CompressedImage)"
    )
    assert understand(write_bag(tmp_path / "b.mcap", only(CAMERA, "/scan", "/cmd_vel")), IngestConfig())


def test_a_recipe_that_needs_what_does_not_exist(recipes):
    recipes({}, Installed("sonar_policy", ("image", "sonar")))
    with pytest.raises(Misconfigured, match="recipe 'sonar_policy' needs 'sonar', which is not one of: image, scan"):
        needs.match(["image"])


def test_many_topics_are_cut_short(tmp_path):
    sent = [(f"/chatter{n:02d}", "std_msgs/msg/String", n, {"data": "x"}) for n in range(30)]
    with pytest.raises(BadLog, match=r"/chatter11 \(std_msgs/msg/String\) and 18 more$"):
        understand(write_bag(tmp_path / "a.mcap", sent), IngestConfig())


def test_labels_of_unknown_distance_reach_the_episode(folder, ingest, fetch, partition):
    unknown = BOX | {"distance_m": None, "bearing_rad": None}
    write_foxglove(folder / "a.mcap", labels={"floor": "tile", "boxes": [unknown]})
    _, made = fetch(ingest(folder, *FOXGLOVE_TOPICS))
    assert labels_of(made / f"{partition}.0000")["boxes"] == [unknown]  # and nothing that the producer did not send


def labels_of(episode: Path) -> dict:
    with (episode / "simulation.mcap").open("rb") as file:
        _, _, message = next(iter(make_reader(file).iter_messages(["/labels"])))
    return json.loads(message.data)
