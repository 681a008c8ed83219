/* Debian's libyaml.a is built for glibc, whose headers turn some calls into checked ones: here they are, for musl. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

int __sprintf_chk(char *text, int flag, size_t size, const char *format, ...);
void __assert_fail(const char *, const char *, int, const char *) __attribute__((noreturn));

int __sprintf_chk(char *text, int flag, size_t size, const char *format, ...) {
  va_list list;
  (void)flag;
  va_start(list, format);
  int n = vsnprintf(text, size, format, list);
  va_end(list);
  if (n < 0 || (size_t)n >= size) abort();
  return n;
}
