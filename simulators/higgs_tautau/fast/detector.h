/* Event in the making, and the response of the detector to leptons, taus and jets. */
#ifndef FAST_DETECTOR_H
#define FAST_DETECTOR_H

#include "response.h"

#define MAX_JETS 24
#define MAX_PARTONS 8
#define N_RECORD_JETS 8
#define N_RECORD 32
#define TAU_AXIS 0.2f /* largest distance of the jet from the tau in it */
#define CONE 0.6f /* radius of jets */
#define BARREL 1.7f /* end of the barrel calorimeter in |eta| */

typedef struct {
    float pt, raw, eta, phi; /* pt is calibrated */
} Jet;

typedef struct {
    float x, y;
} Pair;

typedef struct {
    Vec lepton, tau; /* true, visible */
    int is_electron, prongs, has_tau;
    float system_pt, system_y; /* system that recoils against radiation; its pt is along x */
    Vec partons[MAX_PARTONS];
    int n_partons;
    float lepton_x, lepton_y, lepton_pt, lepton_eta, lepton_phi; /* measured */
    float tau_raw, tau_eta, tau_phi; /* measured */
    float tau_extra; /* pt of other particles in the cone of the tau */
    Jet jets[MAX_JETS];
    int n_jets;
    Pair recoil; /* measured transverse momentum of all hadrons outside the tau */
} Event;

static inline float calibration_constant(float eta) {
    float a = 3 - 0.2f * abs_f(eta);
    return a * a;
}

static inline float calibrated(float raw, float eta) { return raw * sqrt_f(calibration_constant(eta) / raw + 1); }

/* Inverse of `calibrated`. */
static inline float uncalibrated(float pt, float eta) {
    float k = calibration_constant(eta);
    return 0.5f * (sqrt_f(k * k + 4 * pt * pt) - k);
}

/* Smear the lepton, apply acceptance and efficiency. */
static inline int measure_lepton(Rng *rng, Event *ev) {
    float p = pt(ev->lepton), h = eta(ev->lepton);
    if (p < 0.9f * LEPTON_PT || abs_f(h) > LEPTON_ETA) return 0;
    float scale = 1 + lepton_resolution(ev->is_electron, p, h, ev->lepton.e) * normal(rng);
    ev->lepton_x = ev->lepton.x * scale;
    ev->lepton_y = ev->lepton.y * scale;
    ev->lepton_pt = p * scale;
    ev->lepton_eta = h;
    ev->lepton_phi = phi(ev->lepton);
    return ev->lepton_pt >= LEPTON_PT && chance(rng, lepton_efficiency(ev->is_electron, ev->lepton_pt, h));
}

/* Partons inside the cone of the tau become part of it; 0 if they pull its axis away, and it is a tau no more. */
static inline int merge_into_tau(Event *ev) {
    float tau_eta = eta(ev->tau), tau_phi = phi(ev->tau);
    for (int i = 0; i < ev->n_partons; i++) {
        Vec p = ev->partons[i];
        if (delta_r2(eta(p), phi(p), tau_eta, tau_phi) > CONE * CONE) continue;
        ev->tau = add(ev->tau, p);
        ev->prongs = 4;
        ev->partons[i--] = ev->partons[--ev->n_partons];
    }
    return delta_r2(eta(ev->tau), phi(ev->tau), tau_eta, tau_phi) < TAU_AXIS * TAU_AXIS;
}

/* The direction of the tau, smeared. */
static inline void point_tau(Rng *rng, Event *ev, float true_eta, float true_phi) {
    ev->tau_eta = true_eta + .03f * normal(rng);
    ev->tau_phi = true_phi + .03f * normal(rng);
}

/* Smear the tau, apply acceptance and tagging efficiency. `busy` is the mean pt that other hadrons of the event put
 * into its cone, beyond the underlying event. */
static inline int measure_tau(Rng *rng, Event *ev, float busy) {
    if (abs_f(eta(ev->tau)) > TAU_ETA || !merge_into_tau(ev)) return 0;
    float p = pt(ev->tau), h = eta(ev->tau);
    if (!chance(rng, tau_efficiency(ev->prongs == 1, h))) return 0;
    ev->tau_extra = exponential(rng, UNDERLYING_EVENT);
    if (busy > 0) ev->tau_extra += exponential(rng, busy);
    ev->tau_raw = measured_tau(p, normal(rng), ev->tau_extra);
    point_tau(rng, ev, h, phi(ev->tau));
    return ev->tau_raw > RAW_THRESHOLD;
}

static inline void add_jet(Event *ev, float pt, float raw, float eta, float phi) {
    if (ev->n_jets < MAX_JETS && raw > RECORD_THRESHOLD && abs_f(eta) < 4.9f)
        ev->jets[ev->n_jets++] = (Jet){pt, raw, eta, phi};
}

static inline int eta_region(float eta) { return abs_f(eta) < BARREL ? 0 : abs_f(eta) < 3.2f ? 1 : 2; }

/* Combine partons closer than the cone, then measure each: returns the sum of generated and of measured jets. */
static void measure_partons(Rng *rng, Event *ev, Pair *generated, Pair *measured) {
    for (int i = 0; i < ev->n_partons; i++)
        for (int j = i + 1; j < ev->n_partons; j++) {
            Vec a = ev->partons[i], b = ev->partons[j];
            if (delta_r2(eta(a), phi(a), eta(b), phi(b)) > CONE * CONE) continue;
            ev->partons[i] = add(a, b);
            ev->partons[j] = ev->partons[--ev->n_partons];
            j = i;
        }
    for (int i = 0; i < ev->n_partons; i++) {
        float h = eta(ev->partons[i]), f = phi(ev->partons[i]);
        if (abs_f(h) > 4.9f) continue;
        /* What leaves the cone: final-state radiation, hadronisation, neutrinos of heavy quarks. */
        float p = pt(ev->partons[i]) * min_f(max_f(.94f + .12f * normal(rng), .3f), 1.15f);
        int region = eta_region(h);
        float raw = p * max_f(AT(JET_RESPONSE[region], p) + AT(JET_SPREAD[region], p) * normal(rng), .1f);
        h += .06f * normal(rng);
        f += .055f * normal(rng);
        float sine, cosine;
        sincos_f(f, &sine, &cosine);
        generated->x += p * cosine;
        generated->y += p * sine;
        measured->x += raw * cosine;
        measured->y += raw * sine;
        if (raw > RECORD_THRESHOLD) add_jet(ev, calibrated(raw, h), raw, h, f);
    }
}

/* Jets closer than the cone are one jet, whose axis may reach others. */
static void merge_jets(Event *ev) {
    for (int i = 0; i < ev->n_jets; i++)
        for (int j = 0; j < i; j++) {
            Jet a = ev->jets[i], b = ev->jets[j];
            if (delta_r2(a.eta, a.phi, b.eta, b.phi) > CONE * CONE) continue;
            Vec sum = add(from_pt_eta_phi(a.raw, a.eta, a.phi), from_pt_eta_phi(b.raw, b.eta, b.phi));
            float raw = pt(sum), h = eta(sum);
            ev->jets[j] = (Jet){calibrated(raw, h), raw, h, phi(sum)};
            ev->jets[i] = ev->jets[--ev->n_jets];
            i = 0; /* from the start */
            break;
        }
}

/* No tau and no hard parton around the lepton. */
static inline int is_separated(const Event *ev) {
    if (delta_r2(ev->lepton_eta, ev->lepton_phi, ev->tau_eta, ev->tau_phi) < .4f * .4f) return 0;
    for (int i = 0; i < ev->n_partons; i++) {
        float h = eta(ev->partons[i]), f = phi(ev->partons[i]);
        if (delta_r2(h, f, ev->lepton_eta, ev->lepton_phi) < .5f * .5f && pt(ev->partons[i]) > 5) return 0;
    }
    return 1;
}

/* Promote one central jet to a tau: returns how many could be. */
static int promote_jet(Rng *rng, Event *ev) {
    int candidates[MAX_JETS], n = 0;
    for (int i = 0; i < ev->n_jets; i++)
        if (ev->jets[i].raw > RAW_THRESHOLD && abs_f(ev->jets[i].eta) < 2.6f) candidates[n++] = i;
    if (!n) return 0;
    int chosen = candidates[next_word(rng) % (uint64_t)n];
    ev->tau_raw = ev->jets[chosen].raw;
    ev->tau_eta = ev->jets[chosen].eta;
    ev->tau_phi = ev->jets[chosen].phi;
    ev->jets[chosen] = ev->jets[--ev->n_jets];
    return n;
}

/* Drop jets that share their energy with the lepton or the tau; sort the rest by calibrated pt. */
static void clean_jets(Event *ev) {
    int n = 0;
    for (int i = 0; i < ev->n_jets; i++) {
        Jet jet = ev->jets[i];
        if (delta_r2(jet.eta, jet.phi, ev->lepton_eta, ev->lepton_phi) < .5f * .5f) continue;
        if (delta_r2(jet.eta, jet.phi, ev->tau_eta, ev->tau_phi) < CONE * CONE) continue;
        int j = n++;
        for (; j > 0 && ev->jets[j - 1].pt < jet.pt; j--) ev->jets[j] = ev->jets[j - 1];
        ev->jets[j] = jet;
    }
    ev->n_jets = n;
}

/* Write one column of the record, turned by a random angle and mirrored at random: the beams have no direction. */
static void write_record(Rng *rng, const Event *ev, float *record, int64_t stride) {
    float turn = 2 * PI * uniform(rng), flip_phi = sign(rng), flip_eta = sign(rng);
    float lepton_phi = wrap(flip_phi * ev->lepton_phi + turn), tau_phi = wrap(flip_phi * ev->tau_phi + turn);
    float values[N_RECORD] = {ev->lepton_pt, flip_eta * ev->lepton_eta, lepton_phi,
                              ev->tau_raw, flip_eta * ev->tau_eta, tau_phi};
    /* What other particles put into the tau's cone is no part of it; a fake tau is part of the recoil. */
    float tau_in_met = ev->has_tau ? ev->tau_raw - ev->tau_extra : 0, sine, cosine;
    sincos_f(ev->tau_phi, &sine, &cosine);
    float x = -ev->lepton_x - tau_in_met * cosine - ev->recoil.x;
    float y = flip_phi * (-ev->lepton_y - tau_in_met * sine - ev->recoil.y);
    sincos_f(turn, &sine, &cosine);
    values[6] = x * cosine - y * sine;
    values[7] = x * sine + y * cosine;
    for (int i = 0; i < ev->n_jets && i < N_RECORD_JETS; i++) {
        values[8 + 3 * i] = ev->jets[i].raw;
        values[9 + 3 * i] = flip_eta * ev->jets[i].eta;
        values[10 + 3 * i] = wrap(flip_phi * ev->jets[i].phi + turn);
    }
    for (int i = 0; i < N_RECORD; i++) record[i * stride] = values[i];
}

#endif
