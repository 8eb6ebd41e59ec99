"""Horizontal bars as an SVG file, written by hand: no plotting library, no binary."""

from __future__ import annotations

from html import escape
from pathlib import Path

from .harness import OUT, Report

WIDTH, LABEL, BAR, GAP, TOP = 860, 250, 20, 10, 48
STYLE = (
    "text{font:13px sans-serif;fill:#222}.t{font-size:16px;font-weight:bold}"
    ".b{fill:#4477aa}.k{fill:#cc6644}.w{stroke:#222}.v{font-size:12px}"
)


def bars(title: str, rows: list[tuple[str, float, float]], unit: str) -> str:
    """Return an SVG document; a row is (label, value, upper end of its whisker)."""
    largest = max(upper for _, _, upper in rows) or 1.0
    scale = (WIDTH - LABEL - 130) / largest
    height = TOP + len(rows) * (BAR + GAP) + GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}">',
        f"<style>{STYLE}</style>",
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text class="t" x="12" y="26">{escape(title)}</text>',
    ]
    for number, (label, value, upper) in enumerate(rows):
        y = TOP + number * (BAR + GAP)
        middle = y + BAR / 2
        end = LABEL + value * scale
        tip = LABEL + upper * scale
        length = max(end - LABEL, 1.0)
        kind = "k" if label.startswith("knarr") else "b"
        parts += [
            f'<text x="{LABEL - 8}" y="{middle + 5}" text-anchor="end">{escape(label)}</text>',
            f'<rect class="{kind}" x="{LABEL}" y="{y}" width="{length:.1f}" height="{BAR}"/>',
            f'<path class="w" d="M{end:.1f} {middle}H{tip:.1f}M{tip:.1f} {y + 5}v{BAR - 10}"/>',
            f'<text class="v" x="{tip + 6:.1f}" y="{middle + 5}">{value:.2f} {escape(unit)}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])


def draw(report: Report) -> Path | None:
    """Write the report's samples (median, whisker to p90) as SVG; None when it has none."""
    if not report.samples:
        return None
    rows = [(name, s.median * 1e3, s.p90 * 1e3) for name, s in report.samples.items()]
    path = OUT / f"{report.name}.svg"
    path.write_text(bars(f"{report.title} (median, p90)", rows, "ms"), encoding="utf-8")
    return path
