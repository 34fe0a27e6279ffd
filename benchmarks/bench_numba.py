"""Why the kernel is C: the same shift, selection and derived features written for numba, beside ours.

What decides is the first call of a process, since every worker and every container is a fresh process. Needs
numba (`pip install numba`); the numba version has the posthoc mode only, without noise, on one thread.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
from fairuniverse.simulators.higgs_tautau import HiggsTauTau

from fairuniverse.seeding import Streams

SHIFT = {"tes": 1.01, "jes": 0.99}
N_EVENTS = 1_000_000
N_REPEATS = 7


def make_numba_kernel():
    import numba

    @numba.njit(error_model="numpy", fastmath=False)
    def shift(x, tes, jes, out):
        n_kept = 0
        missing = np.float32(-25)
        for i in range(x.shape[1]):
            had = x[3, i] * tes
            if had <= 26 or x[0, i] < 20:
                continue
            p1, p2 = x[6, i] * jes, x[9, i] * jes
            n_jets, all_pt = x[12, i], x[13, i] * jes
            if not p1 > 26:
                n_jets, all_pt = np.float32(0), np.float32(0)
            elif not p2 > 26:
                n_jets, all_pt = np.float32(1), p1
            mx, my = x[14, i] * np.cos(x[15, i]), x[14, i] * np.sin(x[15, i])
            mx -= (tes - 1) * x[3, i] * np.cos(x[5, i])
            my -= (tes - 1) * x[3, i] * np.sin(x[5, i])
            for j in (6, 9):
                if x[j, i] > 0:
                    mx -= (jes - 1) * x[j, i] * np.cos(x[j + 2, i])
                    my -= (jes - 1) * x[j, i] * np.sin(x[j + 2, i])
            met, met_phi = np.sqrt(mx * mx + my * my), np.arctan2(my, mx)
            lx, ly = x[0, i] * np.cos(x[2, i]), x[0, i] * np.sin(x[2, i])
            hx, hy = had * np.cos(x[5, i]), had * np.sin(x[5, i])
            for j in range(16):
                out[j, n_kept] = x[j, i]
            out[3, n_kept], out[12, n_kept], out[13, n_kept] = had, n_jets, all_pt
            out[14, n_kept], out[15, n_kept] = met, met_phi
            deta, dphi = x[1, i] - x[4, i], x[2, i] - x[5, i]
            dphi -= np.float32(2 * np.pi) * np.rint(dphi / np.float32(2 * np.pi))
            out[16, n_kept] = np.sqrt(max(2 * x[0, i] * met * (1 - np.cos(x[2, i] - met_phi)), 0))
            out[17, n_kept] = np.sqrt(max(2 * x[0, i] * had * (np.cosh(deta) - np.cos(dphi)), 0))
            out[18, n_kept] = np.sqrt((lx + hx + mx) ** 2 + (ly + hy + my) ** 2)
            tx, ty = lx + hx + mx, ly + hy + my
            for j in range(19, 22):
                out[j, n_kept] = missing
            out[27, n_kept] = missing
            if n_jets >= 1:
                out[6, n_kept] = p1
                tx, ty = tx + p1 * np.cos(x[8, i]), ty + p1 * np.sin(x[8, i])
            else:
                out[6, n_kept], out[7, n_kept], out[8, n_kept] = missing, missing, missing
            if n_jets >= 2:
                out[9, n_kept] = p2
                tx, ty = tx + p2 * np.cos(x[11, i]), ty + p2 * np.sin(x[11, i])
                d = x[7, i] - x[10, i]
                out[19, n_kept] = abs(d)
                out[20, n_kept] = np.sqrt(max(2 * p1 * p2 * (np.cosh(d) - np.cos(x[8, i] - x[11, i])), 0))
                out[21, n_kept] = x[7, i] * x[10, i]
                middle = x[1, i] - (x[7, i] + x[10, i]) / 2
                out[27, n_kept] = np.exp(-4 / (d * d + np.float32(1e-4)) * middle * middle)
            else:
                out[9, n_kept], out[10, n_kept], out[11, n_kept] = missing, missing, missing
            out[22, n_kept] = np.sqrt(deta * deta + dphi * dphi)
            out[23, n_kept] = np.sqrt(tx * tx + ty * ty)
            out[24, n_kept] = x[0, i] + had + all_pt
            out[25, n_kept] = x[0, i] / had
            a, b = np.sin(met_phi - x[2, i]), np.sin(x[5, i] - met_phi)
            scale = np.sqrt(a * a + b * b) * np.sign(np.sin(x[5, i] - x[2, i]))
            out[26, n_kept] = (a + b) / scale if scale != 0 else missing
            n_kept += 1
        return n_kept

    return shift


def median_ms(call) -> float:
    times = []
    for _ in range(N_REPEATS):
        start = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - start))
    return float(np.median(times))


def main() -> None:
    numbers = {"htautau": 300_000, "ztautau": 650_000, "ttbar": 40_000, "diboson": 10_000}
    world = HiggsTauTau(systematics="posthoc")
    events = replace(world.generate(numbers, seed=1), record=None)
    small = events.select(np.arange(10))
    streams = Streams(0)
    start = time.perf_counter()
    world.shift(small, SHIFT, streams=streams)
    first = 1e3 * (time.perf_counter() - start)
    ours = median_ms(lambda: world.shift(events, SHIFT, streams=streams))
    print(f"C      first call {first:8.1f} ms, a million events {ours:6.1f} ms (checks and weights included)")
    try:
        start = time.perf_counter()
        kernel = make_numba_kernel()
    except ImportError:
        print("numba is not installed: pip install numba")
        return
    tes, jes = (np.float32(SHIFT[name]) for name in ("tes", "jes"))
    out = np.empty((28, N_EVENTS), np.float32)
    kernel(np.ascontiguousarray(small.features[:16]), tes, jes, out)
    first = 1e3 * (time.perf_counter() - start)
    columns = np.ascontiguousarray(events.features[:16])
    theirs = median_ms(lambda: kernel(columns, tes, jes, out))
    n_kept = kernel(columns, tes, jes, out)
    expected = world.shift(events, SHIFT, streams=streams).features
    agree = np.isclose(out[:, :n_kept], expected, rtol=1e-3, atol=1e-2).mean()
    print(
        f"numba  first call {first:8.1f} ms, a million events {theirs:6.1f} ms; {agree:.3%} of values agree"
    )


if __name__ == "__main__":
    main()
