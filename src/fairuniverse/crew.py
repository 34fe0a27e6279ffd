"""Showing toys to submissions: each toy is drawn once, and every submission of the run is asked about it.

One thread draws ahead, as many as there are workers ask, and the caller's thread writes.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fairuniverse.isolation.answers import Answer
from fairuniverse.isolation.process import feature_columns
from fairuniverse.isolation.shared import SharedTable
from fairuniverse.team import Lane, Outcome, Team

if TYPE_CHECKING:
    from fairuniverse.events import Events
    from fairuniverse.pseudo_experiments import Truth

_N_STAGED = 2
"""Toys in the host's memory: one is handed over while the next is drawn."""


@dataclass
class _Block:
    """Memory that holds one toy until everybody has been shown it."""

    table: SharedTable = field(default_factory=SharedTable)
    n_waiting: int = 0


@dataclass(frozen=True)
class _Request:
    """A toy that one team is to be asked about."""

    team: Team
    place: int
    truth: Truth
    n_events: int
    block: _Block


class Crew:
    """Everybody who works on the toys of one session.

    Args:
        toys: All toys, in the order of presentation.
        teams: The submissions. A slow one holds up the others by no more than the toys in memory.
        draw: Draws a toy's events; its arrays may be reused by the next draw.
        n_workers: Workers that answer at the same time.
        stop: Set when the session ends, to give up requests.
    """

    def __init__(
        self,
        toys: Sequence[Truth],
        teams: Sequence[Team],
        *,
        draw: Callable[[Truth], Events],
        n_workers: int,
        stop: threading.Event,
    ) -> None:
        self._toys = toys
        self._teams = teams
        self._draw_events = draw
        self._n_workers = n_workers
        self._stop = stop
        self._changed = threading.Condition()  # guards what follows and the teams' idle lanes
        self._free: list[_Block] = []
        self._requests: list[_Request] = []
        self._n_busy = 0
        self._is_drawn = False
        self._done: queue.Queue[tuple[Team, Outcome] | BaseException] = queue.Queue()

    def work(self, advance: Callable[[], object]) -> None:
        """Answer all toys; on any error, what is finished is written and every thread is ended.

        Args:
            advance: Called for each answer.
        """
        blocks = [_Block() for _ in range(_N_STAGED)]
        self._free = list(blocks)
        threads = [threading.Thread(target=self._draw)]
        threads += [threading.Thread(target=self._ask) for _ in range(self._n_workers)]
        try:
            for thread in threads:
                thread.start()
            self._collect(advance)
        finally:
            with self._changed:
                self._stop.set()
                self._changed.notify_all()
            for thread in threads:
                if thread.ident is not None:
                    thread.join()
            for block in blocks:
                block.table.close()

    def _collect(self, advance: Callable[[], object]) -> None:
        with ExitStack() as stack:
            for team in self._teams:
                stack.callback(team.flush)
            for _ in range(sum(map(len, self._teams))):
                done = self._done.get()
                if isinstance(done, BaseException):
                    raise done
                team, outcome = done
                team.record(outcome)
                advance()

    def _draw(self) -> None:
        """Draw toys ahead of the workers, as far as there is room."""
        try:
            for place in range(len(self._toys)):
                asked = [team for team in self._teams if team.has(place)]
                trying = [team for team in asked if not self._gives_up(team, place)]
                if trying and not self._stage(place, trying):
                    break
        except BaseException as error:
            self._done.put(error)
        finally:
            with self._changed:
                self._is_drawn = True
                self._changed.notify_all()

    def _gives_up(self, team: Team, place: int) -> bool:
        if gives_up := team.gives_up(place):
            self._done.put((team, Outcome(place, self._toys[place], Answer("missing"))))
        return gives_up

    def _stage(self, place: int, waiting: Sequence[Team]) -> bool:
        """Draw one toy for these teams; False if the session ends."""
        with self._changed:
            self._changed.wait_for(lambda: self._free or self._stop.is_set())
            if self._stop.is_set():
                return False
            block = self._free.pop()
        truth = self._toys[place]
        events = self._draw_events(truth)
        block.table.write(feature_columns(events))
        block.n_waiting = len(waiting)
        with self._changed:
            self._requests += [_Request(team, place, truth, len(events), block) for team in waiting]
            self._changed.notify_all()
        return True

    def _ask(self) -> None:
        """Put requests to workers until there are none."""
        try:
            while taken := self._take():
                request, lane = taken
                outcome = self._answered(request, lane)
                if self._stop.is_set():  # the answer may be the death that stopping caused
                    break
                self._done.put((request.team, outcome))
                with self._changed:
                    self._n_busy -= 1
                    request.team.idle.append(lane)
                    self._changed.notify_all()
        except BaseException as error:
            self._done.put(error)

    def _take(self) -> tuple[_Request, Lane] | None:
        """The next request, with a worker for it; None if all is done or the session ends.

        Nobody leaves before: a process that this thread started ends with it, whoever it works for by now.
        """
        with self._changed:
            while not self._stop.is_set():
                if taken := self._first(is_running=True) or self._first(is_running=False):
                    self._n_busy += 1
                    return taken
                if self._is_drawn and not self._requests and not self._n_busy:
                    return None
                self._changed.wait()
        return None

    def _first(self, *, is_running: bool) -> tuple[_Request, Lane] | None:
        """The first request that an idle worker can take; new ones are only started where none runs."""
        for request in self._requests:
            for lane in request.team.idle:
                if lane.is_running == is_running:
                    self._requests.remove(request)
                    request.team.idle.remove(lane)
                    return request, lane
        return None

    def _answered(self, request: _Request, lane: Lane) -> Outcome:
        if request.team.gives_up(request.place):
            self._release(request.block)
            return Outcome(request.place, request.truth, Answer("missing"))
        nuisances = request.team.told(request.truth)
        answer, reply = lane.ask(request.block.table, lambda _: self._release(request.block), nuisances)
        return Outcome(request.place, request.truth, answer, reply, request.n_events)

    def _release(self, block: _Block) -> None:
        """Another team has been shown the toy in a block."""
        with self._changed:
            block.n_waiting -= 1
            if not block.n_waiting:
                self._free.append(block)
                self._changed.notify_all()
