/* Any machine. */
#define IMPLEMENTATION implementation_base
#include "implementation.h"
