/* What the parts of the probe share: test/support/probe.c. */
#ifndef PROBE_H
#define PROBE_H

#include <stdbool.h>

/* Says whether what must be so is so, and what was seen. */
void fact(bool ok, const char *name, const char *format, ...) __attribute__((format(printf, 3, 4)));
int tried(long (*act)(void));
/* The fact that `act` ends with the errno `wanted`. */
void refused(const char *name, int wanted, long (*act)(void));

/* probe-calls.c */
void calls(void);
void new_namespaces(void);

#endif
