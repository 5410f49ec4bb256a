// What the program itself asks of the system, in forms without pointers.
#ifndef NACRE_PROGRAM_H
#define NACRE_PROGRAM_H
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

// Goes on in a process of its own session, without a terminal. The first process stays until nacre_detached is called,
// and exits with 0 then, or with 1 where the other ends before. Answers the descriptor for nacre_detached, or -errno.
// Call it while there is one thread.
static inline int nacre_detach(void) {
    int ends[2];
    if (pipe(ends) < 0) return -errno;
    fcntl(ends[0], F_SETFD, FD_CLOEXEC);
    fcntl(ends[1], F_SETFD, FD_CLOEXEC);
    pid_t child = fork();
    if (child < 0) return -errno;
    if (child > 0) {
        char status = 1;
        ssize_t got;
        close(ends[1]);
        do got = read(ends[0], &status, 1); while (got < 0 && errno == EINTR);
        _exit(got == 1 && status == 0 ? 0 : 1);
    }
    close(ends[0]);
    if (setsid() < 0) return -errno;
    child = fork();
    if (child < 0) return -errno;
    if (child > 0) _exit(0);
    umask(027);
    signal(SIGTSTP, SIG_IGN);
    signal(SIGTTOU, SIG_IGN);
    signal(SIGTTIN, SIG_IGN);
    return ends[1];
}

// Lets go of the folder and the three standard streams, and lets the first process end well.
static inline int nacre_detached(int notify) {
    int null = open("/dev/null", O_RDWR);
    if (null < 0 || chdir("/") < 0) return -errno;
    for (int stream = 0; stream < 3; stream++)
        if (dup2(null, stream) < 0) return -errno;
    if (null > 2) close(null);
    char status = 0;
    ssize_t put = write(notify, &status, 1);
    close(notify);
    return put == 1 ? 0 : -EPIPE;
}

// Whether a descriptor is a terminal.
static inline int nacre_is_terminal(int file) { return isatty(file); }

// Keys one by one and without an echo (1), or lines again (0). 0, or -errno.
static inline int nacre_read_keys(int file, int on) {
    struct termios mode;
    if (tcgetattr(file, &mode) < 0) return -errno;
    if (on) mode.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    else mode.c_lflag |= ICANON | ECHO;
    if (on) mode.c_cc[VMIN] = 1, mode.c_cc[VTIME] = 0;
    return tcsetattr(file, TCSADRAIN, &mode) < 0 ? -errno : 0;
}

// Lets reads and writes of a descriptor wait again, which whoever shares it expects.
static inline void nacre_make_blocking(int file) {
    int flags = fcntl(file, F_GETFL);
    if (flags >= 0) fcntl(file, F_SETFL, flags & ~O_NONBLOCK);
}
#endif
