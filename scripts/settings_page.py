"""Write docs/settings.md from the provider's settings: `make docs`, or `python scripts/settings_page.py [--check]`."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "settings.md"
OPENING = """# The settings of `[sim2edge]`

Written by `make docs` from `plugins/sim2edge_airflow/provider_info.py`: edit that. A deployment sets only the options
that differ from the defaults, in airflow.cfg or as `AIRFLOW__SIM2EDGE__<OPTION>`. Airflow prints the same list with
`airflow config list --section sim2edge --include-descriptions`.

| option | type | default | |
|---|---|---|---|
"""
SECRET = " Secret: also from `AIRFLOW__SIM2EDGE__{}_CMD` or `..._SECRET`."


def render() -> str:
    """Return the page."""
    sys.path.insert(0, str(ROOT / "plugins"))
    from sim2edge_airflow.provider_info import OPTIONS, SENSITIVE

    rows = (
        f"| `{name}` | {kind} | {f'`{default}`' if default else 'empty'} | {text}"
        f"{SECRET.format(name.upper()) if name in SENSITIVE else ''} |"
        for name, (kind, default, text) in OPTIONS.items()
    )
    return OPENING + "\n".join(rows) + "\n"


def main(argv: list[str]) -> int:
    """Write the page; with `--check` only report whether it is current, and return 0 if so, else 1."""
    page = render()
    if argv != ["--check"]:
        PAGE.write_text(page, encoding="utf-8")
        return 0
    current = PAGE.exists() and PAGE.read_text(encoding="utf-8") == page
    print(f"{PAGE.relative_to(ROOT)}: {'current' if current else 'outdated: run `make docs`'}")
    return 0 if current else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
