"""Say how a model stands: champion, former champion, passed and not released, refused, not judged. Pure.

The champion is the model that was released last, so a former one is a model with a rollout that is not the champion.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sim2edge.bus import Ref
from sim2edge.catalog import Catalog, Record

CHAMPION, ACCEPTED = "refs/models/champion", "refs/models/accepted"


@dataclass(frozen=True)
class Standing:
    """How a model stands, in words and as a class of the style sheet."""

    words: str
    sign: str
    accepted: bool = False
    """Whether it is the last model that passed the gate, by its ref."""


def judge_model(catalog: Catalog, refs: Mapping[str, Ref], model: str) -> Standing:
    """Return the standing of a model, by the catalog and the refs."""
    words, sign = _judge(catalog, refs, model)
    return Standing(words, sign, _target(refs, ACCEPTED) == model)


def _judge(catalog: Catalog, refs: Mapping[str, Ref], model: str) -> tuple[str, str]:
    if _target(refs, CHAMPION) == model:
        return "★ champion", "champion"
    if is_released(catalog, model):
        return "former champion", ""
    verdict = newest_verdict(catalog, model)
    if verdict is None:
        return "not judged", ""
    return ("refused", "refused") if verdict.refused else ("passed, not released", "waiting")


def _target(refs: Mapping[str, Ref], name: str) -> str | None:
    return refs[name].target if name in refs else None


def is_released(catalog: Catalog, model: str) -> bool:
    """Return whether a release of the model was pushed to a ring."""
    releases = [each for each in catalog.children(model) if each.startswith("release/")]
    return any(each.startswith("rollout/") for release in releases for each in catalog.children(release))


def newest_verdict(catalog: Catalog, model: str) -> Record | None:
    """Return the newest verdict of the model; None if it was not judged yet."""
    found = [catalog.get(each) for each in catalog.children(model) if each.startswith("verdict/")]
    return max((each for each in found if each), key=lambda each: each.finished, default=None)
