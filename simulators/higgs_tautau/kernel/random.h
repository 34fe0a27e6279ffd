/* Counter-based random words: SplitMix64 (Steele, Lea, Flood 2014), word i found from i alone. */
#ifndef FU_RANDOM_H
#define FU_RANDOM_H

#include <stdint.h>

static inline uint64_t mixed(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static inline uint64_t random_word(const uint64_t key[2], uint64_t counter) {
    return mixed(key[0] + counter * (key[1] | 1));
}

/* Integer in [0, n) from the upper half of a word, for n < 2^32; the bias is below n / 2^32. */
static inline uint64_t below(uint64_t word, uint64_t n) {
    return ((word >> 32) * n) >> 32;
}

#endif
