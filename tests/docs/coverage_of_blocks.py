"""Says of each shell block in the documentation how it is tested; a new block has to be added here.

`Run`: `test_run_blocks.py` runs it on a stack of its own. `By`: a test or a suite of CI runs the same commands.
`Excluded`: nothing runs it, for this reason.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Run:
    """Is run by bash as it stands, but for what has to differ from machine to machine."""

    replace: Mapping[str, str] = field(default_factory=dict)
    code: int = 0
    says: str = ""
    """What its output contains."""
    needs: str = ""
    """A program that not every machine has: without it the block is skipped."""


@dataclass(frozen=True)
class By:
    """Is run by tests of these names, `path::function`, or by suites of ci/suites.toml."""

    tests: tuple[str, ...]


@dataclass(frozen=True)
class Excluded:
    """Is not run."""

    reason: str


How = Run | By | Excluded

CLUSTER = "needs a Kubernetes cluster; the files are tested by tests/plugins/test_kubernetes_manifests.py"
FIRST = ("README.md", "PATH=$PWD/.venvs/stages/bin:$PATH")
"""The block that starts the stack of the others."""
ENOUGH_TO_LEARN_FROM = "capture.episodes=14 capture.episode_seconds=2"
MONTH_OF_DAYS = {"2026-01-30": "2026-01-02", '"preset": "demo"': '"preset": "tiny"'}

BLOCKS: Mapping[tuple[str, str], How] = {
    ("docs/annotate.md", "sim2edge annotate labels/ --partition office-1 floor=wood"): By(
        ("tests/annotate/test_delivery.py", "tests/annotate/test_refusals.py")
    ),
    ("docs/raspberry-pi.md", "make wheel"): By(("tests/edge/pi/test_self_update.py",)),
    ("docs/raspberry-pi.md", "mkdir agent && tar -xf agent-0.1.0-aarch64.tar.zst -C agent"): By(
        ("tests/edge/pi/test_install.py",)
    ),
    ("docs/raspberry-pi.md", "sim2edge ota push-agent agent-0.2.0-aarch64.tar.zst --ring canary"): By(
        ("tests/push/test_agents.py",)
    ),
    ("README.md", "make demo"): By(("demo", "test")),
    FIRST: Run({"--preset demo": f"--preset tiny {ENOUGH_TO_LEARN_FROM}"}, says="/dags/sim_capture/runs/"),
    ("README.md", "sim2edge capture --partition lab-7 episodes=20 lidar.beams=720"): Run(says="identical"),
    ("README.md", "make images"): By(("compose", "image-airflow")),
    ("dags/sim_capture_dag.py", "sim2edge trigger sim_capture --partition demo-1 --preset demo"): Run(
        {"--preset demo": f"--preset tiny {ENOUGH_TO_LEARN_FROM}"}, says="/dags/sim_capture/runs/"
    ),
    (
        "dags/sim_capture_dag.py",
        "sim2edge airflow backfill create --dag-id sim_capture --from-date 2026-01-01 --to-date 2026-01-07",
    ): Run({"2026-01-01": "2025-12-01", "2026-01-07": "2025-12-02"}),
    ("docs/backfills.md", "sim2edge trigger sim_capture --partition lab-9 --preset demo clean.width=64"): Run(
        {"--preset demo": "--preset tiny"}, says="/dags/sim_capture/runs/"
    ),
    ("docs/backfills.md", "URL=$SIM2EDGE_AIRFLOW_URL TOKEN=$SIM2EDGE_AIRFLOW_TOKEN"): Run(
        {'"preset": "demo"': '"preset": "tiny"', "curl": "curl --fail --silent"}, says='"partition_key":"lab-10"'
    ),
    (
        "docs/backfills.md",
        "sim2edge airflow backfill create --dag-id sim_capture --from-date 2026-01-01 --to-date 2026-01-30 --dry-run",
    ): Run(MONTH_OF_DAYS, says="2026-01-02"),
    ("docs/capture.md", "sim2edge capture --partition lab-8 camera.backend=egl camera.renderer=any"): Run(
        code=2, says="camera"
    ),
    ("docs/celery.md", "airflow celery worker"): By(("celery",)),
    ("docs/fleet-keys.md", "sim2edge ota status"): By(("tests/push/test_run.py",)),
    (
        "docs/fleet-keys.md",
        "docker run --rm -i -v sim2edge_ota-root-keys:/keys --entrypoint tar sim2edge/push:0.1.0 -C /keys -x "
        "< root-keys.tar",
    ): Excluded("puts the root keys of a deployment back on its machine; needs the system in containers"),
    ("docs/fleet-keys.md", "sim2edge ota rotate-root --replace timestamp-1a2b3c4d"): By(
        ("tests/push/test_repository.py",)
    ),
    (
        "docs/fleet-load.md",
        "python -m benchmarks.fleet_load --interval 300 --idle-requests 2 --idle-bytes 740 --rollout-requests 4 "
        "--rollout-bytes 227000",
    ): By(("tests/benchmarks/test_fleet_load.py",)),
    (
        "docs/fleet-load.md",
        "sim2edge device run --id pi-7 --home /data --root root.json --source 0 "
        "--mirror https://updates.example.org/ota",
    ): By(("tests/edge/server/test_mirror.py",)),
    ("docs/compose.md", "make images"): By(("compose", "image-airflow")),
    (
        "docs/compose.md",
        "docker run --rm -v sim2edge_ota-root-keys:/keys:ro --entrypoint tar sim2edge/push:0.1.0 -C /keys -c . "
        "> root-keys.tar",
    ): Excluded("moves the root keys of a deployment off its machine; needs the system in containers"),
    (
        "docs/connections.md",
        "sim2edge airflow connections add docker_default --conn-type docker --conn-host registry.example:5000 "
        "--conn-login ann --conn-password ...",
    ): Run(says="added"),
    (
        "docs/device-profiles.md",
        "python -m sim2edge.export.measure_profile release/demo-1/<id> x86-64 --keep /tmp/release",
    ): Run(
        {
            "python -m": "SIM2EDGE_CONF=kept python -m",  # not into the checkout's conf/
            "release/demo-1/<id>": "$RELEASE",
            "--keep /tmp/release": "--keep release",
            "scp -r /tmp/release pi@robot:": "ls release/bundle.tar",
        },
        says="x86-64.yaml",
    ),
    ("docs/device-profiles.md", "python -m sim2edge.edge.judgement.preflight /data/slots/b --rate 10"): By(
        ("tests/edge/judgement/test_preflight.py",)
    ),
    (
        "docs/device-profiles.md",
        "SIM2EDGE_CONF=. python -m sim2edge.export.measure_profile release raspberry-pi-4",
    ): Run(says="raspberry-pi-4.yaml"),
    ("docs/enrol.md", "sim2edge device enrol --id pi-7 --ring canary --endpoint https://s3.example.org"): By(
        ("tests/enrol/test_device_commands.py",)
    ),
    ("docs/enrol.md", "sim2edge device run --home /data --enrolment pi-7.enrolment --source 0"): By(
        ("tests/edge/test_device.py",)
    ),
    ("docs/enrol.md", "sim2edge device keygen --home /data"): By(("tests/enrol/test_device_commands.py",)),
    ("docs/enrol.md", "sim2edge device move pi-7 --ring stable"): By(("tests/enrol/test_device_commands.py",)),
    ("docs/enrol.md", 'sim2edge device revoke pi-7 --reason "lost in the field"'): By(
        ("tests/enrol/test_device_commands.py",)
    ),
    ("docs/flywheel.md", "sim2edge lineage refs/rings/canary"): Run(
        {"episodes/lab-7/<id>": "refs/batches/demo-1"}, says="rollout/demo-1/"
    ),
    ("docs/images.md", "make images"): By(("image-airflow", "image-device", "arm64", "sbom", "audit")),
    ("docs/images.md", "docker buildx imagetools inspect python:3.11-slim-bookworm"): Excluded("needs a registry"),
    ("docs/images.md", "ci/engine.sh && ci/base.sh"): By(("image-airflow",)),
    ("docs/datasets.md", "sim2edge ingest lekiwi/ --partition kitchen-1"): By(("datasets",)),
    ("docs/ingest.md", "sim2edge ingest logs/ --partition lab-1"): Run(
        {"logs/ --partition lab-1 topics": "other-logs/ --partition lab-2 topics"}, says="episodes/lab-2/"
    ),
    ("docs/s3.md", "sim2edge check"): Run(says="all ok"),
    ("docs/kubernetes.md", "export SIM2EDGE_KEYS=$PWD/keys"): Run(
        {"$PWD/keys": "$SIM2EDGE_HOME/keys"}, says="already exists: ota/"
    ),
    ("docs/kubernetes.md", "kubectl apply -k containers/kubernetes"): Excluded(CLUSTER),
    ("docs/kubernetes.md", 'for stage in $(sim2edge stages | cut -d" " -f1); do'): Run(
        {
            "for stage": 'kubectl() { command kubectl "$@" --dry-run=client --output name; }; for stage',
            "$SIM2EDGE_CREDENTIALS": "$SIM2EDGE_HOME/credentials",
            "kubectl -n sim2edge create secret docker-registry registry ...": "",
        },
        says="secret/airflow-jwt-secret",
        needs="kubectl",
    ),
    ("docs/kubernetes.md", "helm repo add apache-airflow https://airflow.apache.org"): Excluded(CLUSTER),
    ("docs/pictures.md", 'sim2edge note refs/models/champion --name "spring fair" --star'): Run(
        {"3f2a9c0d11e4b7a6": "refs/frames/demo-1"}, says="trained without the blurred batches"
    ),
    ("docs/provider.md", "make wheel"): By(("tests/plugins/test_provider_install.py", "provider")),
    ("docs/operating.md", 'sim2edge hold --reason "new disks for S3" --wait'): Run(says="resumed "),
    ("docs/retention.md", "sim2edge gc"): Run(says="to retire"),
    ("docs/stages.md", "python -m build --wheel --outdir dist"): Excluded(
        "needs the images; the package itself is tested by tests/core/test_new_stage.py"
    ),
    ("docs/testing.md", "git commit ..."): By(("tests/ci/test_suites.py",)),
    ("docs/testing.md", "ci/engine.sh"): By(("demo", "test")),
    (
        "docs/testing.md",
        "root=$(docker inspect --format '{{.GraphDriver.Data.MergedDir}}' \"$(docker ps --quiet --filter "
        'name=sim2edge-bare)")',
    ): Excluded("watches the bare machine by hand, until Ctrl-C"),
    ("docs/webots.md", "sim2edge webots selftest"): Excluded("needs Webots; without it: tests/capture/webots"),
    ("docs/webots.md", "sim2edge capture --partition farm-1 simulator=webots episodes=200"): Excluded("needs Webots"),
    ("docs/webots.md", "sim2edge webots world --output room --batch farm-1 --index 7"): Run(says="episode.wbt"),
    ("docs/withdraw.md", "sim2edge withdraw farm-7 --dry-run"): Run(
        {"farm-7 --erase": "lab-1 --reason drill --erase", "farm-7": "lab-2"}, says="lab-2"
    ),
    ("docs/webots.md", "docker buildx bake --file containers/bake.hcl capture-webots"): Excluded(
        "needs a registry with Webots' image"
    ),
}
