"""Serve the actions: a page that says what an action would do and asks for a reason, and the form that it sends.

    GET  /sim2edge/actions/<name>?<field>=<value>    asks for the fields that are missing, else what it would do
    POST /sim2edge/actions/<name>                    does it, and answers 303 to the page of its progress

A form may be sent again (a double click, *reload*, *back*): it starts the same run. Who may not do it sees the page,
with the permission that is missing, and no form.
"""

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlencode

from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.exceptions import HTTPException

from sim2edge.errors import BadInput, NotFound
from sim2edge_airflow import airflow_database as database
from sim2edge_airflow.pages.acting.action import Action, Asker, Confirmed, Given, Offer, Refused, check_reason
from sim2edge_airflow.pages.acting.batch_actions import BATCH_ACTIONS, YES
from sim2edge_airflow.pages.acting.fleet_actions import FLEET_ACTIONS
from sim2edge_airflow.pages.acting.form_guard import make_token, read_form, read_token
from sim2edge_airflow.pages.acting.hold_actions import HOLD_ACTIONS
from sim2edge_airflow.pages.acting.note_actions import NOTE_ACTIONS
from sim2edge_airflow.pages.acting.permissions import missing
from sim2edge_airflow.pages.acting.withdraw_actions import WITHDRAW_ACTIONS
from sim2edge_airflow.pages.bus_view import is_reference
from sim2edge_airflow.pages.rendering import get_view, render
from sim2edge_airflow.trigger_checks import Taken

ROUTES = APIRouter()
ACTIONS: Mapping[str, Action] = {
    each.name: each for each in (*BATCH_ACTIONS, *HOLD_ACTIONS, *WITHDRAW_ACTIONS, *FLEET_ACTIONS, *NOTE_ACTIONS)
}


@ROUTES.get("/actions/{name}", response_class=HTMLResponse)
def show_action(request: Request, session: SessionDep, user: GetUserDep, name: str) -> HTMLResponse:
    """Return the page that asks for an action's fields, or says what it would do and asks for a reason."""
    action = find_action(name)
    values = dict(request.query_params)
    lacking = action.lacks({name: value for name, value in values.items() if value})
    given = action.read(values)
    may_not = missing(user, action.permissions(given))
    shown: dict[str, Any] = {"action": action, "given": given, "may_not": may_not, "back": action.back(given)}
    if lacking:
        fields = [(each, each.options() if each.options else ()) for each in action.fields]
        return render(request, "action_fields.html", fields=fields, **shown)
    offer = action.describe(Asker(get_view(request), session, user), given)
    token = make_token(user.get_id(), name, given) if action.perform and not may_not else ""
    switches = list_switches(action, given)
    more = {"switches": switches, "switched": [each[0] for each in switches], "is_reference": is_reference}
    return render(request, "action.html", offer=offer, token=token, **more, **shown)


def list_switches(action: Action, given: Given) -> list[tuple[str, str, bool, str]]:
    """Return name, label, state, and the query that changes it, of each option that is either given or not."""
    found = []
    for each in action.fields:
        if not each.required and each.options and each.options() == YES:
            rest = {name: value for name, value in given.items() if name != each.name}
            other = rest if each.name in given else {**rest, each.name: YES[0]}
            found.append((each.name, each.label, each.name in given, urlencode(other)))
    return found


@ROUTES.post("/actions/{name}", response_class=RedirectResponse)
def do_action(
    request: Request, user: GetUserDep, name: str, sent: Annotated[Mapping[str, str], Depends(read_form)]
) -> RedirectResponse:
    """Do what was confirmed; answer where to see it."""
    action = find_action(name)
    given, nonce, asked = read_token(sent.get("token", ""), user.get_id(), name)
    given = action.read(given)
    if may_not := missing(user, action.permissions(given)):
        raise HTTPException(403, may_not)
    confirmed = Confirmed(check_reason(sent.get("reason", "")), nonce, asked)
    try:
        path = perform(request, user, action, given, confirmed, sent.get("typed", ""))
    except Exception as error:  # the same form, sent twice at the same moment: the other has started the run
        if not database.is_database_error(error):
            raise
        path = perform(request, user, action, given, confirmed, sent.get("typed", ""))
    return RedirectResponse(f"{request.scope.get('root_path', '')}{path}", 303)


def perform(request: Request, user: Any, action: Action, given: Given, confirmed: Confirmed, typed: str) -> str:
    """Do it in one transaction, and return the path of the page to go to.

    Raises:
        HTTPException: it cannot be done now (409).
        BadInput: it is not confirmed as it has to be.
    """
    with database.open_session() as session:
        asker = Asker(get_view(request), session, user)
        try:
            offer = action.describe(asker, given)
            if offer.already:
                return offer.already[1]
            check_offer(offer, typed)
            assert action.perform  # noqa: S101 (without it, no form was shown)
            return action.perform(asker, given, confirmed)
        except (Refused, Taken) as error:
            raise HTTPException(409, str(error)) from None


def check_offer(offer: Offer, typed: str) -> None:
    """Check that what is offered now can be done, and was confirmed as it has to be.

    Raises:
        Refused: it cannot be done now.
        BadInput: the words to type were not typed.
    """
    if offer.refusal:
        raise Refused(offer.refusal)
    if typed.strip() != offer.to_type:
        raise BadInput(f"typed: expected '{offer.to_type}'")


def find_action(name: str) -> Action:
    """Return the action of this name.

    Raises:
        NotFound: there is none.
    """
    if name not in ACTIONS:
        raise NotFound(f"'{name[:80]}' is not an action of these pages")
    return ACTIONS[name]
