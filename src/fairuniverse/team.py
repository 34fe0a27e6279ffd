"""One submission's side of a run: workers that are asked, and a record of what they answered.

Whatever finishes first, answers are judged and written in the order of presentation: what a results table
holds does not depend on the number of workers, on who was faster, or on which other submissions take part.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from fairuniverse.errors import SubmissionError
from fairuniverse.isolation.answers import Answer, check
from fairuniverse.isolation.process import Reply, Worker
from fairuniverse.isolation.shared import SharedTable

if TYPE_CHECKING:
    from fairuniverse.pseudo_experiments import Truth

PART_TOYS = 25
"""Toys after which a part is written."""

PART_S = 10.0
"""Time after which a part is written, seconds."""

MAX_DEATHS = 5
"""Deaths of workers in a row, in the order of presentation, after which no more toys are tried."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What became of one toy.

    Attributes:
        place: When the toy is shown; see `Presentation`.
        truth: The toy.
        answer: The answer, or how it failed.
        reply: What it cost; None if the worker died or was not asked.
        n_events: Number of its events; 0 if it was not drawn.
    """

    place: int
    truth: Truth
    answer: Answer
    reply: Reply | None = None
    n_events: int = 0


class Patience:
    """Counts deaths in a row, in the order of presentation.

    It does not matter who asked about which toy, nor when: what is given up follows from what died.

    Args:
        earlier: Rows of toys that have been answered before.

    Attributes:
        lost_at: Place of the death after which trying on would be a waste; None as long as there is hope.
    """

    def __init__(self, earlier: Iterable[Row] = ()) -> None:
        self.lost_at: int | None = None
        self._deaths: dict[int, Answer] = {}
        for row in earlier:
            if math.isnan(row["wall_time_s"]):
                self.note_death(row["place"], Answer(row["status"], row["message"]))

    def gives_up(self, place: int) -> bool:
        """Whether the toy shown then is not worth trying."""
        return self.lost_at is not None and place > self.lost_at

    def judge(self, outcome: Outcome) -> Outcome:
        """The outcome of a toy as it is recorded: after too many deaths, that it was not tried."""
        if self.gives_up(outcome.place):
            return replace(outcome, answer=self._verdict(), reply=None, n_events=0)
        if outcome.reply is None:
            self.note_death(outcome.place, outcome.answer)
        return outcome

    def note_death(self, place: int, answer: Answer) -> None:
        """Note how a worker died."""
        self._deaths[place] = answer
        for last in range(place, place + MAX_DEATHS):
            if all(before in self._deaths for before in range(last - MAX_DEATHS + 1, last + 1)):
                self.lost_at = last if self.lost_at is None else min(last, self.lost_at)
                return

    def _verdict(self) -> Answer:
        assert self.lost_at is not None
        last = self._deaths[self.lost_at]
        return Answer(last.status, f"not tried after {MAX_DEATHS} deaths in a row, the last: {last.message}")


class Lane:
    """One worker, replaced whenever it dies.

    Args:
        worker: A worker ready to be asked; None to start one at the first toy.
        start: Starts a worker.
        is_fresh: Whether each toy has a process of its own.
    """

    def __init__(self, worker: Worker | None, start: Callable[[], Worker], *, is_fresh: bool = False) -> None:
        self._worker = worker
        self._start = start
        self._is_fresh = is_fresh

    def ask(
        self,
        events: SharedTable,
        release: Callable[[SharedTable], None] = lambda _: None,
        nuisances: Mapping[str, float] | None = None,
    ) -> tuple[Answer, Reply | None]:
        """Answer about one toy, and what it cost; None if the worker died.

        Args:
            events: The toy's features.
            release: Told when the events are no longer needed.
            nuisances: What a reference is told.
        """
        try:
            try:
                self._worker = self._worker or self._start()
                self._worker.show(events)
            finally:
                release(events)
            reply = self._worker.predict(nuisances)
        except SubmissionError as death:
            self.close()
            return Answer(_status(death), str(death)), None
        if self._is_fresh:
            self.close()
        return check(reply.content), reply

    @property
    def is_running(self) -> bool:
        """Whether its worker waits for a toy; otherwise the next toy starts one."""
        return self._worker is not None

    def begin_to_close(self) -> None:
        """Let the worker end while others do, too; `close` is still needed."""
        if self._worker:
            self._worker.begin_to_end()

    def close(self) -> None:
        """End the worker."""
        if self._worker:
            self._worker.close()
            self._worker = None


def close_all(lanes: Collection[Lane]) -> None:
    """End the workers of some lanes, all at the same time."""
    for lane in lanes:
        lane.begin_to_close()
    for lane in lanes:
        lane.close()


def _status(death: SubmissionError) -> str:
    """Status of a toy whose worker died; one that could not start again has "crashed", too."""
    return "crashed" if death.status == "fit_failed" else death.status


class Team:
    """The workers of one submission, and the answers they have given.

    Args:
        places: The toys that it has to answer, by when they are shown.
        lanes: The workers.
        write: Records finished toys.
        patience: Ends a hopeless run.
        told: What the submission is told of a truth: a reference the nuisances, a method nothing.
        part_s: Time after which a part is written, seconds.
    """

    def __init__(
        self,
        places: Iterable[int],
        lanes: Sequence[Lane],
        *,
        write: Callable[[Sequence[Outcome]], None],
        patience: Patience,
        told: Callable[[Truth], Mapping[str, float] | None],
        part_s: float = PART_S,
    ) -> None:
        self._part_s = part_s
        self.idle = list(lanes)
        self.told = told
        self._lanes = lanes
        self._write = write
        self._patience = patience
        self._places = sorted(places)
        self._expected = set(self._places)
        self._early: dict[int, Outcome] = {}
        self._n_judged = 0
        self._part: list[Outcome] = []
        self._written_at = time.monotonic()

    def __len__(self) -> int:
        return len(self._places)

    def has(self, place: int) -> bool:
        """Whether the toy shown then is one of its own."""
        return place in self._expected

    def gives_up(self, place: int) -> bool:
        """Whether showing it the toy of this place would be a waste."""
        return self._patience.gives_up(place)

    def record(self, outcome: Outcome) -> None:
        """Judge and write answers in the order of presentation; one that comes early waits."""
        self._early[outcome.place] = outcome
        while self._n_judged < len(self) and self._places[self._n_judged] in self._early:
            self._part.append(self._patience.judge(self._early.pop(self._places[self._n_judged])))
            self._n_judged += 1
        if len(self._part) >= PART_TOYS or time.monotonic() - self._written_at > self._part_s:
            self.flush()

    def close(self) -> None:
        """End the workers."""
        close_all(self._lanes)

    def flush(self) -> None:
        """Write what is judged."""
        if self._part:
            self._write(self._part)
        self._part, self._written_at = [], time.monotonic()
