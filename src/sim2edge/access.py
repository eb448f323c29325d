"""Define the permissions of each role in the bucket, and the policy documents by which S3 enforces them.

    grants_of("train")                 key patterns that the role may read, write, create, delete
    policy("train", "my-bucket")       the same as an AWS IAM policy
    seaweedfs_config(keys, "my-bucket")    the roles with their keys, in SeaweedFS's format

Roles are the stages, `airflow`, `mlflow`, `device-<id>`, `producer-<name>` and `admin`. A stage's permissions follow
from its declaration: it reads the kinds of its inputs and its own, every ref, because any ref may name an input, which
batches are withdrawn, which few decide, and, if it has inputs, every manifest, to tell whether they derive
from such a batch; it writes payload and manifests of its own kind, and its own ref; it deletes payload and checkpoints
of its own kind, never a manifest; and it has the permissions it declares besides (`Stage.grants`). A role that may read
keys may list them, too: without that, AWS answers "forbidden" for a missing object.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sim2edge.alternates import FOLDER as ALTERNATES
from sim2edge.alternates import has_own_ref
from sim2edge.bus import RETIRED
from sim2edge.conditions import FOLDER as CONDITIONS
from sim2edge.enrol import names
from sim2edge.errors import BadInput, NotFound
from sim2edge.inbox import ANNOTATED, PAYLOAD
from sim2edge.stage import Grants, Stage
from sim2edge.stages import get_stage, installed, kinds, stage_names

ADMIN = "admin"
OF_DAGS = ("retention", "withdraw", "erase")
"""Roles of single DAGs, which do what only they may."""
SERVICES = ("airflow", "mlflow", *OF_DAGS)
DEVICE = re.compile(f"device-({names.DEVICE})")
PRODUCER = re.compile(r"producer-([a-z0-9][a-z0-9-]{0,31})")
"""Produces batches for the inbox; their ids begin with its name and a dot, which no name has."""
COMMON = ("refs/*", "withdrawn/*")
"""What every stage reads: any ref may name an input, any batch may be withdrawn (`withdrawal.py`)."""
LINEAGE = ("*/manifest.json",)
"""What a stage with inputs reads besides: the manifests that tell whether an input derives from a withdrawn batch."""
DEVICES, SEEN = "devices/*", "devices/seen.json"
"""The register of enrolled devices (`enrol/register.py`), and what was seen of them (`enrol/sightings.py`)."""
CHECKS = (f"{CONDITIONS}/*",)
"""What every role that puts on conditions reads and writes: the record that the server honours them."""
CHECKED = (f"{CONDITIONS}/check/*",)
"""What `sim2edge check` writes and deletes."""
BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


@dataclass(frozen=True)
class Keys:
    """An S3 key pair."""

    access: str
    secret: str = field(repr=False)


def fixed_roles() -> tuple[str, ...]:
    """Return the roles that every deployment has: the stages, the services, the admin."""
    return (*stage_names(), *SERVICES, ADMIN)


def grants_of(role: str) -> Grants:
    """Return the permissions of a role; those of `admin` are `*`.

    Raises:
        NotFound: there is no such role.
    """
    if role in stage_names():
        return _stage_grants(get_stage(role))
    if device := DEVICE.fullmatch(role):
        return Grants(read=("ota/*",), write=(f"fleet/{device[1]}/*",))
    if producer := PRODUCER.fullmatch(role):
        own = f"inbox/{producer[1]}.*"
        files = tuple(f"inbox/{producer[1]}.{each}" for each in (*PAYLOAD, *ANNOTATED))
        return Grants(read=(own, *CHECKS), write=(*files, *CHECKS), create=(f"{own}/READY.json",), delete=CHECKED)
    if role == "airflow":
        return _airflow_grants()
    if role == "mlflow":
        return Grants(read=("mlflow/*",), write=("mlflow/*",), delete=("mlflow/*",))
    if role == "retention":
        return _retention_grants()
    if role == "withdraw":
        return _withdraw_grants()
    if role == "erase":
        return _erase_grants()
    if role == ADMIN:
        return Grants(read=("*",), write=("*",), delete=("*",))
    raise NotFound(f"role '{role}' is not one of: {', '.join(fixed_roles())}, device-<id>, producer-<name>")


def _stage_grants(stage: Stage) -> Grants:
    inputs = (each.kind for each in stage.inputs.values())
    lineage = LINEAGE if stage.inputs else ()
    payload = f"{stage.produces}/*/*/*/*"  # one level below manifest.json
    return Grants(
        read=(
            *dict.fromkeys(f"{kind}/*" for kind in (stage.produces, *inputs)),
            *COMMON,
            *CHECKS,
            *lineage,
            *stage.grants.read,
        ),
        write=(payload, *_own_ref(stage), *CHECKS, *stage.grants.write),
        create=(f"{stage.produces}/*/*/manifest.json", f"catalog/*Z_{stage.produces}_*", *stage.grants.create),
        delete=(payload, *CHECKED),
    )


def _airflow_grants() -> Grants:
    """Return the permissions of Airflow's tasks.

    They read to plan runs, show results, and see whether there is an update repository; on a cache hit they move the
    stage's ref and index the artifact in the catalog; they register new batches (`arrivals.py`). Task logs are in the
    bucket when workers run on several hosts (docs/celery.md).
    """
    refs = dict.fromkeys(ref for stage in installed() for ref in _own_ref(stage))
    artifacts = (f"{kind}/*" for kind in kinds())
    return Grants(
        read=(
            *artifacts,
            "refs/*",
            "withdrawn/*",
            "logs/*",
            "catalog/*",
            "fleet/*",
            DEVICES,
            "retrain/*",
            "inbox/*",
            "registered/*",
            "notes/*",
            "ota/metadata/*",
            *CHECKS,
        ),
        write=(*refs, SEEN, "logs/*", "catalog/*", "retrain/*", "registered/*", "notes/*", *CHECKS),
        delete=("retrain/open/*", "registered/runs/*", *CHECKED),
    )


def _retention_grants() -> Grants:
    """Return the permissions of the DAG `retention` (`retire.py`): only it and the admin delete manifests."""
    artifacts = tuple(f"{kind}/*" for kind in kinds())
    own = {str(stage.ref).format(partition="*") for stage in installed() if has_own_ref(stage)}
    return Grants(
        read=(*artifacts, *COMMON, "catalog/*", "fleet/*", DEVICES, "notes/*"),
        write=(f"{RETIRED}/*",),
        delete=(*artifacts, *sorted(own), f"{ALTERNATES}/*", "catalog/*"),
    )


def _withdraw_grants() -> Grants:
    """Return the permissions of the DAG `withdraw_batch`: what is withdrawn, and requests for trainings without it."""
    artifacts = (f"{kind}/*" for kind in kinds())
    return Grants(
        read=(*artifacts, *COMMON, "catalog/*", "fleet/*", DEVICES, "retrain/*", "inbox/*", *CHECKS),
        write=("withdrawn/batches/*", "retrain/*", *CHECKS),
        delete=("retrain/open/*", *CHECKED),
    )


def _erase_grants() -> Grants:
    """Return the permissions of the DAG `erase_batch` (`erasure.py`): it deletes all payload, and no manifest."""
    base = _withdraw_grants()
    return Grants(
        read=(*base.read, "mlflow/*", "notes/*", "ota/targets/*"),
        write=(*base.write, "withdrawn/erased/*", "catalog/*"),
        delete=(
            *(f"{kind}/*/*/*/*" for kind in kinds()),
            *base.delete,
            *("inbox/*", "mlflow/*", "notes/*", "ota/targets/releases/*"),
        ),
    )


def _own_ref(stage: Stage) -> list[str]:
    beside = [f"{ALTERNATES}/{stage.produces}/*"] if has_own_ref(stage) else []
    return [stage.ref.format(partition="*"), *beside] if stage.ref else []


def policy(role: str, bucket: str, *, conditional: bool = True) -> dict[str, Any]:
    """Return the IAM policy of a role.

    Args:
        role: see `grants_of`.
        bucket: name of the bucket.
        conditional: require If-None-Match where the role may only create; AWS supports it.

    Raises:
        BadInput: there is no such role, or the bucket's name is invalid.
    """
    if not BUCKET.fullmatch(bucket):
        raise BadInput(f"bucket '{bucket}': expected 3 to 63 of a-z, 0-9, '.', '-'")
    arn = f"arn:aws:s3:::{bucket}"
    if role == ADMIN:
        statements = [_allow(["s3:*"], [arn, f"{arn}/*"])]
    else:
        statements = _statements(grants_of(role), arn, conditional)
    return {"Version": "2012-10-17", "Statement": statements}


def _statements(grants: Grants, arn: str, conditional: bool) -> list[dict[str, Any]]:
    def keys(patterns: Sequence[str]) -> list[str]:
        return [f"{arn}/{pattern}" for pattern in patterns]

    put = ["s3:PutObject", "s3:AbortMultipartUpload"]
    only_new = {"Null": {"s3:if-none-match": "false"}} if conditional else {}
    found = []
    if grants.read:
        found.append(_allow(["s3:GetObject"], keys(grants.read)))
        found.append(_allow(["s3:ListBucket"], [arn], {"StringLike": {"s3:prefix": list(grants.read)}}))
    if grants.write:
        found.append(_allow(put, keys(grants.write)))
    if grants.create:
        found.append(_allow(["s3:PutObject"], keys(grants.create), only_new))
    if grants.delete:
        found.append(_allow(["s3:DeleteObject"], keys(grants.delete)))
    return found


def _allow(
    actions: Sequence[str], resources: Sequence[str], condition: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    statement = {"Effect": "Allow", "Action": list(actions), "Resource": list(resources)}
    return {**statement, "Condition": dict(condition)} if condition else statement


def seaweedfs_config(keys: Mapping[str, Keys], bucket: str) -> dict[str, Any]:
    """Return the content of SeaweedFS's `s3.json`: each role with its key pair and its policy, the admin first.

    Raises:
        BadInput: a name is not a role, or two roles have the same access key.
    """
    owners: dict[str, str] = {}
    for role, pair in keys.items():
        if (owner := owners.setdefault(pair.access, role)) != role:
            raise BadInput(f"roles '{owner}' and '{role}' have the same access key: remove the file of one of them")
    roles = sorted(keys, key=lambda role: (role != ADMIN, role))
    scoped = [role for role in roles if role != ADMIN]
    return {
        "identities": [_identity(role, keys[role]) for role in roles],
        "policies": [{"name": role, "content": json.dumps(policy(role, bucket, conditional=False))} for role in scoped],
    }


def _identity(role: str, keys: Keys) -> dict[str, Any]:
    may = {"actions": ["Admin"]} if role == ADMIN else {"policyNames": [role]}
    return {"name": role, "credentials": [{"accessKey": keys.access, "secretKey": keys.secret}], **may}
