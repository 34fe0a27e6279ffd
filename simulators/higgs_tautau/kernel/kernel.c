/* What Python calls: the choice of instruction set, and the serial work around the hot loops. */
#define _POSIX_C_SOURCE 200809L
#define _FILE_OFFSET_BITS 64
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "interface.h"
#include "processor.h"
#include "random.h"
#include "vectormath.h"

/* ---- choice of the implementation ---- */

static const Implementation *chosen;

/* Use an instruction set by name, "base", "avx2" or "avx512"; 0 if this machine has it. */
int fu_use(const char *name) {
    if (!has_instruction_set(name))
        return -1;
    chosen = &implementation_base;
#if defined(__x86_64__)
    if (strcmp(name, "avx2") == 0)
        chosen = &implementation_avx2;
    if (strcmp(name, "avx512") == 0)
        chosen = &implementation_avx512;
#endif
    return 0;
}

int64_t fu_shift_columns(const Shift *shift, const Columns *in, int64_t begin, int64_t end, const Output *out, int64_t at) {
    return chosen->shift_columns(shift, in, begin, end, out, at);
}

int64_t fu_count_selected(const Shift *shift, const Columns *in, int64_t begin, int64_t end) {
    return chosen->count_selected(shift, in, begin, end);
}

int64_t fu_count_nonfinite(const float *column, int64_t n) {
    return chosen->count_nonfinite(column, n);
}

int64_t fu_draw_segment(const Shift *shift, const Draws *draws, int64_t segment, const Output *out) {
    return chosen->draw_segment(shift, draws, segment, out);
}

/* ---- pool ---- */

/* Move the jets of a record to the front; most records have them there. */
static void pack_jets(float *row) {
    float *to = row + REC_JET;
    for (const float *jet = to; jet < row + N_RECORD; jet += 3) {
        if (jet[0] > 0.0f) {
            memmove(to, jet, 3 * sizeof(float));
            to += 3;
        }
    }
    memset(to, 0, (size_t)(row + N_RECORD - to) * sizeof(float));
}

/* Copy events from columns into rows, event source[i] to row place[i]; for posthoc with the components of the missing
 * momentum in the last two places, as the kernel wants them. */
void fu_pack_rows(int32_t mode, const float *data, int64_t stride, const int64_t *source, const int64_t *place,
                  int64_t n, float *rows) {
    const int width = mode == DETECTOR ? N_RECORD : N_PRIMARY;
    for (int64_t i = 0; i < n; i++) {
        float *row = rows + place[i] * width;
        for (int c = 0; c < width; c++)
            row[c] = data[c * stride + source[i]];
        if (mode == POSTHOC) {
            float s, c, size = row[MET];
            sincos_f(row[MET_PHI], &s, &c);
            row[MET] = size * c;
            row[MET_PHI] = size * s;
        }
        if (mode == DETECTOR)
            pack_jets(row);
    }
}

/* Alias tables (Walker 1977, Vose 1991), one per chunk. `scratch` holds as many entries as the largest chunk. */
void fu_alias(const double *weights, const int64_t *chunk_rows, int64_t n_chunks, Alias *aliases, double *share,
              uint32_t *scratch) {
    for (int64_t c = 0; c < n_chunks; c++) {
        int64_t first = chunk_rows[c], n = chunk_rows[c + 1] - first;
        int64_t n_small = 0, n_large = 0; /* small shares are stacked from the bottom of scratch, large from the top */
        double sum = 0.0;
        for (int64_t i = 0; i < n; i++)
            sum += weights[first + i];
        for (int64_t i = 0; i < n; i++) {
            share[i] = weights[first + i] / sum * (double)n;
            if (share[i] < 1.0)
                scratch[n_small++] = (uint32_t)i;
            else
                scratch[n - ++n_large] = (uint32_t)i;
            aliases[first + i] = (Alias){UINT32_MAX, (uint32_t)(first + i)};
        }
        while (n_small > 0 && n_large > 0) {
            uint32_t small = scratch[--n_small], large = scratch[n - n_large];
            aliases[first + small] = (Alias){(uint32_t)(share[small] * 4294967295.0), (uint32_t)first + large};
            share[large] -= 1.0 - share[small];
            if (share[large] < 1.0) {
                n_large--;
                scratch[n_small++] = large;
            }
        }
    }
}

/* Read rows `first` to first + n - 1 of runs: run r holds `length` rows of the file from row starts[r] on, and goes on
 * at row 0 after the last one. Returns 0, the error number, or -1 if the file ends too early. */
int64_t fu_read_runs(int fd, const int64_t *starts, int64_t length, int64_t n_rows, int64_t row_bytes, int64_t first,
                     int64_t n, char *rows) {
    while (n > 0) {
        int64_t row = (starts[first / length] + first % length) % n_rows;
        int64_t here = length - first % length;
        here = here < n_rows - row ? here : n_rows - row;
        here = here < n ? here : n;
        int64_t left = here * row_bytes, at = row * row_bytes;
        while (left > 0) {
            ssize_t got = pread(fd, rows, (size_t)left, (off_t)at);
            if (got == 0)
                return -1;
            if (got < 0 && errno != EINTR)
                return errno;
            got = got < 0 ? 0 : got;
            rows += got;
            at += got;
            left -= got;
        }
        first += here;
        n -= here;
    }
    return 0;
}

/* ---- order of the events ---- */

/* Give every slot a process, each arrangement of the counts with the same probability, and tell how many draws of
 * each process precede each segment. The frequent process takes what the others leave. */
void fu_label(const uint64_t key[2], const int64_t *counts, int64_t n_processes, int64_t frequent, int64_t n_slots,
              int64_t segment_size, uint8_t *labels, int64_t *first_draws) {
    int64_t n_segments = (n_slots + segment_size - 1) / segment_size;
    uint64_t word = 0;
    memset(labels, (int)frequent, (size_t)n_slots);
    memset(first_draws, 0, (size_t)(n_segments * n_processes) * sizeof *first_draws);
    for (int64_t p = 0; p < n_processes; p++) {
        for (int64_t i = 0; p != frequent && i < counts[p]; i++) {
            uint64_t slot;
            do
                slot = below(random_word(key, word++), (uint64_t)n_slots);
            while (labels[slot] != frequent);
            labels[slot] = (uint8_t)p;
            first_draws[(int64_t)slot / segment_size * n_processes + p]++;
        }
    }
    int64_t before[MAX_PROCESSES] = {0};
    for (int64_t s = 0; s < n_segments; s++) {
        int64_t *row = first_draws + s * n_processes;
        int64_t size = s + 1 < n_segments ? segment_size : n_slots - s * segment_size;
        for (int64_t p = 0; p < n_processes; p++)
            size -= p != frequent ? row[p] : 0;
        row[frequent] = size;
        for (int64_t p = 0; p < n_processes; p++) {
            int64_t here = row[p];
            row[p] = before[p];
            before[p] += here;
        }
    }
}

/* Which event each slot holds, if the events of each process lie in sequence: `next` is the first of each. */
void fu_order(const uint8_t *labels, int64_t n_slots, int64_t *next, int32_t *order) {
    for (int64_t i = 0; i < n_slots; i++)
        order[i] = (int32_t)next[labels[i]]++;
}

/* Fill the gap at the end of each segment with events from the end of the last ones, for columns first to last - 1;
 * the first sum(kept) positions hold all events afterwards. */
void fu_close_gaps(float *data, int64_t stride, int64_t first, int64_t last, int64_t segment_size,
                          int64_t n_segments, const int64_t *kept) {
    int64_t source = n_segments - 1, taken = 0; /* events taken from the end of the source segment */
    for (int64_t gap = 0; gap < source; gap++) {
        int64_t at = gap * segment_size + kept[gap], missing = segment_size - kept[gap];
        while (missing > 0 && source > gap) {
            int64_t available = kept[source] - taken;
            int64_t n = missing < available ? missing : available;
            int64_t from = source * segment_size + available - n;
            for (int64_t c = first; c < last; c++)
                memcpy(data + c * stride + at, data + c * stride + from, (size_t)n * sizeof(float));
            at += n;
            missing -= n;
            taken += n;
            if (taken == kept[source]) {
                source--;
                taken = 0;
            }
        }
    }
}
