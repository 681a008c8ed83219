/* The tar of standard input: ustar, with PAX headers for what does not fit, as tar-write.ts writes it. */
#include "disk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TAR_BLOCK 512u
#define BUFFER (1u << 18)
/* Bytes of a PAX header. An attribute's value has at most 64 KiB, and tar-read.ts lets 1 MiB pass. */
#define PAX_LIMIT (4u << 20)

static char buffer[BUFFER];
static size_t buffer_at, buffer_end;

/* What an entry's texts lie in. */
static char *pax;
static char path[4096 + 2], target[4096 + 2];
static struct entry entry;

static size_t input(void *to, size_t size)
{
  for (;;) {
    ssize_t got = read(STDIN_FILENO, to, size);
    if (got < 0 && errno == EINTR)
      continue;
    if (got < 0)
      fail("reading the entries: %s", strerror(errno));
    if (got == 0)
      fail("the entries end before their time");
    return (size_t)got;
  }
}

void stream_read(void *to, size_t size)
{
  char *at = to;
  while (size > 0) {
    if (buffer_at == buffer_end && size >= BUFFER) {
      size_t got = input(at, size);
      at += got;
      size -= got;
      continue;
    }
    if (buffer_at == buffer_end) {
      buffer_end = input(buffer, BUFFER);
      buffer_at = 0;
    }
    size_t part = buffer_end - buffer_at < size ? buffer_end - buffer_at : size;
    memcpy(at, buffer + buffer_at, part);
    buffer_at += part;
    at += part;
    size -= part;
  }
}

void stream_skip_padding(uint64_t size)
{
  char padding[TAR_BLOCK];
  if (size % TAR_BLOCK != 0)
    stream_read(padding, TAR_BLOCK - size % TAR_BLOCK);
}

static uint64_t octal(const char *field, size_t length)
{
  uint64_t value = 0;
  for (size_t i = 0; i < length && field[i] >= '0' && field[i] <= '7'; i++)
    value = value << 3 | (uint64_t)(field[i] - '0');
  return value;
}

static void set_text(char *to, size_t room, const char *from, size_t length)
{
  if (length >= room || memchr(from, '\0', length) != NULL)
    fail("a name that no file system holds");
  memcpy(to, from, length);
  to[length] = '\0';
}

/* Seconds with a fraction, as PAX has them; of times before 1970 both parts count backwards. */
static void set_time(const char *text)
{
  bool negative = *text == '-';
  char *end;
  entry.mtime = strtoll(text + negative, &end, 10);
  uint32_t nanoseconds = 0;
  if (*end == '.')
    for (uint32_t digit = 100000000; digit > 0 && end[1] >= '0' && end[1] <= '9'; digit /= 10)
      nanoseconds += digit * (uint32_t)(*++end - '0');
  if (negative)
    entry.mtime = -entry.mtime - (nanoseconds > 0);
  entry.nanoseconds = negative && nanoseconds > 0 ? 1000000000 - nanoseconds : nanoseconds;
}

static void add_attribute(const char *name, const char *value, size_t length)
{
  entry.attributes = need_more(entry.attributes, (entry.attribute_count + 1) * sizeof *entry.attributes);
  entry.attributes[entry.attribute_count++] = (struct attribute){name, value, length};
}

/* What the PAX header says, over what the header of the entry says. */
struct overrides {
  const char *path, *target, *size, *uid, *gid, *mtime;
  size_t path_length, target_length;
};

/* One record, `LENGTH KEY=VALUE\n`; returns its bytes. Ends of keys and values become NUL in place. */
static size_t read_record(char *record, size_t room, struct overrides *overrides)
{
  static const char attribute[] = "SCHILY.xattr.";
  char *key;
  size_t length = strtoul(record, &key, 10);
  char *end = record + length;
  if (length == 0 || length > room || *key != ' ' || end[-1] != '\n' || key + 1 >= end)
    fail("a damaged PAX header");
  char *equals = memchr(key, '=', (size_t)(end - key));
  if (equals == NULL)
    fail("a damaged PAX header");
  *equals = '\0';
  end[-1] = '\0';
  const char *value = equals + 1;
  size_t value_length = (size_t)(end - 1 - value);
  key++;
  if (strcmp(key, "path") == 0) {
    overrides->path = value;
    overrides->path_length = value_length;
  } else if (strcmp(key, "linkpath") == 0) {
    overrides->target = value;
    overrides->target_length = value_length;
  } else if (strcmp(key, "size") == 0)
    overrides->size = value;
  else if (strcmp(key, "uid") == 0)
    overrides->uid = value;
  else if (strcmp(key, "gid") == 0)
    overrides->gid = value;
  else if (strcmp(key, "mtime") == 0)
    overrides->mtime = value;
  else if (strncmp(key, attribute, sizeof attribute - 1) == 0)
    add_attribute(key + sizeof attribute - 1, value, value_length);
  return length;
}

static void read_pax(uint64_t size, struct overrides *overrides)
{
  if (size > PAX_LIMIT)
    fail("a PAX header of %llu bytes", (unsigned long long)size);
  free(pax);
  pax = need(size + 1);
  stream_read(pax, size);
  stream_skip_padding(size);
  for (size_t at = 0; at < size;)
    at += read_record(pax + at, size - at, overrides);
}

static void read_header(const char *header, const struct overrides *overrides)
{
  size_t name = strnlen(header, 100), prefix = strnlen(header + 345, 155);
  char joined[100 + 155 + 1];
  memcpy(joined, header + 345, prefix);
  if (prefix > 0)
    joined[prefix++] = '/';
  memcpy(joined + prefix, header, name);
  if (overrides->path != NULL)
    set_text(path, sizeof path, overrides->path, overrides->path_length);
  else
    set_text(path, sizeof path, joined, prefix + name);
  if (overrides->target != NULL)
    set_text(target, sizeof target, overrides->target, overrides->target_length);
  else
    set_text(target, sizeof target, header + 157, strnlen(header + 157, 100));
  size_t length = strlen(path);
  if (length > 0 && path[length - 1] == '/')
    path[--length] = '\0';
  if (strcmp(path, ".") == 0)
    path[0] = '\0';
  entry.path = path;
  entry.target = target;
  entry.mode = octal(header + 100, 8) & 07777;
  entry.uid = overrides->uid ? (uint32_t)strtoul(overrides->uid, NULL, 10) : (uint32_t)octal(header + 108, 8);
  entry.gid = overrides->gid ? (uint32_t)strtoul(overrides->gid, NULL, 10) : (uint32_t)octal(header + 116, 8);
  entry.size = overrides->size ? strtoull(overrides->size, NULL, 10) : octal(header + 124, 12);
  entry.major = (uint32_t)octal(header + 329, 8);
  entry.minor = (uint32_t)octal(header + 337, 8);
  entry.mtime = (int64_t)octal(header + 136, 12);
  entry.nanoseconds = 0;
  if (overrides->mtime != NULL)
    set_time(overrides->mtime);
}

const struct entry *stream_next(void)
{
  char header[TAR_BLOCK];
  struct overrides overrides = {0};
  entry.attribute_count = 0;
  for (;;) {
    stream_read(header, sizeof header);
    if (header[0] == '\0' && header[156] == '\0') {
      stream_read(header, sizeof header);
      return NULL;
    }
    if (memcmp(header + 257, "ustar", 5) != 0)
      fail("what follows is no entry");
    entry.type = header[156];
    if (entry.type != 'x')
      break;
    read_pax(octal(header + 124, 12), &overrides);
  }
  read_header(header, &overrides);
  return &entry;
}
