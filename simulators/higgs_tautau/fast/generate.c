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
