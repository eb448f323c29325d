"""Export StatsD metrics to Prometheus, for CI: counters, gauges and timings over UDP 9125, text format on 9102.

    statsd_exporter.py --statsd.mapping-config=mapping.yml

Supports `match` with `*`, `name`, `labels` and `action: drop` of the mapping; unmatched metrics keep their name with
underscores.
"""

import http.server
import re
import socket
import sys
import threading
from pathlib import Path

import yaml

COUNTERS: dict[tuple[str, str], float] = {}
GAUGES: dict[tuple[str, str], float] = {}
TIMINGS: dict[tuple[str, str], list[float]] = {}
LINE = re.compile(r"([^:]+):([-+]?[0-9.eE+-]+)\|(c|g|ms|h|d)")


def read_mappings(path: Path) -> list[tuple[re.Pattern[str], str | None, dict[str, str]]]:
    found = []
    for each in yaml.safe_load(path.read_text())["mappings"]:
        pattern = re.compile("([^.]*)".join(re.escape(part) for part in each["match"].split("*")))
        name = None if each.get("action") == "drop" else each["name"]
        found.append((pattern, name, each.get("labels") or {}))
    return found


def translate(name, mappings):
    for pattern, metric, labels in mappings:
        match = pattern.fullmatch(name)
        if match:
            filled = {key: re.sub(r"\$(\d)", lambda found: match[int(found[1])], text) for key, text in labels.items()}
            return metric, ",".join(f'{key}="{value}"' for key, value in filled.items())
    return re.sub(r"[^A-Za-z0-9_]", "_", name), ""


def receive(mappings):
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("0.0.0.0", 9125))
    while True:
        for line in server.recv(65536).decode(errors="replace").splitlines():
            match = LINE.match(line)
            if not match:
                continue
            key, value, kind = translate(match[1], mappings), float(match[2]), match[3]
            if key[0] is None:
                continue
            if kind == "c":
                COUNTERS[key] = COUNTERS.get(key, 0) + value
            elif kind == "g":
                GAUGES[key] = value + (GAUGES.get(key, 0) if match[2][0] in "+-" else 0)
            else:
                total = TIMINGS.setdefault(key, [0.0, 0.0])
                total[0] += value / 1000
                total[1] += 1


def render():
    lines = []
    for kind, samples in (("counter", COUNTERS), ("gauge", GAUGES)):
        for (name, labels), value in sorted(samples.copy().items()):
            lines.append(f"{name}{{{labels}}} {value}" if labels else f"{name} {value}")
    for (name, labels), (total, count) in sorted(TIMINGS.copy().items()):
        braces = f"{{{labels}}}" if labels else ""
        lines += [f"{name}_sum{braces} {total}", f"{name}_count{braces} {count}"]
    return "\n".join(lines) + "\n"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = render().encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    config = next(word.partition("=")[2] for word in sys.argv if word.startswith("--statsd.mapping-config="))
    threading.Thread(target=receive, args=(read_mappings(Path(config)),), daemon=True).start()
    http.server.ThreadingHTTPServer(("0.0.0.0", 9102), Handler).serve_forever()
