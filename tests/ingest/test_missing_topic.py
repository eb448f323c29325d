"""The line about a missing topic names what the log has, so that the right setting can be written down at once."""

import pytest
from ingest.bags import write_ros1, write_ros2
from ingest.foreign_logs import changed, write_bag

from sim2edge.ingest.bad_log import BadLog
from sim2edge.ingest.config import IngestConfig, TopicsConfig
from sim2edge.ingest.missing_topic import describe_missing
from sim2edge.ingest.source_log import Topic
from sim2edge.ingest.understand import understand

IMAGE = "/camera/image_raw/compressed"


def renamed(topic: str, to: str) -> list:
    return changed(lambda sent: (to if sent[0] == topic else sent[0], *sent[1:]), ticks=3)


@pytest.mark.parametrize("write", [write_bag, write_ros1, write_ros2])
def test_the_topics_of_the_file_are_named_those_that_fit_first(tmp_path, write):
    suffix = {"write_bag": ".mcap", "write_ros1": ".bag"}.get(write.__name__, "")
    path = write(tmp_path / f"a{suffix}", renamed(IMAGE, "/zz/front"))
    with pytest.raises(BadLog) as told:
        understand(path, IngestConfig())
    assert str(told.value) == (
        f"no messages on {' or '.join(TopicsConfig().image)}: topics.image names where it is; the file has "
        "/zz/front (sensor_msgs/msg/CompressedImage), /chatter (std_msgs/msg/String), "
        "/cmd_vel (geometry_msgs/msg/Twist), /odom (nav_msgs/msg/Odometry), /scan (sensor_msgs/msg/LaserScan)"
    )


def test_the_named_topic_is_taken(tmp_path):
    path = write_bag(tmp_path / "a.mcap", renamed(IMAGE, "/zz/front"))
    assert len(understand(path, IngestConfig.model_validate({"topics": {"image": "/zz/front"}})).ticks) == 3


def test_many_and_hostile_names_stay_one_short_line():
    topics = {f"/t{number}\n\x1b[31m" + "x" * 500: Topic("y" * 500, "cdr", 1) for number in range(1000)}
    line = describe_missing("image", ("/a",), topics)
    assert line.endswith(" and 988 more")
    assert len(line) < 2000
    assert line.isprintable()


def test_an_empty_log_says_so():
    assert describe_missing("pose", ("/a",), {}).endswith("; the file has no messages")
