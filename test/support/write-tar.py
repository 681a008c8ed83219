"""Writes a PAX tar from a JSON list of entries; names, contents and xattr values are one character a byte."""
import io
import json
import sys
import tarfile

TYPES = {
    "file": tarfile.REGTYPE,
    "directory": tarfile.DIRTYPE,
    "symlink": tarfile.SYMTYPE,
    "hardlink": tarfile.LNKTYPE,
    "fifo": tarfile.FIFOTYPE,
    "character": tarfile.CHRTYPE,
    "block": tarfile.BLKTYPE,
}


def raw(text):
    """The string that tarfile writes as these bytes: undecodable ones become surrogates."""
    return text.encode("latin-1").decode("utf-8", "surrogateescape")


with tarfile.open(sys.argv[1], "w", format=tarfile.PAX_FORMAT, encoding="utf-8", errors="surrogateescape") as tar:
    for entry in json.load(sys.stdin):
        kind = entry.get("type", "file")
        content = entry.get("content", "").encode("latin-1")
        info = tarfile.TarInfo(raw(entry["name"]).rstrip("/"))
        info.type = TYPES[kind]
        info.mode = entry.get("mode", 0o755 if kind == "directory" else 0o644)
        info.uid = entry.get("uid", 0)
        info.gid = entry.get("gid", 0)
        info.mtime = entry.get("mtime", 1_700_000_000)
        info.linkname = raw(entry.get("target", ""))
        info.size = len(content) if kind == "file" else 0
        info.devmajor, info.devminor = entry.get("device", (0, 0))
        info.pax_headers = {f"SCHILY.xattr.{name}": raw(value) for name, value in entry.get("xattrs", {}).items()}
        tar.addfile(info, io.BytesIO(content) if kind == "file" else None)
