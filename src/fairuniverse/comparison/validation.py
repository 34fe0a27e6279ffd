"""Several samples against one reference, with the yields of all."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from fairuniverse.comparison.results import Comparison, finite
from fairuniverse.comparison.yields import ProcessYield

_LEGEND = """  expected: sum of weights; selected: part of it that the selection keeps at nominal nuisances;
  acceptance: part of the generated events in the file, and what it and the cross section give, where known"""


@dataclass(frozen=True)
class Validation:
    """Answer of `fairuniverse.api.compare`.

    Attributes:
        reference: Name of the sample to judge by.
        samples: Names of the samples that are judged.
        comparisons: A comparison of each of these with the reference.
        yields: An entry for each sample and process, the reference last.
        notes: What is to be known of the samples, such as that one is shifted.
    """

    reference: str
    samples: tuple[str, ...]
    comparisons: tuple[Comparison, ...]
    yields: tuple[ProcessYield, ...]
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """All that was found as plain lists of records; a value that does not exist is None."""
        return {
            "reference": self.reference,
            "comparisons": [
                {"simulated": name, **comparison.to_json()}
                for name, comparison in zip(self.samples, self.comparisons, strict=True)
            ],
            "yields": [finite(asdict(y)) for y in self.yields],
            "notes": list(self.notes),
        }

    def render(self) -> str:
        """The yields, then the tables of each comparison, in plain text."""
        parts = ["\n".join(self.notes)] if self.notes else []
        parts.append(self._render_yields())
        for name, comparison in zip(self.samples, self.comparisons, strict=True):
            parts += [f"{name} against {self.reference}", comparison.render()]
        return "\n\n".join(parts)

    def _render_yields(self) -> str:
        width = max(len(y.sample) for y in self.yields)
        head = (
            f"  {'process':<12}{'sample':<{width}}{'events':>12}{'effective':>12}{'expected':>14}"
            f"{'selected':>10}{'acceptance':>12}{'leading order':>15}"
        )
        order = list(dict.fromkeys(y.process for y in self.yields))
        rows = sorted(self.yields, key=lambda y: order.index(y.process))
        return "\n".join(["yields", head, *(_line(y, width) for y in rows), _LEGEND])


def _line(y: ProcessYield, width: int) -> str:
    return (
        f"  {y.process or 'all events':<12}{y.sample:<{width}}{y.n_events:>12,}{y.n_effective:>12,.0f}"
        f"{_or_dash(y.expected, ',.1f'):>14}{y.selected:>10.2%}{_or_dash(y.acceptance, '.3%'):>12}"
        f"{_or_dash(y.leading_order, ',.0f'):>15}"
    )


def _or_dash(value: float, form: str) -> str:
    return "-" if math.isnan(value) else format(value, form)
