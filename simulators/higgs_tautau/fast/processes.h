/* Hard processes: each function makes one candidate event, or returns 0 as soon as it cannot be selected. */
#ifndef FAST_PROCESSES_H
#define FAST_PROCESSES_H

#include "recoil.h"
#include "tau.h"

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
    do m = pole + 0.5f * width * tanf(PI * (uniform(rng) - 0.5f));
    while (m < low || m > high);
    return m;
}

/* |y| with a flat top up to a and a linear fall to b; only |y| < cut. */
static inline float trapezoid_rapidity(Rng *rng, float a, float b, float cut) {
    float y;
    do y = uniform_in(rng, -cut, cut);
    while (fabsf(y) > a && uniform(rng) * (b - a) > b - fabsf(y));
    return y;
}

static inline float central_rapidity(Rng *rng, float sigma, float cut) {
    float y;
    do y = sigma * normal(rng);
    while (fabsf(y) > cut);
    return y;
}

/* ---- two taus from a boson ---- */

static inline int within_reach(Vec tau) {
    float limit = 6.9f; /* sinh(2.63) */
    float p2 = pt2(tau);
    return p2 > 18.f * 18.f && tau.z * tau.z < limit * limit * p2;
}

/* One tau to a lepton, the other to hadrons; `cosine` is that of the leptonic tau. */
static inline int decay_to_taus(Rng *rng, const Shapes *shapes, Event *ev, Vec boson, float m, float cosine, int is_scalar) {
    float e = 0.5f * m, p = sqrtf(e * e - M_TAU * M_TAU);
    Vec n = direction_about((Vec){0, 0, 1, 1}, cosine, 2 * PI * uniform(rng)), back = opposite(n);
    if (!within_reach(boost(scaled(n, p, e), boson, m))) return 0;
    if (!within_reach(boost(scaled(back, p, e), boson, m))) return 0;
    float polarisation = is_scalar ? sign(rng) : (chance(rng, 0.5f * (1 - Z_POLARISATION)) ? 1.f : -1.f);
    Visible lepton = decay_to_lepton(rng, polarisation);
    ev->lepton = boost(to_parent_frame(rng, lepton, n, e), boson, m);
    if (pt2(ev->lepton) < 18.f * 18.f) return 0;
    Visible tau = decay_to_hadrons(rng, &shapes->tau, is_scalar ? -polarisation : polarisation);
    ev->tau = boost(to_parent_frame(rng, tau, back, e), boson, m);
    if (pt2(ev->tau) < 12.f * 12.f) return 0;
    ev->prongs = tau.prongs;
    ev->is_electron = chance(rng, B_ELECTRON / (B_ELECTRON + B_MUON));
    ev->has_tau = 1;
    return measure_lepton(rng, ev) && measure_tau(rng, ev);
}

/* Cosine with density 1 + c^2. */
static inline float vector_cosine(Rng *rng) {
    float u = 4 * uniform(rng) - 2, w = sqrtf(u * u + 1);
    return cbrtf(u + w) + cbrtf(u - w);
}

static int make_z(Rng *rng, const Shapes *shapes, Event *ev) {
    ev->system_pt = draw(rng, &shapes->z_pt);
    /* High-pt bosons are more central: rms(y) 2.23, 2.09 and 1.89 below 20, below 60 and above 60 GeV. */
    float narrow = ev->system_pt < 20 ? 1 : ev->system_pt < 60 ? .94f : .85f;
    ev->system_y = trapezoid_rapidity(rng, 2.2f * narrow, 4.75f * narrow, 2.65f);
    /* Photons radiated by the taus move 10 % of the pairs below 89 GeV. */
    float m = breit_wigner(rng, M_Z, WIDTH_Z, 50, 150);
    if (chance(rng, .09f)) m *= 1 - fminf(exponential(rng, .12f), .4f);
    Vec boson = along_x(ev->system_pt, ev->system_y, m);
    if (!decay_to_taus(rng, shapes, ev, boson, m, vector_cosine(rng), 0)) return 0;
    recoil(rng, ev, &Z_RADIATION);
    return 1;
}

static inline void add_parton(Event *ev, Vec p) {
    if (ev->n_partons < MAX_PARTONS && pt2(p) > 25) ev->partons[ev->n_partons++] = p;
}

static int finish_h(Rng *rng, const Shapes *shapes, Event *ev, Pair momentum, float y, const Radiation *radiation) {
    float mt = sqrtf(M_H * M_H + momentum.x * momentum.x + momentum.y * momentum.y);
    if (fabsf(y) > 2.65f) return 0;
    Vec boson = {momentum.x, momentum.y, mt * sinhf(y), mt * coshf(y)};
    if (!decay_to_taus(rng, shapes, ev, boson, M_H, uniform_in(rng, -1, 1), 1)) return 0;
    recoil(rng, ev, radiation);
    return is_separated(ev);
}

/* Quark recoiling from weak boson exchange: dN/dpt ~ pt / (pt^2 + M^2)^2, damped at high pt. */
static inline Vec scattered_quark(Rng *rng, float side) {
    float p, u;
    do {
        u = uniform(rng);
        p = 62 * sqrtf(u / (1 - u));
    } while (p > 20 && uniform(rng) > expf(-p / 250));
    return from_pt_eta_phi(p, side * fabsf(2.6f + 1.1f * normal(rng)) - .004f * side * p, 2 * PI * uniform(rng));
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
    for (int i = 0; i < 5; i++)
        add_parton(ev, from_pt_eta_phi(20 + exponential(rng, 40), ev->system_y + normal(rng), 2 * PI * uniform(rng)));
    return finish_h(rng, shapes, ev, balance_partons(ev), ev->system_y, &TT_RADIATION);
}

/* Two massless quarks from a boson given in the lab. */
static void decay_to_quarks(Rng *rng, Event *ev, Vec boson, float m) {
    Vec n = isotropic(rng);
    add_parton(ev, boost(scaled(n, m / 2, m / 2), boson, m));
    add_parton(ev, boost(scaled(opposite(n), m / 2, m / 2), boson, m));
}

/* W or Z beside the Higgs: to quarks or invisible; to charged leptons the event fails the lepton veto. */
static int make_v_h(Rng *rng, const Shapes *shapes, Event *ev, int is_w) {
    float higgs_pt = draw(rng, is_w ? &shapes->wh_pt : &shapes->zh_pt), m = is_w ? M_W : M_Z;
    ev->system_pt = draw(rng, &shapes->soft_pt);
    ev->system_y = central_rapidity(rng, 1.2f, 3);
    if (chance(rng, is_w ? .254f : .09f)) return 0;
    float f = 2 * PI * uniform(rng), gap = normal(rng);
    Pair higgs = {higgs_pt * cosf(f), higgs_pt * sinf(f)};
    if (chance(rng, is_w ? .90f : .77f)) { /* visible, of what passes the veto */
        float vx = ev->system_pt - higgs.x, vy = -higgs.y, mt = sqrtf(m * m + vx * vx + vy * vy);
        float y = ev->system_y - .5f * gap;
        decay_to_quarks(rng, ev, (Vec){vx, vy, mt * sinhf(y), mt * coshf(y)}, m);
    }
    return finish_h(rng, shapes, ev, higgs, ev->system_y + .5f * gap, &VBF_RADIATION);
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
    ev->system_y = central_rapidity(rng, 1.58f, 2.65f);
    return finish_h(rng, shapes, ev, (Pair){ev->system_pt, 0}, ev->system_y, is_bb ? &Z_RADIATION : &GG_H_RADIATION);
}

/* ---- W bosons ---- */

/* Cosine of the charged lepton about the W direction: longitudinal (sin^2) or transverse, (1 + h c)^2. */
static inline float w_cosine(Rng *rng, float longitudinal, float helicity) {
    if (chance(rng, longitudinal)) {
        /* density 3/4 (1 - c^2): c^3 - 3 c + 4 u - 2 = 0 */
        return 2 * cosf((acosf(1 - 2 * uniform(rng)) + 4 * PI) / 3);
    }
    return helicity * (2 * cbrtf(uniform(rng)) - 1);
}

/* W to a lepton that is measured: directly, or through a tau (B = 0.216 and 0.038). */
static inline void w_to_lepton(Rng *rng, Event *ev, Vec w, float m, Vec axis, float cosine) {
    Vec n = direction_about(axis, cosine, 2 * PI * uniform(rng));
    if (chance(rng, .85f)) {
        ev->lepton = boost(scaled(n, m / 2, m / 2), w, m);
        ev->is_electron = chance(rng, .5f);
        return;
    }
    Visible v = decay_to_lepton(rng, -1);
    ev->lepton = boost(to_parent_frame(rng, v, n, (m * m + M_TAU * M_TAU) / (2 * m)), w, m);
    ev->is_electron = chance(rng, B_ELECTRON / (B_ELECTRON + B_MUON));
}

static inline void w_to_tau(Rng *rng, const Shapes *shapes, Event *ev, Vec w, float m, Vec axis, float cosine) {
    Vec n = direction_about(axis, cosine, 2 * PI * uniform(rng));
    Visible v = decay_to_hadrons(rng, &shapes->tau, -1);
    ev->tau = boost(to_parent_frame(rng, v, n, (m * m + M_TAU * M_TAU) / (2 * m)), w, m);
    ev->prongs = v.prongs;
    ev->has_tau = 1;
}

/* Lepton and real tau, or lepton and a jet taken for a tau. The number of jets is that of chances to be taken
 * for a tau, so an event with n of them is kept with probability n / n_max. */
static int measure_pair(Rng *rng, Event *ev, int is_fake, int n_max, const Radiation *radiation) {
    if (!measure_lepton(rng, ev)) return 0;
    if (!is_fake && !measure_tau(rng, ev)) return 0;
    if (!is_fake && !is_separated(ev)) return 0;
    recoil(rng, ev, radiation);
    if (is_fake && uniform(rng) * (float)n_max > (float)promote_jet(rng, ev)) return 0;
    return is_separated(ev);
}

/* ---- top ---- */

typedef struct {
    Vec w, b, axis; /* in the lab; axis of the W in the top rest frame */
    float w_mass;
} TopDecay;

static TopDecay decay_top(Rng *rng, Vec top) {
    TopDecay d;
    d.w_mass = breit_wigner(rng, M_W, WIDTH_W, 60, 100);
    float p = momentum_in_decay(M_TOP, d.w_mass, 4.8f);
    Vec n = isotropic(rng);
    d.axis = n;
    d.w = boost(scaled(n, p, sqrtf(p * p + d.w_mass * d.w_mass)), top, M_TOP);
    d.b = boost(scaled(opposite(n), p, sqrtf(p * p + 4.8f * 4.8f)), top, M_TOP);
    return d;
}

/* Direction of decay products in the W rest frame is given about the W's direction in the top rest frame, up to a
 * small (Wigner) rotation between the two ways of boosting. */
static const float TOP_LONGITUDINAL = .69f;

/* Direction of a parent in the rest frame of a pair: t-channel exchange, c = tanh(k u) / tanh(k). */
static inline float exchange_cosine(Rng *rng, float beta, float strength) {
    float k = strength * atanhf(fminf(beta, .99f)) + 1e-3f;
    return tanhf(k * uniform_in(rng, -1, 1)) / tanhf(k);
}

/* A pair of masses m1, m2 with invariant mass m, recoiling along x. */
static void make_pair(Rng *rng, Event *ev, float m, float m1, float m2, float strength, Vec *first, Vec *second) {
    float p = momentum_in_decay(m, m1, m2), beta = p / sqrtf(p * p + m1 * m1);
    Vec n = direction_about((Vec){0, 0, 1, 1}, exchange_cosine(rng, beta, strength), 2 * PI * uniform(rng));
    Vec pair = along_x(ev->system_pt, ev->system_y, m);
    *first = boost(scaled(n, p, sqrtf(p * p + m1 * m1)), pair, m);
    *second = boost(scaled(opposite(n), p, sqrtf(p * p + m2 * m2)), pair, m);
}

static int make_single_top(Rng *rng, const Shapes *shapes, Event *ev) {
    float p = draw(rng, &shapes->single_top_pt), f = 2 * PI * uniform(rng), y = central_rapidity(rng, 1.3f, 3);
    ev->system_pt = draw(rng, &shapes->soft_pt);
    ev->system_y = y;
    float mt = sqrtf(M_TOP * M_TOP + p * p);
    Vec top = {p * cosf(f), p * sinf(f), mt * sinhf(y), mt * coshf(y)};
    float qx = ev->system_pt - top.x, qy = -top.y;
    TopDecay d = decay_top(rng, top);
    w_to_lepton(rng, ev, d.w, d.w_mass, d.axis, w_cosine(rng, TOP_LONGITUDINAL, -1));
    add_parton(ev, d.b);
    add_parton(ev, from_pt_eta_phi(sqrtf(qx * qx + qy * qy), sign(rng) * (2.5f + normal(rng)), atan2f(qy, qx)));
    return measure_pair(rng, ev, 1, 8, &TT_RADIATION);
}

static int make_ttbar(Rng *rng, const Shapes *shapes, Event *ev, int is_fake) {
    if (is_fake && chance(rng, .15f)) return make_single_top(rng, shapes, ev);
    Vec top1, top2;
    ev->system_pt = draw(rng, &shapes->tt_pt);
    ev->system_y = central_rapidity(rng, 1.08f, 3);
    make_pair(rng, ev, 345 + draw(rng, &shapes->tt_mass), M_TOP, M_TOP, 1, &top1, &top2);
    TopDecay d1 = decay_top(rng, top1);
    w_to_lepton(rng, ev, d1.w, d1.w_mass, d1.axis, w_cosine(rng, TOP_LONGITUDINAL, -1));
    if (pt2(ev->lepton) < 18.f * 18.f) return 0;
    TopDecay d2 = decay_top(rng, top2);
    add_parton(ev, d1.b);
    add_parton(ev, d2.b);
    if (is_fake) {
        decay_to_quarks(rng, ev, d2.w, d2.w_mass);
    } else {
        w_to_tau(rng, shapes, ev, d2.w, d2.w_mass, d2.axis, w_cosine(rng, TOP_LONGITUDINAL, -1));
        if (pt2(ev->tau) < 12.f * 12.f) return 0;
    }
    return measure_pair(rng, ev, is_fake, 8, &TT_RADIATION);
}

/* ---- two weak bosons ---- */

/* Pairs in which both lepton and tau come from one Z, of all with a real tau: branching fractions
 * 0.65 x 2 x 0.254 x 0.070 (WW) : 0.24 x 0.0154 x 0.68 (WZ) : 0.10 x 0.0307 x 0.90 (ZZ). */
static const float REAL_WW = .81f, REAL_WZ = .90f, FAKE_WW = .84f;
static const float VV_LONGITUDINAL = .25f, VV_STRENGTH = 1.8f;

static int make_diboson(Rng *rng, const Shapes *shapes, Event *ev, int is_fake) {
    float u = uniform(rng);
    int kind = is_fake ? (u < FAKE_WW ? 0 : 1) : u < REAL_WW ? 0 : u < REAL_WZ ? 1 : 2;
    int z_to_taus = !is_fake && kind > 0;
    float m1 = breit_wigner(rng, kind == 2 ? M_Z : M_W, 2.2f, 60, 110);
    float m2 = breit_wigner(rng, kind ? M_Z : M_W, 2.2f, 60, 110);
    float threshold = kind == 0 ? 160.f : kind == 1 ? 170.f : 181.f;
    float m = fmaxf(threshold + draw(rng, &shapes->vv_mass[kind]), m1 + m2 + .5f);
    ev->system_pt = draw(rng, &shapes->vv_pt[kind]);
    ev->system_y = central_rapidity(rng, 1.8f, 3.5f);
    Vec v1, v2;
    make_pair(rng, ev, m, m1, m2, VV_STRENGTH, &v1, &v2);
    if (z_to_taus) {
        if (kind == 1 || chance(rng, .77f)) decay_to_quarks(rng, ev, v1, m1);
        if (!decay_to_taus(rng, shapes, ev, v2, m2, vector_cosine(rng), 0) || !is_separated(ev)) return 0;
        recoil(rng, ev, &VV_RADIATION);
        return is_separated(ev);
    }
    w_to_lepton(rng, ev, v1, m1, unit(v1), w_cosine(rng, VV_LONGITUDINAL, sign(rng)));
    if (pt2(ev->lepton) < 18.f * 18.f) return 0;
    if (is_fake) {
        decay_to_quarks(rng, ev, v2, m2);
    } else {
        w_to_tau(rng, shapes, ev, v2, m2, unit(v2), w_cosine(rng, VV_LONGITUDINAL, sign(rng)));
        if (pt2(ev->tau) < 12.f * 12.f) return 0;
    }
    return measure_pair(rng, ev, is_fake, 5, &VV_RADIATION);
}

#endif
