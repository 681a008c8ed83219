/* Inodes: their metadata, attributes and blocks. Blocks are given out one after another, so that files lie in one piece. */
#include "disk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Bytes of content that get their blocks at once. */
#define RUN (1u << 20)
/* Blocks of one extent, and extents in an inode: the kernel's Documentation/filesystems/ext4/ifork.rst. */
#define EXTENT_BLOCKS 32768u
#define INODE_EXTENTS 4
/* Names of a file: EXT4_LINK_MAX, and what a directory of ext3 may have. */
#define MOST_LINKS 65000u
#define MOST_LINKS_EXT3 32000u

union inode {
  struct ext2_inode_large large;
  struct ext2_inode plain;
  char bytes[256];
};

struct extent {
  uint32_t logical, count;
  blk64_t physical;
};

static ext2_filsys fs;
static bool has_extents;
static ext2_ino_t next_inode;
static blk64_t next_block;

/* The extents of the inode that gets content. */
static struct extent *extents;
static size_t extent_count, extent_room;

void inodes_open(ext2_filsys file_system)
{
  fs = file_system;
  has_extents = ext2fs_has_feature_extents(fs->super);
  next_inode = EXT2_FIRST_INODE(fs->super);
  next_block = fs->super->s_first_data_block;
}

static void load(ext2_ino_t ino, union inode *inode)
{
  check(ext2fs_read_inode_full(fs, ino, &inode->plain, sizeof *inode), "reading an inode");
}

static void store(ext2_ino_t ino, union inode *inode)
{
  check(ext2fs_write_inode_full(fs, ino, &inode->plain, sizeof *inode), "writing an inode");
}

static ext2_ino_t take_inode(bool directory)
{
  ext2_ino_t ino = 0, last = fs->super->s_inodes_count;
  errcode_t error = next_inode > last
                      ? ENOENT
                      : ext2fs_find_first_zero_inode_bitmap2(fs->inode_map, next_inode, last, &ino);
  if (error == ENOENT)
    error = ext2fs_find_first_zero_inode_bitmap2(fs->inode_map, EXT2_FIRST_INODE(fs->super), last, &ino);
  check(error == ENOENT ? EXT2_ET_INODE_ALLOC_FAIL : error, "finding a free inode");
  ext2fs_inode_alloc_stats2(fs, ino, +1, directory);
  next_inode = ino + 1;
  return ino;
}

/* Blocks that follow one another, as many as there are up to `wanted`. */
static blk64_t take_blocks(uint32_t wanted, uint32_t *taken)
{
  blk64_t first = 0, end = 0, last = ext2fs_blocks_count(fs->super) - 1;
  errcode_t error =
    next_block > last ? ENOENT : ext2fs_find_first_zero_block_bitmap2(fs->block_map, next_block, last, &first);
  if (error == ENOENT)
    error = ext2fs_find_first_zero_block_bitmap2(fs->block_map, fs->super->s_first_data_block, last, &first);
  check(error == ENOENT ? EXT2_ET_BLOCK_ALLOC_FAIL : error, "finding free blocks");
  blk64_t most = first + wanted - 1 < last ? first + wanted - 1 : last;
  error = ext2fs_find_first_set_block_bitmap2(fs->block_map, first, most, &end);
  if (error != 0 && error != ENOENT)
    check(error, "finding free blocks");
  *taken = (uint32_t)((error == ENOENT ? most + 1 : end) - first);
  ext2fs_block_alloc_stats_range(fs, first, (blk_t)*taken, +1);
  next_block = first + *taken;
  return first;
}

static void add_extent(uint32_t logical, blk64_t physical, uint32_t count)
{
  struct extent *last = extent_count == 0 ? NULL : &extents[extent_count - 1];
  if (last != NULL && last->logical + last->count == logical && last->physical + last->count == physical &&
      last->count + count <= EXTENT_BLOCKS) {
    last->count += count;
    return;
  }
  if (extent_count == extent_room) {
    extent_room = extent_room == 0 ? 64 : 2 * extent_room;
    extents = need_more(extents, extent_room * sizeof *extents);
  }
  extents[extent_count++] = (struct extent){logical, count, physical};
}

/* Writes blocks that belong to one another. */
static void write_blocks(uint32_t logical, const char *bytes, uint32_t count)
{
  while (count > 0) {
    uint32_t taken;
    blk64_t first = take_blocks(count, &taken);
    pages_append(first * BLOCK, bytes, (size_t)taken * BLOCK);
    add_extent(logical, first, taken);
    logical += taken;
    bytes += (size_t)taken * BLOCK;
    count -= taken;
  }
}

static bool is_zero(const char *block)
{
  return block[0] == 0 && memcmp(block, block + 1, BLOCK - 1) == 0;
}

/* The same, with holes where blocks are zero. */
static void write_sparsely(uint32_t logical, const char *bytes, uint32_t count)
{
  for (uint32_t at = 0; at < count;) {
    uint32_t end = at;
    while (end < count && !is_zero(bytes + (size_t)end * BLOCK))
      end++;
    if (end > at)
      write_blocks(logical + at, bytes + (size_t)at * BLOCK, end - at);
    at = end + 1;
  }
}

static void map_few(union inode *inode)
{
  struct ext3_extent_header *header = (struct ext3_extent_header *)inode->plain.i_block;
  struct ext3_extent *entries = (struct ext3_extent *)(header + 1);
  memset(inode->plain.i_block, 0, sizeof inode->plain.i_block);
  header->eh_magic = ext2fs_cpu_to_le16(EXT3_EXT_MAGIC);
  header->eh_max = ext2fs_cpu_to_le16(INODE_EXTENTS);
  if (extent_count > INODE_EXTENTS)
    return;
  header->eh_entries = ext2fs_cpu_to_le16((uint16_t)extent_count);
  for (size_t i = 0; i < extent_count; i++) {
    entries[i].ee_block = ext2fs_cpu_to_le32(extents[i].logical);
    entries[i].ee_len = ext2fs_cpu_to_le16((uint16_t)extents[i].count);
    entries[i].ee_start_hi = ext2fs_cpu_to_le16((uint16_t)(extents[i].physical >> 32));
    entries[i].ee_start = ext2fs_cpu_to_le32((uint32_t)extents[i].physical);
  }
}

static void map_many(ext2_ino_t ino, union inode *inode)
{
  ext2_extent_handle_t handle;
  check(ext2fs_extent_open2(fs, ino, &inode->plain, &handle), "mapping a file");
  for (size_t i = 0; i < extent_count; i++) {
    struct ext2fs_extent extent = {
      .e_pblk = extents[i].physical, .e_lblk = extents[i].logical, .e_len = extents[i].count};
    check(ext2fs_extent_insert(handle, EXT2_EXTENT_INSERT_AFTER, &extent), "mapping a file");
    check(ext2fs_extent_fix_parents(handle), "mapping a file");
  }
  ext2fs_extent_free(handle);
}

static void map_indirectly(ext2_ino_t ino, union inode *inode)
{
  memset(inode->plain.i_block, 0, sizeof inode->plain.i_block);
  for (size_t i = 0; i < extent_count; i++)
    for (uint32_t j = 0; j < extents[i].count; j++) {
      blk64_t physical = extents[i].physical + j;
      check(ext2fs_bmap2(fs, ino, &inode->plain, NULL, BMAP_ALLOC | BMAP_SET, extents[i].logical + j, NULL, &physical),
            "mapping a file");
    }
}

/* Lets the inode have the blocks that were collected, and the size. */
static void map_content(ext2_ino_t ino, union inode *inode, uint64_t size)
{
  uint64_t blocks = 0;
  for (size_t i = 0; i < extent_count; i++)
    blocks += extents[i].count;
  check(ext2fs_inode_size_set(fs, &inode->plain, (ext2_off64_t)size), "sizing a file");
  check(ext2fs_iblk_add_blocks(fs, &inode->plain, blocks), "sizing a file");
  if (!has_extents)
    map_indirectly(ino, inode);
  else {
    inode->plain.i_flags |= EXT4_EXTENTS_FL;
    map_few(inode);
    if (extent_count > INODE_EXTENTS)
      map_many(ino, inode);
  }
  extent_count = 0;
}

static void free_content(ext2_ino_t ino, union inode *inode)
{
  if (ext2fs_inode_has_valid_blocks2(fs, &inode->plain))
    check(ext2fs_punch(fs, ino, &inode->plain, NULL, 0, ~0ULL), "freeing blocks");
}

/* Seconds in 34 bits, and nanoseconds: the kernel's Documentation/filesystems/ext4/inodes.rst, "Inode Timestamps". */
static void set_times(union inode *inode, int64_t seconds, uint32_t nanoseconds)
{
  const int64_t least = INT32_MIN, most = (int64_t)INT32_MAX + (3ll << 32);
  int64_t time = seconds < least ? least : seconds > most ? most : seconds;
  uint32_t low = (uint32_t)time;
  uint32_t extra = nanoseconds << 2 | (uint32_t)(((time - (int32_t)low) >> 32) & 3);
  inode->large.i_atime = inode->large.i_ctime = inode->large.i_mtime = inode->large.i_crtime = low;
  inode->large.i_atime_extra = inode->large.i_ctime_extra = extra;
  inode->large.i_mtime_extra = inode->large.i_crtime_extra = extra;
}

static void set_metadata(union inode *inode, const struct entry *entry)
{
  inode->plain.i_mode = (uint16_t)((inode->plain.i_mode & LINUX_S_IFMT) | entry->mode);
  inode->plain.i_uid = (uint16_t)entry->uid;
  inode->plain.i_gid = (uint16_t)entry->gid;
  ext2fs_set_i_uid_high(inode->plain, entry->uid >> 16);
  ext2fs_set_i_gid_high(inode->plain, entry->gid >> 16);
  set_times(inode, entry->mtime, entry->nanoseconds);
}

static void set_attributes(ext2_ino_t ino, const struct entry *entry)
{
  struct ext2_xattr_handle *handle;
  check(ext2fs_xattrs_open(fs, ino, &handle), "opening attributes");
  check(ext2fs_xattrs_read(handle), "reading attributes");
  for (size_t i = 0; i < entry->attribute_count; i++) {
    const struct attribute *attribute = &entry->attributes[i];
    errcode_t error = ext2fs_xattr_set(handle, attribute->name, attribute->value, attribute->length);
    if (error == EXT2_ET_EA_NO_SPACE || error == EXT2_ET_EA_BAD_NAME_LEN || error == EXT2_ET_EA_BAD_VALUE_SIZE)
      fail_tree("more extended attributes than the file system can keep", entry->path);
    if (error == EINVAL || error == EXT2_ET_INVALID_ARGUMENT)
      fail_tree("an extended attribute that no file system takes", entry->path);
    check(error, "setting an attribute");
  }
  check(ext2fs_xattrs_close(&handle), "closing attributes");
}

/* Major and minor as the kernel's old_encode_dev and new_encode_dev have them. */
static void set_device(union inode *inode, uint32_t major, uint32_t minor)
{
  if (major < 256 && minor < 256)
    inode->plain.i_block[0] = major << 8 | minor;
  else
    inode->plain.i_block[1] = (minor & 0xff) | major << 8 | (minor & ~0xffu) << 12;
}

static void set_target(ext2_ino_t ino, union inode *inode, const char *target)
{
  static char block[BLOCK];
  size_t length = strlen(target);
  if (length == 0)
    fail_tree("a symlink without a target", "");
  if (length < sizeof inode->plain.i_block) {
    memcpy(inode->plain.i_block, target, length);
    inode->plain.i_size = (uint32_t)length;
    return;
  }
  if (length >= BLOCK)
    fail("a symlink to a name of %zu bytes", length);
  memset(block, 0, sizeof block);
  memcpy(block, target, length);
  write_blocks(0, block, 1);
  map_content(ino, inode, length);
}

static uint16_t kind_of(char type)
{
  switch (type) {
  case '0':
    return LINUX_S_IFREG;
  case '2':
    return LINUX_S_IFLNK;
  case '3':
    return LINUX_S_IFCHR;
  case '4':
    return LINUX_S_IFBLK;
  case '5':
    return LINUX_S_IFDIR;
  case '6':
    return LINUX_S_IFIFO;
  }
  fail("an entry of an unknown kind: %d", type);
}

ext2_ino_t inode_new(const struct entry *entry)
{
  union inode inode = {0};
  bool root = entry->path[0] == '\0';
  ext2_ino_t ino = root ? EXT2_ROOT_INO : take_inode(entry->type == '5');
  inode.large.i_extra_isize = sizeof(struct ext2_inode_large) - EXT2_GOOD_OLD_INODE_SIZE;
  inode.plain.i_mode = kind_of(entry->type);
  set_metadata(&inode, entry);
  if (has_extents && (entry->type == '0' || entry->type == '5')) {
    inode.plain.i_flags |= EXT4_EXTENTS_FL;
    map_few(&inode);
  }
  if (entry->type == '3' || entry->type == '4')
    set_device(&inode, entry->major, entry->minor);
  if (entry->type == '2')
    set_target(ino, &inode, entry->target);
  store(ino, &inode);
  if (entry->attribute_count > 0)
    set_attributes(ino, entry);
  return ino;
}

void inode_content(ext2_ino_t ino, uint64_t size)
{
  static char *bytes;
  if (size == 0)
    return;
  if (bytes == NULL)
    bytes = need(RUN);
  if (size / BLOCK >= UINT32_MAX)
    fail("a file of %llu bytes", (unsigned long long)size);
  for (uint64_t at = 0; at < size; at += RUN) {
    size_t part = size - at < RUN ? (size_t)(size - at) : RUN;
    uint32_t blocks = (uint32_t)((part + BLOCK - 1) / BLOCK);
    stream_read(bytes, part);
    memset(bytes + part, 0, (size_t)blocks * BLOCK - part);
    write_sparsely((uint32_t)(at / BLOCK), bytes, blocks);
  }
  union inode inode;
  load(ino, &inode);
  map_content(ino, &inode, size);
  store(ino, &inode);
}

void inode_empty(ext2_ino_t ino)
{
  union inode inode;
  load(ino, &inode);
  free_content(ino, &inode);
  map_content(ino, &inode, 0);
  store(ino, &inode);
}

void inode_describe(ext2_ino_t ino, const struct entry *entry)
{
  union inode inode;
  load(ino, &inode);
  // What it had of attributes is gone: in the inode's own rest, and in a block.
  if (ext2fs_file_acl_block(fs, &inode.plain) != 0)
    check(ext2fs_free_ext_attr(fs, ino, &inode.large), "freeing attributes");
  memset(inode.bytes + sizeof inode.large, 0, sizeof inode - sizeof inode.large);
  set_metadata(&inode, entry);
  store(ino, &inode);
  if (entry->attribute_count > 0)
    set_attributes(ino, entry);
}

void inode_link(ext2_ino_t ino)
{
  union inode inode;
  load(ino, &inode);
  if (inode.plain.i_links_count >= (has_extents ? MOST_LINKS : MOST_LINKS_EXT3))
    fail("a file: %s", strerror(EMLINK));
  inode.plain.i_links_count++;
  store(ino, &inode);
}

void inode_unlink(ext2_ino_t ino, bool directory)
{
  union inode inode;
  load(ino, &inode);
  if (!directory && inode.plain.i_links_count > 1) {
    inode.plain.i_links_count--;
    store(ino, &inode);
    return;
  }
  free_content(ino, &inode);
  if (ext2fs_file_acl_block(fs, &inode.plain) != 0)
    check(ext2fs_free_ext_attr(fs, ino, &inode.large), "freeing attributes");
  inode.plain.i_links_count = 0;
  inode.plain.i_dtime = (uint32_t)time(NULL);
  store(ino, &inode);
  ext2fs_inode_alloc_stats2(fs, ino, -1, directory);
}

void inode_directory(ext2_ino_t ino, char *content, size_t blocks, uint32_t links)
{
  union inode inode;
  load(ino, &inode);
  free_content(ino, &inode);
  for (uint32_t logical = 0; logical < blocks;) {
    uint32_t taken;
    blk64_t first = take_blocks((uint32_t)blocks - logical, &taken);
    add_extent(logical, first, taken);
    for (uint32_t i = 0; i < taken; i++, logical++)
      check(ext2fs_write_dir_block4(fs, first + i, content + (size_t)logical * BLOCK, 0, ino), "writing a directory");
  }
  map_content(ino, &inode, (uint64_t)blocks * BLOCK);
  if (links > (has_extents ? MOST_LINKS : MOST_LINKS_EXT3)) {
    if (!has_extents)
      fail("a directory: %s", strerror(EMLINK));
    // dir_nlink: more than can be counted.
    links = 1;
  }
  inode.plain.i_links_count = (uint16_t)links;
  store(ino, &inode);
}
