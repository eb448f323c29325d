"""A stand-in for a Kubernetes cluster, for tests of what talks to one where none can run.

It answers over HTTP what the runtime asks, in the API's own forms, and holds it to three things that a cluster would:
every pod it is sent is checked against the API's published schema, strictly; every request is checked against the
rules of `containers/kubernetes/access.yaml`; a pod is told only what its spec says. What it is not: it has no
scheduler, no kubelet, no images and no isolation. A pod's command runs as a local process, below a folder that stands
for the container's root, with the folder's path put in front of the paths that the spec mounts.

    cluster = Cluster(folder, programs)      programs: a folder with `sim2edge`, as the image would have
    cluster.secrets["sim2edge-train"] = {"secrets.env": "..."}
    with cluster: ...                        cluster.kubeconfig is the file to connect with
"""

import contextlib
import json
import os
import re
import secrets
import signal
import subprocess
import threading
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import kubernetes_validate
import psutil
import yaml

ACCESS = Path(__file__).parents[1] / "containers" / "kubernetes" / "access.yaml"
PODS = re.compile(r"/api/v1/namespaces/(?P<namespace>[^/]+)/(?P<kind>pods|events)(/(?P<name>[^/]+)(?P<log>/log)?)?")
VERSION = "1.34"
INIT = ["tini", "-g", "--"]
"""What the images start a stage through; here `Pod` does as it does, so that the tests need no such program."""


class Refusal(Exception):
    """An answer other than 200: status, reason, message."""


class Cluster:
    """One namespace, `sim2edge`, and its pods."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder = folder
        self.programs = programs
        self.kubeconfig = folder / "kubeconfig"
        self.token = secrets.token_hex(8)
        self.secrets: dict[str, dict[str, str]] = {}
        self.pods: dict[str, Pod] = {}
        self.made: list[dict[str, Any]] = []
        self.requests: list[tuple[str, str]] = []
        self.rules = next(part for part in yaml.safe_load_all(ACCESS.read_text()) if part["kind"] == "Role")["rules"]
        self.unschedulable = ""
        self.bad_image = False
        self.failing = 0
        """How many of the next requests are answered 503."""
        self.answers_lost = 0
        """How many of the next pods are made without the client hearing of it."""
        self.break_logs_after: int | None = None
        """Lines after which a log's connection breaks, once."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Api", (Handler,), {"cluster": self}))
        self._server.daemon_threads = True

    def __enter__(self) -> "Cluster":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        server = {"server": f"http://127.0.0.1:{self._server.server_port}"}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "tasks"}}],
            "clusters": [{"name": "test", "cluster": server}],
            "users": [{"name": "tasks", "user": {"token": self.token}}],
        }
        self.kubeconfig.write_text(yaml.safe_dump(config))
        return self

    def __exit__(self, *_: object) -> None:
        for pod in list(self.pods.values()):
            pod.kill()
        self.stop()

    def stop(self) -> None:
        """The cluster does not answer any more."""
        self._server.shutdown()
        self._server.server_close()

    def create(self, manifest: dict[str, Any]) -> dict[str, Any]:
        """Take a pod in, and start it."""
        try:
            kubernetes_validate.validate(manifest, VERSION, strict=True)
        except kubernetes_validate.ValidationError as error:
            raise Refusal(422, "Invalid", error.message) from error
        name = manifest["metadata"]["name"]
        if name in self.pods:
            raise Refusal(409, "AlreadyExists", f'pods "{name}" already exists')
        self.made.append(manifest)
        self.pods[name] = pod = Pod(self, manifest)
        threading.Thread(target=pod.run, daemon=True).start()
        return pod.manifest

    def find(self, name: str) -> "Pod":
        """A pod by its name."""
        if name not in self.pods:
            raise Refusal(404, "NotFound", f'pods "{name}" not found')
        return self.pods[name]


class Pod:
    """A pod and the process that stands for its container."""

    def __init__(self, cluster: Cluster, manifest: dict[str, Any]) -> None:
        self.cluster = cluster
        self.manifest = manifest
        self.name = manifest["metadata"]["name"]
        self.container = manifest["spec"]["containers"][0]
        self.root = cluster.folder / self.name
        self.lines: list[tuple[datetime, bytes]] = []
        self.process: subprocess.Popen[bytes] | None = None
        self.events: list[dict[str, Any]] = []
        self.done = threading.Event()
        self.out_of_memory = False
        manifest["metadata"]["creationTimestamp"] = stamp(datetime.now(UTC))
        manifest["metadata"]["uid"] = secrets.token_hex(8)
        manifest["status"] = {"phase": "Pending"}

    def run(self) -> None:
        """From Pending to its end."""
        if not self._may_start():
            return
        started = datetime.now(UTC)
        self.process = subprocess.Popen(
            [self._local(word) for word in without_init(self._words())],
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._show("Running", {"running": {"startedAt": stamp(started)}})
        reader = threading.Thread(target=self._read, daemon=True)
        reader.start()
        code = self.process.wait()
        self._end_all()  # as a container ends with its first process
        reader.join()
        code = 128 - code if code < 0 else code
        reason = "OOMKilled" if self.out_of_memory else "Error" if code else "Completed"
        end = {"exitCode": code, "reason": reason, "startedAt": stamp(started), "finishedAt": stamp(datetime.now(UTC))}
        self._show("Failed" if code else "Succeeded", {"terminated": end})
        self.done.set()
        if "deletionTimestamp" in self.manifest["metadata"]:
            self.cluster.pods.pop(self.name, None)

    def delete(self, grace_s: int) -> None:
        """Ask it to end, force it after `grace_s`, and forget it when it has ended."""
        self.manifest["metadata"]["deletionTimestamp"] = stamp(datetime.now(UTC) + timedelta(seconds=grace_s))
        if self.done.is_set() or not self.process:
            self.cluster.pods.pop(self.name, None)
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        threading.Timer(grace_s, self.kill).start()

    def kill(self, out_of_memory: bool = False) -> None:
        """End every process of the container by force."""
        self.out_of_memory = out_of_memory
        if self.process and self.process.poll() is None:
            self.process.kill()

    def _read(self) -> None:
        assert self.process
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append((datetime.now(UTC), line.rstrip(b"\n")))

    def _end_all(self) -> None:
        for process in psutil.process_iter(["environ"]):
            if (process.info["environ"] or {}).get("HOSTNAME") == self.name:
                process.kill()

    def _may_start(self) -> bool:
        if self.cluster.unschedulable:
            condition = {"type": "PodScheduled", "status": "False", "message": self.cluster.unschedulable}
            self.manifest["status"]["conditions"] = [condition]
            return False
        if self.cluster.bad_image:
            waiting = {"reason": "ErrImagePull", "message": f'image "{self.container["image"]}" not found'}
            self._show("Pending", {"waiting": waiting})
            return False
        try:
            self._mount()
        except KeyError as error:
            message = f"MountVolume.SetUp failed: secret {error} not found"
            self.events.append({"reason": "FailedMount", "message": message, "type": "Warning"})
            return False
        return True

    def _mount(self) -> None:
        volumes = {volume["name"]: volume for volume in self.manifest["spec"]["volumes"]}
        for mount in self.container["volumeMounts"]:
            target = self.root / mount["mountPath"].lstrip("/")
            secret = volumes[mount["name"]].get("secret")
            if secret is None:
                target.mkdir(parents=True, exist_ok=True)
                continue
            files = self.cluster.secrets[secret["secretName"]]
            if part := mount.get("subPath"):
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(files[part])
                continue
            target.mkdir(parents=True)
            for name, content in files.items():
                (target / name).write_text(content)

    def _local(self, text: str) -> str:
        mounted = [mount["mountPath"] for mount in self.container["volumeMounts"]]
        return f"{self.root}{text}" if text.startswith(tuple(mounted)) else text

    def _words(self) -> list[str]:
        return [expand(word) for word in (*self.container["command"], *self.container["args"])]

    def _environment(self) -> dict[str, str]:
        said = {variable["name"]: expand(variable["value"]) for variable in self.container["env"]}
        image = {"PATH": f"{self.cluster.programs}:/usr/bin:/bin", "HOSTNAME": self.name}
        return image | {name: self._local(value) for name, value in said.items()}

    def _show(self, phase: str, state: dict[str, Any]) -> None:
        status = {
            "name": self.container["name"],
            "state": state,
            "ready": phase == "Running",
            "restartCount": 0,
            "image": self.container["image"],
            "imageID": "",
        }
        self.manifest["status"] = {"phase": phase, "containerStatuses": [status]}


class Handler(BaseHTTPRequestHandler):
    """The API server: one method a verb of HTTP."""

    cluster: Cluster
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Make a pod."""
        self._answer("create", self._create)

    def do_GET(self) -> None:
        """One pod, pods by their labels, events of a pod, a log."""
        self._answer("get" if "/pods/" in self.path else "list", self._get)

    def do_DELETE(self) -> None:
        """Delete a pod."""
        self._answer("delete", self._delete)

    def log_message(self, *_: object) -> None:
        """Say nothing on the terminal."""

    def _answer(self, verb: str, act: Any) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        address = urlsplit(self.path)
        self.query = {name: values[-1] for name, values in parse_qs(address.query).items()}
        try:
            found = PODS.fullmatch(address.path)
            if not found:
                raise Refusal(404, "NotFound", f"no such path: {address.path}")
            self.where = found.groupdict()
            self._check(verb)
            answer = act(json.loads(body) if body else {})
            if answer is not None:
                self._send(200, answer)
        except Refusal as refusal:
            status, reason, message = refusal.args
            self._send(status, {"kind": "Status", "status": "Failure", "reason": reason, "message": message})

    def _check(self, verb: str) -> None:
        cluster, resource = self.cluster, self.where["kind"] + ("/log" if self.where["log"] else "")
        cluster.requests.append((verb, resource))
        if self.headers.get("Authorization") != f"Bearer {cluster.token}":
            raise Refusal(401, "Unauthorized", "Unauthorized")
        if not any(resource in rule["resources"] and verb in rule["verbs"] for rule in cluster.rules):
            raise Refusal(403, "Forbidden", f"{resource} is forbidden: tasks cannot {verb} {resource}")
        if self.where["namespace"] != "sim2edge":
            raise Refusal(404, "NotFound", f'namespaces "{self.where["namespace"]}" not found')
        if cluster.failing:
            cluster.failing -= 1
            raise Refusal(503, "ServiceUnavailable", "etcdserver: leader changed")

    def _create(self, manifest: dict[str, Any]) -> dict[str, Any] | None:
        made = self.cluster.create(manifest)
        if self.cluster.answers_lost:
            self.cluster.answers_lost -= 1
            self.close_connection = True
            self.connection.close()
            return None
        return made

    def _get(self, _: dict[str, Any]) -> dict[str, Any] | None:
        if self.where["log"]:
            return self._log(self.cluster.find(self.where["name"]))
        if self.where["kind"] == "events":
            name = self.query["fieldSelector"].removeprefix("involvedObject.name=")
            return {"kind": "EventList", "items": [event_of(event) for event in self.cluster.find(name).events]}
        if self.where["name"]:
            return self.cluster.find(self.where["name"]).manifest
        wanted = dict(word.split("=") for word in self.query["labelSelector"].split(","))
        pods = [pod.manifest for pod in self.cluster.pods.values()]
        return {
            "kind": "PodList",
            "items": [pod for pod in pods if wanted.items() <= pod["metadata"]["labels"].items()],
        }

    def _delete(self, _: dict[str, Any]) -> dict[str, Any]:
        pod = self.cluster.find(self.where["name"])
        pod.delete(int(self.query["gracePeriodSeconds"]))
        return pod.manifest

    def _log(self, pod: Pod) -> None:
        if pod.process is None:
            raise Refusal(400, "BadRequest", f'container "stage" in pod "{pod.name}" is waiting to start')
        since = datetime.now(UTC) - timedelta(seconds=int(self.query.get("sinceSeconds", 10**6)))
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        sent = 0
        while True:
            ended = pod.done.is_set()
            for when, line in pod.lines[sent:]:
                sent += 1
                if when >= since:
                    self._chunk(stamp(when).encode() + b" " + line + b"\n")
                if sent == self.cluster.break_logs_after:
                    self.cluster.break_logs_after = None
                    self.close_connection = True
                    return self.connection.close()
            if ended:
                return self._chunk(b"")
            time.sleep(0.02)

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def _send(self, status: int, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def expand(text: str) -> str:
    """What Kubernetes makes of an argument or a value: `$$` is a dollar; `$(NAME)` would be a variable."""
    assert "$(" not in text.replace("$$", ""), f"{text}: Kubernetes would replace a part of it"
    return text.replace("$$", "$")


def without_init(words: list[str]) -> list[str]:
    """Drop the image's init from a command; `-g` is kept by signalling the whole process group."""
    assert words[: len(INIT)] == INIT, f"{words}: a pod's first process has to be {INIT[0]}"
    return words[len(INIT) :]


def stamp(when: datetime) -> str:
    """A time as the API writes it."""
    return when.strftime("%Y-%m-%dT%H:%M:%S.%f000Z")


def event_of(event: dict[str, Any]) -> dict[str, Any]:
    """An event with the fields that the API requires."""
    return {"metadata": {"name": "event"}, "involvedObject": {"kind": "Pod"}, **event}
