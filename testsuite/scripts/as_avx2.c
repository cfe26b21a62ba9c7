/* A processor with AVX2 out of one with more: a library for LD_PRELOAD that hides AVX-512, VNNI and AMX from CPUID.
 *
 * Libraries choose their kernels by what CPUID says. Linux lets a process have CPUID fault where the processor can (the flag
 * `cpuid_fault` of /proc/cpuinfo); the handler here runs the instruction, takes bits out of the answer and goes on behind
 * it. Threads and forks inherit that, and what the process executes starts with this library again, as its environment
 * says. What stays as it is: the state that XGETBV reports, caches, model and clock, and what libc chose when it was
 * loaded, before this (set GLIBC_TUNABLES for that). A process that cannot have the fault ends at once, with a word.
 *
 * bench.py builds and loads it: `bench.py --as avx2`. By hand: cc -O2 -shared -fPIC -o as_avx2.so as_avx2.c
 */
#define _GNU_SOURCE
#include <asm/prctl.h>
#include <dlfcn.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define BIT(n) (1u << (n))

/* What is hidden, in the order of CPUID's leaves. */
enum {
    /* leaf 7, EBX: avx512 f, dq, ifma, pf, er, cd, bw, vl */
    EBX_7_0 = BIT(16) | BIT(17) | BIT(21) | BIT(26) | BIT(27) | BIT(28) | BIT(30) | BIT(31),
    /* ECX: avx512 vbmi, vbmi2, vnni, bitalg, vpopcntdq */
    ECX_7_0 = BIT(1) | BIT(6) | BIT(11) | BIT(12) | BIT(14),
    /* EDX: avx512 4vnniw, 4fmaps, vp2intersect; amx bf16; avx512 fp16; amx tile, int8 */
    EDX_7_0 = BIT(2) | BIT(3) | BIT(8) | BIT(22) | BIT(23) | BIT(24) | BIT(25),
    /* EAX of 7.1: avx-vnni, avx512 bf16, amx fp16, avx-ifma */
    EAX_7_1 = BIT(4) | BIT(5) | BIT(21) | BIT(23),
    /* EDX of 7.1: avx-vnni-int8, avx-ne-convert, amx-complex, avx-vnni-int16, avx10 */
    EDX_7_1 = BIT(4) | BIT(5) | BIT(8) | BIT(10) | BIT(19),
    /* leaf 13, EAX: states of AVX-512 and AMX */
    EAX_13_0 = BIT(5) | BIT(6) | BIT(7) | BIT(17) | BIT(18),
};

static struct sigaction theirs; /* What is done about other faults. */

static long cpuid_allowed(unsigned long yes) {
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "0"(SYS_arch_prctl), "D"(ARCH_SET_CPUID), "S"(yes) : "rcx", "r11", "memory");
    return result;
}

static void emulate(greg_t *registers) {
    uint32_t leaf = (uint32_t)registers[REG_RAX], part = (uint32_t)registers[REG_RCX];
    uint32_t a = leaf, b, c = part, d;
    cpuid_allowed(1);
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    cpuid_allowed(0);
    if (leaf == 7 && part == 0) {
        b &= ~(uint32_t)EBX_7_0, c &= ~(uint32_t)ECX_7_0, d &= ~(uint32_t)EDX_7_0;
    } else if (leaf == 7 && part == 1) {
        a &= ~(uint32_t)EAX_7_1, d &= ~(uint32_t)EDX_7_1;
    } else if (leaf == 13 && part == 0) {
        a &= ~(uint32_t)EAX_13_0;
    } else if (leaf == 0x1d || leaf == 0x1e || leaf == 0x24) { /* AMX's tiles and its multiplier, AVX10 */
        a = b = c = d = 0;
    }
    registers[REG_RAX] = a, registers[REG_RBX] = b, registers[REG_RCX] = c, registers[REG_RDX] = d;
    registers[REG_RIP] += 2;
}

static void on_fault(int number, siginfo_t *info, void *context) {
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    /* SI_KERNEL: not an access to memory, so the instruction can be read. */
    if (info->si_code == SI_KERNEL && memcmp((void *)registers[REG_RIP], "\x0f\xa2", 2) == 0) {
        emulate(registers);
    } else if (theirs.sa_flags & SA_SIGINFO) {
        theirs.sa_sigaction(number, info, context);
    } else if (theirs.sa_handler != SIG_DFL && theirs.sa_handler != SIG_IGN) {
        theirs.sa_handler(number);
    } else { /* The instruction faults again, and ends the process. */
        syscall(SYS_rt_sigaction, SIGSEGV, &(long[4]){0}, NULL, 8);
    }
}

/* The handler stays whoever sets another; theirs gets what is no CPUID. */
int sigaction(int number, const struct sigaction *action, struct sigaction *old) {
    int (*next)(int, const struct sigaction *, struct sigaction *) = dlsym(RTLD_NEXT, "sigaction");
    if (number != SIGSEGV) return next(number, action, old);
    struct sigaction before = theirs;
    if (action) theirs = *action;
    if (old) *old = before;
    return 0;
}

sighandler_t signal(int number, sighandler_t handler) {
    sighandler_t (*next)(int, sighandler_t) = dlsym(RTLD_NEXT, "signal");
    if (number != SIGSEGV) return next(number, handler);
    sighandler_t before = theirs.sa_handler;
    theirs = (struct sigaction){.sa_handler = handler};
    return before;
}

__attribute__((constructor)) static void start(void) {
    int (*next)(int, const struct sigaction *, struct sigaction *) = dlsym(RTLD_NEXT, "sigaction");
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER | SA_RESTART};
    uint32_t a = 7, b = 0, c = 0, d;
    long refused = next(SIGSEGV, &action, NULL) != 0 || cpuid_allowed(0) != 0;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    if (refused || b & EBX_7_0) {
        static const char word[] = "as_avx2: CPUID cannot be made to fault here (cpuid_fault in /proc/cpuinfo)\n";
        (void)!write(2, word, sizeof word - 1);
        _exit(1);
    }
}
