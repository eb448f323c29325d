"""The line about a missing topic names what the log has, so that the right setting can be written down at once."""

import pytest
from ingest.bags import write_ros1, write_ros2
from ingest.foreign_logs import changed, write_bag

from sim2edge.ingest.bad_log import BadLog
from sim2edge.ingest.config import IngestConfig
from sim2edge.ingest.missing_topic import describe_missing
from sim2edge.ingest.source_log import Topic
from sim2edge.ingest.understand import understand


def renamed(topic: str, to: str) -> list:
    return changed(lambda sent: (to if sent[0] == topic else sent[0], *sent[1:]), ticks=3)


@pytest.mark.parametrize("write", [write_bag, write_ros1, write_ros2])
def test_the_topics_of_the_file_are_named_those_that_fit_first(tmp_path, write):
    suffix = {"write_bag": ".mcap", "write_ros1": ".bag"}.get(write.__name__, "")
    path = write(tmp_path / f"a{suffix}", renamed("/scan", "/zz/laser"))
    with pytest.raises(BadLog) as told:
        understand(path, IngestConfig())
    assert str(told.value) == (
        "no messages on /lidar/scan or /scan: the file has /zz/laser (sensor_msgs/msg/LaserScan, 3), "
        "/camera/image_raw/compressed (sensor_msgs/msg/CompressedImage, 3), /chatter (std_msgs/msg/String, 3), "
        "/cmd_vel (geometry_msgs/msg/Twist, 3), /odom (nav_msgs/msg/Odometry, 6): topics.scan names where it is"
    )


def test_the_named_topic_is_taken(tmp_path):
    path = write_bag(tmp_path / "a.mcap", renamed("/scan", "/zz/laser"))
    assert len(understand(path, IngestConfig.model_validate({"topics": {"scan": "/zz/laser"}})).ticks) == 3


def test_many_and_hostile_names_stay_one_short_line():
    topics = {f"/t{number}\n\x1b[31m" + "x" * 500: Topic("y" * 500, "cdr", 1) for number in range(1000)}
    line = describe_missing("image", ("/a",), topics)
    assert "988 more: topics.image names where it is" in line
    assert len(line) < 2000
    assert line.isprintable()


def test_an_empty_log_says_so():
    assert "no messages on /a: the file has no messages: topics.pose" in describe_missing("pose", ("/a",), {})
