/* Polarised tau decays.
 *
 * The helicity frame is the tau rest frame with z along the tau's direction in its parent's rest frame; the
 * polarisation P is the helicity of a tau-, and minus the helicity of a tau+. Visible products of both charges
 * are then distributed alike (Bullock, Hagiwara and Martin, Nucl. Phys. B395 (1993) 499).
 */
#ifndef FAST_TAU_H
#define FAST_TAU_H

#include "tables.h"

#define M_TAU 1.77686f
#define M_PION 0.13957f
#define M_RHO 0.77526f
#define WIDTH_RHO 0.149f
#define M_A1 1.23f
#define WIDTH_A1 0.45f

/* Branching fractions (PDG 2022), and the share of each decay among hadronic ones. */
#define B_ELECTRON 0.1782f
#define B_MUON 0.1739f
#define B_HADRONIC 0.6479f

/* Polarisations of the two taus: equal from a vector boson, opposite from a scalar. */
static inline void draw_polarisations(Rng *rng, int is_scalar, float *first, float *second) {
    *first = is_scalar ? sign(rng) : (chance(rng, 0.5f * (1 - Z_POLARISATION)) ? 1.f : -1.f);
    *second = is_scalar ? -*first : *first;
}

/* Cosine with density (1 + a c) / 2. */
static inline float cosine_at(float a, float u) {
    return (4 * u + a - 2) / (sqrt_f((1 - a) * (1 - a) + 4 * a * u) + 1);
}

static inline float linear_cosine(Rng *rng, float a) { return cosine_at(a, uniform(rng)); }

/* Energy of the lepton in the tau rest frame over its maximum, density 2 x^2 (3 - 2x) (Michel).
 * x^3 (2 - x) = u by Newton's method: monotone, and three steps from near u^(1/3) reach float precision. */
static inline float michel_fraction_at(float u) {
    float x = 0.82f * cbrt_f(u) + 0.18f * u;
    for (int i = 0; i < 3; i++) x -= (x * x * x * (2 - x) - u) / (x * x * (6 - 4 * x) + 1e-6f);
    return min_f(max_f(x, 0), 1);
}

static inline float michel_fraction(Rng *rng) { return michel_fraction_at(uniform(rng)); }

/* Visible product in the helicity frame: energy, momentum along z and across; `prongs` charged tracks. */
typedef struct {
    float e, pz, pt, mass;
    int prongs;
} Visible;

static inline Visible decay_to_lepton(Rng *rng, float polarisation) {
    float x = michel_fraction(rng), e = 0.5f * M_TAU * x;
    float c = linear_cosine(rng, polarisation * (1 - 2 * x) / (3 - 2 * x));
    return (Visible){e, e * c, e * sqrt_f(max_f(0, 1 - c * c)), 0, 1};
}

/* Density of the hadronic mass squared: Breit-Wigner with the spectral weight of tau -> nu + spin-1 hadron. */
static inline float spectral_weight(float m, float pole, float width, float threshold) {
    float s = m * m / (M_TAU * M_TAU), p = sqrt_f(max_f(0, m * m - threshold * threshold));
    float p0 = sqrt_f(pole * pole - threshold * threshold), q = p / p0, running = width * q * q * q * pole / m;
    float d = m * m - pole * pole, phase = (1 - s) * (1 - s) * (1 + 2 * s);
    return phase * m * m * running * pole / (d * d + pole * pole * running * running);
}

#define N_MASS_NODES 256

/* Inverse cumulative distributions of the hadronic masses, filled once per block. */
typedef struct {
    float mass[2][N_MASS_NODES + 1];
} TauTables;

enum { RHO, A1 };

static inline void fill_mass_table(float *table, float pole, float width, float threshold) {
    enum { STEPS = 4096 };
    double cumulative[STEPS + 1], dm = (M_TAU - threshold) / STEPS;
    cumulative[0] = 0;
    for (int i = 0; i < STEPS; i++)
        cumulative[i + 1] = cumulative[i] + spectral_weight((float)(threshold + (i + 0.5) * dm), pole, width, threshold);
    int i = 0;
    for (int node = 0; node <= N_MASS_NODES; node++) {
        double target = cumulative[STEPS] * node / N_MASS_NODES;
        while (i < STEPS - 1 && cumulative[i + 1] < target) i++;
        double step = cumulative[i + 1] - cumulative[i];
        table[node] = (float)(threshold + dm * (i + (step > 0 ? (target - cumulative[i]) / step : 0)));
    }
}

static inline void fill_tau_tables(TauTables *t) {
    fill_mass_table(t->mass[RHO], M_RHO, WIDTH_RHO, 2 * M_PION);
    fill_mass_table(t->mass[A1], M_A1, WIDTH_A1, 0.8f);
}

static inline float mass_from(Rng *rng, const float *table) { return look_up(table, uniform(rng) * N_MASS_NODES); }

/* Sums of the shares of hadronic decays. */
#define TAU_TO_PION .115f /* or a kaon */
#define TAU_TO_RHO .379f
#define TAU_TO_ONE_PRONG .482f
#define TAU_TO_THREE_PRONG .578f /* beyond, with one neutral pion more */
#define TAU_HADRONIC .629f

static inline Visible decay_to_hadrons(Rng *rng, const TauTables *tables, float polarisation) {
    float u = uniform(rng) * TAU_HADRONIC, m = M_PION;
    int prongs = 1;
    if (u < TAU_TO_PION) {
        /* mass as set */
    } else if (u < TAU_TO_RHO) {
        m = mass_from(rng, tables->mass[RHO]);
    } else if (u < TAU_TO_ONE_PRONG) {
        m = mass_from(rng, tables->mass[A1]);
    } else {
        m = mass_from(rng, tables->mass[A1]);
        prongs = 3;
        if (u > TAU_TO_THREE_PRONG) m = min_f(1.08f * m, 1.7f);
    }
    float m2 = m * m, mt2 = M_TAU * M_TAU, e = (mt2 + m2) / (2 * M_TAU), p = (mt2 - m2) / (2 * M_TAU);
    float c = linear_cosine(rng, polarisation * (mt2 - 2 * m2) / (mt2 + 2 * m2));
    return (Visible){e, p * c, p * sqrt_f(max_f(0, 1 - c * c)), m, prongs};
}

/* To the parent's rest frame, for a tau of energy e_tau along the unit vector n. */
static inline Vec to_parent_frame(Rng *rng, Visible v, Vec n, float e_tau) {
    float gamma = e_tau / M_TAU, gamma_beta = sqrt_f(gamma * gamma - 1);
    float e = gamma * v.e + gamma_beta * v.pz, along = gamma * v.pz + gamma_beta * v.e;
    float p = sqrt_f(along * along + v.pt * v.pt) + 1e-9f;
    return scaled(direction_about(n, along / p, 2 * PI * uniform(rng)), p, e);
}

#endif
