/* Any machine. */
#define IMPLEMENTATION fast_base
#include "candidates.h"
