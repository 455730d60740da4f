"""The picture of a race: the memory of all methods over the time of the step, under one out-of-memory line.

A moving edge reveals the curves from left to right, so that all methods have run for the same time at every moment. The
curve of a method that needs more than the total stops at the line, and the rest of the curve is drawn faintly. The
motion is CSS inside the SVG, so the same picture works in a notebook, on a slide and in the page.
"""

from __future__ import annotations

from html import escape
from itertools import count
from typing import TYPE_CHECKING

import numpy as np

from recompviz.core.base.palette import DARK, LIGHT
from recompviz.core.base.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from recompviz.core.reports.race_report import Race, Racer

WIDTH, TOP, CHART, ROW = 960, 66, 270, 26
LEFT, RIGHT = 74, 946
COLUMNS = 420
SECONDS, HOLD = 7.0, 0.22  # of one loop; share of it in which the picture stands still at the end
# name in the palette and dashes of each method's line; the last method, ours, is drawn thicker
LINES = (("muted", ""), ("recompute", "7 3"), ("second", "2 3"), ("keep", ""))
_FONT = "system-ui, -apple-system, 'Segoe UI', sans-serif"
_numbers = count(1)


def race_svg(race: Race, dark: bool | None = False, loop: bool = True) -> str:
    """Return the SVG of a race; see :meth:`recompviz.core.reports.race_report.Race.svg`."""
    number = f"rv-race-{next(_numbers)}"
    height = TOP + CHART + 40 + ROW * len(race.racers) + 14
    longest = max((racer.step or 1.0 for racer in race.racers), default=1.0)
    highest = max([race.total, *(racer.peak for racer in race.racers)]) * 1.1

    def x(ms: float) -> float:
        return LEFT + ms / longest * (RIGHT - LEFT - 20)

    def y(size: float) -> float:
        return TOP + CHART * (1 - size / highest)

    line_at = y(race.total)
    parts = [
        f'<text x="14" y="26" class="t" font-size="17" font-weight="650">{escape(race.title)}: '
        f"{escape(race.sentence)}</text>",
        f'<text x="14" y="46" class="m" font-size="13">memory of one training step on {escape(race.device)}, '
        f"{_kind(race)}; every curve runs in its own time</text>",
    ]
    for size in _ticks(highest):
        parts.append(f'<path class="g" d="M{LEFT} {y(size):.1f}H{RIGHT}"/>')
        parts.append(
            f'<text x="{LEFT - 8}" y="{y(size) + 4:.1f}" class="m" font-size="12" text-anchor="end">'
            f"{format_bytes(size)}</text>"
        )
    if race.racers[0].step is not None:
        for ms in _ticks(longest):
            parts.append(
                f'<text x="{x(ms):.1f}" y="{TOP + CHART + 18}" class="m" font-size="12" text-anchor="middle">'
                f"{ms:g} ms</text>"
            )
    parts.append(
        f'<rect class="over" x="{LEFT}" y="{TOP - 6}" width="{RIGHT - LEFT}" height="{line_at - TOP + 6:.1f}"/>'
    )
    parts.append(f'<g clip-path="url(#{number})">')
    for i, racer in enumerate(race.racers):
        parts += _curve(race, racer, i, x, y)
    parts.append("</g>")
    parts.append(f'<path class="limit" d="M{LEFT} {line_at:.1f}H{RIGHT}"/>')
    parts.append(
        f'<text x="{RIGHT - 6}" y="{line_at - 6:.1f}" class="limit-text" font-size="12.5" '
        'font-weight="650" text-anchor="end">'
        f"out of memory above {format_bytes(race.total)}</text>"
    )
    parts.append(f'<path class="now" d="M{LEFT} {TOP - 6}V{TOP + CHART}"/>')
    for i, racer in enumerate(race.racers):
        parts += _row(race, racer, i, TOP + CHART + 40 + ROW * i + 12)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="{number}" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" role="img" aria-label="{escape(race.text)}" font-family="{_FONT}">'
        f"<style>{_style(number, dark, loop)}</style>"
        f'<clipPath id="{number}"><rect class="open" x="{LEFT - 2}" width="{RIGHT - LEFT + 14}" height="{height}"/>'
        "</clipPath>"
        f'<rect class="ground" width="{WIDTH}" height="{height}" rx="8"/>{"".join(parts)}</svg>'
    )


def race_page(race: Race, dark: bool | None = None) -> str:
    """Return a page with the moving picture, a slider for the time, and a button to pause. It needs no network."""
    svg = race_svg(race, dark)
    notes = "".join(f"<li>{escape(note)}</li>" for note in race.notes)
    return _PAGE.format(title=escape(race.title), svg=svg, notes=notes, seconds=SECONDS, hold=HOLD)


def _kind(race: Race) -> str:
    kinds = {racer.timeline.kind for racer in race.racers}
    return " and ".join(sorted(kinds))


def _ticks(most: float) -> list[float]:
    """Return two to five round numbers from 0 to ``most``. Large numbers are bytes, and are round in KiB or MiB."""
    unit = 2.0 ** (10 * int(np.log2(max(most, 1.0)) // 10)) if most > 4096 else 1.0
    rough = most / unit / 4
    power = 10.0 ** np.floor(np.log10(rough))
    step = next(power * k for k in (1, 2, 5, 10) if power * k >= rough) * unit
    return [float(step * i) for i in range(int(most / step) + 1)]


def _outline(racer: Racer, longest: int = COLUMNS) -> tuple[list[float], list[float]]:
    """Return when each column of the curve ends, as a share of the step, and its highest memory."""
    memory = (racer.timeline.step_peaks + racer.timeline.static).astype(float)
    column = np.minimum((racer.shares * longest).astype(int), longest - 1)
    highest = np.full(longest, -1.0)
    np.maximum.at(highest, column, memory)
    filled = np.flatnonzero(highest >= 0)
    return ((filled + 1) / longest).tolist(), highest[filled].tolist()


def _curve(
    race: Race, racer: Racer, i: int, place_x: Callable[[float], float], place_y: Callable[[float], float]
) -> list[str]:
    step = racer.step or 1.0
    ends, memory = _outline(racer)
    over = next((k for k, size in enumerate(memory) if size > race.total), len(memory))
    points = [(0.0, memory[0]), *zip(ends, memory, strict=True)]

    def path(some: list[tuple[float, float]]) -> str:
        start = f"M{place_x(some[0][0] * step):.1f} {place_y(some[0][1]):.1f}"
        return start + "".join(f"V{place_y(size):.1f}H{place_x(end * step):.1f}" for end, size in some[1:])

    ours = i == len(race.racers) - 1
    name, dashes = LINES[min(i, len(LINES) - 1)] if not ours else LINES[-1]
    style = f'class="c-{name}" stroke-width="{3 if ours else 2}"' + (f' stroke-dasharray="{dashes}"' if dashes else "")
    found = []
    if over < len(memory):
        found.append(f'<path class="c-{name}" fill="none" opacity=".35" stroke-width="1.3" d="{path(points[over:])}"/>')
    if over:
        found.append(f'<path {style} fill="none" d="{path(points[: over + 1])}"/>')
    if over < len(memory):
        at = (place_x((ends[over - 1] if over else 0.0) * step), place_y(race.total))
        found.append(
            f'<path class="c-{name}" stroke-width="3.5" d="M{at[0] - 6:.1f} {at[1] - 6:.1f}l12 12m0 -12l-12 12"/>'
        )
    else:
        found.append(f'<circle class="f-{name}" cx="{place_x(step):.1f}" cy="{place_y(memory[-1]):.1f}" r="5"/>')
    return found


def _row(race: Race, racer: Racer, i: int, at: float) -> list[str]:
    ours = i == len(race.racers) - 1
    name, dashes = LINES[min(i, len(LINES) - 1)] if not ours else LINES[-1]
    dash = f' stroke-dasharray="{dashes}"' if dashes else ""
    bold = ' font-weight="650"' if ours else ""
    verdict = "✓" if race.fits(racer) else "✗"
    return [
        f'<path class="c-{name}" stroke-width="{3 if ours else 2}"{dash} d="M14 {at - 4}h34"/>',
        f'<text x="58" y="{at}" class="t" font-size="14"{bold}>{escape(racer.name)}</text>',
        f'<text x="245" y="{at}" class="m" font-size="12.5">{escape(racer.detail)}</text>',
        f'<text x="{RIGHT}" y="{at}" class="{"t" if race.fits(racer) else "limit-text"}" font-size="14" '
        f'text-anchor="end"{bold}>{verdict} {escape(race.result(racer))}</text>',
    ]


def _style(number: str, dark: bool | None, loop: bool) -> str:
    def rules(colours: Mapping[str, str]) -> str:
        found = [
            f".{number} .ground{{fill:{colours['surface']}}}.{number} .t{{fill:{colours['text']}}}"
            f".{number} .m{{fill:{colours['muted']}}}.{number} .g{{stroke:{colours['line']};stroke-width:.7}}"
            f".{number} .limit{{stroke:{colours['bad']};stroke-width:2}}.{number} .limit-text{{fill:{colours['bad']}}}"
            f".{number} .over{{fill:{colours['bad']};opacity:.07}}.{number} .now{{stroke:{colours['text']};opacity:0}}"
        ]
        for name, _ in LINES:
            found.append(f".{number} .c-{name}{{stroke:{colours[name]}}}.{number} .f-{name}{{fill:{colours[name]}}}")
        return "".join(found)

    text = rules(DARK if dark else LIGHT)
    if dark is None:
        text += f"@media (prefers-color-scheme:dark){{{rules(DARK)}}}"
    if loop:
        stop = 100 * (1 - HOLD)
        timing = f"{SECONDS}s linear infinite;animation-play-state:var(--rv-play,running)"
        text += (
            f"@keyframes {number}-open{{0%{{transform:scaleX(0)}}{stop:g}%,100%{{transform:scaleX(1)}}}}"
            f"@keyframes {number}-now{{0%{{transform:translateX(0);opacity:.5}}"
            f"{stop - 0.1:g}%{{transform:translateX({RIGHT - LEFT}px);opacity:.5}}"
            f"{stop:g}%,100%{{transform:translateX({RIGHT - LEFT}px);opacity:0}}}}"
            f"@media (prefers-reduced-motion:no-preference){{"
            f".{number} .open{{transform-origin:{LEFT - 2}px 0;animation:{number}-open {timing}}}"
            f".{number} .now{{animation:{number}-now {timing}}}}}"
        )
    return text


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}: memory race</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font-family: system-ui, sans-serif; max-width: 1000px; margin: 24px auto; padding: 0 16px; }}
svg {{ width: 100%; height: auto; }}
form {{ display: flex; gap: 12px; align-items: center; margin: 12px 0; }}
input {{ flex: 1; }}
</style>
</head>
<body>
<main>
<h1 hidden>{title}</h1>
{svg}
<form>
<button type="button" id="play" aria-pressed="true">Pause</button>
<label for="time">time</label>
<input id="time" type="range" min="0" max="1000" value="0">
</form>
<ul>{notes}</ul>
</main>
<script>
// The motion is CSS in the picture; the slider sets its time. Where motion is not wanted, there is nothing to set.
const picture = document.querySelector("svg");
const play = document.getElementById("play");
const time = document.getElementById("time");
const moving = {seconds} * (1 - {hold});
let running = !matchMedia("(prefers-reduced-motion: reduce)").matches;
function set(on) {{
  running = on;
  play.textContent = on ? "Pause" : "Play";
  play.setAttribute("aria-pressed", String(on));
  picture.style.setProperty("--rv-play", on ? "running" : "paused");
}}
play.addEventListener("click", () => set(!running));
time.addEventListener("input", () => {{
  set(false);
  for (const each of picture.getAnimations({{ subtree: true }})) each.currentTime = moving * time.value;
}});
set(running);
setInterval(() => {{
  const now = picture.getAnimations({{ subtree: true }})[0]?.currentTime;
  if (running && now !== undefined) time.value = Math.min(1000, (1000 * ((now / 1000) % {seconds})) / moving);
}}, 100);
</script>
</body>
</html>
"""
