/*
 * The tree of names, in memory: looking a name up in directories of ext4 would read all of them again and again. Those
 * that changed are written when a layer ends.
 */
#include "disk.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

struct node {
  struct node *parent;
  /* Neighbours in the directory, oldest first, and the next name with the same hash. */
  struct node *previous, *next, *chained;
  /* Of a directory: what is in it. */
  struct node *first, *last;
  uint64_t hash;
  ext2_ino_t ino;
  /* The layer that last said something of this name, or of one below it; of a directory, the one that described it. */
  int layer, described;
  uint32_t directories;
  /* EXT2_FT_DIR and its like. */
  uint8_t type;
  uint8_t length;
  bool changed;
  char name[];
};

struct hidden {
  char *path;
  bool content;
};

static ext2_filsys fs;
static struct node *root, *lost_and_found;
static int layer = 1;
static struct node **buckets;
static size_t bucket_count, node_count;
static uint64_t seed;
static struct hidden *hidden;
static size_t hidden_count;

static const struct entry UNDESCRIBED = {.type = '5', .path = "?", .target = "", .mode = 0755};

/* Keyed, so that nobody can choose names that all get the same hash. */
static uint64_t hash_of(const struct node *parent, const char *name, size_t length)
{
  uint64_t hash = seed ^ (uint64_t)(uintptr_t)parent;
  for (size_t i = 0; i < length; i++) {
    hash = (hash ^ (unsigned char)name[i]) * 0x9e3779b97f4a7c15u;
    hash ^= hash >> 29;
  }
  return hash;
}

static void grow(void)
{
  size_t count = bucket_count == 0 ? 1024 : bucket_count * 2;
  struct node **grown = need(count * sizeof *grown);
  for (size_t i = 0; i < bucket_count; i++)
    for (struct node *node = buckets[i], *next; node != NULL; node = next) {
      next = node->chained;
      node->chained = grown[node->hash % count];
      grown[node->hash % count] = node;
    }
  free(buckets);
  buckets = grown;
  bucket_count = count;
}

static struct node *find(const struct node *parent, const char *name, size_t length)
{
  uint64_t hash = hash_of(parent, name, length);
  for (struct node *node = buckets[hash % bucket_count]; node != NULL; node = node->chained)
    if (node->hash == hash && node->parent == parent && node->length == length &&
        memcmp(node->name, name, length) == 0)
      return node;
  return NULL;
}

static struct node *add(struct node *parent, const char *name, size_t length, ext2_ino_t ino, uint8_t type)
{
  bool itself = (length == 1 && name[0] == '.') || (length == 2 && name[0] == '.' && name[1] == '.');
  if (length == 0 || length > EXT2_NAME_LEN || itself)
    fail("a name that no directory can have");
  if (++node_count > bucket_count)
    grow();
  struct node *node = need(sizeof *node + length);
  memcpy(node->name, name, length);
  node->length = (uint8_t)length;
  node->parent = parent;
  node->ino = ino;
  node->type = type;
  node->changed = true;
  node->hash = hash_of(parent, name, length);
  node->chained = buckets[node->hash % bucket_count];
  buckets[node->hash % bucket_count] = node;
  node->previous = parent->last;
  *(parent->last == NULL ? &parent->first : &parent->last->next) = node;
  parent->last = node;
  parent->directories += type == EXT2_FT_DIR;
  parent->changed = true;
  return node;
}

/* Takes a name away, and all that is below it. */
static void drop(struct node *node)
{
  while (node->last != NULL)
    drop(node->last);
  struct node *parent = node->parent, **at = &buckets[node->hash % bucket_count];
  while (*at != node)
    at = &(*at)->chained;
  *at = node->chained;
  *(node->previous == NULL ? &parent->first : &node->previous->next) = node->next;
  *(node->next == NULL ? &parent->last : &node->next->previous) = node->previous;
  parent->directories -= node->type == EXT2_FT_DIR;
  parent->changed = true;
  node_count--;
  inode_unlink(node->ino, node->type == EXT2_FT_DIR);
  if (node == lost_and_found)
    lost_and_found = NULL;
  free(node);
}

static struct node *add_directory(struct node *parent, const char *name, size_t length, const struct entry *entry)
{
  struct node *node = add(parent, name, length, inode_new(entry), EXT2_FT_DIR);
  node->layer = layer;
  return node;
}

/* The directory that a path's last part, which `*name` becomes, is in. All on the way become directories. */
static struct node *parent_of(const char *path, const char **name)
{
  struct node *node = root;
  for (const char *slash; (slash = strchr(path, '/')) != NULL; path = slash + 1) {
    size_t length = (size_t)(slash - path);
    struct node *child = find(node, path, length);
    if (child != NULL && child->type != EXT2_FT_DIR) {
      drop(child);
      child = NULL;
    }
    node->layer = layer;
    node = child != NULL ? child : add_directory(node, path, length, &UNDESCRIBED);
  }
  node->layer = layer;
  *name = path;
  return node;
}

static struct node *lookup(const char *path)
{
  struct node *node = root;
  for (;;) {
    size_t length = strcspn(path, "/");
    if (length == 0)
      return node;
    if (node->type != EXT2_FT_DIR || (node = find(node, path, length)) == NULL)
      return NULL;
    path += length + (path[length] == '/');
  }
}

static void place_directory(const struct entry *entry)
{
  const char *name;
  struct node *parent = parent_of(entry->path, &name);
  struct node *node = entry->path[0] == '\0' ? root : find(parent, name, strlen(name));
  if (node != NULL && node->type == EXT2_FT_DIR)
    inode_describe(node->ino, entry);
  else {
    if (node != NULL)
      drop(node);
    node = add_directory(parent, name, strlen(name), entry);
  }
  node->layer = node->described = layer;
}

static uint8_t type_of(char type)
{
  switch (type) {
  case '0':
    return EXT2_FT_REG_FILE;
  case '2':
    return EXT2_FT_SYMLINK;
  case '3':
    return EXT2_FT_CHRDEV;
  case '4':
    return EXT2_FT_BLKDEV;
  default:
    return EXT2_FT_FIFO;
  }
}

void names_place(const struct entry *entry)
{
  if (entry->type == '5') {
    place_directory(entry);
    return;
  }
  ext2_ino_t ino;
  uint8_t type = type_of(entry->type);
  if (entry->type == '1') {
    struct node *target = lookup(entry->target);
    if (target == NULL || target->type == EXT2_FT_DIR)
      fail_tree("a hard link names a file that is not there", entry->path);
    ino = target->ino;
    type = target->type;
  } else {
    ino = inode_new(entry);
    if (entry->type == '0') {
      inode_content(ino, entry->size);
      stream_skip_padding(entry->size);
    }
  }
  // Before the old name goes: it may be the file's last one, or a directory above the file.
  inode_link(ino);
  const char *name;
  struct node *parent = parent_of(entry->path, &name), *old = find(parent, name, strlen(name));
  if (old != NULL)
    drop(old);
  add(parent, name, strlen(name), ino, type)->layer = layer;
}

void names_describe(const struct entry *entry)
{
  const struct node *node = lookup(entry->path);
  if (node == NULL)
    fail_tree("nothing has a name that is to be described", entry->path);
  inode_describe(node->ino, entry);
  if (entry->size == 0)
    return;
  if (node->type != EXT2_FT_REG_FILE)
    fail_tree("what is no file would get content", entry->path);
  inode_empty(node->ino);
  inode_content(node->ino, entry->size);
  stream_skip_padding(entry->size);
}

void names_hide(const char *path, bool content)
{
  hidden = need_more(hidden, (hidden_count + 1) * sizeof *hidden);
  char *kept = strdup(path);
  if (kept == NULL)
    fail("no memory");
  hidden[hidden_count++] = (struct hidden){kept, content};
}

/* Takes away what lower layers have in a directory. */
static void purge(struct node *directory)
{
  for (struct node *node = directory->first, *next; node != NULL; node = next) {
    next = node->next;
    if (node == lost_and_found && node->described == 0)
      continue;
    if (node->layer != layer)
      drop(node);
    else if (node->type == EXT2_FT_DIR) {
      if (node->described != layer)
        inode_describe(node->ino, &UNDESCRIBED);
      purge(node);
    }
  }
}

static void hide(const struct hidden *what)
{
  struct node *node = lookup(what->path);
  if (node == NULL || (node == lost_and_found && node->described == 0))
    return;
  bool directory = node->type == EXT2_FT_DIR;
  if (what->content || node == root) {
    if (directory)
      purge(node);
  } else if (node->layer != layer)
    drop(node);
  else if (directory) {
    if (node->described != layer)
      inode_describe(node->ino, &UNDESCRIBED);
    purge(node);
  }
}

/* A name in a directory's blocks; the last one of a block reaches to its end. */
struct cursor {
  char *content;
  size_t blocks, at, last, room;
};

static void put_name(struct cursor *cursor, ext2_ino_t ino, const char *name, size_t length, uint8_t type)
{
  size_t size = EXT2_DIR_REC_LEN(length);
  if (cursor->blocks == 0 || cursor->at + size > cursor->room) {
    cursor->content = need_more(cursor->content, (cursor->blocks + 1) * BLOCK);
    memset(cursor->content + cursor->blocks++ * BLOCK, 0, BLOCK);
    cursor->at = cursor->last = 0;
  }
  char *block = cursor->content + (cursor->blocks - 1) * BLOCK;
  struct ext2_dir_entry *before = (struct ext2_dir_entry *)(block + cursor->last);
  if (cursor->at > 0)
    check(ext2fs_set_rec_len(fs, (unsigned)(cursor->at - cursor->last), before), "writing a directory");
  struct ext2_dir_entry *entry = (struct ext2_dir_entry *)(block + cursor->at);
  entry->inode = ino;
  ext2fs_dirent_set_name_len(entry, (int)length);
  ext2fs_dirent_set_file_type(entry, type);
  memcpy(entry->name, name, length);
  check(ext2fs_set_rec_len(fs, (unsigned)(cursor->room - cursor->at), entry), "writing a directory");
  cursor->last = cursor->at;
  cursor->at += size;
}

static void write_directory(struct node *directory)
{
  bool tail = ext2fs_has_feature_metadata_csum(fs->super);
  struct cursor cursor = {.room = BLOCK - (tail ? sizeof(struct ext2_dir_entry_tail) : 0)};
  put_name(&cursor, directory->ino, ".", 1, EXT2_FT_DIR);
  put_name(&cursor, directory->parent->ino, "..", 2, EXT2_FT_DIR);
  for (const struct node *node = directory->first; node != NULL; node = node->next)
    put_name(&cursor, node->ino, node->name, node->length, node->type);
  if (tail)
    for (size_t i = 0; i < cursor.blocks; i++)
      ext2fs_initialize_dirent_tail(fs, EXT2_DIRENT_TAIL(cursor.content + i * BLOCK, BLOCK));
  inode_directory(directory->ino, cursor.content, cursor.blocks, 2 + directory->directories);
  free(cursor.content);
  directory->changed = false;
}

static void write_directories(struct node *directory)
{
  if (directory->changed)
    write_directory(directory);
  for (struct node *node = directory->first; node != NULL; node = node->next)
    if (node->type == EXT2_FT_DIR)
      write_directories(node);
}

void names_open(ext2_filsys file_system)
{
  fs = file_system;
  if (getrandom(&seed, sizeof seed, 0) != (ssize_t)sizeof seed)
    fail("no random numbers");
  grow();
  struct entry entry = UNDESCRIBED;
  entry.path = "";
  root = need(sizeof *root);
  root->parent = root;
  root->ino = inode_new(&entry);
  root->type = EXT2_FT_DIR;
  root->changed = true;
  entry.path = "lost+found";
  entry.mode = 0700;
  lost_and_found = add_directory(root, entry.path, strlen(entry.path), &entry);
}

void names_end_layer(void)
{
  for (size_t i = 0; i < hidden_count; i++) {
    hide(&hidden[i]);
    free(hidden[i].path);
  }
  hidden_count = 0;
  write_directories(root);
  layer++;
}
