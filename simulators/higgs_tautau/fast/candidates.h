/* Z to two taus, one to a lepton and one to hadrons, in batches: only 4 % of the candidates are selected, so nearly all
 * the time goes to those that are not. What can fail is done first, and each stage goes on with the survivors.
 *
 * Included once per instruction set, after IMPLEMENTATION (name of the table to define) and the target. Loops are
 * written so that compilers vectorise them; all arithmetic is elementary, so that each instruction set gives the same
 * bits. The random words of a candidate follow from its number alone.
 */
#include "../kernel/random.h"
#include "interface.h"

#if defined(__clang__)
#define EACH(n) _Pragma("clang loop vectorize(assume_safety)") for (int i = 0; i < (n); i++)
#else
#define EACH(n) _Pragma("GCC ivdep") for (int i = 0; i < (n); i++)
#endif

enum {
    WORDS = 16, /* random words set aside for a candidate */
    LANES = 16  /* numbers of survivors are rounded up to this many */
};

typedef int32_t Integers[BATCH] __attribute__((aligned(64)));

/* Bosons with two taus within reach of the detector. */
typedef struct {
    uint64_t number[BATCH] __attribute__((aligned(64)));
    Column pt, y, m, z, e; /* boson: moves along x */
    Column nx, ny, nz;     /* direction of the leptonic tau in its rest frame */
} Bosons;

/* Their visible leptons, before measurement. */
typedef struct {
    Column helicity, x, y, z, e;
} Leptons;

typedef struct {
    Column u[2];
} Uniforms;

/* Two uniform numbers per candidate from one word. */
static inline void draw_uniforms(const uint64_t key[2], const uint64_t *restrict number, uint64_t word, int n, Uniforms *out) {
    Integers high, low;
    EACH(n) {
        uint64_t w = random_word(key, number[i] * WORDS + word);
        high[i] = (int32_t)(w >> 41);
        low[i] = (int32_t)((w >> 9) & 0x7fffff);
    }
    EACH(n) {
        out->u[0][i] = ((float)high[i] + 0.5f) * 0x1p-23f;
        out->u[1][i] = ((float)low[i] + 0.5f) * 0x1p-23f;
    }
}

/* Indices of the survivors, filled up with that of the first. */
static inline int list_survivors(const int32_t *restrict kept, int n, int32_t *restrict index) {
    int m = 0;
    for (int i = 0; i < n; i++) {
        index[m] = i;
        m += kept[i];
    }
    for (int i = m; i < m + LANES; i++) index[i] = 0;
    return m;
}

static inline int rounded_up(int n) { return (n + LANES - 1) / LANES * LANES; }

static inline void gather(const float *restrict from, const int32_t *restrict index, int n, float *restrict to) {
    EACH(n) to[i] = from[index[i]];
}

static void gather_bosons(const Bosons *from, const int32_t *index, int n, Bosons *to) {
    for (int i = 0; i < n; i++) to->number[i] = from->number[index[i]];
    gather(from->pt, index, n, to->pt);
    gather(from->y, index, n, to->y);
    gather(from->m, index, n, to->m);
    gather(from->z, index, n, to->z);
    gather(from->e, index, n, to->e);
    gather(from->nx, index, n, to->nx);
    gather(from->ny, index, n, to->ny);
    gather(from->nz, index, n, to->nz);
}

/* ---- bosons ---- */

static void draw_pt(const Quantiles *q, const float *restrict u, float *restrict pt) {
    Column place;
    EACH(BATCH) place[i] = place_among_nodes(u[i]);
    EACH(BATCH) pt[i] = look_up(q->value, place[i]);
}

/* |y| with a flat top up to a and a linear fall to b. High-pt bosons are more central: rms(y) 2.23, 2.09 and 1.89
 * below 20, below 60 and above 60 GeV. */
static inline float rapidity_at(float pt, float u) {
    float narrow = pt < 20.0f ? 1.0f : pt < 60.0f ? .94f : .85f;
    float a = 2.2f * narrow, fall = 2.55f * narrow, left = Z_MAX_RAPIDITY - a;
    float total = a + left - 0.5f * left * left / fall, v = 2.0f * u - 1.0f, below = abs_f(v) * total;
    float square = fall * fall - 2.0f * fall * (below - a);
    float y = below < a ? below : a + fall - sqrt_f(max_f(square, 0.0f));
    return v < 0.0f ? -y : y;
}

/* Breit-Wigner between limits given as parts of a turn. Photons radiated by the taus move 10 % of the pairs below
 * 89 GeV. */
static inline float mass_at(float low, float high, float u, float u_radiation) {
    float s, c;
    sincos_turn_f(low + (high - low) * u, &s, &c);
    float m = M_Z + 0.5f * WIDTH_Z * s / c;
    float radiates = u_radiation < .09f, rest = min_f(u_radiation * (1.0f / .09f), 1.0f);
    return m * (1.0f - radiates * min_f(-.12f * log_f(rest), .4f));
}

/* Cosine with density 1 + c^2: c^3 + 3 c = 8 u - 4. */
static inline float vector_cosine_at(float u) {
    float q = 4.0f * u - 2.0f, a = abs_f(q), t = cbrt_f(a + sqrt_f(a * a + 1.0f)), c = t - 1.0f / t;
    c = min_f(c, 1.0f);
    return q < 0.0f ? -c : c;
}

static inline float turn_of_mass(float m) { return atan2_f(m - M_Z, 0.5f * WIDTH_Z) / (2.0f * PI_F); }

static void draw_bosons(const Quantiles *q, const uint64_t key[2], Bosons *b) {
    Uniforms first, second, third;
    const float low = turn_of_mass(Z_MIN_MASS), high = turn_of_mass(Z_MAX_MASS);
    draw_uniforms(key, b->number, 0, BATCH, &first);
    draw_uniforms(key, b->number, 1, BATCH, &second);
    draw_uniforms(key, b->number, 2, BATCH, &third);
    draw_pt(q, first.u[0], b->pt);
    EACH(BATCH) b->y[i] = rapidity_at(b->pt[i], first.u[1][i]);
    EACH(BATCH) b->m[i] = mass_at(low, high, second.u[0][i], second.u[1][i]);
    EACH(BATCH) {
        float mt = sqrt_f(b->m[i] * b->m[i] + b->pt[i] * b->pt[i]), up = exp_f(b->y[i]), down = 1.0f / up;
        b->z[i] = 0.5f * mt * (up - down);
        b->e[i] = 0.5f * mt * (up + down);
    }
    EACH(BATCH) {
        float c = vector_cosine_at(third.u[0][i]), s = sqrt_f(max_f(1.0f - c * c, 0.0f)), sine, cosine;
        sincos_turn_f(third.u[1][i], &sine, &cosine);
        b->nx[i] = s * cosine;
        b->ny[i] = s * sine;
        b->nz[i] = c;
    }
}

static inline int reaches(float x, float y, float z, float min_pt, float sinh_eta) {
    float p2 = x * x + y * y;
    return (p2 > min_pt * min_pt) & (z * z < sinh_eta * sinh_eta * p2);
}

/* Whether both taus are within reach. */
static void test_taus(const Bosons *b, int32_t *restrict kept) {
    EACH(BATCH) {
        float m = b->m[i], bx = b->pt[i], bz = b->z[i], be = b->e[i];
        float e = 0.5f * m, p = sqrt_f(e * e - M_TAU * M_TAU);
        float x = p * b->nx[i], y = p * b->ny[i], z = p * b->nz[i];
        float along = (bx * x + bz * z) / m, gamma_e = be * e / m, inverse = 1.0f / (be + m);
        float k = (e + gamma_e + along) * inverse, k_back = (e + gamma_e - along) * inverse;
        int first = reaches(x + k * bx, y, z + k * bz, MIN_LEPTON_PT, REACH);
        int second = reaches(k_back * bx - x, -y, k_back * bz - z, MIN_LEPTON_PT, REACH);
        kept[i] = first & second;
    }
}

/* ---- leptons ---- */

/* A visible product in the lab, from its momentum in the helicity frame of the tau that flies along n. */
static inline Vec to_lab_at(float e, float pz, float pt, float turn, float m, Vec n, float bx, float bz, float be) {
    float gamma = 0.5f * m / M_TAU, gamma_beta = sqrt_f(gamma * gamma - 1.0f), s, c;
    float energy = gamma * e + gamma_beta * pz, along = gamma * pz + gamma_beta * e;
    sincos_turn_f(turn, &s, &c);
    c *= pt;
    s *= pt;
    float nt = sqrt_f(max_f(n.x * n.x + n.y * n.y, 1e-20f)), ux = -n.y / nt, uy = n.x / nt;
    float x = along * n.x + c * ux - s * n.z * uy, y = along * n.y + c * uy + s * n.z * ux, z = along * n.z + s * nt;
    float lab = (be * energy + bx * x + bz * z) / m, k = (energy + lab) / (be + m);
    return (Vec){x + k * bx, y, z + k * bz, lab};
}

static void draw_leptons(const uint64_t key[2], const Bosons *b, int n, Leptons *lepton, int32_t *restrict kept) {
    Uniforms first, second;
    draw_uniforms(key, b->number, 3, n, &first);
    draw_uniforms(key, b->number, 4, n, &second);
    EACH(n) {
        float helicity = first.u[0][i] < 0.5f * (1.0f - Z_POLARISATION) ? 1.0f : -1.0f;
        float x = michel_fraction_at(first.u[1][i]), e = 0.5f * M_TAU * x;
        float c = cosine_at(helicity * (1.0f - 2.0f * x) / (3.0f - 2.0f * x), second.u[0][i]);
        float across = e * sqrt_f(max_f(1.0f - c * c, 0.0f));
        Vec n_tau = {b->nx[i], b->ny[i], b->nz[i], 1.0f};
        Vec p = to_lab_at(e, e * c, across, second.u[1][i], b->m[i], n_tau, b->pt[i], b->z[i], b->e[i]);
        lepton->helicity[i] = helicity;
        lepton->x[i] = p.x;
        lepton->y[i] = p.y;
        lepton->z[i] = p.z;
        lepton->e[i] = p.e;
        kept[i] = reaches(p.x, p.y, p.z, MIN_LEPTON_PT, LEPTON_REACH);
    }
}

static void gather_leptons(const Leptons *from, const int32_t *index, int n, Leptons *to) {
    gather(from->helicity, index, n, to->helicity);
    gather(from->x, index, n, to->x);
    gather(from->y, index, n, to->y);
    gather(from->z, index, n, to->z);
    gather(from->e, index, n, to->e);
}

/* ---- taus ---- */

/* Hadronic mass, and whether there are three prongs. */
static void draw_hadrons(const TauTables *tables, const Uniforms *u, int n, float *restrict m, int32_t *restrict three) {
    Column place;
    Integers table;
    EACH(n) {
        float channel = u->u[0][i] * TAU_HADRONIC;
        table[i] = channel < TAU_TO_RHO ? RHO : A1;
        three[i] = channel >= TAU_TO_ONE_PRONG;
        place[i] = u->u[1][i] * N_MASS_NODES;
    }
    EACH(n) m[i] = look_up(tables->mass[table[i]], place[i]);
    EACH(n) {
        float channel = u->u[0][i] * TAU_HADRONIC, more = min_f(1.08f * m[i], 1.7f);
        m[i] = channel < TAU_TO_PION ? M_PION : channel > TAU_TO_THREE_PRONG ? more : m[i];
    }
}

static void draw_taus(const TauTables *tables, const uint64_t key[2], const Bosons *b, const Leptons *lepton, int n,
                      Candidates *out, float *restrict tau_pt, int32_t *restrict three, int32_t *restrict kept) {
    Uniforms first, second;
    Column mass;
    draw_uniforms(key, b->number, 5, n, &first);
    draw_uniforms(key, b->number, 6, n, &second);
    draw_hadrons(tables, &first, n, mass, three);
    EACH(n) {
        float m2 = mass[i] * mass[i], mt2 = M_TAU * M_TAU;
        float e = (mt2 + m2) / (2.0f * M_TAU), p = (mt2 - m2) / (2.0f * M_TAU);
        float c = cosine_at(lepton->helicity[i] * (mt2 - 2.0f * m2) / (mt2 + 2.0f * m2), second.u[0][i]);
        float across = p * sqrt_f(max_f(1.0f - c * c, 0.0f));
        Vec n_tau = {-b->nx[i], -b->ny[i], -b->nz[i], 1.0f};
        Vec v = to_lab_at(e, p * c, across, second.u[1][i], b->m[i], n_tau, b->pt[i], b->z[i], b->e[i]);
        float p2 = v.x * v.x + v.y * v.y, pt = sqrt_f(p2);
        out->tau_x[i] = v.x;
        out->tau_y[i] = v.y;
        out->tau_eta[i] = asinh_f(v.z / (pt + 1e-6f));
        tau_pt[i] = pt;
        kept[i] = (pt > MIN_TAU_PT) & (abs_f(out->tau_eta[i]) <= TAU_ETA);
    }
}

/* ---- measurement: as measure_lepton and measure_tau ---- */

static void measure_leptons(const Uniforms *choice, const float *restrict normal, const Leptons *lepton, int n,
                            Candidates *out, int32_t *restrict kept) {
    EACH(n) {
        float x = lepton->x[i], y = lepton->y[i], p = sqrt_f(x * x + y * y), h = asinh_f(lepton->z[i] / (p + 1e-6f));
        int is_electron = choice->u[0][i] < B_ELECTRON / (B_ELECTRON + B_MUON);
        float scale = 1.0f + lepton_resolution(is_electron, p, h, lepton->e[i]) * normal[i], measured = p * scale;
        out->lepton_x[i] = x * scale;
        out->lepton_y[i] = y * scale;
        out->lepton_pt[i] = measured;
        out->lepton_eta[i] = h;
        kept[i] &= (measured >= LEPTON_PT) & (choice->u[1][i] < lepton_efficiency(is_electron, measured, h));
    }
}

static void measure_taus(const Uniforms *choice, const float *restrict normal, const float *restrict pt,
                         const int32_t *restrict three, int n, Candidates *out, int32_t *restrict kept) {
    EACH(n) {
        float p = pt[i], extra = -UNDERLYING_EVENT * log_f(choice->u[1][i]);
        float raw = measured_tau(p, normal[i], extra);
        out->tau_extra[i] = extra;
        out->tau_raw[i] = raw;
        kept[i] &= (raw > RAW_THRESHOLD) & (choice->u[0][i] < tau_efficiency(!three[i], out->tau_eta[i]));
    }
}

static void draw_normals(const Uniforms *u, int n, float *restrict first, float *restrict second) {
    EACH(n) {
        float r = sqrt_f(-2.0f * log_f(u->u[0][i])), s, c;
        sincos_turn_f(u->u[1][i], &s, &c);
        first[i] = r * c;
        second[i] = r * s;
    }
}

static int finish(const Bosons *b, const Candidates *all, const int32_t *restrict kept, int n, Candidates *out) {
    int32_t index[BATCH + LANES];
    int m = list_survivors(kept, n, index);
    gather(b->pt, index, m, out->system_pt);
    gather(b->y, index, m, out->system_y);
    gather(all->lepton_x, index, m, out->lepton_x);
    gather(all->lepton_y, index, m, out->lepton_y);
    gather(all->lepton_pt, index, m, out->lepton_pt);
    gather(all->lepton_eta, index, m, out->lepton_eta);
    gather(all->tau_x, index, m, out->tau_x);
    gather(all->tau_y, index, m, out->tau_y);
    gather(all->tau_eta, index, m, out->tau_eta);
    gather(all->tau_raw, index, m, out->tau_raw);
    gather(all->tau_extra, index, m, out->tau_extra);
    return m;
}

static int make_z(const Quantiles *pt, const TauTables *tau, const uint64_t key[2], uint64_t first, Candidates *out) {
    Bosons all, b;
    Leptons leptons, lepton;
    Candidates measured;
    Uniforms u;
    Column tau_pt, lepton_normal, tau_normal;
    Integers kept, three;
    int32_t index[BATCH + LANES];
    for (int i = 0; i < BATCH; i++) all.number[i] = first + (uint64_t)i;
    draw_bosons(pt, key, &all);
    test_taus(&all, kept);
    int n = list_survivors(kept, BATCH, index);
    gather_bosons(&all, index, rounded_up(n), &b);
    draw_leptons(key, &b, rounded_up(n), &leptons, kept);
    n = list_survivors(kept, n, index);
    int lanes = rounded_up(n);
    gather_bosons(&b, index, lanes, &all);
    gather_leptons(&leptons, index, lanes, &lepton);
    draw_taus(tau, key, &all, &lepton, lanes, &measured, tau_pt, three, kept);
    draw_uniforms(key, all.number, 7, lanes, &u);
    draw_normals(&u, lanes, lepton_normal, tau_normal);
    draw_uniforms(key, all.number, 8, lanes, &u);
    measure_leptons(&u, lepton_normal, &lepton, lanes, &measured, kept);
    draw_uniforms(key, all.number, 9, lanes, &u);
    measure_taus(&u, tau_normal, tau_pt, three, lanes, &measured, kept);
    return finish(&all, &measured, kept, n, out);
}

const Implementation IMPLEMENTATION = {make_z};
