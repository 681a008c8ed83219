/*
 * rootling-disk makes an ext4 or ext3 file system of a stream of entries, as a raw disk, a qcow2 disk or a chain of
 * qcow2 disks, one a layer. It needs no privileges, no loop device and no mount. This is what its parts share.
 *
 * main.c the words and the stream of records · stream.c the tar that the records come in · names.c the tree of names ·
 * inodes.c what names stand for · format.c the empty file system · pages.c libext2fs's blocks, kept for a while ·
 * disks.c where the bytes of the disk lie in the files
 */
#ifndef DISK_H
#define DISK_H

#include <ext2fs/ext2fs.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of a block of the file system. */
#define BLOCK 4096u

/* Exit statuses: the virtual disk is too small; the entries make no tree. All other failures have status 1. */
#define TOO_SMALL 3
#define NO_TREE 4

/* Ends the program with one line on standard error. */
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The same, where the image is to blame. */
_Noreturn void fail_tree(const char *what, const char *name);

/* Ends the program where `error` is one, of libext2fs or of the system; with TOO_SMALL where nothing is free. */
void check(errcode_t error, const char *doing);

/* Memory, or the end of the program. */
void *need(size_t size);
void *need_more(void *old, size_t size);

/* stream.c: entries as a tar, ustar with PAX headers, and records of ours (see main.c). */

struct attribute {
  const char *name;
  const void *value;
  size_t length;
};

struct entry {
  /* The typeflag of tar, or one of ours. */
  char type;
  /* Relative and clean; empty for the root. NUL-terminated, as all texts here. Valid until the next entry. */
  const char *path;
  const char *target;
  uint32_t mode, uid, gid, major, minor;
  uint64_t size;
  int64_t mtime;
  uint32_t nanoseconds;
  struct attribute *attributes;
  size_t attribute_count;
};

/* The next entry from standard input; NULL at the archive's end. The content of the last one must have been read. */
const struct entry *stream_next(void);

/* Exactly so many bytes of content. */
void stream_read(void *target, size_t size);

/* What fills the last block of content that has `size` bytes. */
void stream_skip_padding(uint64_t size);

/* disks.c: the bytes of the virtual disk, and the files that hold them. */

/* Begins: all bytes are zero. With `raw` there is one file, else one qcow2 file a layer. The first one is made. */
void disks_open(bool raw, uint64_t size, char *const *paths, int count);

errcode_t disks_read(uint64_t offset, void *target, size_t size);
errcode_t disks_write(uint64_t offset, const void *source, size_t size);

/* Completes the topmost file; what is written from here on goes into the next one. */
void disks_end_layer(void);

/* Waits until all files are durable. */
void disks_sync(void);

/* pages.c: small writes are collected before they reach the disk. */

/* The manager through which libext2fs reads and writes the disk. */
io_manager pages_manager(void);

/* Writes content of files: what follows the last such write is written with it. */
void pages_append(uint64_t offset, const void *source, size_t size);

/* Passes on to the disk what was collected. */
void pages_flush(void);

/* format.c */

/* An empty file system without any directory, on the disk that is open. */
ext2_filsys format(uint64_t size, bool ext3);

/* inodes.c: what names stand for. */

void inodes_open(ext2_filsys fs);

/* An inode as `entry` describes it, without content and without names. */
ext2_ino_t inode_new(const struct entry *entry);

/* The content of a file, from the stream. */
void inode_content(ext2_ino_t ino, uint64_t size);

/* Takes the content of a file away. */
void inode_empty(ext2_ino_t ino);

/* Gives an inode other metadata; kind, content and names stay. */
void inode_describe(ext2_ino_t ino, const struct entry *entry);

/* One name more, or less: without names an inode is free. `directory`: whether it is one. */
void inode_link(ext2_ino_t ino);
void inode_unlink(ext2_ino_t ino, bool directory);

/* The content of a directory: `blocks` blocks that have room for a checksum. `links`: its names, that in itself too. */
void inode_directory(ext2_ino_t ino, char *content, size_t blocks, uint32_t links);

/* names.c: the tree of names. */

void names_open(ext2_filsys fs);

/* Puts an entry into its place: what had the name is gone, directories above it are made. Reads content. */
void names_place(const struct entry *entry);

/* Gives what has the entry's name its metadata, and its content, if any. */
void names_describe(const struct entry *entry);

/* Notes what is hidden of the layers below: a name, or what is in a directory. */
void names_hide(const char *path, bool content);

/* Hides what is to be hidden and writes directories: the file system is whole then. */
void names_end_layer(void);

#endif
