// How much of the heap is in use: a struct and a function of glibc's <malloc.h>, which Swift does not import.
#ifndef WARREN_SOAK_CHEAP_H
#define WARREN_SOAK_CHEAP_H

#include <stddef.h>

/// Bytes that are allocated and not freed, in all arenas; 0 where the C library does not tell.
size_t heap_bytes_in_use(void);

#endif
