// The kernel interfaces Swift cannot reach: liburing's inline functions, and variadic or macro-built system calls.
#ifndef NACRE_CLINUX_H
#define NACRE_CLINUX_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <liburing.h>
#endif
