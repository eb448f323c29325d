"""The capture stage with `simulator=webots`: through the real runner, on a program that is started like Webots."""

import pytest
from obstore.store import MemoryStore

from sim2edge.bus import Bus
from sim2edge.errors import BadInput
from sim2edge.plan import plan
from sim2edge.runner import execute

WANTED = ["simulator=webots", "episodes=2", "episode_seconds=1.0", "workers=2", "verify_every=2"]
SMALL = ["camera.width=64", "camera.height=48"]


class Silent:
    """A `Progress` that says nothing."""

    def update(self, done, total, **metrics):
        pass

    def log(self, message, **fields):
        pass


@pytest.mark.timeout(120)
def test_a_batch_is_captured_in_webots(fake_webots):
    fake_webots()
    bus = Bus(MemoryStore())
    manifest = execute(bus, plan(bus, "capture", "farm", overrides=[*WANTED, *SMALL]), Silent())
    assert manifest.summary["camera_backend"] == "webots"
    assert manifest.summary["camera_renderer"] == "Webots R2025a"
    assert manifest.summary["frames"] == 20
    assert {file.path.partition("/")[0] for file in manifest.files} >= {"farm.0000", "farm.0001"}


def test_the_release_is_part_of_the_id():
    bus, other = Bus(MemoryStore()), "camera.renderer=Webots R2023b"
    assert plan(bus, "capture", "farm", overrides=WANTED).config.camera.renderer == "Webots R2025a"
    with pytest.raises(BadInput, match="'Webots R2023b' is declared, with Webots it is 'Webots R2025a'"):
        plan(bus, "capture", "farm", overrides=[*WANTED, other])


def test_without_webots_the_stage_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("WEBOTS_HOME", raising=False)
    bus = Bus(MemoryStore())
    with pytest.raises(BadInput, match="webots: not on PATH"):
        execute(bus, plan(bus, "capture", "farm", overrides=WANTED), Silent())
