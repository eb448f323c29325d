#!/usr/bin/env bash
# Run each part's tests inside its built image, as deployed: its user, a read-only root, no capabilities, no network.
#
#     scripts/test_images.sh               # every image
#     scripts/test_images.sh train device  # some; run `make images` first
#
# The images contain neither tests nor pytest: both are mounted, read-only.
set -euo pipefail
cd "$(dirname "$0")/.."

docker=${DOCKER:-docker}
mkdir -p build
tools=$(mktemp --directory --tmpdir="$PWD/build" test-tools.XXXXXX) # unique, for concurrent runs
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
tag=${SIM2EDGE_TAG:-$version}
stages=$(sed -n 's/.*"name": "\([a-z0-9]*\)".*/\1/p' containers/images.json | tr '\n' ' ')
hardened=(--rm --label "sim2edge.test-images=$$" --read-only --tmpfs /tmp --user 10001:10001 --cap-drop ALL --security-opt no-new-privileges
  --network none --memory 4g --memory-swap 4g --pids-limit 512 --volume /scratch --volume /run/sim2edge)
failed=()
clear_away() {
  "$docker" ps --all --quiet --filter "label=sim2edge.test-images=$$" | xargs -r "$docker" rm --force --volumes >/dev/null
  rm -rf "$tools" "$tools.tar" "$tools.log"
}
trap clear_away EXIT

fail() { echo "test-images: $1" >&2; exit 2; }

# pytest's folder is last on the path, so that the image's own packages are tested.
launcher='import sys; sys.path.append("/test-tools/site"); import pytest; sys.exit(pytest.main(sys.argv[1:]))'

run_tests() { # image root-of-the-tests marks folders...
  local image=$1 root=$2 marks=$3
  shift 3
  "$docker" run "${hardened[@]}" --init --entrypoint python \
    --volume "$tools:/test-tools:ro" --volume "$PWD/tests:$root/tests:ro" --volume "$PWD/docs:$root/docs:ro" \
    --volume "$PWD/benchmarks:$root/benchmarks:ro" --volume "$PWD/scripts:$root/scripts:ro" \
    --volume "$PWD/containers/kubernetes:$root/containers/kubernetes:ro" \
    --volume "$PWD/pyproject.toml:$root/pyproject.toml:ro" --workdir "$root" \
    --env HYPOTHESIS_STORAGE_DIRECTORY=/tmp/hypothesis --env PATH=/opt/sim2edge/bin:/usr/local/bin:/usr/bin:/bin:/test-tools/bin \
    "sim2edge/$image:$tag" -c "$launcher" -p no:cacheprovider -m "$marks" "$@"
}

# Without the mounted tools: every import of the part has to be in its image.
import_all() { # image packages...
  local image=$1
  shift
  "$docker" run "${hardened[@]}" --entrypoint python "sim2edge/$image:$tag" -c '
import importlib, pkgutil, sys
for package in map(importlib.import_module, sys.argv[1:]):
    for module in pkgutil.walk_packages(getattr(package, "__path__", []), package.__name__ + "."):
        importlib.import_module(module.name)
' "$@"
}

serve() { # image, arguments of docker run and the command...; its health check has to pass
  local image=$1 id state
  shift
  id=$("$docker" run "${hardened[@]/--rm/--detach}" --volume /data --health-start-period 1s --health-interval 1s "$@")
  for _ in $(seq 60); do
    state=$("$docker" inspect --format '{{.State.Status}} {{.State.Health.Status}}' "$id")
    if [ "$state" = "running healthy" ] || [ "${state%% *}" != running ]; then break; fi
    sleep 1
  done
  [ "$state" = "running healthy" ] || "$docker" logs "$id"
  "$docker" rm --force --volumes "$id" >/dev/null
  echo "$image: $state"
  [ "$state" = "running healthy" ]
}

test_image() {
  local name=$1 image="sim2edge/$1:$tag" quick="not slow and not engine"
  case "$name" in
    # Without the tests that need MLflow's SQLite store or its server: the image has only MLflow's client.
    train) import_all train sim2edge.train && run_tests train /opt/sim2edge "$quick" tests/train \
      --ignore tests/train/test_mlflow_tracking.py --ignore tests/train/test_mlflow_model.py ;;
    validate) import_all validate sim2edge.validate && run_tests validate /opt/sim2edge "$quick" tests/validate \
      --ignore tests/validate/test_mlflow_tracking.py \
      --deselect tests/validate/test_run.py::test_mlflow_learns_which_model_is_accepted_and_which_is_champion ;;
    # Without the tests that follow a batch through several stages: each image has one stage.
    capture) import_all capture sim2edge.capture && run_tests capture /opt/sim2edge "$quick" tests/capture \
      --deselect tests/capture/test_gather.py::test_gathered_from_shards_it_is_the_same_batch ;;
    ingest) import_all ingest sim2edge.ingest && run_tests ingest /opt/sim2edge "$quick" tests/ingest \
      --ignore tests/ingest/test_through_clean.py --ignore tests/ingest/test_round_trip.py \
      --deselect tests/ingest/test_inbox.py::test_a_batch_of_the_simulator_is_not_taken_over ;;
    augment) import_all augment sim2edge.augment && run_tests augment /opt/sim2edge "$quick" tests/augment \
      --ignore tests/augment/test_stages.py ;;
    device) import_all device sim2edge.edge && run_tests device /opt/sim2edge "not engine" tests/edge ;;
    export) import_all export sim2edge.export && run_tests export /opt/sim2edge "not engine" tests/export ;;
    device-tflite) import_all device-tflite sim2edge.edge tflite_runtime.interpreter ;;
    # Its tests put a stand-in for the stages' Python into /tmp, which is noexec otherwise.
    airflow) (
      hardened=("${hardened[@]/#\/tmp/\/tmp:exec}")
      run_tests airflow /opt/airflow "$quick" tests/plugins tests/dags
    ) ;;
    engine-proxy) import_all engine-proxy sim2edge.engine_proxy ;;
    s3) serve s3 --entrypoint sh "$image" -c \
      'sim2edge access init --credentials /data/keys >/dev/null && exec sim2edge s3 serve --home /data/s3 --credentials /data/keys' ;;
    mlflow) serve mlflow --env MLFLOW_AUTH_ADMIN_PASSWORD=only-for-this-test --env MLFLOW_FLASK_SERVER_SECRET_KEY=test \
      --env SIM2EDGE_BUCKET=sim2edge --env AWS_ENDPOINT_URL=http://127.0.0.1:9 --env AWS_ACCESS_KEY_ID=a \
      --env AWS_SECRET_ACCESS_KEY=b --env AWS_REGION=us-east-1 "$image" ;;
    *) import_all "$name" "sim2edge.$name" && run_tests "$name" /opt/sim2edge "$quick" "tests/$name" ;;
  esac
}

# As one stream: `type=local` sends files in parallel, and was observed to deadlock.
"$docker" buildx build --progress plain --file containers/Dockerfile --target test-tools --output "type=tar,dest=$tools.tar" \
  ${BASE_IMAGE:+--build-arg "BASE_IMAGE=$BASE_IMAGE"} ${WHEELHOUSE_IMAGE:+--build-arg "WHEELHOUSE_IMAGE=$WHEELHOUSE_IMAGE"} . 2>"$tools.log" || fail "$(tail -n 5 "$tools.log")"
tar -xf "$tools.tar" -C "$tools"
rm "$tools.tar"

chmod 755 "$tools"
[ $# -gt 0 ] || set -- $stages device device-tflite airflow mlflow s3 engine-proxy
for name in "$@"; do
  "$docker" image inspect "sim2edge/$name:$tag" >/dev/null 2>&1 || fail "no image sim2edge/$name:$tag: make images"
  started=$(date +%s)
  echo "== $name"
  test_image "$name" || failed+=("$name")
  echo "== $name: $(($(date +%s) - started)) s"
done
[ ${#failed[@]} -eq 0 ] || fail "failed: ${failed[*]}"
