"""Reports: one HTML file each, complete in itself, without scripts.

Charts are Vega-Lite specifications, rendered to SVG by vl-convert when the page is made, rather than drawn in
the reader's browser by a bundled Vega. What decides:

- The page has no script at all, and says so in its Content-Security-Policy. Names of submissions, their error
  messages and nothing else on it come from strangers; and platforms that show a page in a locked frame,
  mail programs and printers show the whole of it.
- What a reader gains from a live chart is the value under the pointer; every SVG mark carries it as a title.
- Text and axes take the page's own colour, so one picture serves light, dark and print.
- Ten thousand toys are histograms and counts long before they are drawn: a page is no larger for them.

The specifications are plain dictionaries (`fairuniverse.reporting.marks`): Altair writes the same ones, but
took three times as long as rendering them.

A table of the numbers stands under the charts for readers who cannot see them.
"""

from fairuniverse.reporting.intervals import overview_chart
from fairuniverse.reporting.rankings import profile_chart, pull_chart, ranking_chart
from fairuniverse.reporting.render import save_chart
from fairuniverse.reporting.report import write_report
from fairuniverse.reporting.shapes import shape_table
from fairuniverse.reporting.validation import write_comparison

__all__ = [
    "overview_chart",
    "profile_chart",
    "pull_chart",
    "ranking_chart",
    "save_chart",
    "shape_table",
    "write_comparison",
    "write_report",
]
