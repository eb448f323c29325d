"""Manage which model is accepted and which is champion: two refs on the bus, mirrored to MLflow aliases.

    refs/models/accepted    the last model that passed `validate`: a candidate, until it is released
    refs/models/champion    the model that was released last, by `push`: new models are compared with it

The refs are authoritative and move by compare-and-swap. MLflow is updated when `MLFLOW_TRACKING_URI` is set; if it
cannot be reached, a warning is logged and nothing else fails.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from sim2edge.bus import Bus
from sim2edge.errors import BadInput, Conflict
from sim2edge.manifest import Manifest, split_reference
from sim2edge.stage import Progress
from sim2edge.withdrawal import Withdrawn

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

CHAMPION_REF = "refs/models/champion"
ACCEPTED_REF = "refs/models/accepted"
REGISTERED_MODEL = "perception"
ARTIFACT_TAG = "sim2edge.artifact"
"""Tag of runs and model versions in MLflow: the artifact's reference."""

CLIENT_SETTINGS = {
    # Its own defaults retry for minutes; tracking may not hold up the work that it tracks.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # Standard output belongs to the stage's own JSON lines.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}

TRIES = 3
SECONDS_BETWEEN_TRIES = 2.0


def choose_champion(bus: Bus, references: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """Fill the roles that a verdict compares with, and the model's training data, as far as they were not given.

    `champion`: the current one. `best`: the models that were best in some metric by the verdict that accepted the
    champion. If the model itself is champion, both are as they were when it was accepted, so that validating it
    again is the same run. `trained_on`: the model's dataset. Artifacts no longer on the bus are left out, and models
    that learned from a batch that is withdrawn.

    Raises:
        BadInput: the given champion is the model itself.
    """
    (model,) = references["model"]
    if model in references["champion"]:
        raise BadInput(f"validate: input 'champion' is the model itself, {model}: name another, or none")
    champion, best = find_rivals(bus, model)
    compared = references["champion"] or champion
    return {
        **references,
        "champion": compared,
        "best": references["best"] or sorted(set(best) - {model, *compared}),
        "trained_on": references["trained_on"] or find_training_data(bus, model),
    }


def choose_judged(bus: Bus, references: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """Fill in the dataset of an export: the one on which the verdict evaluated the model.

    Raises:
        BadInput: the verdict is not on the bus, is about another model, or records no dataset.
    """
    (model,), (verdict,) = references["model"], references["verdict"]
    inputs = bus.open(verdict).inputs
    if inputs.get("model") != [model]:
        raise BadInput(f"export: {verdict} is about {', '.join(inputs.get('model', ())) or 'no model'}, not {model}")
    if not inputs.get("dataset"):
        raise BadInput(f"export: {verdict} records no dataset: --input dataset=<reference>")
    return {**references, "dataset": inputs["dataset"]}


def find_rivals(bus: Bus, model: str) -> tuple[Sequence[str], Sequence[str]]:
    """Return the champion to beat and the models with the best value of a metric; only usable ones."""
    withdrawn, ref = Withdrawn(bus), bus.read_ref(CHAMPION_REF)
    if ref is None:
        return [], []
    accepted = find_acceptances(bus, ref.target)
    champion: Sequence[str]
    best: Sequence[str]
    if ref.target == model:
        inputs = judged_as_rival(accepted)
        champion, best = inputs.get("champion", []), inputs.get("best", [])
    else:
        champion = [ref.target]
        best = list(accepted[-1].summary.get("best", {}).values()) if accepted else []
    champion = [each for each in champion if is_usable(bus, each, withdrawn)]
    return champion, [each for each in best if is_usable(bus, each, withdrawn)]


def judged_as_rival(accepted: Sequence[Manifest]) -> Mapping[str, Sequence[str]]:
    """Return the inputs of the first verdict that accepted a model: it was released on it."""
    return accepted[0].inputs if accepted else {}


def is_usable(bus: Bus, model: str, withdrawn: Withdrawn) -> bool:
    """Return whether a model is on the bus and derives from no withdrawn batch: others are no standard for new ones."""
    return bus.exists(model) and withdrawn.find(model) is None


def find_acceptances(bus: Bus, model: str) -> Sequence[Manifest]:
    """Return the verdicts that accepted a model, oldest first.

    A verdict is filed under the latest partition among its inputs, so verdicts before the model's own are skipped.
    """
    since = split_reference(model)[1]
    found = [m for batch in bus.folders("verdict") if batch >= since for m in bus.manifests("verdict", batch)]
    accepted = [m for m in found if not m.refused and m.inputs.get("model") == [model]]
    return sorted(accepted, key=lambda manifest: manifest.finished)


def find_training_data(bus: Bus, model: str) -> Sequence[str]:
    """Return the dataset that a model was trained on, if both are on the bus."""
    manifest = bus.find(model)
    return [each for each in manifest.inputs.get("dataset", []) if bus.exists(each)] if manifest else []


def accept(bus: Bus, manifest: Manifest, progress: Progress) -> None:
    """Record the model of a passed verdict as accepted, if it was compared with the champion and the best models.

    Raises:
        BadInput: a batch that it, or the verdict, derives from was withdrawn.
    """
    (model,) = manifest.inputs["model"]
    if manifest.refused:
        return
    withdrawn = Withdrawn(bus)
    withdrawn.check_artifact(manifest.reference)
    compared = next(iter(manifest.inputs.get("champion", [])), None)
    champion, accepted = bus.read_ref(CHAMPION_REF), bus.read_ref(ACCEPTED_REF)
    now = champion.target if champion and is_usable(bus, champion.target, withdrawn) else None
    if now not in (compared, model):
        progress.log(f"{model} passed, but the champion is {now} now: not accepted", compared_with=compared)
        return
    unbeaten = {*find_rivals(bus, model)[1]} - {model, compared, *manifest.inputs.get("best", [])}
    if now != model and unbeaten:
        progress.log(f"{model} passed, but was not compared with the best, {', '.join(sorted(unbeaten))}: not accepted")
        return
    try:
        bus.move_ref(ACCEPTED_REF, model, expected=accepted)
    except Conflict:
        progress.log(f"{model} passed, but another was accepted meanwhile: not accepted", compared_with=compared)
        return
    Withdrawn(bus).check_artifact(manifest.reference)  # withdrawn meanwhile: it is no standard then
    if now != model:
        progress.log(f"{model} is accepted; it is champion once it is released", champion=now)
    set_alias(model, "accepted", progress)
    if now:
        set_alias(now, "champion", progress)


def crown(bus: Bus, release: Manifest, progress: Progress) -> None:
    """Make the model of a published release champion, in MLflow, too, where this process may write to it.

    A stage that signs releases has no login to MLflow: its alias follows at the next validation (`accept`).
    """
    for model in release.inputs.get("model", ()):
        before = bus.read_ref(CHAMPION_REF)
        bus.move_ref(CHAMPION_REF, model)
        if before is None or before.target != model:
            progress.log(f"{model} is champion", previous=before.target if before else None)
        if may_track():
            set_alias(model, "champion", progress)


def may_track() -> bool:
    """Return whether this process has MLflow's client, and a store that needs no login or the login to a server."""
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    login = any(os.environ.get(name) for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_TOKEN"))
    return bool(uri) and (login or not uri.startswith("http")) and find_spec("mlflow") is not None


def set_alias(model: str, alias: str, progress: Progress) -> None:
    """Point MLflow's `alias` of the registered model to the version made from artifact `model`."""
    client = mlflow_client()
    if client is None:
        return

    def point() -> None:
        version = find_version(client, model)
        if version is None:
            progress.log(f"WARNING: MLflow has no version of {model}: alias '{alias}' is unchanged")
        else:
            client.set_registered_model_alias(REGISTERED_MODEL, alias, version.version)

    reach_mlflow(point, f"alias '{alias}' is not set", progress)


def find_version(client: "MlflowClient", model: str) -> "ModelVersion | None":
    """Return the registered version made from artifact `model`."""
    found = client.search_model_versions(f"name = '{REGISTERED_MODEL}' and tags.`{ARTIFACT_TAG}` = '{model}'")
    return next(iter(found), None)


def mlflow_client() -> "MlflowClient | None":
    """Return a client of the tracking server; None when none is configured."""
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        return None
    for name, value in CLIENT_SETTINGS.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    return MlflowClient(uri)


def reach_mlflow(action: Callable[[], object], otherwise: str, progress: Progress, tries: int = TRIES) -> bool:
    """Run an action on MLflow, with a few retries; return whether it worked, and log a warning if it did not."""
    for remaining in reversed(range(tries)):
        try:
            action()
            return True
        except Exception as error:  # no failure of a tracking server may stop the work
            if remaining:
                time.sleep(SECONDS_BETWEEN_TRIES)
            else:
                progress.log(f"WARNING: MLflow failed, {otherwise}: {type(error).__name__}: {error}".splitlines()[0])
    return False
