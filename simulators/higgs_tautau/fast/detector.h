/* Event in the making, and the response of the detector to leptons, taus and jets. */
#ifndef FAST_DETECTOR_H
#define FAST_DETECTOR_H

#include "tables.h"

#define MAX_JETS 24
#define MAX_PARTONS 8
#define N_RECORD_JETS 8
#define N_RECORD 32
#define RAW_THRESHOLD 20.f
#define RECORD_THRESHOLD 18.f /* jets down to here can pass the threshold under a jet energy shift */
#define LEPTON_PT 20.f
#define MIN_LEPTON_PT 18.f /* true pt below which nothing passes */
#define MIN_TAU_PT 12.f
#define LEPTON_ETA 2.5f
#define TAU_ETA 2.5f
#define TAU_AXIS 0.2f /* largest distance of the jet from the tau in it */
#define CONE 0.6f /* radius of jets */

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
    float measured_tau, tau_eta, tau_phi; /* raw */
    float tau_extra; /* pt of other particles in the cone of the tau */
    Jet jets[MAX_JETS];
    int n_jets;
    Pair recoil; /* measured transverse momentum of all hadrons outside the tau */
} Event;

static inline float calibration_constant(float eta) {
    float a = 3 - 0.2f * fabsf(eta);
    return a * a;
}

static inline float calibrated(float raw, float eta) { return raw * sqrtf(calibration_constant(eta) / raw + 1); }

/* Inverse of `calibrated`. */
static inline float uncalibrated(float pt, float eta) {
    float k = calibration_constant(eta);
    return 0.5f * (sqrtf(k * k + 4 * pt * pt) - k);
}

static inline float lepton_efficiency(const Event *ev, float lepton_pt, float lepton_eta) {
    int barrel = fabsf(lepton_eta) < 1.5f;
    if (ev->is_electron)
        return AT(ELECTRON_ISOLATION, lepton_pt) * (lepton_pt > 100 ? .99f : .95f) * (barrel ? .95f : .77f);
    return AT(MUON_ISOLATION, lepton_pt) * (barrel ? .94f : .83f);
}

/* Smear the lepton, apply acceptance and efficiency. */
static inline int measure_lepton(Rng *rng, Event *ev) {
    float p = pt(ev->lepton), h = eta(ev->lepton);
    if (p < 0.9f * LEPTON_PT || fabsf(h) > LEPTON_ETA) return 0;
    float relative = ev->is_electron ? .101f / sqrtf(ev->lepton.e) + .003f : .01f + 1e-4f * p + .006f * fabsf(h);
    float scale = 1 + relative * normal(rng);
    ev->lepton = scaled(ev->lepton, scale, scale * ev->lepton.e);
    p *= scale;
    return p >= LEPTON_PT && chance(rng, lepton_efficiency(ev, p, h));
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

/* Smear the tau, apply acceptance and tagging efficiency (0.70 for one track, 0.60 for more). `busy` is the mean pt
 * that other hadrons of the event put into its cone, beyond the underlying event. */
static inline int measure_tau(Rng *rng, Event *ev, float busy) {
    if (fabsf(eta(ev->tau)) > TAU_ETA || !merge_into_tau(ev)) return 0;
    float p = pt(ev->tau), h = eta(ev->tau);
    float efficiency = ev->prongs == 1 ? .70f * (fabsf(h) < 1.5f ? .95f : .85f) : .60f;
    if (!chance(rng, efficiency)) return 0;
    ev->tau_extra = exponential(rng, UNDERLYING_EVENT) + (busy > 0 ? exponential(rng, busy) : 0);
    ev->measured_tau = p * (AT(TAU_RESPONSE, p) + AT(TAU_SPREAD, p) * normal(rng)) + ev->tau_extra - UNDERLYING_EVENT;
    ev->tau_eta = h + .03f * normal(rng);
    ev->tau_phi = phi(ev->tau) + .03f * normal(rng);
    return ev->measured_tau > RAW_THRESHOLD;
}

static inline void add_jet(Event *ev, float pt, float raw, float eta, float phi) {
    if (ev->n_jets < MAX_JETS && raw > RECORD_THRESHOLD && fabsf(eta) < 4.9f)
        ev->jets[ev->n_jets++] = (Jet){pt, raw, eta, phi};
}

static inline int eta_region(float eta) { return fabsf(eta) < 1.7f ? 0 : fabsf(eta) < 3.2f ? 1 : 2; }

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
        if (fabsf(h) > 4.9f) continue;
        /* What leaves the cone: final-state radiation, hadronisation, neutrinos of heavy quarks. */
        float p = pt(ev->partons[i]) * fminf(fmaxf(.94f + .12f * normal(rng), .3f), 1.15f);
        int region = eta_region(h);
        float raw = p * fmaxf(AT(JET_RESPONSE[region], p) + AT(JET_SPREAD[region], p) * normal(rng), .1f);
        h += .06f * normal(rng);
        f += .055f * normal(rng);
        generated->x += p * cosf(f);
        generated->y += p * sinf(f);
        measured->x += raw * cosf(f);
        measured->y += raw * sinf(f);
        if (raw > RECORD_THRESHOLD) add_jet(ev, calibrated(raw, h), raw, h, f);
    }
}

/* No tau and no hard parton around the lepton. */
static inline int is_separated(const Event *ev) {
    float lepton_eta = eta(ev->lepton), lepton_phi = phi(ev->lepton);
    if (delta_r2(lepton_eta, lepton_phi, ev->tau_eta, ev->tau_phi) < .4f * .4f) return 0;
    for (int i = 0; i < ev->n_partons; i++) {
        float h = eta(ev->partons[i]), f = phi(ev->partons[i]);
        if (delta_r2(h, f, lepton_eta, lepton_phi) < .5f * .5f && pt(ev->partons[i]) > 5) return 0;
    }
    return 1;
}

/* Promote one central jet to a tau: returns how many could be. */
static int promote_jet(Rng *rng, Event *ev) {
    int candidates[MAX_JETS], n = 0;
    for (int i = 0; i < ev->n_jets; i++)
        if (ev->jets[i].raw > RAW_THRESHOLD && fabsf(ev->jets[i].eta) < 2.6f) candidates[n++] = i;
    if (!n) return 0;
    int chosen = candidates[next_word(rng) % (uint64_t)n];
    ev->measured_tau = ev->jets[chosen].raw;
    ev->tau_eta = ev->jets[chosen].eta;
    ev->tau_phi = ev->jets[chosen].phi;
    ev->jets[chosen] = ev->jets[--ev->n_jets];
    return n;
}

/* Drop jets that share their energy with the lepton or the tau; sort the rest by calibrated pt. */
static void clean_jets(Event *ev) {
    float lepton_eta = eta(ev->lepton), lepton_phi = phi(ev->lepton);
    int n = 0;
    for (int i = 0; i < ev->n_jets; i++) {
        Jet jet = ev->jets[i];
        if (delta_r2(jet.eta, jet.phi, lepton_eta, lepton_phi) < .5f * .5f) continue;
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
    float lepton_phi = wrap(flip_phi * phi(ev->lepton) + turn), tau_phi = wrap(flip_phi * ev->tau_phi + turn);
    float values[N_RECORD] = {pt(ev->lepton), flip_eta * eta(ev->lepton), lepton_phi,
                              ev->measured_tau, flip_eta * ev->tau_eta, tau_phi};
    /* What other particles put into the tau's cone is no part of it; a fake tau is part of the recoil. */
    float tau_in_met = ev->has_tau ? ev->measured_tau - ev->tau_extra : 0;
    float x = -ev->lepton.x - tau_in_met * cosf(ev->tau_phi) - ev->recoil.x;
    float y = flip_phi * (-ev->lepton.y - tau_in_met * sinf(ev->tau_phi) - ev->recoil.y);
    values[6] = x * cosf(turn) - y * sinf(turn);
    values[7] = x * sinf(turn) + y * cosf(turn);
    for (int i = 0; i < ev->n_jets && i < N_RECORD_JETS; i++) {
        values[8 + 3 * i] = ev->jets[i].raw;
        values[9 + 3 * i] = flip_eta * ev->jets[i].eta;
        values[10 + 3 * i] = wrap(flip_phi * ev->jets[i].phi + turn);
    }
    for (int i = 0; i < N_RECORD; i++) record[i * stride] = values[i];
}

#endif
