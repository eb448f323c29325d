"""Give the requests of a failed training back: they are open again, and join the next training.

give_back(bus, "20260504t101500-0a1b2c3d")
"""

from collections.abc import Sequence

from sim2edge.bus import Bus, in_threads
from sim2edge.errors import BadInput, NotFound
from sim2edge.retrain import FAILED, TRAININGS, Request, find_training, make_request, submit


def give_back(bus: Bus, training: str) -> Sequence[Request]:
    """Submit the requests of a failed training again, each with its id in the evidence; return them.

    They join the next training, and start none by themselves: it would fail like this one.

    Raises:
        NotFound: there is no such training.
    """
    found = find_training(bus, training)
    if found is None:
        raise NotFound(f"{TRAININGS}/{training}.json: there is no such training")
    again = [_again(request, training) for request in found.requests]
    in_threads(lambda request: submit(bus, request), again)
    return again


def _again(request: Request, training: str) -> Request:
    kept = {
        name: getattr(request, name)
        for name in ("by", "preset", "overrides", "submitted", "batch", "frames", "backfill")
    }
    try:
        return make_request(request.kind, request.reason, {**request.evidence, FAILED: training}, **kept)
    except BadInput:  # the evidence is as large as it may be
        return make_request(request.kind, request.reason, {"request": request.id, FAILED: training}, **kept)
