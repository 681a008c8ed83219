/* The program of guests: the executor with tools of its own, each by the name that it is started under. */
#include "guest.h"
#include "../walk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct tool {
  const char *name;
  int (*run)(int argc, char **argv);
  const char *usage;
};

static const struct tool tools[] = {
    {"init", tool_init,
     "[--config FILE] [--override-exec] [--] [WORD...]\n"
     "Prepares the next root as FILE (/mnt/init.yml) says, and enters it.\n"
     "  --config FILE      another file; without this option, /mnt/init.yml may be missing\n"
     "  --override-exec    WORDs replace the configured command; else they are appended to it\n"
     "  --check            only say what is wrong with the file\n"
     "  --plan             only print the steps\n"
     "  --wire             the same as the executor reads them\n"
     "Example: init --config /mnt/rescue.yml --override-exec -- /bin/sh"},
    {"tolerant", tool_tolerant,
     "PROGRAM [WORD...]\n"
     "Runs a program: by its path or its name; all programs of a directory in the order of their names, until one\n"
     "fails; a file without execute permission through its own #! line.\n"
     "Example: tolerant /etc/boot.d start"},
    {"overlay", tool_overlay,
     "[--path DIR] [--cache DIR] [--] LAYER...\n"
     "Mounts an overlay on --path (/mnt/root): itself the lowest layer, each LAYER above the one before; what changes\n"
     "is kept in --cache (/mnt/cache/overlay).\n"
     "Example: overlay --path /mnt/root -- /mnt/layers/0 /mnt/layers/1"},
    {"mount-idmapped", tool_mount_idmapped,
     "--map-mount=b|u|g:FROM:TO:COUNT... [--recursive] SOURCE TARGET\n"
     "Mounts SOURCE on TARGET with other owners: ids FROM... on disk are TO... there (b: users and groups). --map-mount\n"
     "may repeat; ids of a kind that is not named stay what they are.\n"
     "Example: mount-idmapped --map-mount=b:0:1000000:65536 /mnt/root /mnt/root"},
    {"initctl", tool_initctl,
     "[PID]\n"
     "Makes /dev/initctl and takes the requests of halt, reboot and telinit: run level 0 or 6 ends PID (its parent).\n"
     "Example: initctl 1 &"},
    {"machine", tool_machine,
     "raw|ROWSxCOLUMNS [system]\n"
     "The first process of a virtual machine that `rootling start --vm` starts: carries out the plan beside it.\n"
     "Example: machine 24x80"},
};
enum { TOOLS = sizeof tools / sizeof *tools, STATUS_USAGE = 2 };

static const struct tool *find_tool(const char *name) {
  if (strncmp(name, "p5.lcboot.", 10) == 0) name += 10;
  for (int i = 0; i < TOOLS; i++)
    if (strcmp(tools[i].name, name) == 0) return &tools[i];
  return NULL;
}

/* What mends what went wrong, as far as the call and the error alone say it; the first line that fits. */
static const struct {
  const char *call; /* or NULL: any */
  int error;
  const char *mend;
} mends[] = {
    {"mount_setattr", EINVAL, "this file system cannot be mounted with other owners in this kernel: map what it is made of (for an overlay: its layers)"},
    {"mount_setattr", EPERM, "only root outside of user namespaces may map it, and only what is not mapped already"},
    {"uid_map", EINVAL, "see that no two maps have ids in common, and that none ends beyond 4294967294"},
    {"gid_map", EINVAL, "see that no two maps have ids in common, and that none ends beyond 4294967294"},
    {"uid_map", EPERM, "only root outside of user namespaces may map it"},
    {"layers", ELOOP, "give layers that lie beside one another"},
    {"cache", ELOOP, "give a cache that is in none of the layers"},
    {NULL, ECANCELED, "see what it has said, and mend what it needs, or leave it out"},
    {NULL, ENOENT, "see whether that is there: mount it or make it in the boot file system, or mend its name"},
    {NULL, ENOTDIR, "give a directory there"},
    {NULL, EFBIG, "an init.yml has at most 1 MiB: put long scripts into files of the guest, and name these"},
    {NULL, EROFS, "give the guest a writable directory there, such as /mnt/cache"},
    {NULL, ENOSPC, "the file system is full: give the guest a larger one, or empty it"},
    {NULL, EACCES, "give it execute permission, or a first line that begins with #!"},
    {NULL, EPERM, "the guest has to be started by root, with the capabilities that this needs"},
    {NULL, ENOEXEC, "its format is none that the kernel can execute: see whether it is for this architecture"},
    {NULL, ENODEV, "this kernel does not know that file system: load its module, as with `bootfs build --module`"},
};

static void show_mend(const char *call, int error) {
  for (size_t i = 0; i < sizeof mends / sizeof *mends; i++)
    if (mends[i].error == error && (mends[i].call == NULL || strcmp(mends[i].call, call) == 0)) {
      fprintf(stderr, "  mend: %s\n", mends[i].mend);
      return;
    }
}

int tool_failure(const char *tool) {
  int error = errno;
  fprintf(stderr, "rootling: %s: %s%s%s: %s\n", tool, failed_call, failed_detail[0] ? " " : "", failed_detail, strerror(error));
  show_mend(failed_call, error);
  return STATUS_FAILURE;
}

/* In place of `rootling explain`, which is not there: the same record, and the same end. */
void explain_here(const struct plan *plan, const struct message *failure) {
  const struct op *op = &plan->op[failure->op];
  const char *what = failure->error == ECANCELED ? "failed" : strerror(failure->error);
  fprintf(stderr, "rootling: init: %s: %s%s%s: %s\n  from: %s\n", op->verb->name, failure->call, failure->detail[0] ? " " : "",
          failure->detail, what, op->origin);
  show_mend(failure->call, failure->error);
}

int tool_usage(const char *tool, const char *wrong) {
  const struct tool *found = find_tool(tool);
  fprintf(stderr, "rootling: %s: %s\n  mend: see `%s --help`\n", tool, wrong, found == NULL ? "rootling" : found->name);
  return STATUS_USAGE;
}

static int overview(void) {
  puts("usage: TOOL [WORD...], by a link of that name or as the first word; each tool has --help");
  for (int i = 0; i < TOOLS; i++) printf("  %s\n", tools[i].name);
  return 0;
}

int main(int argc, char **argv) {
  const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
  const struct tool *tool = argc > 0 ? find_tool(slash == NULL ? argv[0] : slash + 1) : NULL;
  if (tool == NULL && argc > 1 && (tool = find_tool(argv[1])) != NULL) {
    argv++;
    argc--;
  }
  if (tool == NULL && argc == 2 && strcmp(argv[1], "--ops") == 0) return print_ops();
  if (tool == NULL) return argc == 2 && strcmp(argv[1], "--help") == 0 ? overview() : (overview(), STATUS_USAGE);
  if (argc == 2 && strcmp(argv[1], "--help") == 0) return printf("usage: %s %s\n", tool->name, tool->usage) < 0;
  return tool->run(argc, argv);
}
