"""Bar charts as SVG, readable in light and in dark, with a text for those who do not see them. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

# Pixels.
WIDTH, MARGIN = 720, 20
LABELS, VALUES = 290, 92  # room on the left and on the right of the bars
BAR, GAP = 18, 8
TITLE, HEADING = 30, 26

# A picture has a ground of its own, so that it does not depend on the colour of the page around it.
STYLE = """
svg { --ground: #ffffff; --edge: #d0d7de; --text: #1f2328; --soft: #59636e; --ours: #0969da; --other: #9aa4af }
@media (prefers-color-scheme: dark) {
svg { --ground: #0d1117; --edge: #3d444d; --text: #f0f6fc; --soft: #9198a1; --ours: #4493f8; --other: #656c76 }
}
text { font: 14px system-ui, "Segoe UI", "DejaVu Sans", sans-serif; fill: var(--text) }
.title { font-size: 17px; font-weight: 600 }
.soft { fill: var(--soft) }
.bold { font-weight: 600 }
""".strip()


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar. ``shown`` is its value in words, ``ours`` if it is netboot's."""

    label: str
    value: float
    shown: str
    ours: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """Bars of one unit and one scale. ``better`` says if a longer bar is better, or a shorter one."""

    heading: str
    better: str
    bars: Sequence[Bar]


@dataclass(frozen=True, slots=True)
class Chart:
    """A picture. ``name`` is that of its file, ``sentence`` stands below it."""

    name: str
    title: str
    groups: Sequence[Group]
    sentence: str


def described(chart: Chart) -> str:
    """Return the chart in words: each group and the value of each bar."""
    groups = (
        f"{group.heading} ({group.better}): "
        + "; ".join(f"{bar.label}, {bar.shown}" for bar in group.bars)
        for group in chart.groups
    )
    return ". ".join([chart.title, *groups]) + "."


def svg(chart: Chart) -> str:
    """Return the picture. In each group the longest bar is as wide as there is room."""
    parts, y = [_text(MARGIN, MARGIN + 14, chart.title, "title")], MARGIN + TITLE
    for group in chart.groups:
        parts.append(_text(MARGIN, y + 14, f"{group.heading} ({group.better})", "soft"))
        y += HEADING
        parts.extend(_bars(group.bars, y))
        y += len(group.bars) * (BAR + GAP) + GAP
    height = y - GAP + MARGIN // 2
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="title words">\n'
        f'<title id="title">{escape(chart.title)}</title>\n'
        f'<desc id="words">{escape(described(chart))}</desc>\n'
        f"<style>\n{STYLE}\n</style>\n"
        f'<rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="6" '
        f'style="fill: var(--ground); stroke: var(--edge)"/>\n'
        f"{body}\n</svg>\n"
    )


def _bars(bars: Sequence[Bar], top: int) -> Iterator[str]:
    longest = max(bar.value for bar in bars) or 1.0
    for place, bar in enumerate(bars):
        y = top + place * (BAR + GAP)
        width = max(1.0, (WIDTH - 2 * MARGIN - LABELS - VALUES) * bar.value / longest)
        weight = "bold" if bar.ours else ""
        colour = "ours" if bar.ours else "other"
        yield _text(MARGIN, y + 14, bar.label, weight)
        yield (
            f'<rect x="{MARGIN + LABELS}" y="{y}" width="{width:.1f}" height="{BAR}" rx="2" '
            f'style="fill: var(--{colour})"/>'
        )
        yield _text(round(MARGIN + LABELS + width + 8), y + 14, bar.shown, weight)


def _text(x: int, y: int, text: str, kind: str) -> str:
    name = f' class="{kind}"' if kind else ""
    return f'<text x="{x}" y="{y}"{name}>{escape(text)}</text>'
