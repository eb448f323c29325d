"""The work of the export stage: export every form, compare, time, choose, bundle."""

import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from sim2edge.config import resolve
from sim2edge.edge.bundle import unpack_bundle, write_bundle
from sim2edge.edge.footprint import measure_footprint
from sim2edge.edge.obstacle_detector import ObstacleDetector
from sim2edge.errors import BadInput
from sim2edge.export.choose import Choice, Variant, choose
from sim2edge.export.config import ExportConfig
from sim2edge.export.device_network import ChannelsLast, TorchRuntime, example_input
from sim2edge.export.held_out import camera_images, spread
from sim2edge.export.latency import measure_latency
from sim2edge.export.model_card import write_card
from sim2edge.export.parity import Outputs, Quality, measure_distance, measure_quality
from sim2edge.export.release_bundle import ReleaseFacts, assemble
from sim2edge.export.variants import FORMS, export_all, open_form, run_all
from sim2edge.recipes import load_network
from sim2edge.recipes.perception_frames import DatasetTable, Frames, read_frames
from sim2edge.stage import Artifact, Job, Outcome

MEMORY_STEP_MB = 64
"""Memory is stated in such steps, above what was measured: a device's own figures differ a little."""

STEPS = len(FORMS) + 4


def run(job: Job[ExportConfig]) -> Outcome:
    """Export the model, and bundle the fastest form that is as good as the trained network."""
    model, verdict, dataset = (job.input(role) for role in ("model", "verdict", "dataset"))
    check_verdict(verdict, model)
    described = read_json(model, "model.json")
    facts = collect_facts(job, described)
    table = read_table(dataset, facts)
    test = spread(read_frames(dataset.path("test.parquet"), table), job.config.parity_frames)
    trained_network = export_forms(job, table)
    trained_outputs = run_all(trained_network, camera_images(test))
    trained = measure_quality(trained_outputs, test, facts.postprocess, facts.classes)
    variants = compare(job, facts, test, trained_outputs)
    job.progress.update(len(FORMS) + 2, STEPS)
    variants = time_variants(job, facts, variants, test)
    choice = choose(variants, trained, job.config.limits, job.config.tie)
    write_report(job, choice, variants, trained)
    job.progress.update(len(FORMS) + 3, STEPS)
    if choice.chosen is None:
        reasons = "; ".join(f"{name} {reason}" for name, reason in choice.reasons.items())
        return Outcome({"variants": len(variants)}, refused=f"no variant may be released: {reasons}")
    card = write_card(facts, choice.chosen, trained, read_json(dataset, "dataset.json"), len(test))
    bundle_bytes = write_release(job, facts, choice.chosen, card)
    job.progress.update(STEPS, STEPS, chosen=choice.chosen.name)
    return Outcome(summarise(choice.chosen, choice, bundle_bytes))


def check_verdict(verdict: Artifact, model: Artifact) -> None:
    """Check that `verdict` lets `model` pass.

    Raises:
        BadInput: it does not, or it is about another model.
    """
    judged = verdict.manifest.inputs.get("model", [])
    if judged != [model.manifest.reference]:
        raise BadInput(f"{verdict.manifest.reference}: is about {', '.join(judged)}, not {model.manifest.reference}")
    if read_json(verdict, "verdict.json").get("passed") is not True:
        raise BadInput(f"{verdict.manifest.reference}: {model.manifest.reference} did not pass validation")


def read_json(artifact: Artifact, name: str) -> dict[str, Any]:
    """The content of a JSON file of `artifact`.

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


def collect_facts(job: Job[ExportConfig], described: dict[str, Any]) -> ReleaseFacts:
    """What the release is made from.

    Raises:
        BadInput: `model.json` lacks a field.
    """
    manifests = {role: job.input(role).manifest for role in ("model", "verdict", "dataset")}
    try:
        return ReleaseFacts(
            release=job.reference.rpartition("/")[2],
            recipe=described["recipe"],
            classes=described["classes"],
            floors=described["floors"],
            postprocess=described["postprocess"],
            trained=manifests["model"].finished.isoformat(timespec="seconds"),
            lineage={role: manifest.reference for role, manifest in manifests.items()},
            config={"export": resolve(job.config), "train": manifests["model"].config},
        )
    except KeyError as error:
        raise BadInput(f"{manifests['model'].reference}/model.json: field {error} is missing") from error


def read_table(dataset: Artifact, facts: ReleaseFacts) -> DatasetTable:
    """What `dataset.json` says.

    Raises:
        BadInput: the model was trained for other classes or floors.
    """
    table = DatasetTable.read(dataset.path("dataset.json"))
    for what, ours, theirs in (("classes", facts.classes, table.classes), ("floors", facts.floors, table.floors)):
        if list(ours) != list(theirs):
            raise BadInput(f"{dataset.manifest.reference}/dataset.json: {what}: not those of {facts.lineage['model']}")
    return table


def export_forms(job: Job[ExportConfig], table: DatasetTable) -> TorchRuntime:
    """Write every form into the output's `variants/`; gives the trained network to compare them with."""
    torch.set_num_threads(job.config.threads)  # single images gain nothing from more, and spinning threads cost much
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
    """Where the exported files lie."""
    return job.output / "variants"


def compare(job: Job[ExportConfig], facts: ReleaseFacts, test: Frames, trained: Outputs) -> list[Variant]:
    """Hold every form against the trained network and the truth."""
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
                quality=measure_quality(outputs, test, facts.postprocess, facts.classes),
                distance=measure_distance(outputs, trained, facts.postprocess, len(facts.classes)),
                latency_ms_p50=None,
                latency_ms_p95=None,
            )
        )
    return variants


def time_variants(job: Job[ExportConfig], facts: ReleaseFacts, variants: list[Variant], test: Frames) -> list[Variant]:
    """Install every form that a device can run as a device would, and time it."""
    runnable = [form.name for form in FORMS if form.on_device]
    detectors = {v.name: install(job, facts, v) for v in variants if v.name in runnable}
    times = measure_latency(detectors, camera_images(test), job.config.latency_rounds, job.config.latency_calls)
    return [
        replace(v, latency_ms_p50=times[v.name].p50_ms, latency_ms_p95=times[v.name].p95_ms) if v.name in times else v
        for v in variants
    ]


def install(job: Job[ExportConfig], facts: ReleaseFacts, variant: Variant) -> ObstacleDetector:
    """Bundle a form for trial, unpack it into a slot and load it there."""
    tar = job.scratch / f"{variant.name}.tar"
    write_bundle(tar, assemble(facts, variants_folder(job) / variant.file, {}, 0, ""))
    slot = slot_folder(job, variant)
    unpack_bundle(tar, slot)
    return ObstacleDetector(slot, job.config.threads)


def slot_folder(job: Job[ExportConfig], variant: Variant) -> Path:
    """Where a form is installed for trial."""
    return job.scratch / "slots" / variant.name


def write_release(job: Job[ExportConfig], facts: ReleaseFacts, chosen: Variant, card: str) -> int:
    """Write `bundle.tar` and try it as a device would; gives its size in bytes."""
    memory = measure_footprint(slot_folder(job, chosen), job.config.threads)["memory_mb"]
    stated = math.ceil(memory / MEMORY_STEP_MB) * MEMORY_STEP_MB
    tar = job.output / "bundle.tar"
    write_bundle(tar, assemble(facts, variants_folder(job) / chosen.file, release_metrics(chosen), stated, card))
    bundle = unpack_bundle(tar, job.scratch / "slots" / "release")
    ObstacleDetector(bundle.folder, job.config.threads)
    return tar.stat().st_size


def release_metrics(chosen: Variant) -> dict[str, float]:
    """The figures that travel with a release."""
    quality = chosen.quality
    return {
        "floor_accuracy": round(quality.floor_accuracy, 4),
        "map50": round(quality.map50, 4),
        "f1": round(quality.f1, 4),
        "agreement": round(chosen.distance.agreement, 4),
    }


def write_report(job: Job[ExportConfig], choice: Choice, variants: list[Variant], trained: Quality) -> None:
    """Write `export_report.json`: every variant with its measurements and why it was chosen or not."""
    report = {
        "chosen": choice.chosen.name if choice.chosen else None,
        "trained": asdict(trained),
        "variants": [{**asdict(variant), "decision": choice.reasons[variant.name]} for variant in variants],
    }
    text = json.dumps(report, indent=1, allow_nan=False)
    (job.output / "export_report.json").write_text(text + "\n", encoding="utf-8")


def summarise(chosen: Variant, choice: Choice, bundle_bytes: int) -> dict[str, Any]:
    """What the manifest says of the release."""
    return {
        "release_file": chosen.file,
        "chosen": chosen.name,
        "latency_ms_p50": chosen.latency_ms_p50,
        "latency_ms_p95": chosen.latency_ms_p95,
        "bundle_bytes": bundle_bytes,
        **release_metrics(chosen),
        "variants": choice.reasons,
    }
