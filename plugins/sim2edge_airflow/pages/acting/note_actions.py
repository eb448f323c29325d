"""Star, name and archive an artifact from its page: what `sim2edge note` does, for who may start trainings."""

from datetime import UTC, datetime

from sim2edge.errors import Conflict
from sim2edge.manifest import split_reference
from sim2edge.notes import MAX_NAME, Change, Note, apply, edit
from sim2edge_airflow.pages.acting import runs
from sim2edge_airflow.pages.acting.action import Action, Asker, Confirmed, Field, Given, Offer, Refused
from sim2edge_airflow.pages.acting.permissions import Permission, start_runs

CHOICE = ("yes", "no")


def check_artifact(reference: str) -> str:
    """Return the reference of an artifact.

    Raises:
        BadInput: it is none.
    """
    return "/".join(split_reference(reference))


def permissions(_: Given) -> list[Permission]:
    """Return the permission to change notes: that to start trainings."""
    return [start_runs("train_model")]


def change_of(given: Given) -> Change:
    """Return what the fields change of a note."""
    flags = {name: given[name] == "yes" for name in ("star", "archived") if name in given}
    return Change(name=given.get("name"), text=given.get("text"), **flags)


def describe(asker: Asker, given: Given) -> Offer:
    """Return what would change of the note.

    Raises:
        BadInput: a field does not fit into a note.
    """
    reference, change = given["artifact"], change_of(given)
    known = asker.view.catalog().get(reference)
    found = asker.view.notes().get(reference)
    after = apply(found, reference, change, "-", datetime.now(UTC))
    return Offer(
        steps_of(change, reference),
        refusal="" if known else f"{reference}: the catalog does not list it",
        already=("That is so already", page_of(given)) if found and same(found, after) else None,
        commands=[f"sim2edge note {reference} {option_of(change)}"],
    )


def same(first: Note, second: Note) -> bool:
    """Return whether two notes say the same."""
    return first.model_copy(update={"by": second.by, "at": second.at}) == second


def steps_of(change: Change, reference: str) -> list[str]:
    """Return what happens, in words."""
    steps = []
    if change.star is not None:
        steps.append(
            f"{reference} gets a star: it is listed first, and retention keeps it with its inputs."
            if change.star
            else f"{reference} loses its star: retention no longer keeps it for that."
        )
    if change.archived is not None:
        what = "hidden in lists; nothing is deleted" if change.archived else "listed again"
        steps.append(f"{reference} is {what}.")
    if change.name is not None:
        steps.append(f"{reference} is shown as '{change.name}'.")
    if change.text is not None:
        steps.append(f"Its page shows: {change.text}")
    return steps


def option_of(change: Change) -> str:
    """Return the option of `sim2edge note` that does the same."""
    if change.star is not None:
        return "--star" if change.star else "--no-star"
    if change.archived is not None:
        return "--archive" if change.archived else "--restore"
    return '--name "..." --text "..."'


def perform(asker: Asker, given: Given, confirmed: Confirmed) -> str:
    """Change the note, and return the path of the artifact's page.

    Raises:
        Refused: others kept changing it meanwhile.
    """
    reference, who = given["artifact"], asker.user.get_name()
    try:
        note = edit(asker.view.bus, reference, change_of(given), who, datetime.now(UTC))
    except Conflict as error:
        raise Refused(str(error)) from error
    asker.view.remember(note)
    runs.log(asker, "note", confirmed, **given)
    return page_of(given)


def page_of(given: Given) -> str:
    """Return the path of the artifact's page."""
    return f"/artifacts/{given.get('artifact', '')}"


ARTIFACT = Field("artifact", "Artifact", check_artifact, hint="<kind>/<batch>/<id>")
STAR_FIELD = Field("star", "Star", str, options=lambda: CHOICE)
ARCHIVED = Field("archived", "Archived", str, options=lambda: CHOICE)
NAME_FIELD = Field("name", "Name", str.strip, hint=f"up to {MAX_NAME} characters")
TEXT = Field("text", "Text", str.strip, required=False, hint="one line; sim2edge note --text takes more")

STAR = Action("star", "Star an artifact", (ARTIFACT, STAR_FIELD), permissions, describe, perform, back=page_of)
ARCHIVE = Action("archive", "Archive an artifact", (ARTIFACT, ARCHIVED), permissions, describe, perform, back=page_of)
NAME = Action("name", "Name an artifact", (ARTIFACT, NAME_FIELD, TEXT), permissions, describe, perform, back=page_of)
NOTE_ACTIONS = (STAR, ARCHIVE, NAME)
