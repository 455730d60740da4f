"""The results of all parts as one text in Markdown."""

from __future__ import annotations

from typing import Any

from recompviz.benchmarks.cuda.running import outcome
from recompviz.core.base.units import format_bytes

# columns whose numbers are bytes
BYTES = {
    "simulated", "measured", "allocated", "reserved", "reserved, predicted", "predicted", "total", "budget", "bytes",
    "calibrated", "alone", "allocator", "stays", "largest", "least", "keep-all", "peak", "max_memory_allocated",
    "max_memory_reserved",
}  # fmt: skip
SHARES = {"off", "share", "over keep-all", "calibrated over keep-all"}


def table(results: list[dict[str, Any]], device: str, seconds: float) -> str:
    """Return the table of all parts, then the rows of each part. ``seconds`` is the time of all parts."""
    about = next((result for result in results if "torch" in result), {})
    named = ", ".join(str(about[key]) for key in ("device", "python", "recompviz", "date") if key in about)
    took = "seconds", "processor seconds"
    lines = [
        f"# recompviz on {device}",
        "",
        f"{named}, torch {about.get('torch', 'unknown')}; {seconds:.0f} s for all parts.",
        "",
        "| part | seconds | of a processor | result |",
        "|---|---|---|---|",
        *(f"| {' | '.join([r['part'], *(str(r.get(key, '')) for key in took), summary(r)])} |" for r in results),
    ]
    for result in results:
        if result["rows"]:
            lines += ["", f"## {result['part']}", "", *_rows(result["rows"])]
    return "\n".join(lines) + "\n"


def summary(result: dict[str, Any]) -> str:
    """Return the result of a part in a few words, for the table."""
    where = " (stand-in)" if result.get("stand-in") else ""
    return f"{'ok' if result.get('ok') else '**not ok**'}{where}: {outcome(result)}"


def _rows(rows: list[dict[str, Any]]) -> list[str]:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    columns = [*(key for key in columns if key != "ok"), "ok"]
    head = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    return [*head, *(f"| {' | '.join(_cell(key, row.get(key)) for key in columns)} |" for row in rows)]


def _cell(column: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "**no**"
    if column in BYTES and isinstance(value, int):
        return f"{format_bytes(value)} ({value:,})"
    if column in SHARES and isinstance(value, float):
        return f"{value:+.2%}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value).replace("|", "\\|").replace("\n", " ")
