"""What the proxy lets through: the operator's requests, and nothing that reaches beyond its own containers."""

import base64
import json
import posixpath
import urllib.parse
from dataclasses import replace
from typing import Any

import pytest
from engine_requests import BODY, CONTAINER, POLICY, changed
from hypothesis import given, settings
from hypothesis import strategies as st

from sim2edge.engine_proxy.calls import ARCHIVE_BODY_BYTES, CREATE_BODY_BYTES, read_call
from sim2edge.engine_proxy.decision import Allowed, ContainerFacts, Facts, Refused, decide, image_to_look_up
from sim2edge.engine_proxy.policy import Policy, Refusal

OURS = Facts(ContainerFacts(CONTAINER, "lab", "running"))
FRESH = Facts(ContainerFacts(CONTAINER, "lab", "created"))
FOREIGN = Facts(ContainerFacts(CONTAINER, "another", "running"))
UNLABELLED = Facts(ContainerFacts(CONTAINER, None, "running"))
IMAGE_ID = "sha256:" + "a" * 64


def ask(
    method: str, target: str, body: bytes = b"", facts: Facts = OURS, policy: Policy = POLICY, **headers: str
) -> Allowed | Refused:
    """The decision on a request as it comes in."""
    try:
        return decide(read_call(method, target, headers), body, facts, policy)
    except Refusal as refusal:
        return Refused(str(refusal))


def create(body: Any, facts: Facts = OURS, policy: Policy = POLICY) -> Allowed | Refused:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return ask("POST", "/v1.45/containers/create", text, facts, policy)


# --- What the operator needs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/_ping"),
        ("HEAD", "/_ping"),
        ("GET", "/version"),
        ("GET", "/v1.45/info"),
        ("GET", "/v1.45/networks/lab-stages"),
        ("GET", "/v1.45/images/sim2edge/train:0.1.0/json"),
        ("GET", f"/v1.45/containers/{CONTAINER}/json"),
        ("GET", f"/v1.45/containers/{CONTAINER[:12]}/json"),
        ("POST", f"/v1.45/containers/{CONTAINER}/start"),
        ("POST", f"/v1.45/containers/{CONTAINER}/wait?condition=not-running"),
        (
            "GET",
            f"/v1.45/containers/{CONTAINER}/logs?stderr=1&stdout=1&timestamps=1&follow=1&since=1700000000.5&tail=all",
        ),
        ("POST", f"/v1.45/containers/{CONTAINER}/stop?t=15"),
        ("POST", f"/v1.45/containers/{CONTAINER}/kill?signal=SIGUSR1"),
        ("DELETE", f"/v1.45/containers/{CONTAINER}?v=True&link=False&force=True"),
    ],
)
def test_the_operators_requests_pass_as_they_are(method, target):
    allowed = ask(method, target)
    assert isinstance(allowed, Allowed), allowed
    assert allowed.target == target.replace(CONTAINER[:12] + "/", CONTAINER + "/")
    assert allowed.method == method


def test_a_hardened_container_is_created_from_the_same_body():
    allowed = create(BODY)
    assert isinstance(allowed, Allowed), allowed
    assert json.loads(allowed.body or b"") == BODY
    assert allowed.target == "/v1.45/containers/create"


@pytest.mark.parametrize(
    "body",
    [
        changed(Labels={"sim2edge.deployment": "lab", "sim2edge.try": "2"}),
        changed(NetworkingConfig={"lab-stages": None}, Hostname=None, Tty=False, AttachStdout=True, Healthcheck=None),
        changed(NetworkingConfig={"EndpointsConfig": {"lab-stages": {}}}),
        changed(HostConfig__Mounts=[{"Target": "/scratch", "Source": None, "Type": "volume", "ReadOnly": False}]),
        changed(HostConfig__LogConfig={"Type": "local"}, HostConfig__AutoRemove=True),
    ],
)
def test_other_ways_to_say_the_same_pass(body):
    assert isinstance(create(body), Allowed)


def test_files_are_written_before_the_start_and_only_where_secrets_go():
    target = f"/v1.45/containers/{CONTAINER}/archive?path=%2Frun%2Fsim2edge"
    allowed = ask("PUT", target, b"tar", FRESH)
    assert isinstance(allowed, Allowed)
    assert (allowed.body, allowed.content_type) == (b"tar", "application/x-tar")
    assert isinstance(ask("PUT", target, b"tar", OURS), Refused), "it runs already"
    assert isinstance(ask("PUT", target, b"x" * (ARCHIVE_BODY_BYTES + 1), FRESH), Refused)
    for folder in ("/", "/etc", "/run/sim2edge/../etc", "/run/sim2edgex", "run/sim2edge", "/scratch", ""):
        refused = ask("PUT", f"/v1.45/containers/{CONTAINER}/archive?path={folder}", b"tar", FRESH)
        assert isinstance(refused, Refused), folder
    assert isinstance(ask("PUT", f"/v1.45/containers/{CONTAINER}/archive", b"tar", FRESH), Refused)


def test_a_listing_shows_this_deployment_alone():
    filters = {"label": ["sim2edge.dag=train_model"], "status": ["running"]}
    allowed = ask("GET", "/v1.45/containers/json?all=1&filters=" + urllib.parse.quote(json.dumps(filters)))
    assert isinstance(allowed, Allowed)
    sent = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(allowed.target).query))
    assert json.loads(sent["filters"]) == {
        "label": ["sim2edge.dag=train_model", "sim2edge.deployment=lab"],
        "status": ["running"],
    }
    bare = ask("GET", "/v1.45/containers/json")
    assert isinstance(bare, Allowed)
    assert "sim2edge.deployment%3Dlab" in bare.target
    for wrong in ('{"label": {"a": true}}', '{"volume": ["x"]}', '{"label": ["a"], "label": ["b"]}', "[]", "{"):
        assert isinstance(ask("GET", "/v1.45/containers/json?filters=" + urllib.parse.quote(wrong)), Refused), wrong


# --- Other people's things -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("facts", [FOREIGN, UNLABELLED, Facts()])
def test_containers_of_others_cannot_be_touched(facts):
    calls = [("GET", "json"), ("GET", "logs?stdout=1"), ("POST", "start"), ("POST", "stop"), ("POST", "kill")]
    for method, tail in calls:
        refused = ask(method, f"/v1.45/containers/{CONTAINER}/{tail}", facts=facts)
        assert isinstance(refused, Refused), tail
        assert "not one of deployment 'lab'" in refused.reason
    assert isinstance(ask("DELETE", f"/v1.45/containers/{CONTAINER}?force=1", facts=facts), Refused)


def test_images_and_networks_of_others_cannot_be_looked_at():
    for name in ("alpine", "alpine:3", "docker.io/sim2edge/train:1", "sim2edge/../alpine", IMAGE_ID):
        assert isinstance(ask("GET", f"/v1.45/images/{name}/json"), Refused), name
    assert isinstance(ask("GET", f"/v1.45/images/{IMAGE_ID}/json", facts=Facts(image_names=("sim2edge/a:1",))), Allowed)
    assert isinstance(ask("GET", "/v1.45/networks/bridge"), Refused)


def test_an_image_named_by_its_id_is_judged_by_its_names():
    body = changed(Image=IMAGE_ID)
    call = read_call("POST", "/v1.45/containers/create", {})
    assert image_to_look_up(call, json.dumps(body).encode()) == IMAGE_ID
    assert isinstance(create(body, Facts(image_names=("sim2edge/train:0.1.0",))), Allowed)
    assert isinstance(create(body, Facts(image_names=("alpine:3",))), Refused)
    assert isinstance(create(body), Refused)


def test_pulling_is_off_unless_allowed_and_then_only_of_our_names():
    target = "/v1.45/images/create?fromImage=sim2edge/train&tag=0.1.0"
    assert isinstance(ask("POST", target), Refused)
    pulling = replace(POLICY, pull=True)
    assert isinstance(ask("POST", target, policy=pulling), Allowed)
    for query in ("fromImage=alpine&tag=3", "fromImage=sim2edge/train", "fromSrc=http://x", "tag=1", "repo=x"):
        assert isinstance(ask("POST", f"/v1.45/images/create?{query}", policy=pulling), Refused), query


def test_the_at_of_a_digest_may_be_percent_encoded_and_reaches_the_engine_plain():
    digest = f"sha256:{'b' * 64}"
    allowed = ask("GET", f"/v1.45/images/sim2edge/train%40{digest}/json")
    assert isinstance(allowed, Allowed)
    assert allowed.target == f"/v1.45/images/sim2edge/train@{digest}/json"
    assert isinstance(ask("GET", f"/v1.45/images/sim2edge/train%2540{digest}/json"), Refused)


def login(content: object) -> dict[str, str]:
    """The header that a client logs in to a registry with."""
    return {"x-registry-auth": base64.urlsafe_b64encode(json.dumps(content).encode()).decode()}


def test_a_login_goes_along_with_a_pull_and_with_nothing_else():
    pulling = replace(POLICY, pull=True)
    header = login({"username": "ann", "password": "a-secret"})
    target = "/v1.45/images/create?fromImage=sim2edge/train&tag=0.1.0"
    allowed = ask("POST", target, policy=pulling, **header)
    assert isinstance(allowed, Allowed)
    assert json.loads(base64.urlsafe_b64decode(allowed.login)) == {"username": "ann", "password": "a-secret"}
    assert allowed.login not in repr(allowed)
    version = ask("GET", "/version", **header)
    assert isinstance(version, Allowed)
    assert version.login == ""


@pytest.mark.parametrize(
    "header",
    [
        login(["ann"]),
        login({"username": "ann", "more": "x"}),
        login({"username": {"a": "b"}}),
        {"x-registry-auth": "no\r\nbase64"},
        {"x-registry-auth": "YQ"},
        {"x-registry-auth": "A" * 9000},
    ],
)
def test_a_login_that_is_none_is_refused_and_not_quoted(header):
    target = "/v1.45/images/create?fromImage=sim2edge/train&tag=1"
    refused = ask("POST", target, policy=replace(POLICY, pull=True), **header)
    assert refused == Refused("the login of the registry is invalid")


def test_an_image_that_was_pulled_by_its_digest_is_judged_by_that_name():
    body = changed(Image=IMAGE_ID)
    digest = f"sim2edge/train@sha256:{'b' * 64}"
    assert isinstance(create(body, Facts(image_names=(digest,))), Allowed)
    assert isinstance(create(body, Facts(image_names=(f"elsewhere/{digest}",))), Refused)


# --- What no stage needs -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", f"/containers/{CONTAINER}/exec"),
        ("POST", f"/exec/{CONTAINER}/start"),
        ("POST", f"/containers/{CONTAINER}/attach"),
        ("GET", f"/containers/{CONTAINER}/attach/ws"),
        ("GET", f"/containers/{CONTAINER}/archive?path=/etc"),
        ("HEAD", f"/containers/{CONTAINER}/archive?path=/etc"),
        ("GET", f"/containers/{CONTAINER}/export"),
        ("POST", f"/containers/{CONTAINER}/update"),
        ("POST", f"/containers/{CONTAINER}/rename?name=x"),
        ("POST", f"/containers/{CONTAINER}/resize?h=1&w=1"),
        ("POST", "/containers/prune"),
        ("GET", "/containers/s3/json"),
        ("POST", "/build"),
        ("POST", "/commit?container=x"),
        ("POST", "/images/load"),
        ("POST", "/images/sim2edge/train:0.1.0/push"),
        ("POST", "/images/sim2edge/train:0.1.0/tag?repo=x"),
        ("DELETE", "/images/sim2edge/train:0.1.0"),
        ("GET", "/images/json"),
        ("POST", "/volumes/create"),
        ("GET", "/volumes"),
        ("POST", "/networks/create"),
        ("POST", "/networks/lab-stages/connect"),
        ("POST", "/swarm/init"),
        ("POST", "/plugins/pull?remote=x"),
        ("POST", "/services/create"),
        ("GET", "/secrets"),
        ("POST", "/session"),
        ("POST", "/grpc"),
        ("POST", "/auth"),
        ("GET", "/events"),
        ("GET", "/system/df"),
        ("CONNECT", "/_ping"),
        ("PUT", "/_ping"),
        ("GET", "/"),
    ],
)
def test_other_endpoints_are_refused(method, path):
    assert isinstance(ask(method, path), Refused)
    assert isinstance(ask(method, f"/v1.45{path}"), Refused)


@pytest.mark.parametrize(
    "target",
    [
        "/v1.45/../v1.45/_ping",
        "/v1.45/./_ping",
        "//_ping",
        "/v1.45//_ping",
        "/_ping/",
        "/%5fping",
        "/v1.45/%2e%2e/_ping",
        "/v1.45/v1.45/_ping",
        "/v1.24/_ping",
        "/v2.45/_ping",
        "/v1.450/_ping",
        "/V1.45/_ping",
        "/_PING",
        "/_ping#x",
        "/_ping;x",
        "/_ping\x00",
        "/_ping\n",
        "http://engine/_ping",
        "*",
        "",
        "/containers/json?all=1&all=0",
        "/containers/json?ALL=1",
        "/containers/json?all=1;filters={}",
        "/containers/json?all",
        "/containers/json?all=yes",
        f"/containers/{CONTAINER}/logs?stdout=1&stdout=1",
        f"/containers/{CONTAINER}/json?size=1&x=1",
        f"/containers/{CONTAINER}/../{CONTAINER}/json",
        f"/containers/{CONTAINER}%2fexec/json",
        f"/containers/{CONTAINER}/start?detachKeys=x",
        "/_ping?" + "a" * 9000,
    ],
)
def test_tricks_with_paths_and_queries_are_refused(target):
    assert isinstance(ask("GET", target), Refused)


@pytest.mark.parametrize(
    "headers",
    [
        {"upgrade": "tcp"},
        {"connection": "keep-alive, Upgrade"},
        {"transfer-encoding": "chunked"},
        {"content-encoding": "gzip"},
    ],
)
def test_tricks_with_headers_are_refused(headers):
    assert isinstance(ask("POST", f"/v1.45/containers/{CONTAINER}/start", **headers), Refused)


def test_a_body_comes_only_where_one_belongs_and_in_size():
    assert isinstance(ask("POST", f"/v1.45/containers/{CONTAINER}/start", b'{"Binds":["/:/host"]}'), Refused)
    assert isinstance(create(json.dumps(BODY).encode() + b" " * CREATE_BODY_BYTES), Refused)
    for wrong in (
        b"",
        b"null",
        b"[]",
        b"x",
        b"\xff",
        b"{" * 5000,
        b'{"Image":' * 9000,
        json.dumps(BODY).encode("utf-16"),
    ):
        assert isinstance(create(wrong), Refused)


# --- Bodies --------------------------------------------------------------------------------------------------------

DANGEROUS: list[dict[str, Any]] = [
    {"HostConfig__Privileged": True},
    {"HostConfig__Binds": ["/:/host"]},
    {"HostConfig__Mounts": [{"Type": "bind", "Source": "/", "Target": "/scratch"}]},
    {"HostConfig__Mounts": [{"Type": "volume", "Source": "ota-keys", "Target": "/scratch"}]},
    {"HostConfig__Mounts": [{"Type": "volume", "Target": "/etc"}]},
    {
        "HostConfig__Mounts": [
            {"Type": "volume", "Target": "/scratch", "VolumeOptions": {"DriverConfig": {"Options": {"device": "/"}}}}
        ]
    },
    {"HostConfig__VolumesFrom": ["postgres"]},
    {"HostConfig__NetworkMode": "host"},
    {"HostConfig__NetworkMode": "container:postgres"},
    {"HostConfig__NetworkMode": "lab-backend"},
    {"HostConfig__PidMode": "host"},
    {"HostConfig__PidMode": f"container:{CONTAINER}"},
    {"HostConfig__IpcMode": "host"},
    {"HostConfig__IpcMode": "shareable"},
    {"HostConfig__UTSMode": "host"},
    {"HostConfig__UsernsMode": "host"},
    {"HostConfig__CgroupnsMode": "host"},
    {"HostConfig__CgroupParent": "/"},
    {"HostConfig__CapAdd": ["SYS_ADMIN"]},
    {"HostConfig__CapDrop": ["NET_RAW"]},
    {"HostConfig__CapDrop": []},
    {"HostConfig__Devices": [{"PathOnHost": "/dev/sda"}]},
    {"HostConfig__DeviceRequests": [{"Driver": "", "Count": 1, "Capabilities": [["gpu"]]}]},
    {"HostConfig__DeviceCgroupRules": ["a *:* rwm"]},
    {"HostConfig__SecurityOpt": ["no-new-privileges:true", "seccomp=unconfined"]},
    {"HostConfig__SecurityOpt": ["apparmor=unconfined"]},
    {"HostConfig__SecurityOpt": []},
    {"HostConfig__SecurityOpt": None},
    {"HostConfig__ReadonlyRootfs": False},
    {"HostConfig__MaskedPaths": []},
    {"HostConfig__ReadonlyPaths": []},
    {"HostConfig__Sysctls": {"kernel.x": "1"}},
    {"HostConfig__Runtime": "other"},
    {"HostConfig__PortBindings": {"80/tcp": [{"HostPort": "80"}]}},
    {"HostConfig__PublishAllPorts": True},
    {"HostConfig__ExtraHosts": ["s3:1.2.3.4"]},
    {"HostConfig__Links": ["postgres"]},
    {"HostConfig__OomScoreAdj": -1000},
    {"HostConfig__OomKillDisable": True},
    {"HostConfig__RestartPolicy": {"Name": "always"}},
    {"HostConfig__LogConfig": {"Type": "syslog", "Config": {"syslog-address": "tcp://x"}}},
    {"HostConfig__LogConfig": {"Type": "json-file", "Config": {"labels": "x"}}},
    {"HostConfig__Tmpfs": {"/proc": ""}},
    {"HostConfig__Tmpfs": {"/tmp": "suid"}},
    {"HostConfig__Memory": 0},
    {"HostConfig__Memory": True},
    {"HostConfig__MemorySwap": -1},
    {"HostConfig__NanoCpus": 0},
    {"HostConfig__PidsLimit": -1},
    {"HostConfig__StorageOpt": {"size": "1T"}},
    {"HostConfig": None},
    {"Image": "alpine"},
    {"Image": None},
    {"User": "0"},
    {"User": "root"},
    {"Labels": {}},
    {"Labels": {"sim2edge.deployment": "another"}},
    {"Labels": {"sim2edge.deployment": "lab", "com.docker.compose.project": "lab"}},
    {"Volumes": {"/etc": {}}},
    {"Hostname": "s3"},
    {"ExposedPorts": {"80/tcp": {}}},
    {"NetworkingConfig": {"EndpointsConfig": {"lab-stages": {"Aliases": ["s3"]}}}},
    {"NetworkingConfig": {"EndpointsConfig": {"lab-backend": {}}}},
    {"Tty": True},
    {"OpenStdin": True},
    {"Healthcheck": {"Test": ["CMD-SHELL", "x"]}},
    {"Unknown": 1},
]


@pytest.mark.parametrize("fields", DANGEROUS, ids=lambda fields: json.dumps(fields)[:60])
def test_a_container_that_is_less_than_hardened_is_refused(fields):
    assert isinstance(create(changed(**fields)), Refused)


@pytest.mark.parametrize(
    "name", ["NetworkMode", "Memory", "MemorySwap", "NanoCpus", "PidsLimit", "CapDrop", "SecurityOpt"]
)
def test_a_limit_that_is_left_out_is_refused(name):
    body = changed()
    del body["HostConfig"][name]
    refused = create(body)
    assert isinstance(refused, Refused)
    assert name in refused.reason


def test_gpus_have_to_be_allowed():
    body = changed(HostConfig__DeviceRequests=[{"Driver": "", "Count": 1, "Capabilities": [["gpu"]]}])
    allowing = replace(POLICY, gpus=True)
    assert isinstance(create(body, policy=allowing), Allowed)
    body["HostConfig"]["DeviceRequests"][0]["Capabilities"] = [["gpu", "admin"]]
    assert isinstance(create(body, policy=allowing), Refused)


def go_view(text: bytes) -> dict[str, Any]:
    """What Go's decoder makes of JSON: keys in any case, and the last of several wins."""
    return json.loads(text, object_pairs_hook=lambda pairs: {name.lower(): value for name, value in pairs})


def is_safe(body: dict[str, Any]) -> bool:
    """Told by the engine's rules, not by the proxy's tables: whether such a container keeps to itself."""
    host = body["hostconfig"]
    reaching = ("binds", "volumesfrom", "capadd", "devices", "devicerequests", "devicecgrouprules", "portbindings")
    namespaces = ("pidmode", "utsmode", "usernsmode", "cgroupparent", "runtime", "sysctls", "extrahosts", "links")
    return (
        not any(host.get(name) for name in (*reaching, *namespaces, "privileged", "maskedpaths", "readonlypaths"))
        and host.get("ipcmode") in (None, "", "private", "none")
        and host.get("cgroupnsmode") in (None, "", "private")
        and host["networkmode"] == "lab-stages"
        and host["capdrop"] == ["ALL"]
        and host["securityopt"] in (["no-new-privileges"], ["no-new-privileges:true"], ["no-new-privileges=true"])
        and host["readonlyrootfs"] is True
        and 0 < host["memory"] == host["memoryswap"]
        and host["nanocpus"] > 0
        and host["pidslimit"] > 0
        and all(mount["type"] == "volume" and not mount.get("source") for mount in host.get("mounts") or ())
        and body["image"].startswith("sim2edge/")
        and body["labels"]["sim2edge.deployment"] == "lab"
        and body.get("user") in (None, "", "10001", "10001:10001")
    )


NAMES = sorted({fields.partition("__")[2] or fields for each in DANGEROUS for fields in each} | set(BODY["HostConfig"]))
VALUES = st.one_of(
    st.sampled_from([value for each in DANGEROUS for value in each.values()]),
    st.sampled_from([None, True, False, 0, -1, 1, "", "host", "ALL", [], {}, ["ALL"], 2**63, 1e9, "sim2edge/x"]),
)
CASES = st.sampled_from([str, str.lower, str.upper, str.title, lambda name: name.replace("s", "ſ").replace("K", "K")])
INSERTS = st.lists(st.tuples(st.booleans(), st.sampled_from(NAMES), CASES, VALUES, st.booleans()), max_size=4)


def insert(text: str, opening: str, name: str, value: Any, first: bool) -> str:
    """`text` with one more key in the object that opens after `opening`: as its first key, or as its last."""
    start = text.index(opening) + len(opening)
    if first:
        return f"{text[:start]}{json.dumps(name)}: {json.dumps(value)}, {text[start:]}"
    end = text.rindex("}}") if "HostConfig" in opening else text.rindex("}")
    return f"{text[:end]}, {json.dumps(name)}: {json.dumps(value)}{text[end:]}"


@given(INSERTS)
@settings(max_examples=600, deadline=None)
def test_whatever_is_added_to_a_body_what_passes_is_safe_as_the_engine_reads_it(inserts):
    text = json.dumps(BODY)
    for in_host, name, case, value, first in inserts:
        text = insert(text, '"HostConfig": {' if in_host else "{", case(name), value, first)
    decision = create(text.encode())
    if isinstance(decision, Allowed):
        assert is_safe(go_view(decision.body or b""))


@given(st.sampled_from(sorted(BODY["HostConfig"])), VALUES)
@settings(max_examples=300, deadline=None)
def test_whatever_a_field_is_set_to_what_passes_is_safe_as_the_engine_reads_it(name, value):
    decision = create(changed(**{f"HostConfig__{name}": value}))
    if isinstance(decision, Allowed):
        assert is_safe(go_view(decision.body or b""))


WORDS = "/ // .. . %2e %2f v1.45 v1.41 containers json exec create start images sim2edge logs _ping ? & = all 1"
PIECES = st.sampled_from([*WORDS.split(), CONTAINER, "path", "archive", "networks", "lab-stages"])


@given(st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD"]), st.lists(PIECES, max_size=9))
@settings(max_examples=1500, deadline=None)
def test_whatever_the_path_what_passes_means_the_same_to_every_reader(method, pieces):
    target = "/" + "".join(pieces)
    decision = ask(method, target)
    if isinstance(decision, Allowed):
        path = decision.target.partition("?")[0]
        assert path == posixpath.normpath(urllib.parse.unquote(path))
        assert not {"exec", "attach", "archive", "build"} & set(path.split("/"))
