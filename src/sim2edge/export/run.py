"""Run the export stage: export every form, compare, choose, bundle; then time the forms beside the payload."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from sim2edge.config import cache_key_fields
from sim2edge.edge.bundle import Bundle, unpack_bundle, write_bundle
from sim2edge.edge.detector.footprint import measure_footprint
from sim2edge.edge.judgement import preflight
from sim2edge.edge.judgement.preflight import Preflight
from sim2edge.edge.obstacle_detector import ObstacleDetector
from sim2edge.errors import BadInput
from sim2edge.export.budgets import state_cpu_ms, state_memory
from sim2edge.export.choose import Choice, Target, Variant, choose, make_target
from sim2edge.export.config import ExportConfig
from sim2edge.export.device_network import ChannelsLast, TorchRuntime, example_input
from sim2edge.export.forms import FORMS
from sim2edge.export.judged import camera_images, find_lack, keep_boxes, read_not_judged, spread
from sim2edge.export.latency import install_forms, measure_latency
from sim2edge.export.model_card import write_card
from sim2edge.export.parity import Outputs, Quality, measure_distance, measure_quality, rounded
from sim2edge.export.release_bundle import Checks, ReleaseFacts, assemble
from sim2edge.export.self_test_pictures import choose_pictures, read_pictures
from sim2edge.export.variants import export_all, open_form, run_all
from sim2edge.recipes import load_network
from sim2edge.recipes.perception_frames import DatasetTable, Frames, read_frames
from sim2edge.stage import Artifact, Job, Outcome

STEPS = len(FORMS) + 4


def run(job: Job[ExportConfig]) -> Outcome:
    """Export the model, and bundle the cheapest form that is as good as the trained network within the limits."""
    model, verdict, dataset = (job.input(role) for role in ("model", "verdict", "dataset"))
    facts = collect_facts(job, read_json(model, "model.json"), check_verdict(verdict, model, dataset))
    if lack := find_lack(facts.not_judged, facts.classes, facts.floors, job.config.limits):
        return Outcome({"not_judged": asdict(facts.not_judged)}, refused=f"too little may be announced: {lack}")
    table = read_table(dataset, facts)
    frames = keep_boxes(read_frames(dataset.path("test.parquet"), table), facts.announced)
    test = spread(frames, job.config.parity_frames)
    trained_network = export_forms(job, table)
    trained_outputs = run_all(trained_network, camera_images(test))
    trained = measure_quality(trained_outputs, test, facts.device_postprocess, facts.classes)
    variants = compare(job, facts, test, trained_outputs)
    job.progress.update(len(FORMS) + 2, STEPS)
    target = make_target(job.config, facts.recipe, facts.network)
    choice = choose(variants, trained, job.config, target)
    write_report(job, choice, variants, trained, target)
    write_differences(job, variants)
    job.progress.update(len(FORMS) + 3, STEPS)
    if choice.chosen is None:
        reasons = "; ".join(f"{name} {reason}" for name, reason in choice.reasons.items())
        return Outcome({"variants": len(variants)}, refused=f"no variant may be released: {reasons}")
    chosen_file = variants_folder(job) / choice.chosen.file
    cpu_ms = state_cpu_ms(target.latency_ms.get(choice.chosen.name), target.rate_hz)
    checks = Checks(cpu_ms, read_pictures(dataset.path("test.parquet"), choose_pictures(frames)))
    about = read_json(dataset, "dataset.json")
    card = write_card(facts, choice.chosen, target, trained, about, len(test), state_memory(chosen_file), cpu_ms)
    members = assemble(facts, chosen_file, release_metrics(choice.chosen), card, checks)
    write_bundle(job.output / "bundle.tar", members)
    measure(job, test, target.rate_hz)
    job.progress.update(STEPS, STEPS, chosen=choice.chosen.name)
    return Outcome(summarise(job, choice.chosen, choice, target, facts))


def check_verdict(verdict: Artifact, model: Artifact, dataset: Artifact) -> dict[str, Any]:
    """Check that `verdict` passes `model` on `dataset`, and return its content.

    Raises:
        BadInput: it does not, or it is about another model or dataset.
    """
    for role, given in (("model", model), ("dataset", dataset)):
        judged = verdict.manifest.inputs.get(role, [])
        if judged != [given.manifest.reference]:
            about = ", ".join(judged) or f"no {role}"
            raise BadInput(f"{verdict.manifest.reference}: is about {about}, not {given.manifest.reference}")
    content = read_json(verdict, "verdict.json")
    if content.get("passed") is not True:
        raise BadInput(f"{verdict.manifest.reference}: {model.manifest.reference} did not pass validation")
    return content


def read_json(artifact: Artifact, name: str) -> dict[str, Any]:
    """Return the content of a JSON file of `artifact`.

    Raises:
        BadInput: it is missing, or not a JSON object.
    """
    try:
        content = json.loads(artifact.path(name).read_bytes())
    except ValueError as error:
        raise BadInput(f"{artifact.manifest.reference}/{name}: not JSON: {error}") from error
    if not isinstance(content, dict):
        raise BadInput(f"{artifact.manifest.reference}/{name}: not a JSON object")
    return content


def collect_facts(job: Job[ExportConfig], described: dict[str, Any], verdict: dict[str, Any]) -> ReleaseFacts:
    """Return the facts of the release.

    Args:
        job: the run.
        described: content of `model.json`.
        verdict: content of `verdict.json`.

    Raises:
        BadInput: `model.json` lacks a field, or the verdict names unknown classes.
    """
    manifests = {role: job.input(role).manifest for role in ("model", "verdict", "dataset")}
    judged = f"{manifests['verdict'].reference}/verdict.json"
    try:
        classes, floors = described["classes"], described["floors"]
        return ReleaseFacts(
            release=job.reference.rpartition("/")[2],
            recipe=described["recipe"],
            network=described["network"],
            classes=classes,
            floors=floors,
            not_judged=read_not_judged(verdict, classes, floors, judged),
            postprocess=described["postprocess"],
            lineage={role: manifest.reference for role, manifest in manifests.items()},
            config={
                "export": cache_key_fields(job.config),
                "train": manifests["model"].config,
            },
        )
    except KeyError as error:
        raise BadInput(f"{manifests['model'].reference}/model.json: field {error} is missing") from error


def read_table(dataset: Artifact, facts: ReleaseFacts) -> DatasetTable:
    """Return the content of `dataset.json`.

    Raises:
        BadInput: the model was trained for other classes or floors.
    """
    table = DatasetTable.read(dataset.path("dataset.json"))
    for what, ours, theirs in (("classes", facts.classes, table.classes), ("floors", facts.floors, table.floors)):
        if list(ours) != list(theirs):
            raise BadInput(f"{dataset.manifest.reference}/dataset.json: {what}: not those of {facts.lineage['model']}")
    return table


def export_forms(job: Job[ExportConfig], table: DatasetTable) -> TorchRuntime:
    """Write every form into the output's `variants/`, and return the trained network to compare them with."""
    torch.set_num_threads(job.config.threads)  # more threads gain nothing on single images, and cost time spinning
    network = load_network(job.input("model").folder)
    validation = read_frames(job.input("dataset").path("validation.parquet"), table)
    calibration = camera_images(spread(validation, job.config.calibration_frames))
    variants_folder(job).mkdir()
    exports = export_all(
        network, table.height, table.width, calibration, variants_folder(job), job.scratch / "converters.log"
    )
    for done, name in enumerate(exports, start=1):
        job.progress.update(done, STEPS, exported=name)
    return TorchRuntime(ChannelsLast(network), example_input(table.height, table.width))


def variants_folder(job: Job[ExportConfig]) -> Path:
    """Return the folder of the exported files."""
    return job.output / "variants"


def compare(job: Job[ExportConfig], facts: ReleaseFacts, test: Frames, trained: Outputs) -> list[Variant]:
    """Compare every form with the trained network and the truth."""
    images = camera_images(test)
    height, width = test.images.shape[1:3]
    variants = []
    for form in FORMS:
        outputs = run_all(open_form(form, variants_folder(job), height, width, job.config.threads), images)
        variants.append(
            Variant(
                name=form.name,
                file=form.file,
                precision=form.precision,
                bytes=(variants_folder(job) / form.file).stat().st_size,
                on_device=form.on_device,
                quality=measure_quality(outputs, test, facts.device_postprocess, facts.classes),
                distance=measure_distance(outputs, trained, facts.device_postprocess, len(facts.classes)),
            )
        )
    return variants


def release_metrics(chosen: Variant) -> dict[str, float | None]:
    """Return the metrics stored in a release."""
    quality = chosen.quality
    return {
        "floor_accuracy": round(quality.floor_accuracy, 4),
        "map50": None if quality.map50 is None else round(quality.map50, 4),
        "f1": round(quality.f1, 4),
        "agreement": round(chosen.distance.agreement, 4),
    }


def write_report(
    job: Job[ExportConfig], choice: Choice, variants: list[Variant], trained: Quality, target: Target
) -> None:
    """Write `export_report.json`: every variant, the rules applied to it, and why it was chosen or not."""
    report = {
        "chosen": choice.chosen.name if choice.chosen else None,
        "device_class": target.device_class,
        "latency_budget_ms": target.budget_ms,
        "measured": target.measured,
        "trained": rounded(trained),
        "variants": [describe_variant(variant, choice, target) for variant in variants],
    }
    write_json(job.output / "export_report.json", report)


def describe_variant(variant: Variant, choice: Choice, target: Target) -> dict[str, Any]:
    """Return the report's entry of a variant.

    The differences of its raw outputs are a measurement, see `write_differences`.
    """
    return {
        "name": variant.name,
        "file": variant.file,
        "precision": variant.precision,
        "bytes": variant.bytes,
        "quality": rounded(variant.quality),
        "distance": {
            "floor_agreement": round(variant.distance.floor_agreement, 4),
            "agreement": round(variant.distance.agreement, 4),
        },
        "latency_ms": target.latency_ms.get(variant.name),
        "latency": target.describe_latency(variant.name),
        "rules": [{n: v for n, v in asdict(rule).items() if n != "fault"} for rule in choice.rules[variant.name]],
        "decision": choice.reasons[variant.name],
    }


def write_differences(job: Job[ExportConfig], variants: list[Variant]) -> None:
    """Write the differences from the trained network's raw outputs as measurements: they vary by processor."""
    found = {
        variant.name: {
            name: value if math.isfinite(value) else None for name, value in variant.distance.difference.items()
        }
        for variant in variants
    }
    write_json(job.measurements / "differences.json", found)


def measure(job: Job[ExportConfig], test: Frames, rate_hz: float) -> None:
    """Install and try the bundle as a device would, then time every form in it by turns, and write the measurements.

    Raises:
        BadInput: its parts do not fit each other.
        RuntimeError: the detector takes more memory or processor time than the release states.
    """
    bundle = unpack_bundle(job.output / "bundle.tar", job.scratch / "release")
    ObstacleDetector(bundle.folder, job.config.threads)
    tried = preflight.check(bundle.folder, rate_hz)
    if tried.outcome in (Preflight.REFUSED, Preflight.UNFIT):
        raise RuntimeError(f"the release fails its own pre-flight: {tried.reason}")
    footprint = measure_footprint(bundle.folder, job.config.threads)
    slots = job.scratch / "slots"
    slots.mkdir()
    detectors = install_forms(bundle, variants_folder(job), slots, job.config.threads)
    times = measure_latency(detectors, camera_images(test), job.config.latency_rounds, job.config.latency_calls)
    found = {
        "footprint": footprint,
        "preflight": dict(tried.figures),
        "latency_ms": {name: asdict(latency) for name, latency in times.items()},
    }
    write_json(job.measurements / "latency.json", found)
    check_memory(bundle, footprint["memory_mb"])


def check_memory(bundle: Bundle, measured_mb: float) -> None:
    """Check a measurement against the memory that the release states.

    Raises:
        RuntimeError: the detector takes more memory than the release states.
    """
    stated_mb = bundle.release.memory_mb
    if measured_mb > stated_mb:
        raise RuntimeError(f"the detector took {measured_mb:.0f} MB, the release states {stated_mb:.0f}: state_memory")


def summarise(
    job: Job[ExportConfig], chosen: Variant, choice: Choice, target: Target, facts: ReleaseFacts
) -> dict[str, Any]:
    """Return the manifest's summary of the release."""
    return {
        "release_file": chosen.file,
        "chosen": chosen.name,
        "latency": target.describe_latency(chosen.name),
        "latency_ms": target.latency_ms.get(chosen.name),
        "bundle_bytes": (job.output / "bundle.tar").stat().st_size,
        **release_metrics(chosen),
        "not_judged": asdict(facts.not_judged),
        "variants": choice.reasons,
    }


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content` as indented JSON; refuse NaN.

    Raises:
        ValueError: a number is not finite.
    """
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
