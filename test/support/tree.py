"""Prints a JSON line for each name below a directory, sorted: everything that an image can say about it.

Names, link targets and xattrs are bytes: they are printed as Latin-1, one character a byte.
"""
import hashlib
import json
import os
import stat
import sys

KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
}


def text(raw):
    return raw.decode("latin-1")


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def entry(path, name, links):
    info = os.lstat(path)
    kind = KINDS[stat.S_IFMT(info.st_mode)]
    found = {
        "name": text(name),
        "type": kind,
        "mode": stat.S_IMODE(info.st_mode),
        "uid": info.st_uid,
        "gid": info.st_gid,
        "mtime": info.st_mtime_ns // 1_000_000_000,
    }
    if kind == "file":
        found["size"] = info.st_size
        found["sha256"] = sha256(path)
    elif kind == "symlink":
        found["target"] = text(os.readlink(path))
        found["mode"] = 0o777
    elif kind.endswith("device"):
        found["rdev"] = [os.major(info.st_rdev), os.minor(info.st_rdev)]
    if kind != "directory" and info.st_nlink > 1:
        # The group's first name in sorted order stands for the group.
        found["link"] = links.setdefault((info.st_dev, info.st_ino), text(name))
    xattrs = {
        text(os.fsencode(key)): text(os.getxattr(path, key, follow_symlinks=False))
        for key in os.listxattr(path, follow_symlinks=False)
    }
    if xattrs:
        found["xattrs"] = xattrs
    return found


def names(root, relative=b""):
    for name in sorted(os.listdir(os.path.join(root, relative))):
        path = os.path.join(relative, name)
        yield path
        if stat.S_ISDIR(os.lstat(os.path.join(root, path)).st_mode):
            yield from names(root, path)


sys.setrecursionlimit(20_000)
top = os.fsencode(sys.argv[1])
groups = {}
print(json.dumps(entry(top, b".", groups)))
for each in sorted(names(top)):
    print(json.dumps(entry(os.path.join(top, each), each, groups)))
