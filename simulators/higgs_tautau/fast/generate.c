/* Fast parametric simulation of pp -> lepton + hadronic tau at 13 TeV: blocks of selected events. */
#include <string.h>

#include "../kernel/processor.h"
#include "library.h"
#include "processes.h"

enum { H_TAUTAU, Z_TAUTAU, TTBAR, DIBOSON };

static Shapes shapes; /* the same in every block: filled once */
static const Implementation *chosen;

/* Prepare, with an instruction set by name, "base", "avx2" or "avx512"; 0 if this machine has it. */
int fast_use(const char *name) {
    if (!has_instruction_set(name)) return -1;
    chosen = &fast_base;
#if defined(__x86_64__)
    if (strcmp(name, "avx2") == 0) chosen = &fast_avx2;
    if (strcmp(name, "avx512") == 0) chosen = &fast_avx512;
#endif
    fill_shapes(&shapes);
    return 0;
}

static int make_candidate(Rng *rng, Event *ev, int process, int is_fake) {
    ev->n_jets = ev->n_partons = ev->has_tau = 0;
    switch (process) {
        case H_TAUTAU: return make_h(rng, &shapes, ev);
        case TTBAR: return make_ttbar(rng, &shapes, ev, is_fake);
        default: return make_diboson(rng, &shapes, ev, is_fake);
    }
}

static void write_event(Rng *rng, Event *ev, float *record, int64_t stride) {
    clean_jets(ev);
    write_record(rng, ev, record, stride);
}

/* Lepton and tau come in batches from streams of their own, the rest from the block's stream. */
static void generate_z(Rng *rng, int64_t n, const uint64_t key[2], float *record, int64_t stride) {
    Candidates z;
    int64_t done = 0;
    for (uint64_t first = 0; done < n; first += BATCH) {
        int n_left = chosen->make_z(&shapes.z_pt, &shapes.tau, key, first, &z);
        for (int i = 0; i < n_left && done < n; i++) {
            Event ev;
            ev.n_jets = ev.n_partons = 0;
            if (finish_z(rng, &z, i, &ev)) write_event(rng, &ev, record + done++, stride);
        }
    }
}

/* Write n selected events of one process into the columns of `record`, whose 32 rows are `stride` floats apart.
 *
 * A pure function of its arguments: `key` holds 256 bits that start the block's stream, and 128 for batches. */
void generate_block(int process, int64_t n, const uint64_t key[6], float *record, int64_t stride) {
    static const float FAKE_SHARE[] = {0, 0, FAKE_SHARE_TT, FAKE_SHARE_VV};
    Rng rng = {{key[0], key[1], key[2], key[3]}, 0, 0};
    if (process == Z_TAUTAU) {
        generate_z(&rng, n, key + 4, record, stride);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        Event ev;
        int is_fake = FAKE_SHARE[process] > 0 && chance(&rng, FAKE_SHARE[process]);
        while (!make_candidate(&rng, &ev, process, is_fake)) {}
        write_event(&rng, &ev, record + i, stride);
    }
}

/* As generate_block, with events of records from the full chain; returns the number of candidates they are of. */
int64_t generate_from_library(const Library *library, int64_t n, const uint64_t key[4], float *record, int64_t stride) {
    Rng rng = {{key[0], key[1], key[2], key[3]}, 0, 0};
    int64_t n_candidates = 0;
    for (int64_t i = 0; i < n; i++)
        do n_candidates++;
        while (!make_from_library(&rng, library, record + i, stride));
    return n_candidates;
}

/* For tests of the decay model: n pairs of taus of energy e_tau, one to a lepton and one to hadrons, before any cut.
 * `out`, shape (n, 6): polarisation and cosine in the helicity frame, and energy over that of the tau, of the
 * lepton; then of the hadrons. */
void sample_tau_pairs(int is_scalar, float e_tau, int64_t n, const uint64_t key[4], float *out) {
    Rng rng = {{key[0], key[1], key[2], key[3]}, 0, 0};
    Vec z = {0, 0, 1, 1};
    for (float *row = out; row < out + 6 * n; row += 6) {
        draw_polarisations(&rng, is_scalar, &row[0], &row[3]);
        Visible lepton = decay_to_lepton(&rng, row[0]), hadrons = decay_to_hadrons(&rng, &shapes.tau, row[3]);
        row[1] = lepton.pz / sqrt_f(lepton.pz * lepton.pz + lepton.pt * lepton.pt);
        row[2] = to_parent_frame(&rng, lepton, z, e_tau).e / e_tau;
        row[4] = hadrons.pz / sqrt_f(hadrons.pz * hadrons.pz + hadrons.pt * hadrons.pt);
        row[5] = to_parent_frame(&rng, hadrons, z, e_tau).e / e_tau;
    }
}
