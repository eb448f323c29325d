"""An installation into the file system of a card: every file of it, twice the same, refused whole, removed."""

import platform
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from sim2edge.cli import main
from sim2edge.edge.pi import unit
from sim2edge.edge.pi.actions import CopyTree
from sim2edge.edge.server.identity import new_key
from sim2edge.enrol.enrolment_file import Enrolment, read_enrolment, write_enrolment

from .packed_agent import packed

needs_systemd = pytest.mark.skipif(not shutil.which("systemd-sysusers"), reason="needs systemd's programs")


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    return packed(tmp_path_factory.mktemp("package"), arch=platform.machine())


@pytest.fixture
def words(package, tmp_path) -> list[str]:
    """The command line of an installation into a card of its own."""
    (tmp_path / "card" / "etc").mkdir(parents=True)
    (tmp_path / "root.json").write_text("{}")
    (tmp_path / "device.env").write_text("AWS_ACCESS_KEY_ID=key\nAWS_SECRET_ACCESS_KEY=very-secret\n")
    files = ["--root", tmp_path / "root.json", "--env-file", tmp_path / "device.env", "--agent", package]
    return ["device", "install", "--id", "pi-7", "--prefix", tmp_path / "card", "--source", "libcamera:0", *files]


def run(words: list[object]) -> int:
    return main([str(word) for word in words])


def content(folder: Path) -> dict[str, object]:
    """Every file and link below a folder, with mode and content."""
    return {
        str(path.relative_to(folder)): (
            path.readlink() if path.is_symlink() else (path.stat().st_mode, path.read_bytes())
        )
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


@needs_systemd
def test_a_card_gets_agent_launcher_user_settings_and_an_enabled_unit_and_a_second_time_changes_nothing(
    words, tmp_path, capsys
):
    card = tmp_path / "card"
    assert run([*words, "--hardware-watchdog"]) == 0
    first = content(card)
    assert (card / "opt/sim2edge/agent/agent.json").is_file()
    assert (card / "etc/systemd/system/sim2edge.service").read_text() == unit.UNIT
    link = card / "etc/systemd/system/multi-user.target.wants/sim2edge.service"
    assert (link.parent / link.readlink()).is_file()
    assert "RuntimeWatchdogSec=15" in (card / "etc/systemd/system.conf.d/50-sim2edge-watchdog.conf").read_text()
    assert any(line.startswith("sim2edge:") for line in (card / "etc/passwd").read_text().splitlines())
    assert "video:" in (card / "etc/group").read_text()
    options = (card / "etc/sim2edge/options").read_text().splitlines()
    assert options[1:] == [
        "--id pi-7",
        "--ring canary",
        "--home /var/lib/sim2edge",
        "--root /etc/sim2edge/root.json",
        "--source libcamera:0",
    ]
    assert stat.S_IMODE((card / "etc/sim2edge/secrets.env").stat().st_mode) == 0o600
    assert "very-secret" not in capsys.readouterr().out

    assert run([*words, "--hardware-watchdog"]) == 0
    assert content(card) == first
    assert "done:" not in capsys.readouterr().out.replace("unchanged:", "")


@needs_systemd
def test_a_changed_setting_and_a_damaged_file_are_all_that_a_second_installation_writes(words, tmp_path, capsys):
    card = tmp_path / "card"
    run(words)
    (card / "opt/sim2edge/launcher.py").write_text("broken")
    capsys.readouterr()
    assert run([*words, "--ring", "stable"]) == 0
    done = [line for line in capsys.readouterr().out.splitlines() if line.startswith("done:")]
    assert [line.split()[2] for line in done] == ["/opt/sim2edge/launcher.py", "/etc/sim2edge/options"]


def test_a_dry_run_prints_the_steps_and_writes_nothing(words, tmp_path, capsys):
    assert run([*words, "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "would do: write /etc/systemd/system/sim2edge.service" in printed
    assert "would do: run systemd-sysusers" in printed
    assert content(tmp_path / "card") == {}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (["--id", "Pi 7"], "--id 'Pi 7': expected 1 to 63 of a-z, 0-9, '-'"),
        (["--ring", "r" * 32], f"--ring '{'r' * 32}': expected 1 to 31 of a-z, 0-9, '-'"),
        (["--root", "nowhere.json"], "nowhere.json: No such file"),
        (["--env-file", "nowhere.env"], "nowhere.env"),
        (["--prefix", "nowhere"], "--prefix nowhere: no such folder"),
        (["--agent", __file__], "not a package of `sim2edge device pack`"),
        (["--arch", "aarch64"], "is for x86_64; this machine is aarch64"),
    ],
)
def test_what_is_wrong_is_one_line_and_nothing_is_written(words, change, says, tmp_path, capsys):
    if change[0] == "--arch" and platform.machine() == "aarch64":
        change, says = ["--arch", "x86_64"], "is for aarch64; this machine is x86_64"
    assert run([*words, *change]) == 2
    printed = capsys.readouterr()
    assert says in printed.err
    assert len(printed.err.strip().splitlines()) == 1
    assert content(tmp_path / "card") == {}


@pytest.mark.parametrize(
    ("programs", "code"), [(["python3", "python3.13"], 2), (["python3", "python3.11"], 0), ([], 0)]
)
def test_a_system_with_another_python_alone_is_refused_before_anything_is_written(
    words, programs, code, tmp_path, capsys
):
    for name in programs:
        (tmp_path / "card/usr/bin").mkdir(parents=True, exist_ok=True)
        (tmp_path / "card/usr/bin" / name).touch()
    before = content(tmp_path / "card")
    assert run([*words, "--dry-run"]) == code
    assert ("needs Python 3.11, which" in capsys.readouterr().err) == bool(code)
    assert content(tmp_path / "card") == before


@pytest.mark.parametrize("left", [".agent.old", ".agent.part"])
def test_an_agent_of_which_a_power_cut_left_only_a_hidden_copy_is_replaced(left, tmp_path):
    (tmp_path / "new").mkdir()
    (tmp_path / "new/file").write_text("new")
    (tmp_path / "card/opt" / left).mkdir(parents=True)
    step = CopyTree(tmp_path / "new", Path("/opt/agent"))
    assert not step.is_done(tmp_path / "card")
    step.carry_out(tmp_path / "card")
    assert step.is_done(tmp_path / "card")
    assert [path.name for path in (tmp_path / "card/opt").iterdir()] == ["agent"]


def test_the_old_agent_is_there_while_the_new_one_is_copied_after_such_a_power_cut(tmp_path, monkeypatch):
    (tmp_path / "new").mkdir()
    (tmp_path / "card/opt/.agent.old").mkdir(parents=True)
    monkeypatch.setattr(shutil, "copytree", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        CopyTree(tmp_path / "new", Path("/opt/agent")).carry_out(tmp_path / "card")
    assert [path.name for path in (tmp_path / "card/opt").iterdir()] == ["agent"]


@needs_systemd
def test_removal_leaves_settings_and_home_unless_they_go_too(words, tmp_path):
    card = tmp_path / "card"
    run(words)
    (card / "var/lib/sim2edge").mkdir(parents=True)
    (card / "var/lib/sim2edge/state").touch()
    assert run(["device", "uninstall", "--prefix", card]) == 0
    left = [name for name in content(card) if "sim2edge" in name]
    assert left == [
        "etc/sim2edge/options",
        "etc/sim2edge/root.json",
        "etc/sim2edge/secrets.env",
        "var/lib/sim2edge/state",
    ]
    assert run(["device", "uninstall", "--prefix", card, "--purge"]) == 0
    assert [name for name in content(card) if "sim2edge" in name] == []


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_systemd_finds_no_fault_in_the_unit_and_rates_it_as_safe(tmp_path):
    file = tmp_path / unit.SERVICE
    file.write_text(unit.UNIT)
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", file], capture_output=True, text=True, check=False
    )
    ours = [line for line in verified.stderr.splitlines() if unit.SERVICE in line]
    assert (verified.returncode, ours) == (0, [])
    rated = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=25", file],
        capture_output=True,
        text=True,
        check=False,
    )
    assert rated.returncode == 0, rated.stdout


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
@pytest.mark.parametrize("wrong", ["Restart=sometimes", "ProtectSystemm=strict", "WatchdogSec=soon"])
def test_systemd_would_find_a_fault(wrong, tmp_path):
    file = tmp_path / unit.SERVICE
    file.write_text(unit.UNIT.replace("[Service]", f"[Service]\n{wrong}"))
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", file], capture_output=True, text=True, check=False
    )
    assert unit.SERVICE in verified.stderr


@needs_systemd
def test_an_enrolment_is_all_that_a_device_needs_to_know_who_it_is(package, tmp_path, capsys):
    card = tmp_path / "card"
    (card / "etc").mkdir(parents=True)
    private, public = new_key()
    variables = {"SIM2EDGE_BUCKET": "b", "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "very-secret"}
    enrolled = Enrolment(
        device="pi-7", ring="stable", public_key=public, private_key=private, variables=variables, root="{}"
    )
    write_enrolment(tmp_path / "pi-7.enrolment", enrolled)
    words = ["device", "install", "--enrolment", tmp_path / "pi-7.enrolment", "--prefix", card, "--agent", package]
    assert run(words) == 0
    options = (card / "etc/sim2edge/options").read_text().splitlines()
    assert options[1:4] == ["--id pi-7", "--ring stable", "--home /var/lib/sim2edge"]
    assert "--enrolment /run/credentials/sim2edge.service/enrolment" in options
    assert read_enrolment(card / "etc/sim2edge/enrolment") == enrolled
    assert (card / "etc/sim2edge/root.json").read_text() == "{}"
    assert "AWS_ACCESS_KEY_ID=key" in (card / "etc/sim2edge/secrets.env").read_text()
    for name in ("enrolment", "secrets.env"):
        assert stat.S_IMODE((card / "etc/sim2edge" / name).stat().st_mode) == 0o600
    said = capsys.readouterr().out
    assert "very-secret" not in said
    assert "PRIVATE" not in said
    assert run([*words, "--id", "pi-8"]) == 2
    assert "is of pi-7" in capsys.readouterr().err


@pytest.mark.parametrize("left_out", ["--id", "--root", "--env-file"])
def test_without_an_enrolment_each_part_is_asked_for(words, capsys, left_out):
    place = words.index(left_out)
    assert run([*words[:place], *words[place + 2 :]]) == 2
    assert f"{left_out} is missing: give it, or an --enrolment" in capsys.readouterr().err
