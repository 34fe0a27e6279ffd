/* Hard processes: each function makes one candidate event, or returns 0 as soon as it cannot be selected. */
#ifndef FAST_PROCESSES_H
#define FAST_PROCESSES_H

#include "interface.h"
#include "recoil.h"

typedef struct {
    TauTables tau;
    Quantiles z_pt, gg_h_pt, bb_h_pt, wh_pt, zh_pt, soft_pt, tt_pt, tt_mass, single_top_pt;
    Quantiles vv_pt[3], vv_mass[3]; /* WW, WZ, ZZ */
} Shapes;

static void fill_shapes(Shapes *s) {
#define FILL(q, points) fill_quantiles(&s->q, points, COUNT(points))
    fill_tau_tables(&s->tau);
    FILL(z_pt, Z_PT);
    FILL(gg_h_pt, GG_H_PT);
    FILL(bb_h_pt, BB_H_PT);
    FILL(wh_pt, WH_PT);
    FILL(zh_pt, ZH_PT);
    FILL(soft_pt, SOFT_PT);
    FILL(tt_pt, TT_PT);
    FILL(tt_mass, TT_MASS);
    FILL(single_top_pt, SINGLE_TOP_PT);
    FILL(vv_pt[0], WW_PT);
    FILL(vv_pt[1], WZ_PT);
    FILL(vv_pt[2], ZZ_PT);
    FILL(vv_mass[0], WW_MASS);
    FILL(vv_mass[1], WZ_MASS);
    FILL(vv_mass[2], ZZ_MASS);
#undef FILL
}

static inline float breit_wigner(Rng *rng, float pole, float width, float low, float high) {
    float m;
    do {
        float s, c;
        sincos_turn_f(0.5f * uniform(rng) - 0.25f, &s, &c);
        m = pole + 0.5f * width * s / c;
    } while (m < low || m > high);
    return m;
}

static inline float central_rapidity(Rng *rng, float sigma, float cut) {
    float y;
    do y = sigma * normal(rng);
    while (abs_f(y) > cut);
    return y;
}

/* ---- two taus from a boson ---- */

static inline int within_reach(Vec tau) {
    float p2 = pt2(tau);
    return p2 > MIN_LEPTON_PT * MIN_LEPTON_PT && tau.z * tau.z < REACH * REACH * p2;
}

/* One tau to a lepton, the other to hadrons; `cosine` is that of the leptonic tau. */
static inline int decay_to_taus(Rng *rng, const Shapes *shapes, Event *ev, Vec boson, float m, float cosine, int is_scalar) {
    float e = 0.5f * m, p = sqrt_f(e * e - M_TAU * M_TAU);
    Vec n = direction_about((Vec){0, 0, 1, 1}, cosine, 2 * PI * uniform(rng)), back = opposite(n);
    if (!within_reach(boost(scaled(n, p, e), boson, m))) return 0;
    if (!within_reach(boost(scaled(back, p, e), boson, m))) return 0;
    float of_lepton, of_hadrons;
    draw_polarisations(rng, is_scalar, &of_lepton, &of_hadrons);
    Visible lepton = decay_to_lepton(rng, of_lepton);
    ev->lepton = boost(to_parent_frame(rng, lepton, n, e), boson, m);
    if (pt2(ev->lepton) < MIN_LEPTON_PT * MIN_LEPTON_PT) return 0;
    Visible tau = decay_to_hadrons(rng, &shapes->tau, of_hadrons);
    ev->tau = boost(to_parent_frame(rng, tau, back, e), boson, m);
    if (pt2(ev->tau) < MIN_TAU_PT * MIN_TAU_PT) return 0;
    ev->prongs = tau.prongs;
    ev->is_electron = chance(rng, B_ELECTRON / (B_ELECTRON + B_MUON));
    ev->has_tau = 1;
    return measure_lepton(rng, ev) && measure_tau(rng, ev, 0);
}

/* Cosine with density 1 + c^2. */
static inline float vector_cosine(Rng *rng) {
    float c;
    do c = uniform_in(rng, -1, 1);
    while (2 * uniform(rng) > 1 + c * c);
    return c;
}

/* Everything but the lepton and the momentum of the tau. */
static int finish_z(Rng *rng, const Candidates *z, int i, Event *ev) {
    ev->system_pt = z->system_pt[i];
    ev->system_y = z->system_y[i];
    ev->lepton_x = z->lepton_x[i];
    ev->lepton_y = z->lepton_y[i];
    ev->lepton_pt = z->lepton_pt[i];
    ev->lepton_eta = z->lepton_eta[i];
    ev->lepton_phi = atan2_f(z->lepton_y[i], z->lepton_x[i]);
    ev->tau_raw = z->tau_raw[i];
    ev->tau_extra = z->tau_extra[i];
    ev->has_tau = 1;
    point_tau(rng, ev, z->tau_eta[i], atan2_f(z->tau_y[i], z->tau_x[i]));
    if (!is_separated(ev)) return 0;
    recoil(rng, ev, &Z_RADIATION);
    return 1;
}

static inline void add_parton(Event *ev, Vec p) {
    if (ev->n_partons < MAX_PARTONS && pt2(p) > 25) ev->partons[ev->n_partons++] = p;
}

static int finish_h(Rng *rng, const Shapes *shapes, Event *ev, Pair momentum, float y, const Radiation *radiation) {
    if (abs_f(y) > 2.65f) return 0;
    Vec boson = transverse_and_rapidity(momentum.x, momentum.y, y, M_H);
    if (!decay_to_taus(rng, shapes, ev, boson, M_H, uniform_in(rng, -1, 1), 1)) return 0;
    recoil(rng, ev, radiation);
    return is_separated(ev);
}

/* Quark recoiling from weak boson exchange: dN/dpt ~ pt / (pt^2 + M^2)^2, damped at high pt. */
static inline Vec scattered_quark(Rng *rng, float side) {
    float p, u;
    do {
        u = uniform(rng);
        p = 54 * sqrt_f(u / (1 - u));
    } while (p > 20 && uniform(rng) > exp_f(-p / 250));
    float h = side * abs_f(2.6f + 1.1f * normal(rng)) - .004f * side * p;
    return from_pt_eta_phi(p, h, 2 * PI * uniform(rng));
}

static Pair balance_partons(const Event *ev) {
    Pair left = {ev->system_pt, 0};
    for (int i = 0; i < ev->n_partons; i++) {
        left.x -= ev->partons[i].x;
        left.y -= ev->partons[i].y;
    }
    return left;
}

static int make_vbf_h(Rng *rng, const Shapes *shapes, Event *ev) {
    ev->system_pt = draw(rng, &shapes->soft_pt);
    ev->system_y = central_rapidity(rng, 1.4f, 2.6f);
    float side = sign(rng);
    add_parton(ev, scattered_quark(rng, side));
    add_parton(ev, scattered_quark(rng, chance(rng, .9f) ? -side : side));
    return finish_h(rng, shapes, ev, balance_partons(ev), ev->system_y, &VBF_RADIATION);
}

/* A top pair beside the Higgs, as five jets. */
static int make_tt_h(Rng *rng, const Shapes *shapes, Event *ev) {
    ev->system_pt = draw(rng, &shapes->tt_pt);
    ev->system_y = central_rapidity(rng, 1, 2.6f);
    for (int i = 0; i < 5; i++) {
        float p = 20 + exponential(rng, 40), h = ev->system_y + normal(rng);
        add_parton(ev, from_pt_eta_phi(p, h, 2 * PI * uniform(rng)));
    }
    return finish_h(rng, shapes, ev, balance_partons(ev), ev->system_y, &TT_RADIATION);
}

/* Two massless quarks from a boson given in the lab. */
static void decay_to_quarks(Rng *rng, Event *ev, Vec boson, float m) {
    Vec n = isotropic(rng);
    add_parton(ev, boost(scaled(n, m / 2, m / 2), boson, m));
    add_parton(ev, boost(scaled(opposite(n), m / 2, m / 2), boson, m));
}

/* Lepton from a W beside a Higgs that decays to two hadronic taus, of which one stays untagged, as a jet: this
 * makes most of the tail of high transverse mass. */
static int make_lepton_h(Rng *rng, const Shapes *shapes, Event *ev, Vec w, Vec higgs) {
    float e = 0.5f * M_H, first, second;
    draw_polarisations(rng, 1, &first, &second);
    Vec n = isotropic(rng);
    Visible tagged = decay_to_hadrons(rng, &shapes->tau, first);
    Visible other = decay_to_hadrons(rng, &shapes->tau, second);
    ev->tau = boost(to_parent_frame(rng, tagged, n, e), higgs, M_H);
    ev->prongs = tagged.prongs;
    ev->has_tau = 1;
    add_parton(ev, boost(to_parent_frame(rng, other, opposite(n), e), higgs, M_H));
    ev->lepton = boost(scaled(isotropic(rng), M_W / 2, M_W / 2), w, M_W);
    ev->is_electron = chance(rng, .5f);
    if (!measure_lepton(rng, ev) || !measure_tau(rng, ev, 0)) return 0;
    recoil(rng, ev, &VBF_RADIATION);
    return is_separated(ev);
}

/* W or Z beside the Higgs. The Z is invisible or goes to quarks, as with charged leptons the event fails the lepton
 * veto; a leptonic W counts if the Higgs gives two hadronic taus. Relative to a Higgs to lepton and tau, these have
 * 0.42 / 0.46 of the decays, 0.8 ways to tag just one tau, and the right charge half of the time. */
static int make_v_h(Rng *rng, const Shapes *shapes, Event *ev, int is_w) {
    float higgs_pt = draw(rng, is_w ? &shapes->wh_pt : &shapes->zh_pt), m = is_w ? M_W : M_Z;
    ev->system_pt = draw(rng, &shapes->soft_pt);
    ev->system_y = central_rapidity(rng, 1.2f, 3);
    int to_charged_leptons = chance(rng, is_w ? .254f : .09f), visible = chance(rng, is_w ? .90f : .77f);
    if (to_charged_leptons && !(is_w && chance(rng, .37f))) return 0;
    float f = 2 * PI * uniform(rng), gap = normal(rng), sine, cosine;
    sincos_f(f, &sine, &cosine);
    Pair higgs = {higgs_pt * cosine, higgs_pt * sine};
    Vec v = transverse_and_rapidity(ev->system_pt - higgs.x, -higgs.y, ev->system_y - .5f * gap, m);
    float y = ev->system_y + .5f * gap;
    if (to_charged_leptons)
        return make_lepton_h(rng, shapes, ev, v, transverse_and_rapidity(higgs.x, higgs.y, y, M_H));
    if (visible) decay_to_quarks(rng, ev, v, m);
    return finish_h(rng, shapes, ev, higgs, y, &VBF_RADIATION);
}

static int make_h(Rng *rng, const Shapes *shapes, Event *ev) {
    float u = uniform(rng);
    if (u < .080f) return make_vbf_h(rng, shapes, ev);
    if (u < .110f) return make_vbf_h(rng, shapes, ev);
    if (u < .143f) return make_v_h(rng, shapes, ev, 1);
    if (u < .162f) return make_v_h(rng, shapes, ev, 0);
    if (u < .173f) return make_tt_h(rng, shapes, ev);
    int is_bb = u < .200f;
    ev->system_pt = draw(rng, is_bb ? &shapes->bb_h_pt : &shapes->gg_h_pt);
    ev->system_y = central_rapidity(rng, 1.7f, 2.65f);
    return finish_h(rng, shapes, ev, (Pair){ev->system_pt, 0}, ev->system_y, is_bb ? &Z_RADIATION : &GG_H_RADIATION);
}

/* ---- W bosons ---- */

/* Cosine of the charged lepton about the W direction: longitudinal (sin^2) or transverse, (1 + h c)^2. */
static inline float w_cosine(Rng *rng, float longitudinal, float helicity) {
    if (chance(rng, longitudinal)) {
        /* density 3/4 (1 - c^2): c^3 - 3 c + 4 u - 2 = 0 */
        float u = uniform(rng), s, c;
        sincos_f((atan2_f(2 * sqrt_f(u * (1 - u)), 1 - 2 * u) + 4 * PI) / 3, &s, &c);
        return 2 * c;
    }
    return helicity * (2 * cbrt_f(uniform(rng)) - 1);
}

/* A particle of mass m known in the rest frame of its parent, which is known in the lab. Decay angles are about
 * its direction in the parent's frame, so boosts go through that frame. */
typedef struct {
    Vec p, parent;
    float m, parent_m;
} Nested;

static inline Vec to_lab(Vec p, const Nested *frame) {
    return boost(boost(p, frame->p, frame->m), frame->parent, frame->parent_m);
}

static inline Vec decay_direction(Rng *rng, const Nested *w, float longitudinal, float helicity) {
    float c = w_cosine(rng, longitudinal, helicity);
    return direction_about(unit(w->p), c, 2 * PI * uniform(rng));
}

/* W to a lepton that is measured: directly, or through a tau (B = 0.216 and 0.038); 0 if it is too soft. */
static inline int w_to_lepton(Rng *rng, Event *ev, const Nested *w, float longitudinal, float helicity) {
    Vec n = decay_direction(rng, w, longitudinal, helicity);
    if (chance(rng, .85f)) {
        ev->lepton = to_lab(scaled(n, w->m / 2, w->m / 2), w);
        ev->is_electron = chance(rng, .5f);
    } else {
        Visible v = decay_to_lepton(rng, -1);
        ev->lepton = to_lab(to_parent_frame(rng, v, n, (w->m * w->m + M_TAU * M_TAU) / (2 * w->m)), w);
        ev->is_electron = chance(rng, B_ELECTRON / (B_ELECTRON + B_MUON));
    }
    return pt2(ev->lepton) > MIN_LEPTON_PT * MIN_LEPTON_PT;
}

static inline int w_to_tau(Rng *rng, const Shapes *shapes, Event *ev, const Nested *w, float longitudinal, float helicity) {
    Vec n = decay_direction(rng, w, longitudinal, helicity);
    Visible v = decay_to_hadrons(rng, &shapes->tau, -1);
    ev->tau = to_lab(to_parent_frame(rng, v, n, (w->m * w->m + M_TAU * M_TAU) / (2 * w->m)), w);
    ev->prongs = v.prongs;
    ev->has_tau = 1;
    return pt2(ev->tau) > MIN_TAU_PT * MIN_TAU_PT;
}

/* Lepton and real tau, or lepton and a jet taken for a tau. The number of jets is that of chances to be taken
 * for a tau, so an event with n of them is kept with probability n / n_max. */
static int measure_pair(Rng *rng, Event *ev, int is_fake, int n_max, const Radiation *radiation) {
    if (!measure_lepton(rng, ev)) return 0;
    if (!is_fake && !measure_tau(rng, ev, radiation->busy)) return 0;
    if (!is_fake && !is_separated(ev)) return 0;
    recoil(rng, ev, radiation);
    if (is_fake) {
        float u = uniform(rng) * (float)n_max;
        if (u > (float)promote_jet(rng, ev)) return 0;
    }
    return is_separated(ev);
}

/* ---- top ---- */

#define M_BOTTOM 4.8f
static const float TOP_LONGITUDINAL = .69f; /* the rest is left-handed */

/* Top to b and W: the b becomes a parton. */
static Nested decay_top(Rng *rng, Event *ev, Vec top) {
    Nested w = {.parent = top, .m = breit_wigner(rng, M_W, WIDTH_W, 60, 100), .parent_m = M_TOP};
    float p = momentum_in_decay(M_TOP, w.m, M_BOTTOM);
    Vec n = isotropic(rng);
    w.p = scaled(n, p, sqrt_f(p * p + w.m * w.m));
    add_parton(ev, boost(scaled(opposite(n), p, sqrt_f(p * p + M_BOTTOM * M_BOTTOM)), top, M_TOP));
    return w;
}

static inline float tanh_f(float x) { return 1 - 2 / (exp_f(2 * x) + 1); }

/* Direction of a parent in the rest frame of a pair: t-channel exchange, c = tanh(k u) / tanh(k). */
static inline float exchange_cosine(Rng *rng, float beta, float strength) {
    float b = min_f(beta, .99f), k = .5f * strength * log_f((1 + b) / (1 - b)) + 1e-3f;
    return tanh_f(k * uniform_in(rng, -1, 1)) / tanh_f(k);
}

/* A pair of masses m1, m2 with invariant mass m, recoiling along x. */
static void make_pair(Rng *rng, Event *ev, float m, float m1, float m2, float strength, Nested *first, Nested *second) {
    float p = momentum_in_decay(m, m1, m2), beta = p / sqrt_f(p * p + m1 * m1);
    float c = exchange_cosine(rng, beta, strength);
    Vec n = direction_about((Vec){0, 0, 1, 1}, c, 2 * PI * uniform(rng));
    Vec pair = transverse_and_rapidity(ev->system_pt, 0, ev->system_y, m);
    *first = (Nested){scaled(n, p, sqrt_f(p * p + m1 * m1)), pair, m1, m};
    *second = (Nested){scaled(opposite(n), p, sqrt_f(p * p + m2 * m2)), pair, m2, m};
}

static inline Vec in_lab(const Nested *particle) { return boost(particle->p, particle->parent, particle->parent_m); }

static int make_single_top(Rng *rng, const Shapes *shapes, Event *ev) {
    float p = draw(rng, &shapes->single_top_pt), sine, cosine;
    sincos_turn_f(uniform(rng), &sine, &cosine);
    ev->system_pt = draw(rng, &shapes->soft_pt);
    ev->system_y = central_rapidity(rng, 1.3f, 3);
    Vec top = transverse_and_rapidity(p * cosine, p * sine, ev->system_y, M_TOP);
    Nested w = decay_top(rng, ev, top);
    if (!w_to_lepton(rng, ev, &w, TOP_LONGITUDINAL, -1)) return 0;
    float qx = ev->system_pt - top.x, qy = -top.y;
    float side = sign(rng), eta_q = side * (2.5f + normal(rng));
    add_parton(ev, from_pt_eta_phi(sqrt_f(qx * qx + qy * qy), eta_q, atan2_f(qy, qx)));
    return measure_pair(rng, ev, 1, 8, &TT_RADIATION);
}

static int make_ttbar(Rng *rng, const Shapes *shapes, Event *ev, int is_fake) {
    if (is_fake && chance(rng, .15f)) return make_single_top(rng, shapes, ev);
    ev->system_pt = draw(rng, &shapes->tt_pt);
    ev->system_y = central_rapidity(rng, 1.12f, 3);
    Nested top1, top2;
    make_pair(rng, ev, 345 + draw(rng, &shapes->tt_mass), M_TOP, M_TOP, TT_EXCHANGE, &top1, &top2);
    Nested w1 = decay_top(rng, ev, in_lab(&top1)), w2 = decay_top(rng, ev, in_lab(&top2));
    if (!w_to_lepton(rng, ev, &w1, TOP_LONGITUDINAL, -1)) return 0;
    if (is_fake)
        decay_to_quarks(rng, ev, in_lab(&w2), w2.m);
    else if (!w_to_tau(rng, shapes, ev, &w2, TOP_LONGITUDINAL, -1))
        return 0;
    return measure_pair(rng, ev, is_fake, 8, &TT_RADIATION);
}

/* ---- two weak bosons ---- */

/* Of pairs with a real tau, those in which the tau is from a W, and further those with a Z to two taus beside a W:
 * branching fractions 0.65 x 2 x 0.254 x 0.070 (WW) : 0.24 x 0.0154 x 0.68 (WZ) : 0.10 x 0.0307 x 0.90 (ZZ). */
static const float REAL_WW = .81f, REAL_WZ = .90f, FAKE_WW = .84f;

static int make_diboson(Rng *rng, const Shapes *shapes, Event *ev, int is_fake) {
    static const float THRESHOLD[] = {160, 170, 181};
    float u = uniform(rng);
    int kind = is_fake ? u > FAKE_WW : (u > REAL_WW) + (u > REAL_WZ);
    float m1 = breit_wigner(rng, kind == 2 ? M_Z : M_W, 2.2f, 60, 110);
    float m2 = breit_wigner(rng, kind ? M_Z : M_W, 2.2f, 60, 110);
    float m = max_f(THRESHOLD[kind] + draw(rng, &shapes->vv_mass[kind]), m1 + m2 + .5f);
    ev->system_pt = draw(rng, &shapes->vv_pt[kind]);
    ev->system_y = central_rapidity(rng, 2.0f, 3.5f);
    Nested v1, v2;
    make_pair(rng, ev, m, m1, m2, VV_EXCHANGE, &v1, &v2);
    if (kind > 0 && !is_fake) { /* Z to two taus beside quarks or neutrinos */
        if (kind == 1 || chance(rng, .77f)) decay_to_quarks(rng, ev, in_lab(&v1), m1);
        if (!decay_to_taus(rng, shapes, ev, in_lab(&v2), m2, vector_cosine(rng), 0)) return 0;
        if (!is_separated(ev)) return 0;
        recoil(rng, ev, &VV_RADIATION);
        return is_separated(ev);
    }
    /* Exchange of a fermion makes W pairs of opposite helicity, mostly those whose leptons go forward. */
    float helicity = chance(rng, VV_FORWARD) ? 1.f : -1.f;
    if (!w_to_lepton(rng, ev, &v1, VV_LONGITUDINAL, helicity)) return 0;
    if (is_fake)
        decay_to_quarks(rng, ev, in_lab(&v2), m2);
    else if (!w_to_tau(rng, shapes, ev, &v2, VV_LONGITUDINAL, helicity))
        return 0;
    return measure_pair(rng, ev, is_fake, 5, &VV_RADIATION);
}

#endif
