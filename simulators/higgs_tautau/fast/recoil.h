/* Radiation that balances a system of known transverse momentum, and what the detector measures of it. */
#ifndef FAST_RECOIL_H
#define FAST_RECOIL_H

#include "detector.h"

static inline int draw_n_jets(Rng *rng, float pt) {
    float u = uniform(rng) - AT(P_0_JETS, pt);
    if (u < 0) return 0;
    u -= AT(P_1_JET, pt);
    if (u < 0) return 1;
    u -= AT(P_2_JETS, pt);
    if (u < 0) return 2;
    int n = 3;
    while (n < 7 && chance(rng, .25f)) n++;
    return n;
}

static inline float draw_jet_eta(Rng *rng, float y, float width) {
    float h;
    do h = .5f * y + width * normal(rng);
    while (abs_f(h) > 4.8f);
    return h;
}

/* Calibrated pt at a raw threshold. */
static inline float threshold_at(float eta) { return calibrated(RAW_THRESHOLD, eta); }

static inline void emit(Event *ev, float p, float h, float f, Pair *balance) {
    add_jet(ev, p, uncalibrated(p, h), h, f);
    float s, c;
    sincos_f(f, &s, &c);
    balance->x += p * c;
    balance->y += p * s;
}

/* Angle between a jet and what it balances. */
static inline float deflection(Rng *rng, float pt) {
    float side = sign(rng);
    return side * exponential(rng, AT(LEAD_ANGLE, pt));
}

/* The leading jet takes what the system and the softer jets leave to balance. */
static void emit_leading(Rng *rng, Event *ev, float width, Pair *balance) {
    float bx = -ev->system_pt - balance->x, by = -balance->y, b = sqrt_f(bx * bx + by * by);
    float h = draw_jet_eta(rng, ev->system_y, width * AT(LEAD_ETA_WIDTH, b)), threshold = threshold_at(h);
    float z = normal(rng), p = b * (AT(LEAD_MEDIAN, b) + z * (z < 0 ? AT(LEAD_BELOW, b) : AT(LEAD_ABOVE, b)));
    if (b < 18 || p < threshold) p = threshold + exponential(rng, 7);
    emit(ev, p, h, atan2_f(by, bx) + deflection(rng, b), balance);
}

static inline float draw_softer_eta(Rng *rng, float y, float width) {
    float h;
    do {
        h = SOFTER_FOLLOW * y + uniform_in(rng, -width, width);
        h += SOFTER_EDGE * normal(rng);
    } while (abs_f(h) > 4.8f || (abs_f(h) < BARREL && chance(rng, BARREL_LOSS)));
    return h;
}

static void emit_softer(Rng *rng, Event *ev, float excess, float width, Pair *balance) {
    float mean = chance(rng, AT(SOFT_SHARE, ev->system_pt)) ? SOFT_EXCESS : excess, p = exponential(rng, mean);
    float h = draw_softer_eta(rng, ev->system_y, max_f(width - SOFTER_SHRINK * log_f(1 + p / threshold_at(0)), 0));
    float f = chance(rng, ALONG_RECOIL) ? PI + ALONG_SPREAD * normal(rng) : 2 * PI * uniform(rng);
    emit(ev, threshold_at(h) + p, h, f, balance);
}

/* Jets just below threshold: they can enter under a jet energy shift, and are part of the soft recoil. */
static void emit_below_threshold(Rng *rng, Event *ev, const Radiation *radiation, int n_jets) {
    for (int n = poisson(rng, radiation->below); n > 0; n--) {
        float h = draw_jet_eta(rng, ev->system_y, 1.8f), raw = uniform_in(rng, RECORD_THRESHOLD, RAW_THRESHOLD);
        float f = n_jets ? 2 * PI * uniform(rng) : PI + deflection(rng, ev->system_pt);
        add_jet(ev, calibrated(raw, h), raw, h, f);
    }
}

/* Radiation, hard partons and soft recoil: fills the jets and the measured recoil vector
 * u = sum(raw jets) - c (system + sum(jets)) + noise. */
static void recoil(Rng *rng, Event *ev, const Radiation *radiation) {
    Pair jets = {0, 0}, raw = {0, 0}, generated = {0, 0}, measured = {0, 0};
    float width = radiation->softer_width, scale = ev->system_pt;
    int n = draw_n_jets(rng, ev->system_pt);
    int extra = poisson(rng, radiation->extra_jets + radiation->extra_high * min_f(scale, 300) / 100);
    for (int i = 0; i < extra; i++) emit_softer(rng, ev, radiation->extra_excess, width, &jets);
    for (int i = 2; i < n; i++) emit_softer(rng, ev, EXTRA_EXCESS, width, &jets);
    if (n > 1) emit_softer(rng, ev, AT(SECOND_EXCESS, scale), width, &jets);
    if (n > 0) emit_leading(rng, ev, radiation->lead_width, &jets);
    for (int i = 0; i < ev->n_jets; i++) {
        float s, c;
        sincos_f(ev->jets[i].phi, &s, &c);
        raw.x += ev->jets[i].raw * c;
        raw.y += ev->jets[i].raw * s;
    }
    Pair partons = {0, 0};
    for (int i = 0; i < ev->n_partons; i++) {
        partons.x += ev->partons[i].x;
        partons.y += ev->partons[i].y;
    }
    measure_partons(rng, ev, &generated, &measured);
    int soft = n + extra < 3 ? n + extra : 3;
    float noise = radiation->noise * (soft ? SOFT_NOISE[soft] : AT(SOFT_NOISE_0_JETS, ev->system_pt));
    noise *= exp_f(NOISE_SPREAD * (normal(rng) - NOISE_SPREAD)); /* keeps its mean square */
    float c = SOFT_RESPONSE[soft];
    ev->recoil.x = raw.x + measured.x - c * (ev->system_pt + jets.x - partons.x + generated.x) + noise * normal(rng);
    ev->recoil.y = raw.y + measured.y - c * (jets.y - partons.y + generated.y) + noise * normal(rng);
    emit_below_threshold(rng, ev, radiation, n + extra);
    merge_jets(ev);
}

#endif
