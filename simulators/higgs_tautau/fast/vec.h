/* Four-vectors in GeV; collision axis z. */
#ifndef FAST_VEC_H
#define FAST_VEC_H

#include "rng.h"

typedef struct {
    float x, y, z, e;
} Vec;

static inline Vec add(Vec a, Vec b) { return (Vec){a.x + b.x, a.y + b.y, a.z + b.z, a.e + b.e}; }

static inline float pt2(Vec p) { return p.x * p.x + p.y * p.y; }

static inline float pt(Vec p) { return sqrt_f(pt2(p)); }

static inline float eta(Vec p) { return asinh_f(p.z / (pt(p) + 1e-6f)); }

static inline float phi(Vec p) { return atan2_f(p.y, p.x); }

static inline Vec from_pt_eta_phi(float pt, float eta, float phi) {
    float s, c, up = exp_f(eta), down = 1 / up;
    sincos_f(phi, &s, &c);
    return (Vec){pt * c, pt * s, 0.5f * pt * (up - down), 0.5f * pt * (up + down)};
}

static inline float wrap(float phi) { return phi - 2 * PI * round_f(phi / (2 * PI)); }

static inline float delta_r2(float eta1, float phi1, float eta2, float phi2) {
    float deta = eta1 - eta2, dphi = wrap(phi1 - phi2);
    return deta * deta + dphi * dphi;
}

/* From the rest frame of `parent` (mass m) to the frame in which `parent` is given. */
static inline Vec boost(Vec p, Vec parent, float m) {
    float e = (parent.e * p.e + parent.x * p.x + parent.y * p.y + parent.z * p.z) / m;
    float k = (p.e + e) / (parent.e + m);
    return (Vec){p.x + k * parent.x, p.y + k * parent.y, p.z + k * parent.z, e};
}

static inline Vec transverse_and_rapidity(float x, float y, float rapidity, float m) {
    float mt = sqrt_f(m * m + x * x + y * y), up = exp_f(rapidity), down = 1 / up;
    return (Vec){x, y, 0.5f * mt * (up - down), 0.5f * mt * (up + down)};
}

/* Unit vector at cosine c and azimuth f about the axis n (a unit vector). */
static inline Vec direction_about(Vec n, float c, float f) {
    float s = sqrt_f(max_f(0, 1 - c * c)), nt2 = n.x * n.x + n.y * n.y, cf, sf;
    sincos_f(f, &sf, &cf);
    cf *= s;
    sf *= s;
    if (nt2 < 1e-10f) return (Vec){cf, n.z > 0 ? sf : -sf, n.z > 0 ? c : -c, 1};
    float nt = sqrt_f(nt2), ux = -n.y / nt, uy = n.x / nt; /* u in the transverse plane, v = n x u */
    return (Vec){c * n.x + cf * ux - sf * n.z * uy, c * n.y + cf * uy + sf * n.z * ux, c * n.z + sf * nt, 1};
}

static inline Vec scaled(Vec n, float p, float e) { return (Vec){p * n.x, p * n.y, p * n.z, e}; }

static inline Vec unit(Vec p) {
    float q = sqrt_f(p.x * p.x + p.y * p.y + p.z * p.z);
    return (Vec){p.x / q, p.y / q, p.z / q, 1};
}

static inline Vec opposite(Vec n) { return (Vec){-n.x, -n.y, -n.z, n.e}; }

static inline Vec isotropic(Rng *rng) {
    float c = uniform_in(rng, -1, 1);
    return direction_about((Vec){0, 0, 1, 1}, c, 2 * PI * uniform(rng));
}

static inline float momentum_in_decay(float m, float m1, float m2) {
    float a = m * m - (m1 + m2) * (m1 + m2), b = m * m - (m1 - m2) * (m1 - m2);
    return a > 0 ? sqrt_f(a * b) / (2 * m) : 0;
}

#endif
