/* The empty file system: what mke2fs of e2fsprogs 1.47 makes by its own defaults, without a first directory. */
#include "disk.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

/* Below this size files tend to be small: an inode for each 8 KiB instead of 16. */
#define SMALL_DISK (4ull << 30)
/* Percent of the blocks that only root may use. */
#define RESERVED 5

static void set_features(struct ext2_super_block *super, bool ext3)
{
  ext2fs_set_feature_journal(super);
  ext2fs_set_feature_xattr(super);
  ext2fs_set_feature_dir_index(super);
  ext2fs_set_feature_resize_inode(super);
  ext2fs_set_feature_filetype(super);
  ext2fs_set_feature_sparse_super(super);
  ext2fs_set_feature_large_file(super);
  if (ext3)
    return;
  ext2fs_set_feature_extents(super);
  ext2fs_set_feature_64bit(super);
  ext2fs_set_feature_flex_bg(super);
  ext2fs_set_feature_huge_file(super);
  ext2fs_set_feature_dir_nlink(super);
  ext2fs_set_feature_extra_isize(super);
  ext2fs_set_feature_metadata_csum(super);
  super->s_log_groups_per_flex = 4;
}

static void set_identity(struct ext2_super_block *super)
{
  unsigned char random[2][16];
  if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
    fail("no random numbers: %s", strerror(errno));
  // A version 4 UUID: RFC 9562.
  for (int i = 0; i < 2; i++) {
    random[i][6] = (random[i][6] & 0x0f) | 0x40;
    random[i][8] = (random[i][8] & 0x3f) | 0x80;
  }
  memcpy(super->s_uuid, random[0], 16);
  memcpy(super->s_hash_seed, random[1], 16);
  if (ext2fs_has_feature_metadata_csum(super))
    super->s_checksum_type = EXT2_CRC32C_CHKSUM;
  super->s_def_hash_version = EXT2_HASH_HALF_MD4;
  super->s_flags |= EXT2_FLAGS_SIGNED_HASH;
  super->s_max_mnt_count = -1;
  super->s_default_mount_opts = EXT2_DEFM_XATTR_USER | EXT2_DEFM_ACL;
  super->s_want_extra_isize = super->s_min_extra_isize =
    sizeof(struct ext2_inode_large) - EXT2_GOOD_OLD_INODE_SIZE;
}

/* The inodes that ext2 keeps for itself. */
static void reserve_inodes(ext2_filsys fs)
{
  for (ext2_ino_t ino = 1; ino < EXT2_FIRST_INODE(fs->super); ino++)
    ext2fs_inode_alloc_stats2(fs, ino, +1, ino == EXT2_ROOT_INO);
  check(ext2fs_update_bb_inode(fs, NULL), "making the inode of bad blocks");
  check(ext2fs_create_resize_inode(fs), "making the inode of spare group descriptors");
}

ext2_filsys format(uint64_t size, bool ext3)
{
  struct ext2_super_block super = {0};
  blk64_t blocks = size / BLOCK;
  ext2fs_blocks_count_set(&super, blocks);
  ext2fs_r_blocks_count_set(&super, blocks / 100 * RESERVED);
  super.s_rev_level = EXT2_DYNAMIC_REV;
  super.s_log_block_size = 2;
  super.s_inode_size = 256;
  uint64_t inodes = size / (size < SMALL_DISK ? 8192 : 16384);
  super.s_inodes_count = inodes > UINT32_MAX ? UINT32_MAX : (uint32_t)inodes;
  set_features(&super, ext3);
  ext2_filsys fs;
  check(ext2fs_initialize("disk", EXT2_FLAG_64BITS, &super, pages_manager(), &fs), "making the file system");
  set_identity(fs->super);
  ext2fs_init_csum_seed(fs);
  check(ext2fs_allocate_tables(fs), "making the file system");
  // All of the disk is zero: a kernel need not make the tables so when it first mounts it.
  if (ext2fs_has_group_desc_csum(fs))
    for (dgrp_t group = 0; group < fs->group_desc_count; group++) {
      ext2fs_bg_flags_set(fs, group, EXT2_BG_INODE_ZEROED);
      ext2fs_group_desc_csum_set(fs, group);
    }
  reserve_inodes(fs);
  int journal = ext2fs_default_journal_size(blocks);
  if (journal > 0)
    check(ext2fs_add_journal_inode(fs, (blk_t)journal, EXT2_MKJOURNAL_LAZYINIT | EXT2_MKJOURNAL_NO_MNT_CHECK),
          "making the journal");
  else
    ext2fs_clear_feature_journal(fs->super);
  return fs;
}
