/* Fast parametric simulation of pp -> lepton + hadronic tau at 13 TeV: blocks of selected events. */
#include <string.h>

#include "processes.h"

enum { H_TAUTAU, Z_TAUTAU, TTBAR, DIBOSON };

static int make_candidate(Rng *rng, const Shapes *shapes, Event *ev, int process, int is_fake) {
    ev->n_jets = ev->n_partons = ev->has_tau = 0;
    switch (process) {
        case H_TAUTAU: return make_h(rng, shapes, ev);
        case Z_TAUTAU: return make_z(rng, shapes, ev);
        case TTBAR: return make_ttbar(rng, shapes, ev, is_fake);
        default: return make_diboson(rng, shapes, ev, is_fake);
    }
}

/* Write n selected events of one process into the columns of `record`, whose 32 rows are `stride` floats apart.
 *
 * A pure function of its arguments: `key` holds the 256 bits that start the random stream. Returns the number of
 * candidates that were tried. */
int64_t generate_block(int process, int64_t n, const uint64_t key[4], float *record, int64_t stride) {
    static const float FAKE_SHARE[] = {0, 0, FAKE_SHARE_TT, FAKE_SHARE_VV};
    Rng rng = {{key[0], key[1], key[2], key[3]}, 0, 0};
    Shapes shapes;
    int64_t n_tried = 0;
    fill_shapes(&shapes);
    for (int64_t i = 0; i < n; i++) {
        Event ev;
        int is_fake = FAKE_SHARE[process] > 0 && chance(&rng, FAKE_SHARE[process]);
        do n_tried++;
        while (!make_candidate(&rng, &shapes, &ev, process, is_fake));
        clean_jets(&ev);
        write_record(&rng, &ev, record + i, stride);
    }
    return n_tried;
}

/* For tests of the decay model: n pairs of taus of energy e_tau, one to a lepton and one to hadrons, before any cut.
 * `out`, shape (n, 6): polarisation and cosine in the helicity frame, and energy over that of the tau, of the
 * lepton; then of the hadrons. */
void sample_tau_pairs(int is_scalar, float e_tau, int64_t n, const uint64_t key[4], float *out) {
    Rng rng = {{key[0], key[1], key[2], key[3]}, 0, 0};
    TauTables tables;
    Vec z = {0, 0, 1, 1};
    fill_tau_tables(&tables);
    for (float *row = out; row < out + 6 * n; row += 6) {
        draw_polarisations(&rng, is_scalar, &row[0], &row[3]);
        Visible lepton = decay_to_lepton(&rng, row[0]), hadrons = decay_to_hadrons(&rng, &tables, row[3]);
        row[1] = lepton.pz / hypotf(lepton.pz, lepton.pt);
        row[2] = to_parent_frame(&rng, lepton, z, e_tau).e / e_tau;
        row[4] = hadrons.pz / hypotf(hadrons.pz, hadrons.pt);
        row[5] = to_parent_frame(&rng, hadrons, z, e_tau).e / e_tau;
    }
}
