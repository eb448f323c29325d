"""Datasets of other projects become logs: each drive with its images, commands and times; what cannot is one line."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ingest.dataset_files import CAMERA, FPS, START_MS, action, frame, png, record, write_json, write_lerobot, write_tub
from ingest.foreign_logs import robot_drive, write_bag

from sim2edge.config import load
from sim2edge.errors import BadInput
from sim2edge.ingest.config import IngestConfig
from sim2edge.ingest.datasets.convert import as_logs
from sim2edge.ingest.messages import reader_for
from sim2edge.ingest.read_log import Limits, LogReader
from sim2edge.ingest.session import session_of

SCALES = ("dataset.full_speed_m_s=2", "dataset.full_turn_rad_s=3")
Messages = dict[str, list[tuple[int, object]]]


class Heard:
    """Progress that remembers what was logged."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def update(self, done: int, total: int, **metrics: object) -> None:
        """Nothing is checked of it."""

    def log(self, message: str, **fields: object) -> None:
        self.lines.append(message)


class Converted(Heard):
    """The messages of each log, by its path and role, with their stamps in nanoseconds."""

    def __init__(self, folder: Path, *words: str) -> None:
        super().__init__()
        self.logs: dict[str, Messages] = {}
        self.bytes: dict[str, bytes] = {}
        with as_logs(folder, load(IngestConfig, "ingest", None, words), self) as logs:
            for path in sorted(logs.rglob("*.mcap")):
                name = path.relative_to(logs).as_posix()
                self.logs[name], self.bytes[name] = _read(path), path.read_bytes()

    def images(self, log: str) -> list[np.ndarray]:
        found = [cv2.imdecode(np.frombuffer(image.data, np.uint8), 1) for _, image in self.logs[log]["image"]]
        return [image[..., ::-1] for image in found]


def _read(path: Path) -> Messages:
    roles = {"/camera/image": "image", "/robot/control": "command", "/robot/pose": "pose", "/lidar/scan": "scan"}
    found: Messages = {}
    for schema, channel, message in LogReader(path, Limits(1 << 30)):
        role = roles[channel.topic]
        stamp, value = reader_for(role, schema, channel)(message.data, 0)
        assert stamp in (None, message.log_time)
        found.setdefault(role, []).append((message.log_time, value))
    return found


def refused(folder: Path, *words: str) -> str:
    with pytest.raises(BadInput) as error:
        Converted(folder, *words)
    assert "\n" not in str(error.value)
    return str(error.value).removeprefix(f"{folder}: ")


def test_each_episode_of_a_lerobot_dataset_becomes_a_log(tmp_path):
    made = Converted(write_lerobot(tmp_path / "ds"))
    assert list(made.logs) == ["episode_000000.mcap", "episode_000001.mcap"]
    second = made.logs["episode_000001.mcap"]
    assert [image.data for _, image in second["image"]] == [png(number) for number in range(6, 10)]
    assert [time for time, _ in second["command"]] == pytest.approx([0, 1e8, 2e8, 3e8], abs=100)
    ahead, turn = zip(*(command for _, command in second["command"]), strict=True)
    np.testing.assert_allclose(ahead, [action(number)[0] for number in range(6, 10)], rtol=1e-6)
    np.testing.assert_allclose(turn, np.radians([action(number)[2] for number in range(6, 10)]), rtol=1e-6)
    assert "no boxes" in made.lines[0]
    assert set(second) == {"image", "command"}


def test_the_same_dataset_gives_the_same_bytes_wherever_it_lies(tmp_path):
    first, second = (Converted(write_lerobot(tmp_path / name)) for name in ("a", "b"))
    assert first.bytes == second.bytes


@pytest.mark.parametrize(("codec", "most"), [("mp4v", 6), ("av01", 6)])
def test_images_are_taken_from_the_seconds_of_a_video(tmp_path, codec, most):
    made = Converted(write_lerobot(tmp_path / "ds", video=codec))
    images = [image for log in sorted(made.logs) for image in made.images(log)]
    assert len(images) == 10
    for number, image in enumerate(images):
        distances = [np.abs(image.astype(int) - frame(other)).mean() for other in range(10)]
        assert int(np.argmin(distances)) == number
        assert distances[number] < most


def test_names_in_a_dict_and_actions_by_number_are_taken(tmp_path):
    named = Converted(write_lerobot(tmp_path / "a", names={"motors": ["x.vel", "y.vel", "theta.vel"]}))
    numbered = Converted(
        write_lerobot(tmp_path / "b", names={"motors": ["a", "b", "c"]}),
        *(
            "dataset.linear=0",
            "dataset.angular=2",
            "dataset.full_speed_m_s=1",
            f"dataset.full_turn_rad_s={math.pi / 180}",
        ),
    )
    log = "episode_000000.mcap"
    assert named.logs[log]["command"] == numbered.logs[log]["command"]


@pytest.mark.parametrize(
    ("change", "words", "said"),
    [
        ({"codebase_version": "v2.1"}, (), "meta/info.json: codebase_version: v2.1, expected v3.x: convert it with"),
        ({"fps": None}, (), "meta/info.json: fps: None: expected frames a second"),
        ({"data_path": "../{chunk_index}.parquet"}, (), "leads out of the dataset"),
        ({"data_path": "{nothing}"}, (), "data_path: '{nothing}' cannot be filled in"),
        ({}, ("dataset.image=top",), f"no camera 'top': name one of them with dataset.image=<name>: {CAMERA}"),
    ],
)
def test_a_description_that_cannot_be_used_is_refused(tmp_path, change, words, said):
    root = write_lerobot(tmp_path / "ds")
    info = json.loads((root / "meta/info.json").read_text())
    write_json(root / "meta/info.json", info | change)
    assert said in refused(root, *words)


@pytest.mark.parametrize("times", [[0, 0.1, 0.1], [0, 1e300, 2e300], [-1, 0, 1], [0, math.nan, 1]])
def test_times_that_do_not_rise_are_refused(tmp_path, times):
    root = write_lerobot(tmp_path / "ds", (3,))
    rows = pq.read_table(root / DATA).to_pydict() | {"timestamp": times}
    pq.write_table(pa.table(rows), root / DATA)
    assert refused(root).startswith(f"{DATA}: episode 0: row ")


@pytest.mark.parametrize("change", [{"frame_index": [0, 2, 3]}, {"episode_index": [0, 0, 1]}, {"action": [[1.0]] * 3}])
def test_rows_that_are_not_those_of_the_episode_are_refused(tmp_path, change):
    root = write_lerobot(tmp_path / "ds", (3,))
    rows = pq.read_table(root / DATA).to_pydict() | change
    pq.write_table(pa.table(rows), root / DATA)
    assert refused(root).startswith(f"{DATA}: episode 0: ")


def test_an_arm_is_refused_with_its_actions(tmp_path):
    said = refused(write_lerobot(tmp_path / "ds", names=["shoulder_pan.pos", "elbow.pos", "gripper.pos"]))
    assert said == (
        "meta/info.json: action: no linear velocity of a mobile base among: shoulder_pan.pos, elbow.pos, gripper.pos: "
        "name it with dataset.linear=<name>, or its number from 0"
    )


def test_actions_without_names_have_their_numbers(tmp_path):
    scales = ("dataset.full_speed_m_s=1", "dataset.full_turn_rad_s=1")
    root = write_lerobot(tmp_path / "ds", names=None)
    assert "among: 0, 1, 2: name it with dataset.linear=<name>, or its number from 0" in refused(root)
    made = Converted(root, "dataset.linear=0", "dataset.angular=2", *scales)
    assert len(made.logs["episode_000000.mcap"]["command"]) == 6
    info = json.loads((root / "meta/info.json").read_text())
    info["features"][CAMERA]["info"] = "a webcam"
    write_json(root / "meta/info.json", info)
    assert len(Converted(root, "dataset.linear=0", "dataset.angular=2", *scales).logs) == 2


def test_of_two_cameras_one_has_to_be_named(tmp_path):
    root = write_lerobot(tmp_path / "ds")
    info = json.loads((root / "meta/info.json").read_text())
    info["features"]["observation.images.wrist"] = info["features"][CAMERA]
    write_json(root / "meta/info.json", info)
    assert f"2 cameras: name one of them with dataset.image=<name>: {CAMERA}, " in refused(root)
    assert len(Converted(root, f"dataset.image={CAMERA}").logs) == 2


def cut(path: Path, share: float = 0.5) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


DATA = "data/chunk-000/file-000.parquet"
VIDEO = f"videos/{CAMERA}/chunk-000/file-000.mp4"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda root: (root / DATA).unlink(), f"{DATA}: missing"),
        (lambda root: cut(root / DATA), f"{DATA}: not Parquet, damaged or truncated"),
        (lambda root: (root / "meta/episodes/chunk-000/file-000.parquet").unlink(), "meta/episodes: has no Parquet"),
        (lambda root: (root / VIDEO).unlink(), f"{VIDEO}: missing"),
        (lambda root: cut(root / VIDEO), f"{VIDEO}: episode 0: "),
        (lambda root: (root / VIDEO).write_bytes(b"text"), f"{VIDEO}: episode 0: cannot be opened as a video"),
        (lambda root: (root / "meta/info.json").write_text("{"), "meta/info.json: not JSON"),
    ],
)
@pytest.mark.parametrize("codec", ["mp4v", "av01"])
def test_a_damaged_file_is_one_line(tmp_path, capfd, codec, damage: Callable[[Path], object], said):
    root = write_lerobot(tmp_path / "ds", video=codec)
    damage(root)
    assert refused(root).startswith(said)
    assert capfd.readouterr().err == ""


def test_skip_bad_takes_the_episodes_before_a_cut(tmp_path):
    root = write_lerobot(tmp_path / "ds", (3, 3, 14), video="mp4v")
    data = (root / VIDEO).read_bytes()
    start = data.index(b"mdat")
    size = int.from_bytes(data[start - 4 : start], "big")
    (root / VIDEO).write_bytes(data[: start + size // 2] + bytes(size - size // 2) + data[start + size :])
    assert "episode 2: " in refused(root)
    made = Converted(root, "skip_bad=true")
    assert list(made.logs) == ["episode_000000.mcap", "episode_000001.mcap"]
    assert made.lines[-1].startswith(f"left out: {root}: {VIDEO}: episode 2: frame ")


def test_a_tub_becomes_a_log_for_each_session_without_its_deleted_records(tmp_path):
    records = [record(number, "26-11-30_0" if number < 12 else "26-11-30_1") for number in range(20)]
    made = Converted(write_tub(tmp_path / "tub", records, deleted=(3, 4)), *SCALES)
    first, second = made.logs["session_26-11-30_0.mcap"], made.logs["session_26-11-30_1.mcap"]
    assert [(time // 1_000_000 - START_MS) / 50 for time, _ in first["image"]] == [0, 1, 2, *range(5, 12)]
    jpegs = [image.data for _, image in second["image"]]
    assert jpegs == [(tmp_path / f"tub/images/{number}_cam_image_array_.jpg").read_bytes() for number in range(12, 20)]
    assert {command for _, command in first["command"]} == {(0.5, 1.5)}, "angle -0.5 is half left"
    assert f"{tmp_path / 'tub'}: 2 deleted records left out" in made.lines


def test_a_pause_and_a_clock_set_back_begin_a_new_drive(tmp_path):
    times = [0, 50, 100, 9_000, 9_050, 4_000, 4_050]
    records = [record(number, time_ms=START_MS + time) for number, time in enumerate(times)]
    made = Converted(write_tub(tmp_path / "tub", records), *SCALES)
    assert {name: len(log["image"]) for name, log in made.logs.items()} == {
        "session_26-11-30_0.001.mcap": 3, "session_26-11-30_0.002.mcap": 2, "session_26-11-30_0.003.mcap": 2
    }  # fmt: skip


@pytest.mark.parametrize("third", [50, 20])
def test_a_record_whose_time_does_not_rise_is_named(tmp_path, third):
    records = [record(number, time_ms=START_MS + time) for number, time in enumerate((0, 50, third, 150))]
    tub = write_tub(tmp_path / "tub", records)
    assert refused(tub, *SCALES) == (
        f"catalog_0.catalog: line 3: _timestamp_ms: {START_MS + third}, after {START_MS + 50} in the record before "
        "(catalog_0.catalog: line 2): expected times that rise (skip_bad=true leaves bad records out)"
    )
    made = Converted(tub, *SCALES, "skip_bad=true")
    assert [len(log["image"]) for log in made.logs.values()] == [3]


def test_the_drives_of_a_session_tell_that_they_are_of_one(tmp_path):
    times = [(0, "s/1"), (50, "s/1"), (20_000, "s/1"), (60_000, "s_1")]
    records = [record(number, name, START_MS + time) for number, (time, name) in enumerate(times)]
    for tub in "ab":
        write_tub(tmp_path / "data" / tub, [*records, record(4 + (tub == "b"), "s/1", START_MS + 90_000)])
    with as_logs(tmp_path / "data", load(IngestConfig, "ingest", None, SCALES), Heard()) as logs:
        found = {path.relative_to(logs).as_posix(): session_of(path) for path in logs.rglob("*.mcap")}
        cut(logs / "a/session_s_1.001.mcap")
        assert session_of(logs / "a/session_s_1.001.mcap") is None
    assert found["a/session_s_1.001.mcap"] == found["a/session_s_1.002.mcap"] == found["a/session_s_1.004.mcap"]
    assert len({found[f"{tub}/session_s_1.00{n}.mcap"] for tub in "ab" for n in (1, 3)}) == 4
    write_bag(tmp_path / "a.mcap", robot_drive(2))
    assert session_of(tmp_path / "a.mcap") is None


def test_a_car_turns_by_its_steering(tmp_path):
    made = Converted(
        write_tub(tmp_path / "tub", [record(0), record(1)]),
        *("dataset.full_speed_m_s=2", "wheelbase_m=0.25", "dataset.full_steer_deg=30"),
    )
    _, command = made.logs["session_26-11-30_0.mcap"]["command"][0]
    assert command == pytest.approx((0.5, 0.5 * math.tan(math.radians(15)) / 0.25))


def test_a_wheel_that_is_across_is_refused_with_its_record(tmp_path):
    tub = write_tub(tmp_path / "tub", [record(0), record(1, **{"user/angle": 4.0})])
    line = refused(tub, "dataset.full_speed_m_s=2", "wheelbase_m=0.25", "dataset.full_steer_deg=30")
    assert line == (
        "catalog_0.catalog: line 2: action: the steering angle is -2.0944 rad: expected at most 1.5 to a side"
        " (skip_bad=true leaves bad records out)"
    )


def test_the_pilot_s_commands_are_those_of_its_modes(tmp_path):
    pilot = {"pilot/angle": 0.1, "pilot/throttle": 1.0}
    modes = ("user", "local_angle", "local")
    records = [record(number, **{"user/mode": mode}, **pilot) for number, mode in enumerate(modes)]
    made = Converted(write_tub(tmp_path / "tub", records), *SCALES)
    commands = [command for _, command in made.logs["session_26-11-30_0.mcap"]["command"]]
    np.testing.assert_allclose(commands, [(0.5, 1.5), (0.5, -0.3), (2.0, -0.3)])


def test_a_tub_without_scales_is_refused(tmp_path):
    assert refused(write_tub(tmp_path / "tub", [record(0)])) == (
        "manifest.json: action: user/throttle, user/angle: no unit is known: say what 1 stands for: "
        "dataset.full_speed_m_s=<m/s> dataset.full_turn_rad_s=<rad/s> (for a car wheelbase_m=<m>)"
    )


def drop_line(path: Path, line: int) -> None:
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:line] + lines[line + 1 :]))


CATALOG = "catalog_0.catalog"
SKIP = " (skip_bad=true leaves bad records out)"


@pytest.mark.parametrize(
    ("damage", "said", "left"),
    [
        (lambda root: cut(root / CATALOG, 0.95), f"{CATALOG}: line 6: not JSON: cut off?{SKIP}", 5),
        (
            lambda root: drop_line(root / CATALOG, 5),
            f"manifest.json: the next record is _index 6, but the catalogs end before 5: truncated?{SKIP}",
            5,
        ),
        (
            lambda root: (root / "images/2_cam_image_array_.jpg").unlink(),
            f"images/2_cam_image_array_.jpg: missing or empty, named in {CATALOG}: line 3{SKIP}",
            5,
        ),
        (lambda root: (root / CATALOG).unlink(), f"{CATALOG}: missing, named in manifest.json", None),
        (lambda root: cut(root / "manifest.json"), "manifest.json: not the five lines of a tub", None),
    ],
)
def test_a_damaged_tub_is_one_line_and_a_bad_record_can_be_left_out(tmp_path, damage, said, left):
    root = write_tub(tmp_path / "tub", [record(number) for number in range(6)], per_catalog=6)
    (root / "catalog_0.catalog_manifest").write_text("{}")
    damage(root)
    assert refused(root, *SCALES).startswith(said)
    if left is not None:
        (log,) = Converted(root, *SCALES, "skip_bad=true").logs.values()
        assert len(log["image"]) == left


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"user/angle": float("nan")}, "user/angle: nan: expected a number"),
        ({"user/throttle": None}, "user/throttle: None: expected a number"),
        ({"user/mode": "local"}, "pilot/throttle: None: expected a number, although the pilot drove"),
        ({"cam/image_array": "../secret.jpg"}, "'../secret.jpg' is not the name of a file"),
        ({"_timestamp_ms": 10**18}, "_timestamp_ms: 1000000000000000000: expected milliseconds"),
        ({"_timestamp_ms": "now"}, "_timestamp_ms: 'now': expected milliseconds"),
    ],
)
def test_a_record_without_a_value_is_named(tmp_path, changed, said):
    root = write_tub(tmp_path / "tub", [record(0), record(1)])
    lines = [json.dumps(each) for each in (record(0), record(1) | changed)]
    (root / CATALOG).write_text("\n".join(lines) + "\n")
    assert refused(root, *SCALES).startswith(f"{CATALOG}: line 2: ")
    assert said in refused(root, *SCALES)


def indices(made: Converted) -> list[int]:
    return [round((time / 1e6 - START_MS) / 50) for log in made.logs.values() for time, _ in log["image"]]


def test_missing_records_matter_only_where_others_are_deleted(tmp_path):
    records = [record(number) for number in (0, 1, 5, 6, 7)]
    assert len(Converted(write_tub(tmp_path / "a", records), *SCALES).logs) == 1
    made = Converted(write_tub(tmp_path / "b", records, deleted=(1, 12)), *SCALES)
    assert indices(made) == [0, 5, 6, 7]
    assert f"{tmp_path / 'b'}: 1 deleted records left out" in made.lines
    unclear = write_tub(tmp_path / "c", records, deleted=(3, 5))
    assert refused(unclear, *SCALES) == (
        "catalog_0.catalog: line 3: _index 5 is record 2, and manifest.json deletes _index 5: "
        f"it is unclear whether this one is meant{SKIP}"
    )
    assert indices(Converted(unclear, *SCALES, "skip_bad=true")) == [0, 1, 7]


def test_a_tub_whose_first_catalogs_were_removed_is_taken(tmp_path):
    root = write_tub(tmp_path / "tub", [record(number) for number in range(20, 23)])
    assert indices(Converted(root, *SCALES)) == [20, 21, 22]
    manifest = root / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"current_index": 23', '"current_index": 24'))
    assert "the next record is _index 24, but the catalogs end before 23: truncated?" in refused(root, *SCALES)


def test_a_tub_of_deleted_and_bad_records_says_so(tmp_path):
    root = write_tub(tmp_path / "tub", [record(0), record(1), record(2)], deleted=(1,))
    for number in (0, 2):
        (root / f"images/{number}_cam_image_array_.jpg").unlink()
    assert refused(root, *SCALES, "skip_bad=true") == (
        "manifest.json: no record is left: 1 are deleted, 2 bad, first: "
        f"images/0_cam_image_array_.jpg: missing or empty, named in {CATALOG}: line 1"
    )


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 2016\n"


def test_files_that_git_lfs_has_not_fetched_are_named(tmp_path):
    said = "only a pointer of Git LFS: fetch the file itself with 'git lfs pull'"
    for path, codec in ((DATA, None), (VIDEO, "mp4v"), ("meta/episodes/chunk-000/file-000.parquet", None)):
        root = write_lerobot(tmp_path / Path(path).parts[0], video=codec)
        (root / path).write_bytes(POINTER)
        assert said in refused(root)
    tub = write_tub(tmp_path / "tub", [record(0), record(1)])
    (tub / "images/1_cam_image_array_.jpg").write_bytes(POINTER)
    assert refused(tub, *SCALES).startswith(f"images/1_cam_image_array_.jpg: {said}")


def test_commands_have_the_stamps_of_their_records(tmp_path):
    with as_logs(write_tub(tmp_path / "tub", [record(3)]), load(IngestConfig, "ingest", None, SCALES), Heard()) as logs:
        (path,) = logs.rglob("*.mcap")
        ((schema, channel, message),) = (
            found for found in LogReader(path, Limits(1 << 30)) if "control" in found[1].topic
        )
        stamp, _ = reader_for("command", schema, channel)(message.data, 0)
    assert stamp == (START_MS + 150) * 1_000_000


def test_tubs_in_a_folder_keep_their_names_and_logs_beside_them_are_refused(tmp_path):
    for name in ("tub_1", "tub_2"):
        write_tub(tmp_path / "data" / name, [record(0), record(1)])
    made = Converted(tmp_path / "data", *SCALES)
    assert list(made.logs) == ["tub_1/session_26-11-30_0.mcap", "tub_2/session_26-11-30_0.mcap"]
    write_bag(tmp_path / "data" / "a.mcap", robot_drive(2))
    assert refused(tmp_path / "data", *SCALES).startswith("has the log 'a.mcap' and the dataset 'tub_1'")


def test_a_folder_of_logs_stays_what_it_is(tmp_path):
    write_bag(tmp_path / "a.mcap", robot_drive(2))
    (tmp_path / "manifest.json").write_text("{}")
    with as_logs(tmp_path, IngestConfig(), Heard()) as logs:
        assert logs == tmp_path


def test_an_old_tub_is_refused(tmp_path):
    write_json(tmp_path / "record_1.json", {})
    assert "before version 4" in refused(tmp_path)


def test_both_ways_to_turn_are_refused():
    with pytest.raises(BadInput, match="a car turns by steering"):
        load(IngestConfig, "ingest", None, ["wheelbase_m=0.2", "dataset.full_turn_rad_s=1"])


def test_frames_a_second_do_not_change_the_times(tmp_path):
    root = write_lerobot(tmp_path / "ds", video="mp4v")
    made = Converted(root)
    assert [round(time / 1e8) for time, _ in made.logs["episode_000001.mcap"]["image"]] == [0, 1, 2, 3]
    assert FPS == 10
