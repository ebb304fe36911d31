/*
 * instructions: a plugin of QEMU's user emulation that counts the instructions
 * a program runs, for bench to read while it does:
 *
 *	qemu-arm -plugin instructions.so,into=FILE PROGRAM ...
 *
 * FILE becomes an array of 64-bit numbers, STEP bytes apart, whose sum is the
 * count: each processor, which is a thread, has one of its own, so that none is
 * lost when two count at a time.
 *
 * Build: cc -O2 -Wall -Wextra -shared -fPIC -o instructions.so instructions.c
 */
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* What is used of QEMU's qemu-plugin.h, version 1, which Debian has no package of. */
struct qemu_plugin_tb;
typedef void (*translated_fn)(uint64_t, struct qemu_plugin_tb *);
typedef void (*executed_fn)(unsigned int, void *);
extern void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t, translated_fn);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, executed_fn, int flags, void *);
int qemu_plugin_version = 1;

enum { CPUS = 1024, STEP = 64 };

static char *counts;

static void executed(unsigned int cpu, void *instructions)
{
	*(volatile uint64_t *)(counts + cpu % CPUS * STEP) += (uintptr_t)instructions;
}

/* translated has the length of a block, which runs as a whole, added at each run. */
static void translated(uint64_t id, struct qemu_plugin_tb *block)
{
	(void)id;
	qemu_plugin_register_vcpu_tb_exec_cb(block, executed, 0, (void *)qemu_plugin_tb_n_insns(block));
}

int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv)
{
	static const char into[] = "into=";
	int fd = -1;

	(void)info;
	for (int i = 0; i < argc; i++)
		if (strncmp(argv[i], into, sizeof into - 1) == 0)
			fd = open(argv[i] + sizeof into - 1, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, CPUS * STEP) != 0)
		return -1;
	counts = mmap(NULL, CPUS * STEP, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (counts == MAP_FAILED)
		return -1;
	close(fd);
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	return 0;
}
