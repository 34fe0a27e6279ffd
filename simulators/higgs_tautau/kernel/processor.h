/* Which instruction sets this machine has. */
#ifndef FU_PROCESSOR_H
#define FU_PROCESSOR_H

#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>

/* Asked of the processor itself: __builtin_cpu_supports answers no to everything with some compilers. */
static int has_bits(unsigned ebx_bits, unsigned saved_state) {
    unsigned eax, ebx, ecx, edx, state, high;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & bit_OSXSAVE))
        return 0;
    __asm__("xgetbv" : "=a"(state), "=d"(high) : "c"(0)); /* registers that the operating system saves */
    if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx))
        return 0;
    return (ebx & ebx_bits) == ebx_bits && (state & saved_state) == saved_state;
}

enum { SAVES_AVX = 0x6, SAVES_AVX512 = 0xe6 };
static const unsigned AVX2_BITS = bit_AVX2 | bit_BMI2;
static const unsigned AVX512_BITS = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL | bit_BMI2;
#endif

/* Whether an instruction set, "base", "avx2" or "avx512", can be used. */
static int has_instruction_set(const char *name) {
#if defined(__x86_64__)
    if (strcmp(name, "avx2") == 0)
        return has_bits(AVX2_BITS, SAVES_AVX);
    if (strcmp(name, "avx512") == 0)
        return has_bits(AVX512_BITS, SAVES_AVX512);
#endif
    return strcmp(name, "base") == 0;
}

#endif
