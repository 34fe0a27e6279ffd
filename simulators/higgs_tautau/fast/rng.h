/* Random numbers of one block: xoshiro256++ (Blackman and Vigna 2019), seeded from a 256-bit stream key. */
#ifndef FAST_RNG_H
#define FAST_RNG_H

#include <stdint.h>

#include "../kernel/vectormath.h"

#define PI PI_F

static inline float min_f(float a, float b) { return a < b ? a : b; }

static inline float max_f(float a, float b) { return a > b ? a : b; }

typedef struct {
    uint64_t s[4];
    float spare; /* second normal of a Box-Muller pair */
    int has_spare;
} Rng;

static inline uint64_t rotate_left(uint64_t x, int k) { return (x << k) | (x >> (64 - k)); }

static inline uint64_t next_word(Rng *rng) {
    uint64_t *s = rng->s, out = rotate_left(s[0] + s[3], 23) + s[0], t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return out;
}

/* Draws stand in statements of their own, as compilers evaluate arguments and operands in different orders. */

/* Uniform in the open interval (0, 1): its logarithm and its inverse are finite. */
static inline float uniform(Rng *rng) { return ((float)(next_word(rng) >> 41) + 0.5f) * 0x1p-23f; }

static inline float uniform_in(Rng *rng, float low, float high) { return low + (high - low) * uniform(rng); }

static inline int chance(Rng *rng, float p) { return uniform(rng) < p; }

static inline float sign(Rng *rng) { return next_word(rng) >> 63 ? 1.f : -1.f; }

static inline float exponential(Rng *rng, float mean) { return -mean * log_f(uniform(rng)); }

static inline float normal(Rng *rng) {
    if (rng->has_spare) {
        rng->has_spare = 0;
        return rng->spare;
    }
    float r = sqrt_f(-2 * log_f(uniform(rng))), s, c;
    sincos_turn_f(uniform(rng), &s, &c);
    rng->spare = r * s;
    rng->has_spare = 1;
    return r * c;
}

/* Number of successes of a Poisson process; mean of order one. */
static inline int poisson(Rng *rng, float mean) {
    float product = uniform(rng), limit = exp_f(-mean);
    int n = 0;
    while (product > limit) {
        product *= uniform(rng);
        n++;
    }
    return n;
}

#endif
