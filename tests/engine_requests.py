"""What the operator asks the engine for, as the tests of the proxy change it."""

import copy
from typing import Any

from sim2edge.engine_proxy.policy import Policy

POLICY = Policy(deployment="lab", network="lab-stages")
CONTAINER = "3f2a9c0d11e4" + "0" * 52
BODY: dict[str, Any] = {
    "Image": "sim2edge/train:0.1.0",
    "User": "10001:10001",
    "Entrypoint": ["timeout", "--signal=TERM", "--kill-after=30s", "3600s", "sim2edge"],
    "Cmd": ["train", "--partition=demo-1"],
    "Env": ["SIM2EDGE_BUCKET=sim2edge", "HOME=/tmp"],
    "Labels": {"sim2edge.deployment": "lab", "sim2edge.stage": "train"},
    "Volumes": {"/scratch": {}, "/run/sim2edge": {}},
    "HostConfig": {
        "Init": True,
        "ReadonlyRootfs": True,
        "Tmpfs": {"/tmp": "rw,nosuid,nodev,noexec,size=256m,mode=1777"},
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges:true"],
        "Memory": 2**31,
        "MemorySwap": 2**31,
        "NanoCpus": 2 * 10**9,
        "PidsLimit": 512,
        "ShmSize": 2**26,
        "NetworkMode": "lab-stages",
        "RestartPolicy": {"Name": "no"},
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "64m", "max-file": "2"}},
    },
}


def changed(**fields: Any) -> dict[str, Any]:
    """The body with other values; a name with `__` reaches into HostConfig (`HostConfig__Privileged`)."""
    body = copy.deepcopy(BODY)
    for name, value in fields.items():
        part, _, inner = name.partition("__")
        (body[part] if inner else body)[inner or part] = value
    return body
