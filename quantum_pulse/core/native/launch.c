/* Start another program that has nothing to do with this one: nobody's child, in a session of its own, without our
 * descriptors.
 *
 * As posix_spawn(3) does, without a copy of this process: the new process shares our memory until it becomes the other
 * program, and this thread waits for that. It is done twice, so that the program is an orphan from the beginning. The
 * process in between ends without a signal, so that nothing in the host learns of it. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "rings.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_UNPOISON_MEMORY_REGION(memory, bytes) ((void)0)
#endif

#define STACK_BYTES (64 * 1024)

typedef struct {
    char **arguments, **environment;
    char *stack; /* of the second process */
    int failure; /* errno of the one that does not run */
} Launch;

static void
close_descriptors(void)
{
#ifdef SYS_close_range
    if (syscall(SYS_close_range, 3u, ~0u, 0u) == 0)
        return;
#endif
    long limit = sysconf(_SC_OPEN_MAX);
    for (int descriptor = 3; descriptor < (limit > 0 && limit < 65536 ? limit : 65536); descriptor++)
        close(descriptor);
}

static int
become_program(void *argument)
{
    Launch *launch = argument;
    struct sigaction usual = {.sa_handler = SIG_DFL};
    for (int number = 1; number < NSIG; number++)
        sigaction(number, &usual, NULL);
    sigset_t none;
    sigemptyset(&none);
    setsid();
    int null = open("/dev/null", O_RDWR);
    for (int descriptor = 0; null >= 0 && descriptor < 3; descriptor++)
        dup2(null, descriptor);
    close_descriptors();
    if (chdir("/") < 0)
        launch->failure = 0; /* where it is then, it stays */
    sigprocmask(SIG_SETMASK, &none, NULL);
    execve(launch->arguments[0], launch->arguments, launch->environment);
    launch->failure = errno;
    _exit(127);
}

static int
between(void *argument)
{
    Launch *launch = argument;
    if (clone(become_program, launch->stack + STACK_BYTES, CLONE_VM | CLONE_VFORK | SIGCHLD, launch) < 0)
        launch->failure = errno;
    _exit(0);
}

/* Returns 0 or an errno. */
static int
run(char **arguments, char **environment)
{
    char *stacks = mmap(NULL, 2 * STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (stacks == MAP_FAILED)
        return errno;
    Launch launch = {arguments, environment, stacks + STACK_BYTES, 0};
    /* No handler of the host's may run in the new processes, which share its memory. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    int process = clone(between, stacks + STACK_BYTES, CLONE_VM | CLONE_VFORK, &launch);
    int failure = process < 0 ? errno : 0;
    while (process > 0 && waitpid(process, NULL, __WCLONE) < 0 && errno == EINTR)
        ;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    /* The functions that ran on them never returned, so that the sanitizer takes what is mapped here next for theirs. */
    ASAN_UNPOISON_MEMORY_REGION(stacks, 2 * STACK_BYTES);
    munmap(stacks, 2 * STACK_BYTES);
    return failure != 0 ? failure : launch.failure;
}

/* The strings in a sequence of bytes, ending with NULL; borrowed from them. NULL with an exception. */
static char **
strings_in(PyObject *sequence)
{
    Py_ssize_t length = PyTuple_GET_SIZE(sequence);
    char **strings = PyMem_Calloc((size_t)length + 1, sizeof(char *));
    if (strings == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    for (Py_ssize_t i = 0; i < length; i++) {
        if (PyBytes_AsStringAndSize(PyTuple_GET_ITEM(sequence, i), &strings[i], NULL) < 0) { /* it refuses zero bytes */
            PyMem_Free(strings);
            return NULL;
        }
    }
    return strings;
}

static PyObject *
launch(PyObject *module, PyObject *args)
{
    PyObject *arguments, *environment;
    if (!PyArg_ParseTuple(args, "O!O!", &PyTuple_Type, &arguments, &PyTuple_Type, &environment))
        return NULL;
    if (PyTuple_GET_SIZE(arguments) == 0)
        return PyErr_Format(PyExc_ValueError, "launch() needs the path of a program");
    char **own_arguments = strings_in(arguments), **own_environment = own_arguments == NULL ? NULL : strings_in(environment);
    int failure = own_environment == NULL ? -1 : run(own_arguments, own_environment);
    PyMem_Free(own_arguments);
    PyMem_Free(own_environment);
    if (failure < 0)
        return NULL;
    if (failure > 0) {
        errno = failure;
        return PyErr_SetFromErrnoWithFilenameObject(PyExc_OSError, PyTuple_GET_ITEM(arguments, 0));
    }
    Py_RETURN_NONE;
}

PyMethodDef launch_functions[] = {
    {"launch", launch, METH_VARARGS, "Start a program that is nobody's child; args: arguments, environment, as tuples of bytes."},
    {NULL},
};
