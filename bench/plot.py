"""Bar charts as SVG: IOPS for each row and server, seconds for each way to swap."""

from collections.abc import Mapping
from html import escape

from bench.report import OURS
from bench.rows import BEFORE, FLOOR, PEERS, Results

COLOURS = dict(
    zip(
        (OURS, *PEERS, FLOOR, BEFORE),
        ("#c0392b", "#2e86c1", "#28b463", "#b7950b", "#aab7b8", "#e6b0aa"),
        strict=True,
    )
)
BAR_HEIGHT, LABEL_WIDTH, CHART_WIDTH = 9, 230, 560


def svg(results: Results) -> str:
    """Return groups of bars, one for each row. The longest bar is the highest IOPS of the run."""
    highest = max((got.iops for each in results.values() for got in each.values()), default=1.0)
    y, parts = 24, []
    shown = [name for name in COLOURS if any(name in each for each in results.values())]
    for x, name in enumerate(shown):
        left, colour = LABEL_WIDTH + x * 110, COLOURS[name]
        parts.append(f'<rect x="{left}" y="6" width="10" height="10" fill="{colour}"/>')
        parts.append(f'<text x="{left + 14}" y="15">{escape(name)}</text>')
    for row, samples in results.items():
        middle = y + BAR_HEIGHT * len(samples) / 2 + 4
        parts.append(f'<text x="4" y="{middle:.0f}">{escape(row.name)}</text>')
        for name, got in samples.items():
            width = CHART_WIDTH * got.iops / highest
            parts.append(
                f'<rect x="{LABEL_WIDTH}" y="{y}" width="{width:.1f}" height="{BAR_HEIGHT - 1}" '
                f'fill="{COLOURS[name]}"><title>{name}: {got.iops:.0f} IOPS</title></rect>'
            )
            parts.append(
                f'<text x="{LABEL_WIDTH + width + 4:.1f}" y="{y + 8}" font-size="8">'
                f"{got.iops:.0f}</text>"
            )
            y += BAR_HEIGHT
        y += 6
    return _document(parts, y)


def seconds_svg(times: Mapping[str, float]) -> str:
    """Return a chart with a bar for each name. The longest one is as wide as the chart."""
    longest, parts = max(times.values(), default=1.0), []
    for row, (name, seconds) in enumerate(times.items()):
        y, width = 4 + 18 * row, CHART_WIDTH * seconds / longest
        colour = COLOURS[OURS] if name.startswith(OURS) else COLOURS[FLOOR]
        parts.append(f'<text x="4" y="{y + 11}">{escape(name)}</text>')
        parts.append(
            f'<rect x="{LABEL_WIDTH}" y="{y}" width="{width:.1f}" height="14" fill="{colour}"/>'
        )
        parts.append(f'<text x="{LABEL_WIDTH + width + 4:.1f}" y="{y + 11}">{seconds:.1f} s</text>')
    return _document(parts, 4 + 18 * len(times))


def _document(parts: list[str], height: int) -> str:
    size = f'width="{LABEL_WIDTH + CHART_WIDTH + 60}" height="{height}"'
    style = 'font-family="sans-serif" font-size="11"'
    body = "\n".join(parts)
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>\n{body}\n</svg>\n'
