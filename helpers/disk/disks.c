/*
 * Where the bytes of the virtual disk lie: clusters of 64 KiB in a raw file, or in a chain of qcow2 files (QEMU's
 * docs/interop/qcow2.txt, version 3). All files of a chain are open: a cluster that the topmost one does not have is
 * read where it lies, and copied up when a part of it changes. So each layer's file gets what that layer changed, and
 * nothing is written twice. The tables of a qcow2 file are written when it is complete, the header last.
 */
#include "disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CLUSTER_BITS 16
#define CLUSTER (1u << CLUSTER_BITS)
/* Entries of a table that maps clusters: it fills a cluster. */
#define ENTRIES (CLUSTER / 8)
/* Entries of a block of reference counts of 16 bits. */
#define COUNTS (CLUSTER / 2)
/* Where a cluster lies: the file's number and the offset in it. 0: nowhere, it is zero. */
#define PRESENT (1ull << 63)
#define FILE_SHIFT 48
#define OFFSET_MASK ((1ull << FILE_SHIFT) - 1)
#define FILE_OF(entry) ((int)((entry) >> FILE_SHIFT & 0x7fff))
/* qcow2: exactly one reference. */
#define COPIED (1ull << 63)

struct file {
  const char *path;
  int descriptor;
  /* Where the next cluster goes. */
  uint64_t end;
};

static bool raw;
static uint64_t disk_size;
static struct file *files;
static int file_count, top;
static uint64_t **tables;
static size_t table_count;

static errcode_t write_at(int descriptor, const void *source, size_t size, uint64_t offset)
{
  for (const char *at = source; size > 0;) {
    ssize_t done = pwrite(descriptor, at, size, (off_t)offset);
    if (done < 0 && errno == EINTR)
      continue;
    if (done < 0)
      return errno;
    at += done;
    size -= (size_t)done;
    offset += (uint64_t)done;
  }
  return 0;
}

/* What is not in the file yet is zero. */
static errcode_t read_at(int descriptor, void *target, size_t size, uint64_t offset)
{
  for (char *at = target; size > 0;) {
    ssize_t done = pread(descriptor, at, size, (off_t)offset);
    if (done < 0 && errno == EINTR)
      continue;
    if (done < 0)
      return errno;
    if (done == 0) {
      memset(at, 0, size);
      break;
    }
    at += done;
    size -= (size_t)done;
    offset += (uint64_t)done;
  }
  return 0;
}

static void begin_file(void)
{
  struct file *file = &files[top];
  file->descriptor = open(file->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
  if (file->descriptor < 0)
    fail("%s: %s", file->path, strerror(errno));
  // The header comes first.
  file->end = CLUSTER;
}

void disks_open(bool as_raw, uint64_t size, char *const *paths, int count)
{
  raw = as_raw;
  if (raw && count != 1)
    fail("a raw disk is one file");
  disk_size = size;
  file_count = count;
  files = need((size_t)count * sizeof *files);
  for (int i = 0; i < count; i++)
    files[i].path = paths[i];
  table_count = (size_t)((size + (uint64_t)CLUSTER * ENTRIES - 1) / ((uint64_t)CLUSTER * ENTRIES));
  tables = need(table_count * sizeof *tables);
  begin_file();
}

static uint64_t entry_of(uint64_t cluster)
{
  const uint64_t *table = tables[cluster / ENTRIES];
  return table == NULL ? 0 : table[cluster % ENTRIES];
}

/* Lets the topmost file have the cluster. `whole`: all of it will be written. */
static errcode_t own(uint64_t cluster, bool whole)
{
  static char copy[CLUSTER];
  uint64_t entry = entry_of(cluster);
  if (entry != 0 && FILE_OF(entry) == top)
    return 0;
  uint64_t offset = raw ? cluster * CLUSTER : files[top].end;
  if (entry != 0 && !whole) {
    errcode_t error = read_at(files[FILE_OF(entry)].descriptor, copy, CLUSTER, entry & OFFSET_MASK);
    if (error == 0)
      error = write_at(files[top].descriptor, copy, CLUSTER, offset);
    if (error != 0)
      return error;
  }
  if (tables[cluster / ENTRIES] == NULL)
    tables[cluster / ENTRIES] = need(CLUSTER);
  tables[cluster / ENTRIES][cluster % ENTRIES] = PRESENT | (uint64_t)top << FILE_SHIFT | offset;
  files[top].end += CLUSTER;
  return 0;
}

errcode_t disks_read(uint64_t offset, void *target, size_t size)
{
  for (char *at = target; size > 0;) {
    size_t within = offset % CLUSTER, part = CLUSTER - within < size ? CLUSTER - within : size;
    uint64_t entry = entry_of(offset / CLUSTER);
    errcode_t error = 0;
    if (entry == 0)
      memset(at, 0, part);
    else
      error = read_at(files[FILE_OF(entry)].descriptor, at, part, (entry & OFFSET_MASK) + within);
    if (error != 0)
      return error;
    at += part;
    size -= part;
    offset += part;
  }
  return 0;
}

static bool is_zero(const char *bytes, size_t size)
{
  return bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0;
}

errcode_t disks_write(uint64_t offset, const void *source, size_t size)
{
  // Clusters that lie behind one another are written at once.
  const char *run = source;
  size_t run_size = 0;
  uint64_t run_offset = 0;
  errcode_t error;
  for (const char *at = source; size > 0;) {
    size_t within = offset % CLUSTER, part = CLUSTER - within < size ? CLUSTER - within : size;
    uint64_t cluster = offset / CLUSTER;
    if (entry_of(cluster) != 0 || !is_zero(at, part)) {
      if ((error = own(cluster, part == CLUSTER)) != 0)
        return error;
      uint64_t place = (entry_of(cluster) & OFFSET_MASK) + within;
      if (run + run_size != at || run_offset + run_size != place) {
        if (run_size > 0 && (error = write_at(files[top].descriptor, run, run_size, run_offset)) != 0)
          return error;
        run = at;
        run_size = 0;
        run_offset = place;
      }
      run_size += part;
    }
    at += part;
    size -= part;
    offset += part;
  }
  return run_size == 0 ? 0 : write_at(files[top].descriptor, run, run_size, run_offset);
}

static void put(unsigned char *at, uint64_t value, int bytes)
{
  for (int i = bytes - 1; i >= 0; i--, value >>= 8)
    at[i] = (unsigned char)value;
}

static uint64_t clusters_for(uint64_t bytes)
{
  return (bytes + CLUSTER - 1) / CLUSTER;
}

/* Writes to the end of a qcow2 file, in whole clusters. Returns the offset. */
static uint64_t append(struct file *file, const void *bytes, uint64_t size)
{
  uint64_t offset = file->end;
  check(write_at(file->descriptor, bytes, size, offset), file->path);
  file->end += clusters_for(size) * CLUSTER;
  return offset;
}

/* The tables from clusters to offsets; of clusters that lie in lower files they say nothing. */
static uint64_t write_mapping(struct file *file)
{
  unsigned char *first = need(table_count * 8), *second = need(CLUSTER);
  for (size_t i = 0; i < table_count; i++) {
    bool any = false;
    for (size_t j = 0; j < ENTRIES; j++) {
      uint64_t entry = tables[i] == NULL ? 0 : tables[i][j];
      bool own = entry != 0 && FILE_OF(entry) == top;
      put(second + j * 8, own ? COPIED | (entry & OFFSET_MASK) : 0, 8);
      any |= own;
    }
    if (any)
      put(first + i * 8, COPIED | append(file, second, CLUSTER), 8);
  }
  uint64_t offset = append(file, first, table_count * 8);
  free(first);
  free(second);
  return offset;
}

/* Each cluster of the file is used once, those of the counts themselves among them. Returns the clusters of the table. */
static uint64_t write_counts(struct file *file, uint64_t *table_offset)
{
  uint64_t used = file->end / CLUSTER, blocks = 0, table = 0, before;
  do {
    before = blocks + table;
    blocks = (used + before + COUNTS - 1) / COUNTS;
    table = clusters_for(blocks * 8);
  } while (blocks + table != before);
  used += blocks + table;
  unsigned char *counts = need(CLUSTER), *offsets = need(blocks * 8);
  for (uint64_t i = 0; i < blocks; i++) {
    for (uint64_t j = 0; j < COUNTS; j++)
      put(counts + j * 2, i * COUNTS + j < used, 2);
    put(offsets + i * 8, append(file, counts, CLUSTER), 8);
  }
  *table_offset = append(file, offsets, blocks * 8);
  free(counts);
  free(offsets);
  return table;
}

/* Header, its extension that names the format of the backing file, and that file's name: relative, it lies beside. */
static void write_header(struct file *file, const char *backing, uint64_t mapping, uint64_t counts, uint64_t clusters)
{
  enum { LENGTH = 104, BACKING_FORMAT = 0xE2792ACAu, NAME_AT = LENGTH + 24 };
  unsigned char *header = need(CLUSTER);
  size_t length = backing == NULL ? 0 : strlen(backing);
  if (length > 1023)
    fail("%s: too long a name", backing);
  put(header, 0x514649fb, 4);
  put(header + 4, 3, 4);
  if (backing != NULL) {
    put(header + 8, NAME_AT, 8);
    put(header + 16, length, 4);
    put(header + LENGTH, BACKING_FORMAT, 4);
    put(header + LENGTH + 4, 5, 4);
    memcpy(header + LENGTH + 8, "qcow2", 5);
    memcpy(header + NAME_AT, backing, length);
  }
  put(header + 20, CLUSTER_BITS, 4);
  put(header + 24, disk_size, 8);
  put(header + 36, table_count, 4);
  put(header + 40, mapping, 8);
  put(header + 48, counts, 8);
  put(header + 56, clusters, 4);
  put(header + 96, 4, 4);
  put(header + 100, LENGTH, 4);
  check(write_at(file->descriptor, header, CLUSTER, 0), file->path);
  free(header);
}

static const char *name_of(const char *path)
{
  const char *slash = strrchr(path, '/');
  return slash == NULL ? path : slash + 1;
}

void disks_end_layer(void)
{
  struct file *file = &files[top];
  uint64_t length = disk_size;
  if (!raw) {
    uint64_t mapping = write_mapping(file), counts;
    uint64_t clusters = write_counts(file, &counts);
    length = file->end;
    write_header(file, top == 0 ? NULL : name_of(files[top - 1].path), mapping, counts, clusters);
  }
  if (ftruncate(file->descriptor, (off_t)length) != 0)
    fail("%s: %s", file->path, strerror(errno));
  // The disk may begin with it; who waits for it, disks_sync does.
  sync_file_range(file->descriptor, 0, 0, SYNC_FILE_RANGE_WRITE);
  if (++top < file_count)
    begin_file();
}

void disks_sync(void)
{
  for (int i = 0; i < file_count; i++)
    if (fsync(files[i].descriptor) != 0)
      fail("%s: %s", files[i].path, strerror(errno));
}
