"""Asking workers about toys: one thread draws them, one per worker hands them over, and the caller writes.

Whatever finishes first, answers are judged and written in the order of presentation: what a results table
holds does not depend on the number of workers or on who was faster.
"""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from fairuniverse.errors import SubmissionError
from fairuniverse.isolation.answers import Answer, check
from fairuniverse.isolation.process import Reply, Worker, feature_columns
from fairuniverse.isolation.shared import SharedTable

if TYPE_CHECKING:
    from fairuniverse.events import Events
    from fairuniverse.pseudo_experiments import Truth

PART_TOYS = 25
"""Toys after which a part is written."""

PART_S = 10.0
"""Time after which a part is written, seconds."""

MAX_DEATHS = 5
"""Deaths of workers in a row, in the order of presentation, after which no more toys are tried."""

_N_STAGED = 2
"""Toys in the host's memory: one is handed over while the next is drawn."""

_NOT_TRIED = "not tried after"

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What became of one toy.

    Attributes:
        truth: The toy.
        answer: The answer, or how it failed.
        reply: What it cost; None if the worker died or was not asked.
        n_events: Number of its events; 0 if it was not drawn.
    """

    truth: Truth
    answer: Answer
    reply: Reply | None = None
    n_events: int = 0


@dataclass(frozen=True)
class _Staged:
    """A toy on its way to a worker; without events if it is not to be tried."""

    place: int
    truth: Truth
    n_events: int = 0
    events: SharedTable | None = None


class Patience:
    """Counts deaths in a row, toy after toy in the order of presentation.

    Args:
        earlier: Rows of the toys of an earlier session, in that order.
    """

    def __init__(self, earlier: Sequence[Row] = ()) -> None:
        self._n_deaths = 0
        self._last = Answer("ok")
        for row in earlier:
            self._note(Answer(row["status"], row["message"]), is_death=math.isnan(row["wall_time_s"]))

    @property
    def is_lost(self) -> bool:
        """Whether trying on would be a waste."""
        return self._n_deaths >= MAX_DEATHS

    def judge(self, outcome: Outcome) -> Outcome:
        """The outcome of the next toy as it is recorded: after too many deaths, that it was not tried."""
        if self.is_lost:
            return Outcome(outcome.truth, self._verdict())
        self._note(outcome.answer, is_death=outcome.reply is None)
        return outcome

    def _note(self, answer: Answer, *, is_death: bool) -> None:
        self._n_deaths = self._n_deaths + 1 if is_death else 0
        self._last = answer

    def _verdict(self) -> Answer:
        if self._last.message.startswith(_NOT_TRIED):
            return self._last
        reason = f"{_NOT_TRIED} {MAX_DEATHS} deaths in a row, the last: {self._last.message}"
        return Answer(self._last.status, reason)


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

    def close(self) -> None:
        """End the worker."""
        if self._worker:
            self._worker.close()
            self._worker = None


def _status(death: SubmissionError) -> str:
    """Status of a toy whose worker died; one that could not start again has "crashed", too."""
    return "crashed" if death.status == "fit_failed" else death.status


class Crew:
    """Everybody who works on the toys of one session.

    Args:
        toys: The toys, in the order of presentation.
        lanes: The workers.
        draw: Draws a toy's events; its arrays may be reused by the next draw.
        told: What a submission is told of a truth: a reference the nuisances, a method nothing.
        patience: Ends a hopeless run.
        stop: Set when the session ends, to give up requests.
    """

    def __init__(
        self,
        toys: Sequence[Truth],
        lanes: Sequence[Lane],
        *,
        draw: Callable[[Truth], Events],
        told: Callable[[Truth], Mapping[str, float] | None],
        patience: Patience,
        stop: threading.Event,
    ) -> None:
        self._toys = toys
        self._lanes = lanes
        self._draw_events = draw
        self._told = told
        self._patience = patience
        self._stop = stop
        self._free: queue.Queue[SharedTable] = queue.Queue()
        self._staged: queue.Queue[_Staged | None] = queue.Queue()
        self._done: queue.Queue[tuple[int, Outcome] | BaseException] = queue.Queue()

    def work(self, write: Callable[[Sequence[Outcome]], None], advance: Callable[[], object]) -> None:
        """Answer all toys; on any error, what is finished is written and every thread is ended.

        Args:
            write: Records finished toys.
            advance: Called for each finished toy.
        """
        blocks = [SharedTable() for _ in range(_N_STAGED)]
        threads = [threading.Thread(target=self._draw)]
        threads += [threading.Thread(target=self._hand_over, args=(lane,)) for lane in self._lanes]
        for block in blocks:
            self._free.put(block)
        for thread in threads:
            thread.start()
        try:
            self._collect(write, advance)
        finally:
            self._stop.set()
            self._free.put(blocks[0])  # wakes the drawing thread
            for thread in threads:
                thread.join()
            for block in blocks:
                block.close()

    def _collect(self, write: Callable[[Sequence[Outcome]], None], advance: Callable[[], object]) -> None:
        """Write outcomes in parts."""
        part: list[Outcome] = []
        written_at = time.monotonic()
        try:
            for outcome in self._in_order():
                part.append(self._patience.judge(outcome))
                advance()
                if len(part) >= PART_TOYS or time.monotonic() - written_at > PART_S:
                    write(part)
                    part, written_at = [], time.monotonic()
        finally:
            if part:
                write(part)

    def _in_order(self) -> Iterator[Outcome]:
        """Outcomes in the order of presentation; those that come early wait."""
        early: dict[int, Outcome] = {}
        for place in range(len(self._toys)):
            while place not in early:
                done = self._done.get()
                if isinstance(done, BaseException):
                    raise done
                early[done[0]] = done[1]
            yield early.pop(place)

    def _draw(self) -> None:
        """Draw toys ahead of the workers, as far as there is room."""
        try:
            for place, truth in enumerate(self._toys):
                toy = self._drawn(_Staged(place, truth))
                if self._stop.is_set():
                    break
                self._staged.put(toy)
        except BaseException as error:
            self._done.put(error)
        finally:
            for _ in self._lanes:
                self._staged.put(None)

    def _drawn(self, toy: _Staged) -> _Staged:
        if self._patience.is_lost:
            return toy
        block = self._free.get()
        if self._stop.is_set():
            return toy
        events = self._draw_events(toy.truth)
        block.write(feature_columns(events))
        return replace(toy, n_events=len(events), events=block)

    def _hand_over(self, lane: Lane) -> None:
        """Give toys to one lane until there are none."""
        try:
            while (toy := self._staged.get()) is not None:
                outcome = self._asked(lane, toy)
                if self._stop.is_set():  # the answer may be the death that stopping caused
                    break
                self._done.put((toy.place, outcome))
        except BaseException as error:
            self._done.put(error)
        finally:
            lane.close()

    def _asked(self, lane: Lane, toy: _Staged) -> Outcome:
        if toy.events is None or self._patience.is_lost:
            if toy.events is not None:
                self._free.put(toy.events)
            return Outcome(toy.truth, Answer("missing"))
        answer, reply = lane.ask(toy.events, self._free.put, self._told(toy.truth))
        return Outcome(toy.truth, answer, reply, toy.n_events)
