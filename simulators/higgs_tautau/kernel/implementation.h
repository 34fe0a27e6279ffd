/* Shift, select and derive, on blocks of events that stay in the first-level cache.
 *
 * Included once per instruction set, after IMPLEMENTATION (name of the table to define) and the target. Every
 * loop over a block is written so that compilers vectorise it; all arithmetic is elementary, so that each
 * instruction set gives the same bits. Features are defined in ../schema.py (arXiv:2410.02867, appendix A).
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "interface.h"
#include "random.h"
#include "vectormath.h"

#if defined(__clang__)
#define LANES _Pragma("clang loop vectorize(assume_safety)") for (int i = 0; i < BLOCK; i++)
#else
#define LANES _Pragma("GCC ivdep") for (int i = 0; i < BLOCK; i++)
#endif

enum {
    BLOCK = 128,
    PITCH = BLOCK + 16, /* columns a power of two apart would share their cache sets */
    BATCH = 128         /* slots drawn at a time */
};

/* Vectors as wide as the instruction set has them. */
#if defined(__AVX512F__)
#define WIDTH 16
#define LOW_HALVES 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define HIGH_HALVES 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif defined(__AVX__)
#define WIDTH 8
#define LOW_HALVES 0, 8, 1, 9, 2, 10, 3, 11
#define HIGH_HALVES 4, 12, 5, 13, 6, 14, 7, 15
#else
#define WIDTH 4
#define LOW_HALVES 0, 4, 1, 5
#define HIGH_HALVES 2, 6, 3, 7
#endif
typedef float Vector __attribute__((vector_size(4 * WIDTH)));
#if defined(__clang__)
#define INTERLEAVE_LOW(a, b) __builtin_shufflevector(a, b, LOW_HALVES)
#define INTERLEAVE_HIGH(a, b) __builtin_shufflevector(a, b, HIGH_HALVES)
#else
typedef int32_t Indices __attribute__((vector_size(4 * WIDTH)));
#define INTERLEAVE_LOW(a, b) __builtin_shuffle(a, b, (Indices){LOW_HALVES})
#define INTERLEAVE_HIGH(a, b) __builtin_shuffle(a, b, (Indices){HIGH_HALVES})
#endif

#define MISSING -25.0f
#define HAD_CUT 26.0f
#define JET_CUT 26.0f
#define LEP_CUT 20.0f
#define RAW_JET_CUT 20.0f
#define ALIGNED __attribute__((aligned(64)))

typedef float Lanes[PITCH];

/* A block of events: what comes in, what goes out and what the stages hand on. */
typedef struct {
    ALIGNED Lanes in[N_RECORD];
    ALIGNED Lanes out[N_FEATURES];
    ALIGNED Lanes noise_x, noise_y;
    ALIGNED Lanes lep_cos, lep_sin, had_cos, had_sin, jet1_cos, jet1_sin, jet2_cos, jet2_sin;
    ALIGNED Lanes met_x, met_y, met_cos, met_sin;
    ALIGNED uint64_t counter[PITCH];
} Block;

/* ---- noise and directions ---- */

/* Two unit normal numbers per event (Box and Muller 1958). */
static void draw_noise(Block *b, const uint64_t key[2]) {
    const uint64_t *restrict counter = b->counter;
    float *restrict x = b->noise_x, *restrict y = b->noise_y;
    ALIGNED int32_t radial[PITCH], angular[PITCH];
    LANES {
        uint64_t word = random_word(key, counter[i]);
        radial[i] = (int32_t)(word >> 33);
        angular[i] = (int32_t)(uint32_t)word;
    }
    LANES {
        float u = ((float)radial[i] + 0.5f) * 0x1p-31f; /* in (0, 1] */
        float r = sqrt_f(-2.0f * log_f(u));
        float s, c;
        sincos_turn_f((float)angular[i] * 0x1p-32f, &s, &c);
        x[i] = r * c;
        y[i] = r * s;
    }
}

static void directions(const float *restrict phi, float *restrict cosine, float *restrict sine) {
    LANES sincos_f(phi[i], &sine[i], &cosine[i]);
}

/* Size and direction of the missing momentum from its components. */
static void polar(Block *b) {
    const float *restrict x = b->met_x, *restrict y = b->met_y;
    float *restrict met = b->out[MET], *restrict phi = b->out[MET_PHI];
    float *restrict c = b->met_cos, *restrict s = b->met_sin;
    LANES {
        float size = sqrt_f(x[i] * x[i] + y[i] * y[i]);
        float inverse = 1.0f / (size > 0.0f ? size : 1.0f);
        met[i] = size;
        phi[i] = atan2_f(y[i], x[i]);
        c[i] = size > 0.0f ? x[i] * inverse : 1.0f;
        s[i] = y[i] * inverse;
    }
}

static void add_noise(Block *b, float width) {
    const float *restrict nx = b->noise_x, *restrict ny = b->noise_y;
    float *restrict x = b->met_x, *restrict y = b->met_y;
    LANES {
        x[i] += width * nx[i];
        y[i] += width * ny[i];
    }
}

static void copy(float *restrict to, const float *restrict from) {
    memcpy(to, from, BLOCK * sizeof(float));
}

static void copy_lepton_and_tau(Block *b) {
    for (int c = LEP_PT; c <= HAD_PHI; c++)
        copy(b->out[c], b->in[c]);
}

/* ---- mode: detector ---- */

/* Calibrated transverse momentum of a raw one: raw sqrt((3 - 0.2 |eta|)^2 / raw + 1), without the division. */
static inline float calibrated(float raw, float eta) {
    float k = 3.0f - 0.2f * abs_f(eta);
    return sqrt_f(raw * (k * k + raw));
}

static void shift_record_tau(Block *b, float tes) {
    const float *restrict raw = b->in[HAD_PT], *restrict eta = b->in[HAD_ETA];
    const float *restrict c = b->had_cos, *restrict s = b->had_sin;
    const float *restrict in_x = b->in[REC_MET_X], *restrict in_y = b->in[REC_MET_Y];
    float *restrict pt = b->out[HAD_PT], *restrict x = b->met_x, *restrict y = b->met_y;
    LANES {
        float change = (tes - 1.0f) * calibrated(raw[i], eta[i]);
        x[i] = in_x[i] - change * c[i];
        y[i] = in_y[i] - change * s[i];
        pt[i] = calibrated(raw[i] * tes, eta[i]);
    }
}

static int any_jet(const Block *b, int jet) {
    const float *restrict raw = b->in[REC_JET + 3 * jet];
    int32_t any = 0;
    for (int i = 0; i < BLOCK; i++)
        any |= bits_of_float(raw[i]);
    return any != 0;
}

/* Take the change of one jet of the record out of the missing momentum. */
static void shift_record_met(Block *b, int jet, float jes) {
    const float *restrict raw = b->in[REC_JET + 3 * jet], *restrict eta = b->in[REC_JET + 3 * jet + 1];
    const float *restrict phi = b->in[REC_JET + 3 * jet + 2];
    float *restrict x = b->met_x, *restrict y = b->met_y;
    LANES {
        float s, c;
        sincos_f(phi[i], &s, &c);
        float change = raw[i] * jes > RAW_JET_CUT ? (jes - 1.0f) * calibrated(raw[i], eta[i]) : 0.0f;
        x[i] -= change * c;
        y[i] -= change * s;
    }
}

/* Enter it into the list of kept jets, ordered by calibrated momentum. */
static void list_record_jet(Block *b, int jet, float jes, float cut) {
    const float *restrict raw = b->in[REC_JET + 3 * jet], *restrict eta = b->in[REC_JET + 3 * jet + 1];
    const float *restrict phi = b->in[REC_JET + 3 * jet + 2];
    float *restrict pt1 = b->out[JET1_PT], *restrict eta1 = b->out[JET1_ETA];
    float *restrict phi1 = b->out[JET1_PHI], *restrict pt2 = b->out[JET2_PT];
    float *restrict eta2 = b->out[JET2_ETA], *restrict phi2 = b->out[JET2_PHI];
    float *restrict n = b->out[N_JETS], *restrict all = b->out[ALL_PT];
    LANES {
        float shifted = raw[i] * jes;
        float pt = calibrated(shifted, eta[i]);
        int kept = (shifted > RAW_JET_CUT) & (pt > cut);
        int first = kept & (pt > pt1[i]);
        int second = kept & !first & (pt > pt2[i]);
        float old_pt = pt1[i], old_eta = eta1[i], old_phi = phi1[i];
        n[i] += kept ? 1.0f : 0.0f;
        all[i] += kept ? pt : 0.0f;
        pt2[i] = first ? old_pt : second ? pt : pt2[i];
        eta2[i] = first ? old_eta : second ? eta[i] : eta2[i];
        phi2[i] = first ? old_phi : second ? phi[i] : phi2[i];
        pt1[i] = first ? pt : old_pt;
        eta1[i] = first ? eta[i] : old_eta;
        phi1[i] = first ? phi[i] : old_phi;
    }
}

static void shift_record_jets(Block *b, float jes, float cut) {
    for (int c = JET1_PT; c <= JET2_PHI; c++)
        LANES b->out[c][i] = MISSING;
    memset(b->out[N_JETS], 0, sizeof(Lanes));
    memset(b->out[ALL_PT], 0, sizeof(Lanes));
    for (int jet = 0; jet < N_RECORD_JETS; jet++) {
        if (!any_jet(b, jet))
            continue;
        if (jes != 1.0f)
            shift_record_met(b, jet, jes);
        list_record_jet(b, jet, jes, cut);
    }
}

static void shift_record(Block *b, const Shift *shift) {
    float tes = (float)shift->tes, jes = (float)shift->jes;
    copy_lepton_and_tau(b);
    directions(b->in[LEP_PHI], b->lep_cos, b->lep_sin);
    directions(b->in[HAD_PHI], b->had_cos, b->had_sin);
    shift_record_tau(b, tes);
    shift_record_jets(b, jes, shift->select ? JET_CUT : 0.0f);
    directions(b->out[JET1_PHI], b->jet1_cos, b->jet1_sin);
    directions(b->out[JET2_PHI], b->jet2_cos, b->jet2_sin);
    if (shift->soft_met > 0)
        add_noise(b, (float)shift->soft_met);
    polar(b);
}

/* ---- mode: posthoc ---- */

/* Scale the listed jets, and drop those under the cut from every feature that counts them. */
static void shift_table_jets(Block *b, float jes, float cut) {
    const float *restrict in_pt1 = b->in[JET1_PT], *restrict in_eta1 = b->in[JET1_ETA], *restrict in_phi1 = b->in[JET1_PHI];
    const float *restrict in_pt2 = b->in[JET2_PT], *restrict in_eta2 = b->in[JET2_ETA], *restrict in_phi2 = b->in[JET2_PHI];
    const float *restrict in_n = b->in[N_JETS], *restrict in_all = b->in[ALL_PT];
    const float *restrict c1 = b->jet1_cos, *restrict s1 = b->jet1_sin, *restrict c2 = b->jet2_cos, *restrict s2 = b->jet2_sin;
    float *restrict pt1 = b->out[JET1_PT], *restrict eta1 = b->out[JET1_ETA], *restrict phi1 = b->out[JET1_PHI];
    float *restrict pt2 = b->out[JET2_PT], *restrict eta2 = b->out[JET2_ETA], *restrict phi2 = b->out[JET2_PHI];
    float *restrict n = b->out[N_JETS], *restrict all = b->out[ALL_PT];
    float *restrict x = b->met_x, *restrict y = b->met_y;
    LANES {
        float listed1 = in_n[i] >= 1.0f && in_pt1[i] > 0.0f ? in_pt1[i] : 0.0f;
        float listed2 = in_n[i] >= 2.0f && in_pt2[i] > 0.0f ? in_pt2[i] : 0.0f;
        float scaled1 = listed1 * jes, scaled2 = listed2 * jes;
        int has1 = scaled1 > cut;
        int has2 = has1 & (scaled2 > cut);
        x[i] -= (jes - 1.0f) * (listed1 * c1[i] + listed2 * c2[i]);
        y[i] -= (jes - 1.0f) * (listed1 * s1[i] + listed2 * s2[i]);
        pt1[i] = has1 ? scaled1 : MISSING;
        eta1[i] = has1 ? in_eta1[i] : MISSING;
        phi1[i] = has1 ? in_phi1[i] : MISSING;
        pt2[i] = has2 ? scaled2 : MISSING;
        eta2[i] = has2 ? in_eta2[i] : MISSING;
        phi2[i] = has2 ? in_phi2[i] : MISSING;
        n[i] = has2 ? in_n[i] : has1 ? 1.0f : 0.0f;
        all[i] = has2 ? in_all[i] * jes : has1 ? scaled1 : 0.0f;
    }
}

static void shift_table_tau(Block *b, float tes) {
    const float *restrict in = b->in[HAD_PT], *restrict c = b->had_cos, *restrict s = b->had_sin;
    const float *restrict in_x = b->in[MET], *restrict in_y = b->in[MET_PHI];
    float *restrict pt = b->out[HAD_PT], *restrict x = b->met_x, *restrict y = b->met_y;
    LANES {
        x[i] = in_x[i] - (tes - 1.0f) * (in[i] * c[i]);
        y[i] = in_y[i] - (tes - 1.0f) * (in[i] * s[i]);
        pt[i] = in[i] * tes;
    }
}

/* The last two input columns hold the components of the missing momentum here, not its size and azimuth. */
static void shift_table(Block *b, const Shift *shift) {
    copy_lepton_and_tau(b);
    directions(b->in[LEP_PHI], b->lep_cos, b->lep_sin);
    directions(b->in[HAD_PHI], b->had_cos, b->had_sin);
    directions(b->in[JET1_PHI], b->jet1_cos, b->jet1_sin);
    directions(b->in[JET2_PHI], b->jet2_cos, b->jet2_sin);
    shift_table_tau(b, (float)shift->tes);
    shift_table_jets(b, (float)shift->jes, shift->select ? JET_CUT : 0.0f);
    if (shift->soft_met > 0)
        add_noise(b, (float)shift->soft_met);
    polar(b);
}

/* ---- mode: official ----
 *
 * Value-compatible with the public package HiggsML 0.1.5 in double precision: all 15 columns are rounded to three
 * decimals after the shift, and selection and derived features use the rounded values. Kept on purpose: the closed
 * interval [0, 26] in which jets are cut; one jet less per cut jet, so that two or more jets can be left without a
 * second one in the list, whose features then come from the sentinel -25; softer jets stay in the sum.
 */

/* A number in thousandths, to be rounded. */
static inline double thousandths(double x) {
    return round_d(x * 1000.0);
}

/* The product is exact enough for a result in single precision. */
static inline float from_thousandths(double n) {
    return (float)(n * 0.001);
}

/* The three-decimal number that a float stands for, if it does: tables are stored in single precision. Exact, since
 * scaled momenta often lie halfway between two thousandths. */
static inline double decimal(float x) {
    double d = thousandths((double)x) / 1000.0;
    return (float)d == x ? d : (double)x;
}

/* As decimal, to 1e-16, for what is not rounded again before it went through other functions. */
static inline double near_decimal(float x) {
    double d = thousandths((double)x) * 0.001;
    return (float)d == x ? d : (double)x;
}

/* A column that the shift leaves alone. */
static void round_column(float *restrict out, const float *restrict in) {
    LANES out[i] = from_thousandths(thousandths((double)in[i]));
}

typedef struct {
    ALIGNED double x[PITCH], y[PITCH], had[PITCH], jet1[PITCH], jet2[PITCH], all[PITCH];
} Official;

static void official_start(const Block *b, Official *o) {
    const float *restrict met = b->in[MET], *restrict phi = b->in[MET_PHI];
    double *restrict x = o->x, *restrict y = o->y;
    LANES {
        double s, c, size = near_decimal(met[i]);
        sincos_d(near_decimal(phi[i]), &s, &c);
        x[i] = size * c;
        y[i] = size * s;
    }
    const float *restrict had = b->in[HAD_PT], *restrict jet1 = b->in[JET1_PT], *restrict jet2 = b->in[JET2_PT];
    const float *restrict all = b->in[ALL_PT];
    LANES {
        o->had[i] = decimal(had[i]);
        o->jet1[i] = decimal(jet1[i]);
        o->jet2[i] = decimal(jet2[i]);
        o->all[i] = decimal(all[i]);
    }
}

/* Scale one object, and take the change out of the missing momentum, if it exists. */
static void official_scale(Official *o, double *restrict pt, const float *restrict phi, const float *restrict n,
                           float least, double scale) {
    double *restrict x = o->x, *restrict y = o->y;
    double back = (1.0 - scale) / scale;
    LANES {
        double s, c;
        sincos_d(near_decimal(phi[i]), &s, &c);
        double shifted = pt[i] * scale;
        int exists = n[i] >= least;
        pt[i] = exists ? shifted : pt[i];
        x[i] += exists ? shifted * c * back : 0.0;
        y[i] += exists ? shifted * s * back : 0.0;
    }
}

static void official_noise(Block *b, Official *o, double width) {
    const float *restrict nx = b->noise_x, *restrict ny = b->noise_y;
    LANES {
        o->x[i] += width * (double)nx[i];
        o->y[i] += width * (double)ny[i];
    }
}

static void official_met(Block *b, const Official *o) {
    const double *restrict x = o->x, *restrict y = o->y;
    float *restrict met = b->out[MET], *restrict phi = b->out[MET_PHI];
    LANES {
        met[i] = from_thousandths(thousandths(sqrt_d(x[i] * x[i] + y[i] * y[i])));
        phi[i] = from_thousandths(thousandths(atan2_d(y[i], x[i])));
    }
}

static void official_jets(Block *b, const Official *o, int select) {
    float *restrict pt1 = b->out[JET1_PT], *restrict eta1 = b->out[JET1_ETA], *restrict phi1 = b->out[JET1_PHI];
    float *restrict pt2 = b->out[JET2_PT], *restrict eta2 = b->out[JET2_ETA], *restrict phi2 = b->out[JET2_PHI];
    float *restrict n = b->out[N_JETS], *restrict all = b->out[ALL_PT], *restrict had = b->out[HAD_PT];
    const float *restrict in_n = b->in[N_JETS];
    double cut = select ? 26000.0 : -1.0;
    LANES {
        double jet1 = thousandths(o->jet1[i]), jet2 = thousandths(o->jet2[i]), sum = thousandths(o->all[i]);
        int drop2 = (jet2 >= 0.0) & (jet2 <= cut);
        int drop1 = (jet1 >= 0.0) & (jet1 <= cut);
        sum -= drop2 ? jet2 : 0.0;
        sum -= drop1 ? jet1 : 0.0;
        had[i] = from_thousandths(thousandths(o->had[i]));
        pt1[i] = drop1 ? MISSING : from_thousandths(jet1);
        eta1[i] = drop1 ? MISSING : eta1[i];
        phi1[i] = drop1 ? MISSING : phi1[i];
        pt2[i] = drop2 ? MISSING : from_thousandths(jet2);
        eta2[i] = drop2 ? MISSING : eta2[i];
        phi2[i] = drop2 ? MISSING : phi2[i];
        n[i] = in_n[i] - (drop1 ? 1.0f : 0.0f) - (drop2 ? 1.0f : 0.0f);
        all[i] = from_thousandths(sum);
    }
}

static void shift_official(Block *b, const Shift *shift) {
    static const int unshifted[] = {LEP_PT, LEP_ETA, LEP_PHI, HAD_ETA, HAD_PHI, JET1_ETA, JET1_PHI, JET2_ETA, JET2_PHI};
    const float *always = b->in[LEP_PT]; /* positive in every event */
    Official o;
    for (size_t c = 0; c < sizeof unshifted / sizeof *unshifted; c++)
        round_column(b->out[unshifted[c]], b->in[unshifted[c]]);
    official_start(b, &o);
    if (shift->tes != 1.0)
        official_scale(&o, o.had, b->in[HAD_PHI], always, 0.0f, shift->tes);
    if (shift->jes != 1.0) {
        official_scale(&o, o.jet1, b->in[JET1_PHI], b->in[N_JETS], 1.0f, shift->jes);
        official_scale(&o, o.jet2, b->in[JET2_PHI], b->in[N_JETS], 2.0f, shift->jes);
        LANES o.all[i] *= shift->jes;
    }
    if (shift->soft_met > 0)
        official_noise(b, &o, shift->soft_met);
    official_met(b, &o);
    official_jets(b, &o, shift->select);
    directions(b->out[LEP_PHI], b->lep_cos, b->lep_sin);
    directions(b->out[HAD_PHI], b->had_cos, b->had_sin);
    directions(b->out[JET1_PHI], b->jet1_cos, b->jet1_sin);
    directions(b->out[JET2_PHI], b->jet2_cos, b->jet2_sin);
    directions(b->out[MET_PHI], b->met_cos, b->met_sin);
    LANES {
        b->met_x[i] = b->out[MET][i] * b->met_cos[i];
        b->met_y[i] = b->out[MET][i] * b->met_sin[i];
    }
}

/* ---- derived features ---- */

static inline float square(float x) {
    return x * x;
}

/* (2 sinh(x / 2))^2 = 2 (cosh x - 1) */
static inline float two_sinh_half_squared(float x) {
    float e = exp_f(0.5f * abs_f(x));
    return square(e - 1.0f / e);
}

static void derive_lepton_tau(Block *b) {
    const float *restrict lep_pt = b->out[LEP_PT], *restrict lep_eta = b->out[LEP_ETA], *restrict lep_phi = b->out[LEP_PHI];
    const float *restrict had_pt = b->out[HAD_PT], *restrict had_eta = b->out[HAD_ETA], *restrict had_phi = b->out[HAD_PHI];
    const float *restrict lc = b->lep_cos, *restrict ls = b->lep_sin, *restrict hc = b->had_cos, *restrict hs = b->had_sin;
    float *restrict mass_vis = b->out[MASS_VIS], *restrict delta_r = b->out[DELTA_R], *restrict ratio = b->out[PT_RATIO];
    LANES {
        /* m^2 = 2 p1 p2 (cosh d_eta - cos d_phi), without cancellation */
        float chord = square(lc[i] - hc[i]) + square(ls[i] - hs[i]);
        float d_eta = lep_eta[i] - had_eta[i];
        float d_phi = abs_f(lep_phi[i] - had_phi[i]);
        d_phi = d_phi > PI_F ? 2.0f * PI_F - d_phi : d_phi;
        mass_vis[i] = sqrt_f(lep_pt[i] * had_pt[i] * (two_sinh_half_squared(d_eta) + chord));
        delta_r[i] = sqrt_f(square(d_eta) + square(d_phi));
        ratio[i] = lep_pt[i] / had_pt[i];
    }
}

static void derive_met(Block *b) {
    const float *restrict lep_pt = b->out[LEP_PT], *restrict met = b->out[MET];
    const float *restrict lc = b->lep_cos, *restrict ls = b->lep_sin, *restrict hc = b->had_cos, *restrict hs = b->had_sin;
    const float *restrict mc = b->met_cos, *restrict ms = b->met_sin;
    float *restrict mass_t = b->out[MASS_TRANSVERSE], *restrict centrality = b->out[MET_CENTRALITY];
    LANES {
        float chord = square(lc[i] - mc[i]) + square(ls[i] - ms[i]);
        mass_t[i] = sqrt_f(lep_pt[i] * met[i] * chord);
        /* Where lepton and tau are back to back or collinear, the lepton is turned by 1e-4 rad. */
        int undefined = hs[i] * lc[i] - hc[i] * ls[i] == 0.0f;
        float c = undefined ? lc[i] - 1e-4f * ls[i] : lc[i];
        float s = undefined ? ls[i] + 1e-4f * lc[i] : ls[i];
        float sign = hs[i] * c - hc[i] * s > 0.0f ? 1.0f : -1.0f;
        float from_lep = (ms[i] * c - mc[i] * s) * sign;
        float from_had = (hs[i] * mc[i] - hc[i] * ms[i]) * sign;
        float size = sqrt_f(square(from_lep) + square(from_had));
        centrality[i] = (from_lep + from_had) / (size > 0.0f ? size : 1.0f);
    }
}

static void derive_momenta(Block *b) {
    const float *restrict lep_pt = b->out[LEP_PT], *restrict had_pt = b->out[HAD_PT], *restrict n = b->out[N_JETS];
    const float *restrict pt1 = b->out[JET1_PT], *restrict pt2 = b->out[JET2_PT], *restrict all = b->out[ALL_PT];
    const float *restrict lc = b->lep_cos, *restrict ls = b->lep_sin, *restrict hc = b->had_cos, *restrict hs = b->had_sin;
    const float *restrict c1 = b->jet1_cos, *restrict s1 = b->jet1_sin, *restrict c2 = b->jet2_cos, *restrict s2 = b->jet2_sin;
    const float *restrict mx = b->met_x, *restrict my = b->met_y;
    float *restrict pt_h = b->out[PT_H], *restrict pt_tot = b->out[PT_TOT], *restrict sum_pt = b->out[SUM_PT];
    LANES {
        float x = had_pt[i] * hc[i] + lep_pt[i] * lc[i] + mx[i];
        float y = had_pt[i] * hs[i] + lep_pt[i] * ls[i] + my[i];
        float p1 = n[i] >= 1.0f ? pt1[i] : 0.0f;
        float p2 = n[i] >= 2.0f ? pt2[i] : 0.0f;
        float all_x = x + p1 * c1[i] + p2 * c2[i];
        float all_y = y + p1 * s1[i] + p2 * s2[i];
        pt_h[i] = sqrt_f(square(x) + square(y));
        pt_tot[i] = sqrt_f(square(all_x) + square(all_y));
        sum_pt[i] = had_pt[i] + lep_pt[i] + all[i];
    }
}

static void derive_jets(Block *b) {
    const float *restrict n = b->out[N_JETS], *restrict lep_eta = b->out[LEP_ETA];
    const float *restrict pt1 = b->out[JET1_PT], *restrict eta1 = b->out[JET1_ETA];
    const float *restrict pt2 = b->out[JET2_PT], *restrict eta2 = b->out[JET2_ETA];
    const float *restrict c1 = b->jet1_cos, *restrict s1 = b->jet1_sin, *restrict c2 = b->jet2_cos, *restrict s2 = b->jet2_sin;
    float *restrict delta_eta = b->out[DELTA_ETA_JETS], *restrict mass = b->out[MASS_JETS], *restrict product = b->out[PRODUCT_ETA_JETS];
    float *restrict centrality = b->out[LEP_CENTRALITY];
    LANES {
        int has2 = n[i] >= 2.0f;
        float d_eta = eta1[i] - eta2[i];
        float chord = square(c1[i] - c2[i]) + square(s1[i] - s2[i]);
        float mass2 = pt1[i] * pt2[i] * (two_sinh_half_squared(d_eta) + chord);
        float off_centre = lep_eta[i] - 0.5f * (eta1[i] + eta2[i]);
        float relative = off_centre / (d_eta == 0.0f ? 1.0f : d_eta);
        float scale = d_eta == 0.0f ? -40000.0f : -4.0f;
        float value = exp_f(scale * square(relative));
        delta_eta[i] = has2 ? abs_f(d_eta) : MISSING;
        mass[i] = has2 ? sqrt_f(mass2 > 0.0f ? mass2 : 0.0f) : MISSING;
        product[i] = has2 ? eta1[i] * eta2[i] + 0.0f : MISSING; /* + 0 turns -0 into 0 */
        centrality[i] = has2 ? value : MISSING;
    }
}

static void process_block(Block *b, const Shift *shift) {
    if (shift->mode == DETECTOR)
        shift_record(b, shift);
    else if (shift->mode == POSTHOC)
        shift_table(b, shift);
    else
        shift_official(b, shift);
    derive_lepton_tau(b);
    derive_met(b);
    derive_momenta(b);
    derive_jets(b);
}

/* ---- selection ---- */

/* Whether an event survives, with the arithmetic that process_block uses. */
static inline int survives(int mode, float tes_f, double tes, float lep_pt, float had_pt, float had_eta) {
    if (mode == DETECTOR)
        return (lep_pt >= LEP_CUT) & (calibrated(had_pt * tes_f, had_eta) > HAD_CUT);
    if (mode == POSTHOC)
        return (lep_pt >= LEP_CUT) & (had_pt * tes_f > HAD_CUT);
    int good_lepton = thousandths((double)lep_pt) >= 20000.0;
    int good_tau = thousandths(decimal(had_pt) * tes) >= 26000.0;
    return good_lepton & good_tau;
}

/* ---- events from columns ---- */

static inline int64_t count_selected_as(int mode, const Shift *shift, const Columns *in, int64_t begin, int64_t end) {
    const float *restrict lep_pt = in->data, *restrict had_pt = in->data + HAD_PT * in->stride;
    const float *restrict had_eta = in->data + HAD_ETA * in->stride;
    float tes_f = (float)shift->tes;
    int64_t n = 0;
    for (int64_t i = begin; i < end; i++)
        n += survives(mode, tes_f, shift->tes, lep_pt[i], had_pt[i], had_eta[i]);
    return n;
}

static int64_t count_selected(const Shift *shift, const Columns *in, int64_t begin, int64_t end) {
    if (!shift->select)
        return end - begin;
    if (shift->mode == DETECTOR)
        return count_selected_as(DETECTOR, shift, in, begin, end);
    if (shift->mode == POSTHOC)
        return count_selected_as(POSTHOC, shift, in, begin, end);
    return count_selected_as(OFFICIAL, shift, in, begin, end);
}

static int64_t count_nonfinite(const float *column, int64_t n) {
    int64_t bad = 0;
    for (int64_t i = 0; i < n; i++)
        bad += (bits_of_float(column[i]) & 0x7f800000) == 0x7f800000;
    return bad;
}

/* Next rows that survive, at most a block; returns how many and moves *place behind the last one looked at. */
static int next_rows(const Shift *shift, const Columns *in, int64_t *place, int64_t end, int64_t *rows) {
    const float *lep_pt = in->data, *had_pt = in->data + HAD_PT * in->stride, *had_eta = in->data + HAD_ETA * in->stride;
    float tes_f = (float)shift->tes;
    int n = 0;
    int64_t i = *place;
    for (; i < end && n < BLOCK; i++) {
        int64_t row = in->order ? in->order[i] : i;
        rows[n] = row;
        n += !shift->select || survives(shift->mode, tes_f, shift->tes, lep_pt[row], had_pt[row], had_eta[row]);
    }
    *place = i;
    return n;
}

static void met_components(Block *b) {
    float *restrict met = b->in[MET], *restrict phi = b->in[MET_PHI];
    LANES {
        float s, c, size = met[i];
        sincos_f(phi[i], &s, &c);
        met[i] = size * c;
        phi[i] = size * s;
    }
}

static void load_columns(Block *b, const Shift *shift, const Columns *in, const int64_t *rows, int n) {
    int n_columns = shift->mode == DETECTOR ? N_RECORD : N_PRIMARY;
    for (int c = 0; c < n_columns; c++)
        for (int i = 0; i < n; i++)
            b->in[c][i] = in->data[c * in->stride + rows[i]];
    if (shift->mode == POSTHOC)
        met_components(b);
}

static void load_noise(Block *b, const Shift *shift, const Columns *in, const int64_t *rows, int n) {
    if (!(shift->soft_met > 0))
        return;
    if (in->noise) {
        for (int i = 0; i < n; i++) {
            b->noise_x[i] = (float)in->noise[rows[i]];
            b->noise_y[i] = (float)in->noise[in->noise_stride + rows[i]];
        }
        return;
    }
    for (int i = 0; i < n; i++)
        b->counter[i] = (uint64_t)rows[i];
    draw_noise(b, shift->noise_key);
}

/* Unused lanes at the end of a table hold harmless numbers. */
static void clear_block(Block *b) {
    memset(b, 0, sizeof *b);
    for (int c = 0; c < N_RECORD; c++)
        for (int i = 0; i < PITCH; i++)
            b->in[c][i] = 1.0f;
}

static int64_t shift_columns(const Shift *shift, const Columns *in, int64_t begin, int64_t end, const Output *out, int64_t at) {
    Block b;
    int64_t rows[BLOCK];
    int64_t first = at;
    clear_block(&b);
    while (begin < end) {
        int n = next_rows(shift, in, &begin, end, rows);
        load_columns(&b, shift, in, rows, n);
        load_noise(&b, shift, in, rows, n);
        process_block(&b, shift);
        for (int c = 0; c < N_FEATURES; c++)
            memcpy(out->data + c * out->stride + at, b.out[c], (size_t)n * sizeof(float));
        if (out->rows)
            memcpy(out->rows + at, rows, (size_t)n * sizeof(int64_t));
        at += n;
    }
    return at - first;
}

/* ---- events drawn from a pool ---- */

/* Where the draws from one process stand within a segment. */
typedef struct {
    const Process *process;
    int64_t next, chunk_end; /* number of the next draw, first draw of the next chunk */
    int64_t chunk;
    uint64_t first_row, n_rows;
} Cursor;

static void enter_chunk(Cursor *cursor) {
    const Process *process = cursor->process;
    while (cursor->next >= process->chunk_draws[cursor->chunk + 1])
        cursor->chunk++;
    cursor->chunk_end = process->chunk_draws[cursor->chunk + 1];
    cursor->first_row = (uint64_t)process->chunk_rows[cursor->chunk];
    cursor->n_rows = (uint64_t)process->chunk_rows[cursor->chunk + 1] - cursor->first_row;
}

static void start_cursors(Cursor *cursors, const Draws *draws, int64_t segment) {
    const int64_t *first = draws->first_draws + segment * draws->n_processes;
    for (int64_t p = 0; p < draws->n_processes; p++) {
        const Process *process = &draws->processes[p];
        int64_t chunk_end = process->chosen ? INT64_MAX : 0;
        cursors[p] = (Cursor){.process = process, .next = first[p], .chunk_end = chunk_end};
    }
}

/* A candidate row for each of the next n draws, all from one chunk, and the words that chose them. */
static inline void choose(Cursor *cursor, int n, uint64_t *restrict words, uint64_t *restrict rows) {
    if (cursor->process->chosen) {
        for (int i = 0; i < n; i++)
            rows[i] = cursor->process->chosen[cursor->next + i];
        cursor->next += n;
        return;
    }
    const uint64_t gamma = cursor->process->key[1] | 1;
    const uint64_t state = cursor->process->key[0] + (uint64_t)cursor->next * gamma;
    const uint64_t first = cursor->first_row, n_rows = cursor->n_rows;
    for (int i = 0; i < n; i++) {
        words[i] = mixed(state + (uint64_t)i * gamma);
        rows[i] = first + below(words[i], n_rows);
    }
    cursor->next += n;
}

/* Weighted draws keep the candidate or take its alias. */
static inline uint64_t resolve(const Process *process, uint64_t word, uint64_t row) {
    if (!process->aliases)
        return row;
    Alias alias = process->aliases[row];
    return (uint32_t)word < alias.threshold ? row : alias.row;
}

/* The next n rows of the most frequent process, many at a time. */
static inline void draw_frequent(Cursor *cursor, int n, uint64_t *restrict rows) {
    uint64_t words[BATCH];
    int done = 0;
    while (done < n) {
        if (cursor->next >= cursor->chunk_end)
            enter_chunk(cursor);
        int64_t left = cursor->chunk_end - cursor->next;
        int here = left < n - done ? (int)left : n - done;
        choose(cursor, here, words + done, rows + done);
        done += here;
    }
    if (cursor->process->aliases)
        for (int i = 0; i < n; i++)
            rows[i] = resolve(cursor->process, words[i], rows[i]);
}

/* Events drawn and not yet looked at. */
typedef struct {
    const float *row[BATCH];
    uint64_t counter[BATCH]; /* process and number of the draw: what the event's noise depends on */
    int n;
} Batch;

static inline uint64_t draw_counter(int64_t process, int64_t draw) {
    return (uint64_t)process << 56 | (uint64_t)draw;
}

/* Choose the rows of the next slots and have them fetched. */
static inline void draw_batch(int width, const Draws *draws, Cursor *cursors, int64_t slot, int64_t end, Batch *batch) {
    const uint8_t *labels = draws->labels + slot;
    Cursor *frequent = &cursors[draws->frequent];
    uint64_t rows[BATCH + 1], other_rows[BATCH], other_words[BATCH];
    int place[BATCH], others[BATCH]; /* how many slots of the frequent process come before; slots of the others */
    int n_others = 0;
    batch->n = end - slot < BATCH ? (int)(end - slot) : BATCH;
    for (int i = 0; i < batch->n; i++) {
        place[i] = i - n_others;
        others[n_others] = i;
        n_others += labels[i] != draws->frequent;
    }
    for (int i = 0; i < batch->n; i++)
        batch->counter[i] = draw_counter(draws->frequent, frequent->next + place[i]);
    for (int k = 0; k < n_others; k++) {
        Cursor *cursor = &cursors[labels[others[k]]];
        if (cursor->next >= cursor->chunk_end)
            enter_chunk(cursor);
        batch->counter[others[k]] = draw_counter(labels[others[k]], cursor->next);
        choose(cursor, 1, &other_words[k], &other_rows[k]);
        if (cursor->process->aliases)
            __builtin_prefetch(&cursor->process->aliases[other_rows[k]]);
    }
    draw_frequent(frequent, batch->n - n_others, rows);
    rows[batch->n - n_others] = 0; /* what slots of other processes at the end would read */
    for (int i = 0; i < batch->n; i++)
        batch->row[i] = frequent->process->rows + rows[place[i]] * (uint64_t)width;
    for (int k = 0; k < n_others; k++) {
        const Process *process = &draws->processes[labels[others[k]]];
        batch->row[others[k]] = process->rows + resolve(process, other_words[k], other_rows[k]) * (uint64_t)width;
    }
    for (int i = 0; i < batch->n; i++)
        __builtin_prefetch(batch->row[i]);
}

/* Events that survive and wait until a block is full. */
typedef struct {
    const float *row[BLOCK + BATCH];
    uint64_t counter[BLOCK + BATCH];
    int n;
} Pending;

static inline void select_batch(int mode, const Shift *shift, const Batch *batch, Pending *pending) {
    const double tes = shift->tes;
    const float tes_f = (float)tes;
    float lep_pt[BATCH], had_pt[BATCH], had_eta[BATCH];
    uint8_t kept[BATCH];
    int n = pending->n;
    for (int i = 0; i < batch->n; i++) {
        lep_pt[i] = batch->row[i][LEP_PT];
        had_pt[i] = batch->row[i][HAD_PT];
        had_eta[i] = batch->row[i][HAD_ETA];
    }
    for (int i = 0; i < batch->n; i++)
        kept[i] = (uint8_t)survives(mode, tes_f, tes, lep_pt[i], had_pt[i], had_eta[i]);
    for (int i = 0; i < batch->n; i++) {
        pending->row[n] = batch->row[i];
        pending->counter[n] = batch->counter[i];
        n += kept[i];
        if (mode == DETECTOR && batch->row[i][REC_JET + 6] > 0.0f)
            __builtin_prefetch(batch->row[i] + N_PRIMARY);
    }
    pending->n = n;
}

/* From rows to columns, a square of events and features at a time: interleaving the first half of the vectors with
 * the second, as often as halving them leaves one, transposes. */
static inline void transpose(Lanes *restrict columns, int at, const float *const *row, int column) {
    Vector v[WIDTH], w[WIDTH];
    for (int i = 0; i < WIDTH; i++)
        memcpy(&v[i], row[i] + column, sizeof(Vector));
    for (int half = 1; half < WIDTH; half *= 2) {
        for (int i = 0; i < WIDTH / 2; i++) {
            w[2 * i] = INTERLEAVE_LOW(v[i], v[i + WIDTH / 2]);
            w[2 * i + 1] = INTERLEAVE_HIGH(v[i], v[i + WIDTH / 2]);
        }
        for (int i = 0; i < WIDTH; i++)
            v[i] = w[i];
    }
    for (int i = 0; i < WIDTH; i++)
        memcpy(&columns[column + i][at], &v[i], sizeof(Vector));
}

static inline void load_rows(Block *b, int mode, const float *const *row) {
    for (int column = 0; column < N_PRIMARY; column += WIDTH)
        for (int i = 0; i < BLOCK; i += WIDTH)
            transpose(b->in, i, row + i, column);
    if (mode != DETECTOR)
        return;
    /* The second half of a record lies in another cache line, which only events with a third jet need. */
    static const float no_jets[N_PRIMARY] ALIGNED = {0};
    const float *second[BLOCK];
    for (int i = 0; i < BLOCK; i++)
        second[i] = row[i][REC_JET + 6] > 0.0f ? row[i] + N_PRIMARY : no_jets;
    for (int column = 0; column < N_PRIMARY; column += WIDTH)
        for (int i = 0; i < BLOCK; i += WIDTH)
            transpose(b->in + N_PRIMARY, i, second + i, column);
}

static void stream(float *restrict to, const float *restrict from) {
#if defined(__AVX512F__)
    for (int i = 0; i < BLOCK; i += 16)
        _mm512_stream_ps(to + i, _mm512_load_ps(from + i));
#elif defined(__AVX__)
    for (int i = 0; i < BLOCK; i += 8)
        _mm256_stream_ps(to + i, _mm256_load_ps(from + i));
#elif defined(__x86_64__)
    for (int i = 0; i < BLOCK; i += 4)
        _mm_stream_ps(to + i, _mm_load_ps(from + i));
#else
    memcpy(to, from, BLOCK * sizeof(float));
#endif
}

static void fence(void) {
#if defined(__x86_64__)
    _mm_sfence();
#endif
}

/* Process the first n pending events and write them at a position that is a multiple of 16 if n is a block. */
static inline void flush(int mode, Block *b, const Shift *shift, Pending *pending, int n, const Output *out, int64_t at) {
    load_rows(b, mode, pending->row);
    if (shift->soft_met > 0) {
        memcpy(b->counter, pending->counter, BLOCK * sizeof(uint64_t));
        draw_noise(b, shift->noise_key);
    }
    process_block(b, shift);
    for (int c = 0; c < N_FEATURES; c++) {
        float *to = out->data + c * out->stride + at;
        if (n == BLOCK)
            stream(to, b->out[c]);
        else
            memcpy(to, b->out[c], (size_t)n * sizeof(float));
    }
    pending->n -= n;
    memmove(pending->row, pending->row + n, (size_t)pending->n * sizeof *pending->row);
    memmove(pending->counter, pending->counter + n, (size_t)pending->n * sizeof *pending->counter);
}

static inline int64_t draw_segment_as(int mode, const Shift *shift, const Draws *draws, int64_t segment, const Output *out) {
    const int width = mode == DETECTOR ? N_RECORD : N_PRIMARY;
    Block b;
    Cursor cursors[MAX_PROCESSES];
    Batch batches[2];
    Pending pending;
    int64_t slot = segment * draws->segment_size, end = slot + draws->segment_size, at = slot;
    if (end > draws->n_slots)
        end = draws->n_slots;
    clear_block(&b);
    memset(&pending, 0, sizeof pending);
    for (int i = 0; i < BLOCK + BATCH; i++)
        pending.row[i] = b.in[0]; /* harmless numbers for unused lanes */
    start_cursors(cursors, draws, segment);
    draw_batch(width, draws, cursors, slot, end, &batches[0]);
    for (int current = 0; batches[current].n > 0; current ^= 1) {
        /* One batch ahead, so that its rows arrive while this one is processed. */
        slot += batches[current].n;
        draw_batch(width, draws, cursors, slot, end, &batches[current ^ 1]);
        select_batch(mode, shift, &batches[current], &pending);
        for (; pending.n >= BLOCK; at += BLOCK)
            flush(mode, &b, shift, &pending, BLOCK, out, at);
    }
    int rest = pending.n;
    flush(mode, &b, shift, &pending, rest, out, at);
    fence();
    return at + rest - segment * draws->segment_size;
}

/* Returns how many events of the segment survived; they lie at its start. */
static int64_t draw_segment(const Shift *shift, const Draws *draws, int64_t segment, const Output *out) {
    if (shift->mode == DETECTOR)
        return draw_segment_as(DETECTOR, shift, draws, segment, out);
    if (shift->mode == POSTHOC)
        return draw_segment_as(POSTHOC, shift, draws, segment, out);
    return draw_segment_as(OFFICIAL, shift, draws, segment, out);
}

const Implementation IMPLEMENTATION = {shift_columns, count_selected, count_nonfinite, draw_segment};
