/* The manager through which libext2fs reads and writes the disk. Pages that were touched wait here before they do. */
#include "disk.h"

#include <stdlib.h>
#include <string.h>

#define PAGE 4096u
/* A page's place follows from its number, so that two that are used in turn may push each other out. */
#define PAGES 4096u
/* Larger requests go past the pages. */
#define LARGE (16 * PAGE)
#define PENDING (1u << 20)

struct page {
  /* Number of the page, and one more: 0 is none. */
  uint64_t number;
  bool dirty;
  char bytes[PAGE];
};

static struct page *pages;

/* Content of files that is not written yet. */
static char *pending;
static uint64_t pending_at;
static size_t pending_size;

static struct page *place_of(uint64_t number)
{
  return &pages[number % PAGES];
}

static errcode_t write_back(struct page *page)
{
  if (!page->dirty)
    return 0;
  page->dirty = false;
  return disks_write((page->number - 1) * PAGE, page->bytes, PAGE);
}

static errcode_t write_pending(void)
{
  size_t size = pending_size;
  pending_size = 0;
  return size == 0 ? 0 : disks_write(pending_at, pending, size);
}

/* The page, read if it was not here. */
static errcode_t page_at(uint64_t number, struct page **found)
{
  struct page *page = *found = place_of(number);
  if (page->number == number + 1)
    return 0;
  errcode_t error = write_back(page);
  if (error != 0)
    return error;
  page->number = number + 1;
  return disks_read(number * PAGE, page->bytes, PAGE);
}

/* Writes back what the pages have of a range, and with `forget` lets them have it no longer. */
static errcode_t settle(uint64_t offset, size_t size, bool forget)
{
  if (pending_size > 0 && offset < pending_at + pending_size && pending_at < offset + size) {
    errcode_t error = write_pending();
    if (error != 0)
      return error;
  }
  if (size == 0)
    return 0;
  for (uint64_t number = offset / PAGE; number <= (offset + size - 1) / PAGE; number++) {
    struct page *page = place_of(number);
    if (page->number != number + 1)
      continue;
    errcode_t error = write_back(page);
    if (error != 0)
      return error;
    if (forget)
      page->number = 0;
  }
  return 0;
}

static errcode_t read_range(uint64_t offset, char *target, size_t size)
{
  errcode_t error;
  if (size >= LARGE)
    return (error = settle(offset, size, false)) != 0 ? error : disks_read(offset, target, size);
  if (pending_size > 0 && (error = settle(offset, size, false)) != 0)
    return error;
  while (size > 0) {
    struct page *page;
    size_t within = offset % PAGE, part = PAGE - within < size ? PAGE - within : size;
    if ((error = page_at(offset / PAGE, &page)) != 0)
      return error;
    memcpy(target, page->bytes + within, part);
    target += part;
    size -= part;
    offset += part;
  }
  return 0;
}

static errcode_t write_range(uint64_t offset, const char *source, size_t size)
{
  errcode_t error;
  if (size >= LARGE)
    return (error = settle(offset, size, true)) != 0 ? error : disks_write(offset, source, size);
  while (size > 0) {
    struct page *page;
    size_t within = offset % PAGE, part = PAGE - within < size ? PAGE - within : size;
    if ((error = page_at(offset / PAGE, &page)) != 0)
      return error;
    memcpy(page->bytes + within, source, part);
    page->dirty = true;
    source += part;
    size -= part;
    offset += part;
  }
  return 0;
}

void pages_append(uint64_t offset, const void *source, size_t size)
{
  check(settle(offset, size, true), "writing the disk");
  bool follows = pending_size > 0 && offset == pending_at + pending_size;
  if (!follows || pending_size + size > PENDING)
    check(write_pending(), "writing the disk");
  if (size >= PENDING) {
    check(disks_write(offset, source, size), "writing the disk");
    return;
  }
  if (pending_size == 0)
    pending_at = offset;
  memcpy(pending + pending_size, source, size);
  pending_size += size;
}

void pages_flush(void)
{
  check(write_pending(), "writing the disk");
  for (size_t i = 0; i < PAGES; i++)
    check(write_back(&pages[i]), "writing the disk");
}

static errcode_t open_channel(const char *name, int flags, io_channel *channel)
{
  (void)flags;
  pages = need(PAGES * sizeof *pages);
  pending = need(PENDING);
  io_channel made = need(sizeof *made);
  made->magic = EXT2_ET_MAGIC_IO_CHANNEL;
  made->manager = pages_manager();
  made->name = strdup(name);
  made->block_size = 1024;
  made->refcount = 1;
  *channel = made;
  return 0;
}

static errcode_t close_channel(io_channel channel)
{
  free(channel->name);
  free(channel);
  return 0;
}

static errcode_t set_block_size(io_channel channel, int size)
{
  channel->block_size = size;
  return 0;
}

/* A negative count is one of bytes. */
static size_t bytes_of(io_channel channel, int count)
{
  return count < 0 ? (size_t)-count : (size_t)count * (size_t)channel->block_size;
}

static errcode_t read_blocks(io_channel channel, unsigned long long block, int count, void *target)
{
  return read_range(block * (unsigned)channel->block_size, target, bytes_of(channel, count));
}

static errcode_t write_blocks(io_channel channel, unsigned long long block, int count, const void *source)
{
  return write_range(block * (unsigned)channel->block_size, source, bytes_of(channel, count));
}

static errcode_t read_blocks_32(io_channel channel, unsigned long block, int count, void *target)
{
  return read_blocks(channel, block, count, target);
}

static errcode_t write_blocks_32(io_channel channel, unsigned long block, int count, const void *source)
{
  return write_blocks(channel, block, count, source);
}

static errcode_t write_bytes(io_channel channel, unsigned long offset, int count, const void *source)
{
  (void)channel;
  return write_range(offset, source, (size_t)count);
}

/* All is made durable at the end, by disks_sync. */
static errcode_t flush_channel(io_channel channel)
{
  (void)channel;
  return 0;
}

io_manager pages_manager(void)
{
  static struct struct_io_manager manager = {
    .magic = EXT2_ET_MAGIC_IO_MANAGER,
    .name = "rootling-disk",
    .open = open_channel,
    .close = close_channel,
    .set_blksize = set_block_size,
    .read_blk = read_blocks_32,
    .write_blk = write_blocks_32,
    .flush = flush_channel,
    .write_byte = write_bytes,
    .read_blk64 = read_blocks,
    .write_blk64 = write_blocks,
  };
  return &manager;
}
