/* Numbers of the parametric simulation: shapes of the hard processes, radiation and detector response.
 *
 * Hard-process quantiles were read off leading-order Pythia 8.317 samples at 13 TeV (default tune); jet multiplicities,
 * soft recoil and detector response off the same events behind a full detector response. Some were then adjusted by
 * hand so that selected events agree with that full chain and, for H and Z, with the public 1,000-row sample: the upper
 * half of Z_PT, the end of P_2_JETS, LEAD_ANGLE below 20 GeV, LEAD_ETA_WIDTH, everything on softer jets,
 * SOFT_NOISE_0_JETS, NOISE_SPREAD, UNDERLYING_EVENT, the exchange strengths and everything in Radiation. Agreement with
 * these two samples is therefore no independent test.
 */
#ifndef FAST_TABLES_H
#define FAST_TABLES_H

#include "vec.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

#define M_Z 91.1876f
#define WIDTH_Z 2.4952f
#define M_W 80.377f
#define WIDTH_W 2.085f
#define M_H 125.f
#define M_TOP 172.5f
#define Z_MIN_MASS 50.f
#define Z_MAX_MASS 150.f
#define Z_MAX_RAPIDITY 2.65f
#define Z_POLARISATION 0.147f /* of the tau- in Z decays */

/* ---- piecewise-linear functions ---- */

typedef struct {
    float x, y;
} Point;

/* Without branches, so that loops of it can be vectorised. */
static inline float interpolate(const Point *p, int n, float x) {
    float y = p[0].y;
    for (int i = 1; i < n; i++) {
        float slope = (p[i].y - p[i - 1].y) / (p[i].x - p[i - 1].x);
        y += slope * (min_f(max_f(x, p[i - 1].x), p[i].x) - p[i - 1].x);
    }
    return y;
}
#define AT(points, x) interpolate(points, COUNT(points), x)

/* ---- distributions given by quantiles (x: probability, y: value) ---- */

/* Interpolation is linear in log(value) against log(-log(1 - probability)): exact for Weibull laws. */
#define N_QUANTILE_NODES 512
#define MAX_ROOT_T 3.5f /* up to probability 1 - 5e-6 */
typedef struct {
    float value[N_QUANTILE_NODES + 2]; /* on equidistant nodes of sqrt(-log(1 - probability)) */
} Quantiles;

/* Logarithm of -log(1 - probability). */
static inline float weibull(float probability) { return log_f(-log_f(1 - probability)); }

static inline void fill_quantiles(Quantiles *q, const Point *p, int n) {
    int i = 1;
    for (int node = 0; node <= N_QUANTILE_NODES + 1; node++) {
        float root = ((float)node + 1e-3f) * (MAX_ROOT_T / N_QUANTILE_NODES), w = log_f(root * root);
        while (i < n - 1 && w > weibull(p[i].x)) i++;
        float w0 = weibull(p[i - 1].x), w1 = weibull(p[i].x);
        q->value[node] = exp_f(log_f(p[i - 1].y) + log_f(p[i].y / p[i - 1].y) * (w - w0) / (w1 - w0));
    }
}

/* Place among the nodes for a uniform number. */
static inline float place_among_nodes(float u) {
    return min_f(sqrt_f(-log_f(u)), MAX_ROOT_T * 0.9999f) * (N_QUANTILE_NODES / MAX_ROOT_T);
}

/* Linear between neighbours. */
static inline float look_up(const float *table, float place) {
    int i = (int)place;
    return table[i] + (place - (float)i) * (table[i + 1] - table[i]);
}

static inline float draw(Rng *rng, const Quantiles *q) { return look_up(q->value, place_among_nodes(uniform(rng))); }

/* Transverse momenta of the recoiling system, GeV. */
static const Point Z_PT[] = {{.01f, .90f}, {.05f, 2.16f}, {.10f, 3.27f}, {.25f, 6.3f},  {.50f, 13.2f},
                             {.75f, 27.3f}, {.90f, 50.f}, {.95f, 70.f}, {.99f, 122}, {.999f, 235}}; /* upper half +5 % (tuned) */
static const Point GG_H_PT[] = {{.05f, 5.5f}, {.25f, 17}, {.50f, 34}, {.75f, 66}, {.90f, 119}, {.95f, 165}, {.99f, 305}};
static const Point BB_H_PT[] = {{.05f, 3.9f}, {.25f, 11}, {.50f, 19}, {.75f, 32}, {.90f, 52}, {.95f, 70}, {.99f, 123}};
static const Point WH_PT[] = {{.05f, 19}, {.25f, 43}, {.50f, 71}, {.75f, 114}, {.90f, 173}, {.95f, 226}, {.99f, 340}};
static const Point ZH_PT[] = {{.05f, 20}, {.25f, 50}, {.50f, 84}, {.75f, 123}, {.90f, 181}, {.95f, 216}, {.99f, 292}};
static const Point TT_PT[] = {{.05f, 10}, {.25f, 27}, {.50f, 52}, {.75f, 94}, {.90f, 155}, {.95f, 209}, {.99f, 348}};
static const Point WW_PT[] = {{.05f, 2.8f}, {.25f, 9.4f}, {.50f, 20}, {.75f, 44}, {.90f, 85}, {.95f, 123}, {.99f, 243}};
static const Point WZ_PT[] = {{.05f, 2.7f}, {.25f, 9.6f}, {.50f, 22}, {.75f, 48}, {.90f, 94}, {.95f, 137}, {.99f, 252}};
static const Point ZZ_PT[] = {{.05f, 2.9f}, {.25f, 9.6f}, {.50f, 20}, {.75f, 46}, {.90f, 89}, {.95f, 121}, {.99f, 240}};
static const Point SOFT_PT[] = {{.05f, 3}, {.25f, 8}, {.50f, 14}, {.75f, 25}, {.90f, 45}, {.95f, 65}, {.99f, 130}};
static const Point SINGLE_TOP_PT[] = {{.05f, 17}, {.25f, 38}, {.50f, 63}, {.75f, 100}, {.90f, 147}, {.95f, 182}, {.99f, 297}};

/* Invariant masses of pairs above their threshold, GeV. */
static const Point TT_MASS[] = {{.05f, 366 - 345}, {.25f, 413 - 345}, {.50f, 478 - 345}, {.75f, 586 - 345},
                                {.90f, 735 - 345}, {.95f, 868 - 345}, {.99f, 1226 - 345}};
static const Point WW_MASS[] = {{.05f, 168 - 160}, {.25f, 192 - 160}, {.50f, 230 - 160}, {.75f, 301 - 160},
                                {.90f, 422 - 160}, {.95f, 543 - 160}, {.99f, 927 - 160}};
static const Point WZ_MASS[] = {{.05f, 190 - 170}, {.25f, 227 - 170}, {.50f, 274 - 170}, {.75f, 363 - 170},
                                {.90f, 504 - 170}, {.95f, 643 - 170}, {.99f, 1046 - 170}};
/* The lowest mass of ZZ (146 GeV, one Z off shell) is put just above the threshold. */
static const Point ZZ_MASS[] = {{.05f, 8}, {.25f, 205 - 181}, {.50f, 241 - 181}, {.75f, 310 - 181},
                                {.90f, 421 - 181}, {.95f, 521 - 181}, {.99f, 849 - 181}};

/* ---- radiation of a system of transverse momentum pt (x), seen as calibrated jets with raw pt > 20 GeV ---- */

static const Point P_0_JETS[] = {{2.5f, .92f}, {7.5f, .91f}, {12.5f, .85f}, {17.5f, .76f}, {25, .52f},
                                 {35, .23f},   {45, .09f},   {57.5f, .03f}, {72.5f, 0}};
static const Point P_1_JET[] = {{2.5f, .06f}, {7.5f, .07f},  {12.5f, .11f}, {17.5f, .19f}, {25, .39f},  {35, .60f},
                                {45, .64f},   {57.5f, .60f}, {72.5f, .51f}, {90, .43f},    {125, .34f}, {180, .28f}};
static const Point P_2_JETS[] = {{2.5f, .02f}, {7.5f, .02f},  {12.5f, .03f}, {17.5f, .04f}, {25, .07f},  {35, .13f},
                                 {45, .20f},   {57.5f, .26f}, {72.5f, .32f}, {90, .33f},    {125, .32f}, {180, .34f}};
/* Leading jet over what is left to balance: median, and widths below and above it. */
static const Point LEAD_MEDIAN[] = {{25, 1.15f}, {35, .96f}, {57, .90f}, {90, .92f}, {180, .97f}};
static const Point LEAD_BELOW[] = {{25, .20f}, {35, .19f}, {57, .27f}, {90, .22f}, {180, .08f}};
static const Point LEAD_ABOVE[] = {{25, .29f}, {35, .26f}, {57, .22f}, {90, .17f}, {180, .08f}};
/* Mean of the exponential angle between leading jet and balance, radian. */
static const Point LEAD_ANGLE[] = {{5, 3.f}, {15, .9f}, {25, .39f}, {35, .30f}, {57, .23f}, {90, .145f}, {180, .072f}};
static const Point LEAD_ETA_WIDTH[] = {{20, 2.0f}, {57, 1.6f}, {90, 1.4f}, {180, 1.25f}};
/* Mean excess of the second jet over threshold, and of those after it, GeV. A share of both hardly passes: jets of the
 * underlying event, whose spectrum falls steeply. */
static const Point SECOND_EXCESS[] = {{20, 13}, {45, 16}, {90, 35}, {170, 58}, {300, 80}};
static const float EXTRA_EXCESS = 9, SOFT_EXCESS = 2;
static const Point SOFT_SHARE[] = {{20, .40f}, {70, .02f}};
/* In eta these jets fill a plateau with rounded edges about a multiple of the system's rapidity; its half-width
 * shrinks with the logarithm of their pt. The barrel responds less to soft jets, which costs some of them. */
static const float SOFTER_FOLLOW = .8f, SOFTER_EDGE = .6f, SOFTER_SHRINK = 1.2f, BARREL_LOSS = .25f;
/* Share of these jets along the recoil, and their spread in azimuth about it, radian; the rest goes anywhere. */
static const float ALONG_RECOIL = .85f, ALONG_SPREAD = .8f;
/* Recoil of what is not in jets: response, and noise per axis, by number of jets. */
static const float SOFT_RESPONSE[] = {.75f, .52f, .53f, .50f};
static const float SOFT_NOISE[] = {0, 9.5f, 10.3f, 11.4f};
static const Point SOFT_NOISE_0_JETS[] = {{0, 7.0f}, {80, 9.4f}};
static const float NOISE_SPREAD = .42f; /* of its logarithm, from event to event: heavier tails than a Gaussian */

/* ---- detector ---- */

/* Raw over generated jet pt against generated pt, and its spread, in |eta| < 1.7, < 3.2, < 4.9. */
static const Point JET_RESPONSE[3][5] = {
    {{10, .60f}, {22.5f, .73f}, {35, .82f}, {60, .89f}, {125, .94f}},
    {{10, .85f}, {22.5f, .94f}, {35, .97f}, {60, .97f}, {125, .98f}},
    {{10, .90f}, {22.5f, .96f}, {35, .97f}, {60, .99f}, {125, 1.0f}},
};
static const Point JET_SPREAD[3][5] = {
    {{10, .28f}, {22.5f, .23f}, {35, .19f}, {60, .14f}, {125, .09f}},
    {{10, .25f}, {22.5f, .19f}, {35, .20f}, {60, .14f}, {125, .10f}},
    {{10, .25f}, {22.5f, .16f}, {35, .13f}, {60, .09f}, {125, .09f}},
};
/* Raw over true visible tau pt, and its spread. */
static const Point TAU_RESPONSE[] = {{15, 1.10f}, {22.5f, 1.08f}, {32.5f, 1.06f}, {45, 1.04f}, {70, 1.03f}, {100, 1.01f}};
static const Point TAU_SPREAD[] = {{15, .18f}, {22.5f, .15f}, {32.5f, .14f}, {45, .10f}, {70, .08f}, {100, .05f}};
static const float UNDERLYING_EVENT = 1.6f; /* mean pt in the cone of a tau, GeV */
/* Efficiency of the isolation against pt, measured in Higgs events. */
static const Point ELECTRON_ISOLATION[] = {{17.5f, .71f}, {22.5f, .79f}, {27.5f, .82f}, {35, .87f}, {50, .90f}, {80, .93f}};
static const Point MUON_ISOLATION[] = {{17.5f, .84f}, {22.5f, .90f}, {27.5f, .92f}, {35, .94f}, {50, .95f}};

/* Forwardness of pair production by exchange, and share of longitudinal W bosons in W pairs (tuned). */
static const float TT_EXCHANGE = 1.9f, VV_EXCHANGE = 2.8f, VV_LONGITUDINAL = .2f, VV_FORWARD = .62f;

/* What differs between processes (tuned). */
typedef struct {
    float extra_jets;     /* mean number of jets beyond those of a Z of the same pt ... */
    float extra_high;     /* ... and how much it grows per 100 GeV */
    float extra_excess;   /* mean excess of these over threshold, GeV */
    float below;          /* mean number of jets with raw pt from 18 to 20 GeV */
    float noise;          /* factor on the noise of the soft recoil */
    float busy;           /* mean pt in the cone of the tau, GeV */
    float lead_width;     /* factor on the width of the leading jet in eta */
    float softer_width;   /* half-width of the other jets in eta, at threshold */
} Radiation;

static const Radiation Z_RADIATION = {0, 0, 8, .065f, 1, 0, 1, 4.2f};
static const Radiation GG_H_RADIATION = {.03f, .26f, 27, .08f, 1, 0, 1.25f, 3.9f};
static const Radiation VBF_RADIATION = {.1f, 0, 10, .07f, 1, 0, 1, 3.9f};
static const Radiation TT_RADIATION = {.06f, .2f, 15, .06f, .95f, 3, 1.3f, 5.1f};
static const Radiation VV_RADIATION = {.03f, .2f, 12, .08f, .88f, 0, 1.05f, 4.0f};

/* Share of fake taus among selected events: as in the full chain. */
#define FAKE_SHARE_TT .34f
#define FAKE_SHARE_VV .27f

#endif
