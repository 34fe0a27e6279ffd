"""The outcome of a check, for people and for scripts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fairuniverse.checking.costs import Costs
from fairuniverse.checking.findings import Finding

EXIT_OK, EXIT_WARNINGS, EXIT_PROBLEMS = 0, 3, 4
"""Exit codes; 1 and 2 mean that nothing could be checked: no sandbox, a wrong configuration or option."""

_LINES = 20


@dataclass(frozen=True)
class CheckReport:
    """What was found about one submission.

    Attributes:
        submission: Name or path as it was given.
        benchmark: Name of the benchmark it was checked for.
        isolation: How its processes were isolated; empty if nothing was run.
        findings: What was found, problems first.
        costs: What it costs.
        wall_time_s: How long the check took, seconds.
        output: What the submission printed.
    """

    submission: str
    benchmark: str
    isolation: str
    findings: Sequence[Finding]
    costs: Costs
    wall_time_s: float
    output: str = field(default="", repr=False)

    @property
    def problems(self) -> list[Finding]:
        """Findings with which the submission would fail."""
        return [f for f in self.findings if f.severity == "problem"]

    @property
    def exit_code(self) -> int:
        """0 if nothing was found, 3 for warnings only, 4 for problems."""
        if self.problems:
            return EXIT_PROBLEMS
        return EXIT_WARNINGS if self.findings else EXIT_OK

    def render(self) -> str:
        """Text for a terminal."""
        lines = [str(f) for f in self.findings] + self._cost_lines()
        if self.problems and self.output:
            printed = [_printable(line) for line in self.output.splitlines()[-_LINES:]]
            lines += ["it printed:", *(f"  {line}" for line in printed)]
        n_warnings = len(self.findings) - len(self.problems)
        where = f" in {self.isolation}" if self.isolation == "bubblewrap" else ""
        lines.append(
            f"{self.submission} for {self.benchmark}{where}: {_count(len(self.problems), 'problem')}, "
            f"{_count(n_warnings, 'warning')}; checked in {self.wall_time_s:.1f} s"
        )
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "submission": self.submission,
            "benchmark": self.benchmark,
            "isolation": self.isolation,
            "findings": [f.to_json() for f in self.findings],
            "costs": self.costs.to_json(),
            "exit_code": self.exit_code,
            "wall_time_s": self.wall_time_s,
        }

    def _cost_lines(self) -> list[str]:
        c = self.costs
        measured = [
            _told("import", c.import_s, "s"),
            _told("fit", c.fit_s, "s"),
            _told("predict", c.predict_s, "s"),
            _told("memory", c.memory_mib, "MiB"),
        ]
        estimated = [
            _told("fit", c.whole_fit_s, "s"),
            _told("predict", c.whole_predict_s, "s"),
            _told("memory at least", c.whole_memory_mib, "MiB"),
        ]
        titled = (("measured in a small world", measured), ("estimated for the benchmark", estimated))
        return [f"{title}: {', '.join(filter(None, told))}" for title, told in titled if any(told)]


def _told(what: str, value: float | None, unit: str) -> str:
    if value is None:
        return ""
    return f"{what} {value:.0f} {unit}" if value >= 100 else f"{what} {value:.2g} {unit}"


def _count(n: int, what: str) -> str:
    return f"{n or 'no'} {what}{'' if n == 1 else 's'}"


def _printable(line: str) -> str:
    return "".join(c for c in line.expandtabs() if c.isprintable())
