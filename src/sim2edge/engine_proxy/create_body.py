"""Check a container's create request: every field of the body against an allow-list.

The engine, written in Go, accepts `"privileged"` for `"Privileged"` and the last of two equal keys. Here keys are
case-sensitive, unknown or duplicate keys are refused, and the engine gets a rebuilt body.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from sim2edge.engine_proxy.policy import DEPLOYMENT_LABEL, LABEL_PREFIX, VOLUME_TARGETS, Policy, Refusal

Check = Callable[[Any, Policy], bool]

IMAGE_ID = re.compile(r"sha256:[0-9a-f]{64}")
IMAGE_NAME = re.compile(
    r"[a-z0-9][A-Za-z0-9_.-]*(:\d{1,5})?(/[A-Za-z0-9][A-Za-z0-9_.-]*)*(:[A-Za-z0-9_.-]{1,128})?"
    r"(@sha256:[0-9a-f]{64})?"
)
USER = re.compile(r"10001(:10001)?")
TMPFS_TARGET = re.compile(r"/(tmp|run|var/tmp|home)(/[A-Za-z0-9_-]+)*")
TMPFS_OPTION = re.compile(r"rw|noexec|nosuid|nodev|exec|(size|mode|uid|gid|nr_inodes)=[0-9]+[kmg]?")
SIZE_TEXT = re.compile(r"\d{1,6}[kmg]?", re.IGNORECASE)
MAX_MEMORY = 2**42


def read_json(body: bytes) -> dict[str, Any]:
    """Return the JSON object of a body.

    Raises:
        Refusal: it is not one, or has a duplicate key.
    """
    try:
        content = json.loads(body.decode("utf-8"), object_pairs_hook=_no_key_twice, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Refusal("the body is not JSON") from error
    if not isinstance(content, dict):
        raise Refusal("the body is not a JSON object")
    return content


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs) or len({name.casefold() for name in content}) != len(pairs):
        raise Refusal("the body has a duplicate key")
    return content


def _no_constant(_: str) -> Any:
    raise Refusal("the body has an invalid number")


def check_create(body: Mapping[str, Any], image_names: tuple[str, ...], policy: Policy) -> None:
    """Check that a container may be created with this body.

    Args:
        body: the parsed body.
        image_names: names of the image, if the body has its id.
        policy: what this deployment allows.

    Raises:
        Refusal: a field is not allowed; the message names the first.
    """
    host = body.get("HostConfig")
    if not isinstance(host, dict):
        raise Refusal("HostConfig is missing")
    _check_fields(body, TOP_FIELDS, policy, "")
    _check_fields(host, HOST_FIELDS, policy, "HostConfig.")
    for name in REQUIRED:
        if name not in host:
            raise Refusal(f"HostConfig.{name} is missing")
    if host["MemorySwap"] != host["Memory"]:
        raise Refusal("HostConfig.MemorySwap has to equal Memory")
    _check_image(body.get("Image"), image_names, policy)
    labels = body.get("Labels")
    if not isinstance(labels, dict) or labels.get(DEPLOYMENT_LABEL) != policy.deployment:
        raise Refusal(f"Labels: {DEPLOYMENT_LABEL} has to be '{policy.deployment}'")


def _check_fields(content: Mapping[str, Any], fields: Mapping[str, Check], policy: Policy, where: str) -> None:
    for name, value in content.items():
        check = fields.get(name)
        if check is None:
            raise Refusal(f"{where}{name[:60]} is not an allowed field")
        if not check(value, policy):
            raise Refusal(f"{where}{name} has a value that is not allowed")


def _check_image(image: Any, image_names: tuple[str, ...], policy: Policy) -> None:
    if not isinstance(image, str):
        raise Refusal("Image is missing")
    names = image_names if IMAGE_ID.fullmatch(image) else (image,)
    if not any(IMAGE_NAME.fullmatch(name) and policy.names_image(name) for name in names):
        raise Refusal(f"Image '{image[:120]}' does not begin with any of: {', '.join(policy.image_prefixes)}")


def _empty(value: Any, _: Policy) -> bool:
    return value is None or value is False or value in ("", [], {})


def _flag(value: Any, _: Policy) -> bool:
    return value is None or isinstance(value, bool)


def _true(value: Any, _: Policy) -> bool:
    return value is True


def _text(value: Any, _: Policy) -> bool:
    return value is None or isinstance(value, str)


def _texts(value: Any, _: Policy) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(word, str) for word in value))


def _number(low: int, high: int) -> Check:
    return lambda value, _: type(value) is int and low <= value <= high


def _optional_number(low: int, high: int) -> Check:
    return lambda value, _: value is None or (type(value) is int and low <= value <= high)


def _one_of(*allowed: Any) -> Check:
    return lambda value, _: any(type(value) is type(each) and value == each for each in allowed)


def _labels(value: Any, _: Policy) -> bool:
    return isinstance(value, dict) and all(
        name.startswith(LABEL_PREFIX) and isinstance(text, str) for name, text in value.items()
    )


def _user(value: Any, _: Policy) -> bool:
    return value in (None, "") or (isinstance(value, str) and bool(USER.fullmatch(value)))


def _volumes(value: Any, _: Policy) -> bool:
    return value is None or (
        isinstance(value, dict) and all(target in VOLUME_TARGETS and content == {} for target, content in value.items())
    )


def _mounts(value: Any, _: Policy) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(each, dict) and _mount(each) for each in value))


def _mount(mount: dict[str, Any]) -> bool:
    known = {"Type", "Target", "Source", "ReadOnly", "VolumeOptions"}
    return (
        set(mount) <= known
        and mount.get("Type") == "volume"
        and mount.get("Target") in VOLUME_TARGETS
        and mount.get("Source") in (None, "")
        and mount.get("ReadOnly") in (None, False)
        and mount.get("VolumeOptions") in (None, {}, {"NoCopy": False}, {"NoCopy": True})
    )


def _tmpfs(value: Any, _: Policy) -> bool:
    return value is None or (
        isinstance(value, dict)
        and all(
            bool(TMPFS_TARGET.fullmatch(target))
            and isinstance(options, str)
            and all(TMPFS_OPTION.fullmatch(option) for option in options.split(",") if options)
            for target, options in value.items()
        )
    )


def _network(value: Any, policy: Policy) -> bool:
    return isinstance(value, str) and value == policy.network


def _networking(value: Any, policy: Policy) -> bool:
    alone: tuple[dict[str, Any], ...] = ({policy.network: None}, {policy.network: {}})
    if value in (None, {}, alone[0]):  # docker-py sends the last; the engine ignores it
        return True
    return (
        isinstance(value, dict) and set(value) == {"EndpointsConfig"} and value["EndpointsConfig"] in (None, {}, *alone)
    )


def _restart(value: Any, _: Policy) -> bool:
    return value in (None, {}, {"Name": ""}, {"Name": "no"}, {"Name": "no", "MaximumRetryCount": 0})


def _log_config(value: Any, _: Policy) -> bool:
    if value in (None, {}):
        return True
    if not isinstance(value, dict) or not set(value) <= {"Type", "Config"}:
        return False
    options = value.get("Config") or {}
    sizes = isinstance(options, dict) and all(
        name in ("max-size", "max-file") and isinstance(text, str) and SIZE_TEXT.fullmatch(text)
        for name, text in options.items()
    )
    return value.get("Type") in ("json-file", "local") and sizes


def _devices(value: Any, policy: Policy) -> bool:
    if value in (None, []):
        return True
    return policy.gpus and isinstance(value, list) and all(isinstance(each, dict) and _gpu(each) for each in value)


def _gpu(request: dict[str, Any]) -> bool:
    return (
        set(request) <= {"Driver", "Count", "DeviceIDs", "Capabilities", "Options"}
        and request.get("Driver") in (None, "", "nvidia")
        and request.get("Capabilities") == [["gpu"]]
        and request.get("DeviceIDs") in (None, [])
        and request.get("Options") in (None, {})
        and type(request.get("Count")) is int
    )


def _healthcheck(value: Any, _: Policy) -> bool:
    return value in (None, {}, {"Test": ["NONE"]})


TOP_FIELDS: Mapping[str, Check] = {
    "Image": _text,
    "Cmd": _texts,
    "Entrypoint": _texts,
    "Env": _texts,
    "Labels": _labels,
    "User": _user,
    "WorkingDir": _text,
    "Volumes": _volumes,
    "HostConfig": lambda value, _: isinstance(value, dict),
    "NetworkingConfig": _networking,
    "StopSignal": _one_of(None, "", "SIGTERM", "SIGINT"),
    "StopTimeout": _optional_number(0, 3600),
    "Healthcheck": _healthcheck,
    "AttachStdout": _flag,
    "AttachStderr": _flag,
    # A stage with a name of its own in the network could impersonate a service.
    **dict.fromkeys(("Hostname", "Domainname", "MacAddress", "ExposedPorts", "NetworkDisabled"), _empty),
    **dict.fromkeys(("Tty", "OpenStdin", "StdinOnce", "AttachStdin", "Runtime"), _empty),
}
HOST_FIELDS: Mapping[str, Check] = {
    "NetworkMode": _network,
    "Memory": _number(6 * 2**20, MAX_MEMORY),
    "MemorySwap": _number(6 * 2**20, MAX_MEMORY),
    "NanoCpus": _number(10**7, 512 * 10**9),
    "PidsLimit": _number(1, 10**6),
    "ShmSize": _optional_number(2**20, MAX_MEMORY),
    "ReadonlyRootfs": _true,
    "CapDrop": _one_of(["ALL"]),
    "SecurityOpt": _one_of(["no-new-privileges"], ["no-new-privileges:true"], ["no-new-privileges=true"]),
    "Init": _flag,
    "AutoRemove": _flag,
    "Tmpfs": _tmpfs,
    "Mounts": _mounts,
    "RestartPolicy": _restart,
    "LogConfig": _log_config,
    "DeviceRequests": _devices,
    "OomScoreAdj": _optional_number(0, 1000),
    "Privileged": _empty,
    "IpcMode": _one_of(None, "", "private", "none"),
    "CgroupnsMode": _one_of(None, "", "private"),
    **dict.fromkeys(("PidMode", "UTSMode", "UsernsMode", "CgroupParent", "VolumeDriver", "Runtime"), _empty),
    **dict.fromkeys(("Binds", "VolumesFrom", "CapAdd", "Devices", "DeviceCgroupRules", "GroupAdd", "Links"), _empty),
    **dict.fromkeys(("PortBindings", "PublishAllPorts", "ExtraHosts", "Dns", "DnsOptions", "DnsSearch"), _empty),
    **dict.fromkeys(("Sysctls", "StorageOpt", "Ulimits"), _empty),
}
REQUIRED = ("NetworkMode", "Memory", "MemorySwap", "NanoCpus", "PidsLimit", "ReadonlyRootfs", "CapDrop", "SecurityOpt")
