/*
 * rootling-disk raw|qcow2 ext4|ext3 SIZE FREE FILE…
 *
 * Standard input is a tar as tar-write.ts encodes it, with four kinds of records besides, by their typeflag: W hides
 * the name that it has in lower layers, O hides what is in the directory of that name, M gives what has the name other
 * metadata and, where it has any, content, N begins the next layer, and with it the next FILE. SIZE is that of the
 * virtual disk in bytes; FREE so many percent of it have to be left free.
 * What hides is done at the end of its layer: it never hides what the same layer has, whatever comes first.
 * The two blocks that end the archive are the commit: without them all files are void.
 */
#include "disk.h"

#include <com_err.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static ext2_filsys file_system;

void fail(const char *format, ...)
{
  va_list arguments;
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fputc('\n', stderr);
  exit(1);
}

void fail_tree(const char *what, const char *name)
{
  fprintf(stderr, "%s: %s\n", what, name);
  exit(NO_TREE);
}

static _Noreturn void too_small(const char *what)
{
  fprintf(stderr, "the virtual disk is too small: no free %s\n", what);
  exit(TOO_SMALL);
}

void check(errcode_t error, const char *doing)
{
  if (error == 0)
    return;
  if (error == EXT2_ET_BLOCK_ALLOC_FAIL)
    too_small("blocks");
  if (error == EXT2_ET_INODE_ALLOC_FAIL)
    too_small("inodes");
  fail("%s: %s", doing, error_message(error));
}

void *need(size_t size)
{
  void *memory = calloc(1, size);
  if (memory == NULL)
    fail("no memory");
  return memory;
}

void *need_more(void *old, size_t size)
{
  void *memory = realloc(old, size);
  if (memory == NULL)
    fail("no memory");
  return memory;
}

static void end_layer(unsigned percent_free)
{
  names_end_layer();
  blk64_t blocks = ext2fs_blocks_count(file_system->super);
  if (ext2fs_free_blocks_count(file_system->super) < blocks / 100 * percent_free)
    too_small("room");
  check(ext2fs_flush(file_system), "completing the file system");
  pages_flush();
  disks_end_layer();
}

static uint64_t number(const char *text, uint64_t least, uint64_t most)
{
  char *end;
  unsigned long long value = strtoull(text, &end, 10);
  if (*end != '\0' || end == text || value < least || value > most)
    fail("not a number from %llu to %llu: %s", (unsigned long long)least, (unsigned long long)most, text);
  return value;
}

int main(int count, char **words)
{
  if (count < 6)
    fail("usage: rootling-disk raw|qcow2 ext4|ext3 SIZE FREE FILE...");
  initialize_ext2_error_table();
  bool raw = strcmp(words[1], "raw") == 0;
  uint64_t size = number(words[3], 8 << 20, 1ull << 42) / BLOCK * BLOCK;
  unsigned percent_free = (unsigned)number(words[4], 0, 99);
  int layers = count - 5, layer = 1;
  disks_open(raw, size, words + 5, layers);
  file_system = format(size, strcmp(words[2], "ext3") == 0);
  inodes_open(file_system);
  names_open(file_system);
  for (const struct entry *entry; (entry = stream_next()) != NULL;) {
    switch (entry->type) {
    case 'W':
    case 'O':
      names_hide(entry->path, entry->type == 'O');
      break;
    case 'M':
      names_describe(entry);
      break;
    case 'N':
      if (++layer > layers)
        fail("more layers than files");
      end_layer(percent_free);
      break;
    default:
      names_place(entry);
    }
  }
  if (layer != layers)
    fail("fewer layers than files");
  end_layer(percent_free);
  disks_sync();
  return 0;
}
