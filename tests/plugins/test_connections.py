"""What Airflow's connections say is what S3 is asked with: by tasks, pages and stages, instead of the variables."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from sim2edge.any_names import list_folders
from sim2edge.errors import BadInput, Forbidden, Misconfigured, Unavailable
from sim2edge.stages import get_stage
from sim2edge_airflow import connections
from sim2edge_airflow.connections import (
    connect_bus,
    docker_connection,
    registry_name,
    s3_access,
    s3_connection,
    worker_environment,
)
from sim2edge_airflow.runtimes.docker_engine import connect, engine_address
from sim2edge_airflow.runtimes.stage_job import stage_secrets

ELSEWHERE = {
    "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
    "AWS_ACCESS_KEY_ID": "of-the-worker",
    "AWS_SECRET_ACCESS_KEY": "of-the-worker",
    "AWS_SESSION_TOKEN": "of-the-worker",
    "AWS_REGION": "elsewhere",
}


def describe(kind: str, extra: object, **fields: object) -> str:
    """A connection as a variable `AIRFLOW_CONN_<ID>` has it."""
    return json.dumps({"conn_type": kind, "extra": extra, **fields})


def of_server(server, **changed: object) -> str:
    """A connection to a real S3 server."""
    extra = {"endpoint_url": server.endpoint, "region_name": "us-east-1"}
    return describe("aws", extra, **{"login": server.access_key, "password": server.secret_key, **changed})


@pytest.fixture(autouse=True)
def read_anew() -> Iterator[None]:
    """Read connections anew, as another process would."""
    connections._read_s3_connection.cache_clear()
    yield
    connections._read_s3_connection.cache_clear()


@pytest.fixture
def lab(s3, s3_server, monkeypatch):
    """The connection `lab`, and variables that lead nowhere."""
    for name, value in ELSEWHERE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AIRFLOW__SIM2EDGE__AWS_CONN_ID", "lab")
    monkeypatch.setenv("AIRFLOW_CONN_LAB", of_server(s3_server))
    return s3


def test_without_a_connection_the_variables_count(s3, monkeypatch):
    assert s3_connection() is None
    connect_bus().put("refs/x", b"1")
    assert s3.get("refs/x") == b"1"
    assert worker_environment({"AWS_ACCESS_KEY_ID": "a"}) == {"AWS_ACCESS_KEY_ID": "a"}


def test_the_connection_wins_over_the_variables(lab):
    connect_bus().put("refs/x", b"1")
    assert lab.get("refs/x") == b"1"


def test_what_the_connection_leaves_out_the_variables_say(lab, s3_server, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server.endpoint)
    monkeypatch.setenv(
        "AIRFLOW_CONN_LAB", describe("aws", {}, login=s3_server.access_key, password=s3_server.secret_key)
    )
    connect_bus().put("refs/x", b"1")
    monkeypatch.setenv("AIRFLOW_CONN_LAB", "aws://")
    connections._read_s3_connection.cache_clear()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret_key)
    monkeypatch.delenv("AWS_SESSION_TOKEN")
    assert connect_bus().get("refs/x") == b"1"


def test_names_that_only_boto3_lists_are_listed_with_the_connection_too(lab, s3_server, partition):
    lab.put(f"{partition}/deep/x", b"1")
    assert list_folders(s3_server.bucket, partition, s3_access(s3_connection())) == ["deep"]


def test_a_connection_in_airflows_database_is_read_where_the_api_server_reads_it(
    lab, s3_server, airflow_database, monkeypatch
):
    from airflow.models import Connection
    from airflow.utils.session import create_session

    monkeypatch.delenv("AIRFLOW_CONN_LAB")
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")
    extra = json.dumps({"endpoint_url": s3_server.endpoint, "region_name": "us-east-1"})
    own = Connection("lab", "aws", login=s3_server.access_key, password=s3_server.secret_key, extra=extra)
    with create_session() as session:
        session.add(own)
    connect_bus().put("refs/x", b"1")
    assert lab.get("refs/x") == b"1"


def test_a_key_that_changes_is_taken_up_by_who_is_connected(lab, s3_server, monkeypatch):
    monkeypatch.setattr(connections, "KEPT_S", 0.2)
    bus = connect_bus()
    bus.put("refs/x", b"1")
    monkeypatch.setenv("AIRFLOW_CONN_LAB", of_server(s3_server, password="another-secret"))
    time.sleep(0.5)
    with pytest.raises(Forbidden, match=r"refused the credentials \(connection 'lab'\)"):
        bus.get("refs/x")


def test_a_connection_that_is_not_defined_is_named(lab, monkeypatch):
    monkeypatch.setenv("AIRFLOW__SIM2EDGE__AWS_CONN_ID", "no_such")
    with pytest.raises(Unavailable, match=r"^connection 'no_such' \(\[sim2edge\] aws_conn_id\) is not defined"):
        connect_bus()


def test_an_endpoint_that_is_none_is_named(lab, s3_server, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_LAB", describe("aws", {"endpoint_url": "s3.example.org"}, login="a", password="b"))
    with pytest.raises(BadInput, match=r"^connection 'lab': extra.endpoint_url 's3.example.org': expected http"):
        connect_bus()


def test_a_profile_that_is_not_there_is_named(lab, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_LAB", describe("aws", {"profile_name": "nobody"}))
    with pytest.raises(BadInput, match=r"^connection 'lab': .*nobody.* could not be found"):
        connect_bus()


def test_a_stage_is_given_the_connections_credentials_unless_it_has_its_own(lab, s3_server, tmp_path):
    given = worker_environment(ELSEWHERE)
    assert given["AWS_ENDPOINT_URL"] == s3_server.endpoint
    keys = {"AWS_ACCESS_KEY_ID": s3_server.access_key, "AWS_SECRET_ACCESS_KEY": s3_server.secret_key}
    assert stage_secrets(get_stage("clean"), given) == keys, "and no token, which would be the worker's"
    (tmp_path / "clean.env").write_text("AWS_ACCESS_KEY_ID=own\nAWS_SECRET_ACCESS_KEY=own\n")
    own = stage_secrets(get_stage("clean"), {**given, "SIM2EDGE_CREDENTIALS": str(tmp_path)})
    assert own["AWS_ACCESS_KEY_ID"] == "own"


def test_a_session_token_of_the_connection_goes_along(lab, monkeypatch):
    extra = {"aws_session_token": "a-token"}
    monkeypatch.setenv("AIRFLOW_CONN_LAB", describe("aws", extra, login="key", password="secret"))
    assert worker_environment({})["AWS_SESSION_TOKEN"] == "a-token"


def test_no_secret_is_in_what_is_printed(lab, s3_server):
    assert s3_server.secret_key not in repr(s3_connection())


class TokenService(BaseHTTPRequestHandler):
    """AWS's STS, as far as a role is assumed: no server that can be had here does it."""

    answer = (403, "<ErrorResponse><Error><Code>AccessDenied</Code><Message>not you</Message></Error></ErrorResponse>")

    def do_POST(self) -> None:
        """Answer every request alike."""
        self.rfile.read(int(self.headers["Content-Length"]))
        status, body = self.answer
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """Say nothing on the terminal."""


GIVEN = """<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
<AccessKeyId>role-key</AccessKeyId><SecretAccessKey>role-secret</SecretAccessKey><SessionToken>role-token</SessionToken>
<Expiration>2100-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"""


@pytest.fixture
def role(lab, monkeypatch) -> Iterator[type[TokenService]]:
    """The connection `lab` names a role, which the token service gives or refuses."""
    handler = type("Handler", (TokenService,), {})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        extra = {
            "role_arn": "arn:aws:iam::123456789012:role/sim2edge",
            "region_name": "us-east-1",
            "service_config": {"sts": {"endpoint_url": f"http://127.0.0.1:{server.server_port}"}},
        }
        monkeypatch.setenv("AIRFLOW_CONN_LAB", describe("aws", extra, login="key", password="secret"))
        yield handler
        server.shutdown()


def test_a_role_is_assumed(role):
    role.answer = (200, GIVEN)
    given = worker_environment({})
    assert (given["AWS_ACCESS_KEY_ID"], given["AWS_SESSION_TOKEN"]) == ("role-key", "role-token")


def test_a_role_that_is_refused_is_said_in_one_line(role):
    with pytest.raises(BadInput, match=r"^connection 'lab': .*AccessDenied.* not you$"):
        connect_bus()


def docker(monkeypatch, **fields: object) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_DOCKER_DEFAULT", describe("docker", fields.pop("extra", {}), **fields))


def test_without_a_docker_connection_the_variables_count(monkeypatch):
    assert docker_connection() is None
    monkeypatch.setenv("AIRFLOW__SIM2EDGE__DOCKER_CONN_ID", "")
    docker(monkeypatch, host="registry.example", login="ann", password="secret")
    assert docker_connection() is None


def test_a_docker_connection_that_is_asked_for_has_to_be_there(monkeypatch):
    monkeypatch.setenv("AIRFLOW__SIM2EDGE__DOCKER_CONN_ID", "lab_engine")
    with pytest.raises(Unavailable, match=r"^connection 'lab_engine' \(\[sim2edge\] docker_conn_id\) is not defined"):
        docker_connection()


def test_a_login_is_for_its_registry_alone(monkeypatch):
    docker(monkeypatch, host="https://registry.example/v2/", login="ann", password="secret")
    connection = docker_connection()
    assert connection
    assert connection.login_for("registry.example") == {
        "username": "ann",
        "password": "secret",
        "serveraddress": "registry.example",
    }
    assert connection.login_for("registry.example:5000") is None
    assert connection.login_for("docker.io") is None
    assert "secret" not in repr(connection)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("https://index.docker.io/v1/", "docker.io"),
        ("", "docker.io"),
        ("Registry.Example:5000", "registry.example:5000"),
        ("http://127.0.0.1:5000", "127.0.0.1:5000"),
    ],
)
def test_a_registry_has_one_name(address, name):
    assert registry_name(address) == name


def test_a_registry_is_its_host_and_port_whatever_the_form(monkeypatch):
    for fields in ({"host": "https://r.example/v2/", "port": 5000}, {"host": "R.example:5000"}):
        docker(monkeypatch, login="ann", password="b", **fields)
        connection = docker_connection()
        assert connection
        assert connection.registry == "r.example:5000"


def test_tls_files_come_together(monkeypatch):
    docker(monkeypatch, host="r.example", extra={"docker_url": "tcp://engine:2376", "tls_ca_cert": "/ca.pem"})
    with pytest.raises(BadInput, match=r"connection 'docker_default': .* no tls_client_cert and no tls_client_key"):
        docker_connection()


HIDDEN = "hunter2hidden"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (describe("aws", {}, password=HIDDEN)[:-1], "AIRFLOW_CONN_LAB cannot be read: not valid JSON at character"),
        (describe("aws", {}, login="a", password=HIDDEN, port="abc"), "AIRFLOW_CONN_LAB cannot be read: port: not a"),
        (describe("aws", {}, login="a", secret=HIDDEN), "AIRFLOW_CONN_LAB cannot be read: unknown field 'secret'"),
        (f"aws://a:{HIDDEN[:3]}/{HIDDEN}@host:99999/x", "AIRFLOW_CONN_LAB cannot be read: not a valid URI"),
        (HIDDEN, "conn_type: expected 'aws'"),
        (describe("docker", {}, login="a", password=HIDDEN), "conn_type: expected 'aws'"),
        (describe("aws", "not JSON", login="a", password=HIDDEN), "extra: expected a JSON object"),
        (describe("aws", [1], login="a", password=HIDDEN), "extra: expected a JSON object"),
        (describe("aws", {}, login="a", password=""), "password: missing or empty: login and password go together"),
        (describe("aws", {}, login="", password=HIDDEN), "login: missing or empty"),
        (describe("aws", {"aws_access_key_id": "a"}), "extra.aws_secret_access_key: missing or empty"),
        (describe("aws", {"aws_session_token": HIDDEN}), "extra.aws_session_token: there is no key to it"),
        (describe("aws", {}, login="a\nb", password=HIDDEN), "login: contains a character that is not printable ASCII"),
        (describe("aws", {}, login="a", password=HIDDEN + "\n"), "password: contains a character that is not "),
        (describe("aws", {"aws_session_token": HIDDEN + "\n"}, login="a", password="b"), "extra.aws_session_token: "),
        (describe("aws", {"endpoint_url": 5}), "extra.endpoint_url: Input should be a valid string"),
        (describe("aws", {"endpoint_url": f"http://me:{HIDDEN}@127.0.0.1"}), "extra.endpoint_url: contains a user"),
        (
            describe("aws", {"service_config": {"sts": {"endpoint_url": f"http://me:{HIDDEN}@h"}}}),
            "extra.service_config.sts.endpoint_url: contains a user",
        ),
        (
            describe("aws", {}, login="a", password=[HIDDEN]),
            "AIRFLOW_CONN_LAB cannot be read: password: expected a string",
        ),
        (describe("aws", {}, host="127.0.0.1", login="a", password=HIDDEN), "host: is ignored: use extra.endpoint_url"),
        (describe("aws", {"host": "http://h"}, login="a", password=HIDDEN), "extra.host: is ignored: use extra.endp"),
        (
            f"aws://a:{HIDDEN[:3]}%2F@/{HIDDEN}@/?region_name=x",
            "schema: contains an '@': in a URI, encode '/', ':' and",
        ),
        (
            describe("aws", {"session_kwargs": {"aws_access_key_id": "a", "aws_session_token": HIDDEN + "\n"}}),
            "extra.session_kwargs.aws_session_token: ",
        ),
        (
            describe("aws", {"session_kwargs": {"aws_access_key_id": 5}}),
            "extra.session_kwargs.aws_access_key_id: Input",
        ),
        (describe("aws", {"region_name": 5}), "extra.region_name: Input should be a valid string"),
        (describe("aws", {"region_name": "no such region!"}), "extra.region_name: String should match"),
        (describe("aws", {"service_config": "x"}), "extra.service_config: Input should be a valid dictionary"),
        (describe("aws", {"service_config": {"s3": HIDDEN}}), "extra.service_config.s3: Input should be a valid dict"),
        (describe("aws", {"config_kwargs": {"nosuch": 1}}), "extra.config_kwargs: Got unexpected keyword argument"),
        (describe("aws", {"role_arn": "r", "assume_role_kwargs": "x"}), "extra.assume_role_kwargs: Input should be a"),
    ],
)
def test_an_aws_connection_that_cannot_be_is_named_with_its_field_and_never_replaced(lab, monkeypatch, value, said):
    monkeypatch.setenv("AIRFLOW_CONN_LAB", value)
    with pytest.raises(Misconfigured) as raised:
        connect_bus()
    assert str(raised.value).startswith(f"connection 'lab': {said}")
    assert HIDDEN not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_profile_without_credentials_is_named(lab, monkeypatch, tmp_path):
    (tmp_path / "config").write_text("[profile empty]\nregion = x\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AIRFLOW_CONN_LAB", describe("aws", {"profile_name": "empty"}))
    with pytest.raises(Misconfigured, match=r"^connection 'lab': extra.profile_name: the profile has no credentials$"):
        connect_bus()


def test_a_profile_whose_secret_cannot_be_sent_is_named(lab, monkeypatch, tmp_path):
    (tmp_path / "config").write_text("[profile odd]\naws_access_key_id = a\naws_secret_access_key = s\u00fc\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AIRFLOW_CONN_LAB", describe("aws", {"profile_name": "odd"}))
    with pytest.raises(
        Misconfigured, match=r"^connection 'lab': extra.profile_name: contains a character that is not "
    ):
        connect_bus()


ENGINE = {"docker_url": "tcp://127.0.0.1:2376"}
TLS = {"tls_ca_cert": "/no/ca", "tls_client_cert": "/no/cert", "tls_client_key": "/no/key"}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (describe("docker", {}, password=HIDDEN)[:-1], "AIRFLOW_CONN_DOCKER_DEFAULT cannot be read: not valid JSON"),
        (describe("docker", {}, port="abc"), "AIRFLOW_CONN_DOCKER_DEFAULT cannot be read: port: not a number"),
        (HIDDEN, "conn_type: expected 'docker'"),
        (describe("docker", "not JSON"), "extra: expected a JSON object"),
        (describe("docker", [1]), "extra: expected a JSON object"),
        (describe("docker", {}, host="r.example", login="ann"), "password: missing or empty"),
        (describe("docker", {}, host="r.example", password=HIDDEN), "login: missing or empty"),
        (
            describe("docker", {}, login=5, password=HIDDEN),
            "AIRFLOW_CONN_DOCKER_DEFAULT cannot be read: login: expected",
        ),
        (describe("docker", {}, port=5000), "port: there is no host to it"),
        (describe("docker", {}, host="r.example", port=99999), "port: expected a number from 1 to 65535"),
        (describe("docker", {}, host="r.example", port=-1), "port: expected a number from 1 to 65535"),
        (describe("docker", {}, host="r.example:5000", port=5000), "port: host has one already"),
        (describe("docker", {}, host=" r.example"), "host: expected a registry, <host> or <host>:<port>"),
        (
            describe("docker", {}, host="unix:///var/run/docker.sock"),
            "host: expected a registry, <host> or <host>:<port>",
        ),
        (describe("docker", {}, host=f"ann:{HIDDEN}@r.example"), "host: contains a user or an '@'"),
        (
            f"docker://ann:{HIDDEN[:3]}@/{HIDDEN}@r.example:5000",
            "schema: contains an '@': in a URI, encode '/', ':' and",
        ),
        (describe("docker", TLS), "extra has TLS files, but no docker_url"),
        (describe("docker", {"docker_url": 5}), "extra.docker_url: Input should be a valid string"),
        (describe("docker", {"docker_url": "nosuch://x"}), "extra.docker_url: expected tcp://<host>:<port>"),
        (describe("docker", {"docker_url": "tcp://127.0.0.1:99999"}), "extra.docker_url: expected tcp://<host>:<port>"),
        (describe("docker", {"docker_url": f"tcp://ann:{HIDDEN}@h:1"}), "extra.docker_url: contains a user"),
        (describe("docker", {"docker_url": f"ssh://ann:{HIDDEN}@h"}), "extra.docker_url: contains a user"),
    ],
)
def test_a_docker_connection_that_cannot_be_is_named_with_its_field_and_never_replaced(monkeypatch, value, said):
    monkeypatch.setenv("AIRFLOW_CONN_DOCKER_DEFAULT", value)
    with pytest.raises(Misconfigured) as raised:
        docker_connection()
    assert str(raised.value).startswith(f"connection 'docker_default': {said}")
    assert HIDDEN not in str(raised.value)


def test_a_user_for_ssh_is_taken_and_not_printed(monkeypatch):
    docker(monkeypatch, extra={"docker_url": "ssh://ann@engine"})
    connection = docker_connection()
    assert connection
    assert connection.engine == "ssh://ann@engine"
    assert "ann" not in repr(connection)
    assert engine_address(connection) == "ssh://engine"


def test_a_tls_file_that_is_missing_is_named_with_its_connection(monkeypatch):
    docker(monkeypatch, extra=ENGINE | TLS)
    named = "^connection 'docker_default': extra.tls_ca_cert: no such file on this worker: /no/ca$"
    with pytest.raises(BadInput, match=named):
        connect(docker_connection())


@pytest.mark.parametrize(
    "host", [f"tcp://ann:{HIDDEN}@127.0.0.1:1", f"nosuch://ann:{HIDDEN}@x", "tcp://127.0.0.1:99999"]
)
def test_the_variable_of_the_engine_is_one_line_without_its_user(monkeypatch, host):
    monkeypatch.setenv("DOCKER_HOST", host)
    with pytest.raises((BadInput, Unavailable)) as raised:
        connect()
    assert not [part for part in ("ann", HIDDEN, "\n") if part in str(raised.value)]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (describe("kubernetes", HIDDEN)[:-1], "AIRFLOW_CONN_KUBERNETES_DEFAULT cannot be read: not valid JSON"),
        (HIDDEN, "conn_type: expected 'kubernetes'"),
        (describe("kubernetes", HIDDEN), "extra: expected a JSON object"),
        (describe("kubernetes", {"namespace": 5}), "extra.namespace: Input should be a valid string"),
        (describe("kubernetes", {"namespace": "A b"}), "extra.namespace: String should match pattern"),
    ],
)
def test_a_kubernetes_connection_that_cannot_be_is_named_and_never_replaced(monkeypatch, value, said):
    from sim2edge_airflow.runtimes import kubernetes_runtime

    monkeypatch.setenv("AIRFLOW_CONN_KUBERNETES_DEFAULT", value)
    with pytest.raises(Misconfigured) as raised:
        kubernetes_runtime.connect()
    assert str(raised.value).startswith(f"connection 'kubernetes_default': {said}")
    assert HIDDEN not in str(raised.value)
