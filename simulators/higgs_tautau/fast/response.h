/* Thresholds, and the response of the detector to one lepton or tau, free of random numbers and branches. */
#ifndef FAST_RESPONSE_H
#define FAST_RESPONSE_H

#include "tables.h"

#define RAW_THRESHOLD 20.f
#define RECORD_THRESHOLD 18.f /* jets down to here can pass the threshold under a jet energy shift */
#define LEPTON_PT 20.f
#define MIN_LEPTON_PT 18.f /* true pt below which nothing passes */
#define MIN_TAU_PT 12.f
#define LEPTON_ETA 2.5f
#define TAU_ETA 2.5f
#define REACH 6.9f         /* sinh(2.63): taus beyond give nothing within acceptance */
#define LEPTON_REACH 6.0502f /* sinh(LEPTON_ETA) */

/* Relative width of the measured lepton pt. */
static inline float lepton_resolution(int is_electron, float pt, float eta, float e) {
    float electron = .101f / sqrt_f(e) + .003f, muon = .01f + 1e-4f * pt + .006f * abs_f(eta);
    return is_electron ? electron : muon;
}

static inline float lepton_efficiency(int is_electron, float pt, float eta) {
    int is_central = abs_f(eta) < 1.5f;
    float electron = AT(ELECTRON_ISOLATION, pt) * (pt > 100 ? .99f : .95f) * (is_central ? .95f : .77f);
    float muon = AT(MUON_ISOLATION, pt) * (is_central ? .94f : .83f);
    return is_electron ? electron : muon;
}

/* Tagging: 0.70 for one track, 0.60 for more. */
static inline float tau_efficiency(int is_one_prong, float eta) {
    float one_prong = abs_f(eta) < 1.5f ? .70f * .95f : .70f * .85f;
    return is_one_prong ? one_prong : .60f;
}

/* Raw pt of a tau: `extra` is what other particles put into its cone. */
static inline float measured_tau(float pt, float normal, float extra) {
    return pt * (AT(TAU_RESPONSE, pt) + AT(TAU_SPREAD, pt) * normal) + extra - UNDERLYING_EVENT;
}

#endif
