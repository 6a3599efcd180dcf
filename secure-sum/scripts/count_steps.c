/* Counts the instructions of functions by single steps: count_steps SKIP PROGRAM ARGUMENT... with the names and
 * addresses (in the file) of the functions on standard input, one "NAME HEXADDRESS" a line. For every call of one of
 * them but the first SKIP it prints "NAME COUNT": the instructions from its entry to its return, whatever the
 * processor's instruction set.
 *
 * Linux on x86-64; system calls inside count as one instruction. */
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define FUNCTIONS_MAX 16

struct function {
    char name[64];
    unsigned long address;
    long original;
    int skip;
};

static pid_t child;

static void fail(const char *what) {
    fprintf(stderr, "count_steps: %s: %s\n", what, strerror(errno));
    if (child > 0)
        kill(child, 9);
    exit(2);
}

/* Waits for a trap; ends this program when the child ended. */
static void wait_for_trap(void) {
    int status;
    if (waitpid(child, &status, 0) < 0)
        fail("waitpid");
    if (WIFEXITED(status))
        exit(WEXITSTATUS(status));
    if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGTRAP) {
        errno = 0;
        fail("the program stopped for another reason than a trap");
    }
}

static unsigned long instruction_pointer(void) {
    errno = 0;
    unsigned long at = ptrace(PTRACE_PEEKUSER, child, offsetof(struct user_regs_struct, rip), 0);
    if (errno)
        fail("PTRACE_PEEKUSER");
    return at;
}

/* Where the program was loaded: the first mapping of its file. */
static unsigned long base(void) {
    char path[64];
    unsigned long start;
    snprintf(path, sizeof path, "/proc/%d/maps", child);
    FILE *maps = fopen(path, "r");
    if (!maps || fscanf(maps, "%lx-", &start) != 1)
        fail(path);
    fclose(maps);
    return start;
}

static void set_breakpoint(struct function *f) {
    errno = 0;
    f->original = ptrace(PTRACE_PEEKTEXT, child, f->address, 0);
    if (errno || ptrace(PTRACE_POKETEXT, child, f->address, (f->original & ~0xffL) | 0xcc) < 0)
        fail("setting a breakpoint");
}

static void step(void) {
    if (ptrace(PTRACE_SINGLESTEP, child, 0, 0) < 0)
        fail("PTRACE_SINGLESTEP");
    wait_for_trap();
}

/* At the breakpoint of `f`: steps until it returned, and prints the count. */
static void count(struct function *f) {
    struct user_regs_struct registers;
    if (ptrace(PTRACE_GETREGS, child, 0, &registers) < 0)
        fail("PTRACE_GETREGS");
    registers.rip = f->address;
    if (ptrace(PTRACE_SETREGS, child, 0, &registers) < 0 ||
        ptrace(PTRACE_POKETEXT, child, f->address, f->original) < 0)
        fail("leaving a breakpoint");
    errno = 0;
    unsigned long back = ptrace(PTRACE_PEEKTEXT, child, registers.rsp, 0);
    if (errno)
        fail("reading the return address");
    if (f->skip-- > 0) {
        /* Over the first instruction, then on at full speed. */
        step();
        set_breakpoint(f);
        return;
    }
    unsigned long steps = 0;
    do {
        step();
        steps++;
    } while (instruction_pointer() != back);
    printf("%s %lu\n", f->name, steps);
    fflush(stdout);
    set_breakpoint(f);
}

int main(int argc, char **argv) {
    if (argc < 3) {
        fprintf(stderr, "count_steps SKIP PROGRAM ARGUMENT... < functions\n");
        return 2;
    }
    struct function functions[FUNCTIONS_MAX];
    int functions_count = 0;
    while (functions_count < FUNCTIONS_MAX &&
           scanf("%63s %lx", functions[functions_count].name, &functions[functions_count].address) == 2)
        functions[functions_count++].skip = atoi(argv[1]);
    child = fork();
    if (child == 0) {
        /* The same addresses in every run: copying loops depend on alignment. */
        personality(ADDR_NO_RANDOMIZE);
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        execv(argv[2], argv + 2);
        _exit(127);
    }
    wait_for_trap();
    unsigned long loaded = base();
    for (int i = 0; i < functions_count; i++) {
        functions[i].address += loaded;
        set_breakpoint(&functions[i]);
    }
    for (;;) {
        if (ptrace(PTRACE_CONT, child, 0, 0) < 0)
            fail("PTRACE_CONT");
        wait_for_trap();
        unsigned long at = instruction_pointer() - 1;
        for (int i = 0; i < functions_count; i++)
            if (functions[i].address == at)
                count(&functions[i]);
    }
}
