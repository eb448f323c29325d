"""Serve the proxy: receive a request, query the engine for facts, decide, forward. Responses are streamed.

A refusal is answered with 403, and logged on one line with client, request and reason.
"""

import json
import sys
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any

from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout, UnixConnector, web
from yarl import URL

from sim2edge.engine_proxy.calls import ON_CONTAINERS, Call, read_call
from sim2edge.engine_proxy.decision import Allowed, ContainerFacts, Facts, Refused, decide, image_to_look_up
from sim2edge.engine_proxy.policy import DEPLOYMENT_LABEL, Policy, Refusal

CONNECT_TIMEOUT_S = 10
LOOKUP_TIMEOUT_S = 60
MAX_TARGET_SHOWN = 200
FORWARDED_HEADERS = ("Content-Type", "Api-Version", "Docker-Experimental", "Ostype", "Server")


class Gone(Exception):
    """The engine has no such container or image; the message is the engine's."""


class Proxy:
    """Stands between one engine's socket and its clients."""

    def __init__(self, socket: str, policy: Policy) -> None:
        self._socket = socket
        self._policy = policy

    def application(self) -> web.Application:
        """Return the web application: one handler for all requests."""
        application = web.Application(client_max_size=2**23)
        application.cleanup_ctx.append(self._connect)
        application.router.add_route("*", "/{anything:.*}", self.handle)
        return application

    async def _connect(self, _: web.Application) -> AsyncIterator[None]:
        connector = UnixConnector(self._socket, limit=0)
        timeout = ClientTimeout(total=None, connect=CONNECT_TIMEOUT_S)
        async with ClientSession("http://engine", connector=connector, timeout=timeout) as self._engine:
            yield

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        try:
            decided = await self._decide(request)
            if isinstance(decided, Allowed):
                return await self._forward(request, decided)
        except Gone as gone:
            return _answer(HTTPStatus.NOT_FOUND, str(gone))
        except (ClientError, TimeoutError) as error:
            line = f"the engine does not answer at {self._socket}: {error}"
            log("unreachable", reason=line)
            return _answer(HTTPStatus.SERVICE_UNAVAILABLE, line)
        shown = request.raw_path[:MAX_TARGET_SHOWN]
        log("refused", client=request.remote, method=request.method, target=shown, reason=decided.reason)
        return _answer(HTTPStatus.FORBIDDEN, f"refused by the engine proxy: {decided.reason}")

    async def _decide(self, request: web.Request) -> Allowed | Refused:
        try:
            headers = {name.lower(): value for name, value in request.headers.items()}
            call = read_call(request.method, request.raw_path, headers)
            body = await self._read_body(request, call)
            return decide(call, body, await self._look_up(call, body), self._policy)
        except Refusal as refusal:
            return Refused(str(refusal))

    async def _read_body(self, request: web.Request, call: Call) -> bytes:
        length = request.content_length or 0
        if length > call.body_bytes:
            raise Refusal(f"'{call.action}' takes no body of {length} bytes")
        return await request.read() if length else b""

    async def _look_up(self, call: Call, body: bytes) -> Facts:
        if call.action in ON_CONTAINERS:
            found = await self._ask(f"/containers/{call.name}/json")
            labels = found["Config"]["Labels"] or {}
            return Facts(ContainerFacts(found["Id"], labels.get(DEPLOYMENT_LABEL), found["State"]["Status"]))
        image = image_to_look_up(call, body)
        if image:
            found = await self._ask(f"/images/{image}/json")
            return Facts(image_names=(*(found["RepoTags"] or ()), *(found["RepoDigests"] or ())))
        return Facts()

    async def _ask(self, path: str) -> Any:
        """Query the engine for one object.

        Raises:
            Gone: there is no such object.
            ClientError: the engine does not answer, or with an error.
        """
        async with self._engine.get(path, timeout=ClientTimeout(total=LOOKUP_TIMEOUT_S)) as answer:
            content = await answer.json()
            if answer.status == HTTPStatus.NOT_FOUND:
                raise Gone(content.get("message", "no such thing"))
            answer.raise_for_status()
            return content

    async def _forward(self, request: web.Request, allowed: Allowed) -> web.StreamResponse:
        """Stream the engine's response; its connection is closed when the client disconnects."""
        given = {"Content-Type": allowed.content_type, "X-Registry-Auth": allowed.login}
        headers = {name: value for name, value in given.items() if value}
        target = URL(allowed.target, encoded=True)
        # A disconnected client cancels this handler, which closes the connection to the engine as well.
        async with self._engine.request(allowed.method, target, data=allowed.body, headers=headers) as answer:
            response = web.StreamResponse(status=answer.status, reason=answer.reason)
            _copy_headers(answer, response)
            await response.prepare(request)
            if request.method != "HEAD":
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
            await response.write_eof()
            return response


def _copy_headers(answer: ClientResponse, response: web.StreamResponse) -> None:
    for name in FORWARDED_HEADERS:
        if name in answer.headers:
            response.headers[name] = answer.headers[name]
    if answer.content_length is not None:
        response.content_length = answer.content_length


def _answer(status: HTTPStatus, message: str) -> web.Response:
    """Return a response of our own, and close the connection: the rest of its input is not parsed."""
    response = web.json_response({"message": message}, status=status)
    response.force_close()
    return response


def log(event: str, **fields: object) -> None:
    """Log one event, as a line of JSON, on standard error."""
    print(json.dumps({"event": event, **fields}), file=sys.stderr, flush=True)
