/* A plugin of Slurm's (spank(8)) that puts the tasks of a step into a container of enroot's, in the order of NVIDIA's
   pyxis: create, start until it stops, join for each task, remove. Its option is --container-image=FILE.
   plugstack.conf gives it the path of enroot. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <slurm/spank.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

SPANK_PLUGIN(rootling_test, 1)

static char *image, *enroot, name[64];
static pid_t container = -1;
static int user = -1, cgroups = -1, mounts = -1, cwd = -1, conf = -1;
static uid_t uid;
static gid_t gid;

static int take_image(int value, const char *argument, int remote) {
  (void)value, (void)remote;
  image = strdup(argument);
  return 0;
}

static struct spank_option option = {"container-image", "FILE", "run in a container of this squashfs file", 1, 0, take_image};

int slurm_spank_init(spank_t sp, int argc, char **argv) {
  if (argc > 0) enroot = strdup(argv[0]);
  return spank_context() == S_CTX_LOCAL || spank_context() == S_CTX_REMOTE ? spank_option_register(sp, &option) : 0;
}

/* Of the job: where enroot finds its data. At the end of a step Slurm no longer tells. */
static const char *const wanted[] = {"HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR", "TMPDIR"};
enum { WANTED = sizeof wanted / sizeof *wanted };
static char values[WANTED][4096];

static void take_places(spank_t sp) {
  for (int i = 0; i < WANTED; i++)
    if (spank_getenv(sp, wanted[i], values[i], sizeof values[i]) != ESPANK_SUCCESS) values[i][0] = '\0';
}

/* Runs enroot as the user of the job. */
static pid_t run(char *const words[]) {
  pid_t pid = fork();
  if (pid != 0) return pid;
  for (int i = 0; i < WANTED; i++)
    if (values[i][0] != '\0') setenv(wanted[i], values[i], 1);
  setenv("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", 1);
  int null = open("/dev/null", O_RDWR);
  dup2(null, 0);
  dup2(null, 1);
  if (setregid(gid, gid) != 0 || setreuid(uid, uid) != 0) _exit(2);
  execv(enroot, words);
  _exit(3);
}

static int run_to_end(char *const words[]) {
  int status;
  pid_t pid = run(words);
  if (pid < 0 || waitpid(pid, &status, 0) != pid) {
    slurm_error("rootling: enroot %s was not seen to end: %s", words[1], strerror(errno));
    return -1;
  }
  if (status != 0) slurm_error("rootling: enroot %s failed: wait status %d", words[1], status);
  return status == 0 ? 0 : -1;
}

static int open_of(const char *what) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/%s", container, what);
  return open(path, O_RDONLY | O_CLOEXEC);
}

static int take_environment(spank_t sp) {
  char path[64], text[65536];
  snprintf(path, sizeof path, "/proc/%d/environ", container);
  int fd = open(path, O_RDONLY);
  ssize_t size = read(fd, text, sizeof text - 1);
  close(fd);
  for (ssize_t at = 0; at < size; at += (ssize_t)strlen(text + at) + 1) {
    text[size] = '\0';
    char variable[65536], *value;
    snprintf(variable, sizeof variable, "%s", text + at);
    if ((value = strchr(variable, '=')) == NULL) continue;
    *value++ = '\0';
    spank_setenv(sp, variable, value, 1);
  }
  return size < 0 ? -1 : 0;
}

/* In slurmstepd, as root, before there are tasks. */
int slurm_spank_user_init(spank_t sp, int argc, char **argv) {
  (void)argc, (void)argv;
  uint32_t job, step;
  if (image == NULL) return 0;
  spank_get_item(sp, S_JOB_UID, &uid);
  spank_get_item(sp, S_JOB_GID, &gid);
  spank_get_item(sp, S_JOB_ID, &job);
  spank_get_item(sp, S_JOB_STEPID, &step);
  take_places(sp);
  snprintf(name, sizeof name, "pyxis_%u.%u", job, step);
  if (run_to_end((char *[]){"enroot", "create", "--name", name, image, NULL}) != 0) return -1;
  static const char script[] = "mounts() {\n\techo \"/tmp /mnt none x-create=dir,bind,rw\"\n}\n";
  char path[32];
  conf = memfd_create("conf", 0);
  if (conf < 0 || write(conf, script, sizeof script - 1) < 0) return -1;
  snprintf(path, sizeof path, "/proc/self/fd/%d", conf);
  container = run((char *[]){"enroot", "start", "--rw", "--conf", path, name, "sh", "-c", "kill -STOP $$ ; exit 0", NULL});
  int status;
  if (container < 0 || waitpid(container, &status, WUNTRACED) != container || !WIFSTOPPED(status)) {
    slurm_error("rootling: the container did not start");
    return -1;
  }
  user = open_of("ns/user"), cgroups = open_of("ns/cgroup"), mounts = open_of("ns/mnt"), cwd = open_of("cwd");
  int result = user < 0 || cgroups < 0 || mounts < 0 || cwd < 0 ? -1 : take_environment(sp);
  kill(container, SIGCONT);
  return waitpid(container, &status, 0) == container && status == 0 ? result : -1;
}

/* In each task, as the user. */
int slurm_spank_task_init(spank_t sp, int argc, char **argv) {
  (void)sp, (void)argc, (void)argv;
  if (user < 0) return 0;
  if (setns(user, CLONE_NEWUSER) != 0 || setns(cgroups, CLONE_NEWCGROUP) != 0 || setns(mounts, CLONE_NEWNS) != 0 ||
      fchdir(cwd) != 0) {
    slurm_error("rootling: the container cannot be joined: %s", strerror(errno));
    return -1;
  }
  return 0;
}

int slurm_spank_exit(spank_t sp, int argc, char **argv) {
  (void)sp, (void)argc, (void)argv;
  if (spank_context() != S_CTX_REMOTE || user < 0) return 0;
  close(user);
  close(mounts);
  close(cwd);
  /* Slurm's proctrack/linuxproc ends what is left of the step meanwhile, and takes this for it. */
  for (int tries = 0; tries < 5; tries++)
    if (run_to_end((char *[]){"enroot", "remove", "-f", name, NULL}) == 0) return 0;
  return -1;
}
