/* The calls of the file-descriptor based mount interface (Linux 5.2, mount_setattr 5.12), and the same by mount(2)
   where the kernel, or the filter of an outer container, does not know them. */
#ifndef ROOTLING_MOUNT_CALLS_H
#define ROOTLING_MOUNT_CALLS_H

#include <linux/mount.h>

int open_tree_at(int fd, const char *path, unsigned flags);
int fs_open(const char *type);
int fs_config(int fs, unsigned command, const char *key, const char *value);
int fs_mount(int fs, unsigned attributes);
int set_attributes(int fd, unsigned flags, struct mount_attr *attributes);
int move_mount_onto(int mount, int target);
int end_mounts(void);

/* mount-old.c */
int old_open_tree(const char *path, unsigned flags);
int old_fs_open(const char *type);
int old_fs_config(unsigned command, const char *key, const char *value);
int old_fs_mount(unsigned attributes);
int old_set_attributes(int fd, unsigned flags, const struct mount_attr *attributes);
int old_move_mount(int mount, int target);
int old_end_mounts(void);

#endif
