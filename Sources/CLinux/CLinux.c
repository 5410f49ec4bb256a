// See include/CLinux.h.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "CLinux.h"
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <malloc.h>
#include <poll.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

struct nacre_ring { struct io_uring ring; };

// A ring that one thread submits to and waits on, with the newest flags the kernel takes. 0, or a negative errno.
static int ring_init(struct io_uring *ring, unsigned entries) {
    unsigned flags = IORING_SETUP_CLAMP;
#if defined(IORING_SETUP_SINGLE_ISSUER) && defined(IORING_SETUP_DEFER_TASKRUN)
    if (io_uring_queue_init(entries, ring, flags | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN) == 0) return 0;
#endif
#ifdef IORING_SETUP_COOP_TASKRUN
    if (io_uring_queue_init(entries, ring, flags | IORING_SETUP_COOP_TASKRUN) == 0) return 0;
#endif
    return io_uring_queue_init(entries, ring, flags);
}


int nacre_ring_open(unsigned entries, struct nacre_ring **out) {
    struct nacre_ring *ring = calloc(1, sizeof(*ring));
    if (ring == NULL) return -ENOMEM;
    int code = ring_init(&ring->ring, entries);
    if (code < 0) { free(ring); return code; }
    *out = ring;
    return 0;
}
void nacre_ring_close(struct nacre_ring *ring) {
    io_uring_queue_exit(&ring->ring);
    free(ring);
}
unsigned nacre_ring_ready(struct nacre_ring *ring) { return io_uring_cq_ready(&ring->ring); }

// A free entry; a full queue is handed to the kernel first.
static struct io_uring_sqe *entry(struct nacre_ring *ring) {
    struct io_uring_sqe *e;
    while ((e = io_uring_get_sqe(&ring->ring)) == NULL) io_uring_submit(&ring->ring);
    return e;
}


void nacre_prep_read(struct nacre_ring *ring, int fd, void *p, unsigned n, uint64_t at, uint64_t id) {
    struct io_uring_sqe *e = entry(ring);
    io_uring_prep_read(e, fd, p, n, at);
    io_uring_sqe_set_data64(e, id);
}
void nacre_prep_write(struct nacre_ring *ring, int fd, const void *p, unsigned n, uint64_t at, int dsync, uint64_t id) {
    struct io_uring_sqe *e = entry(ring);
    io_uring_prep_write(e, fd, p, n, at);
    if (dsync) e->rw_flags = RWF_DSYNC;
    io_uring_sqe_set_data64(e, id);
}
void nacre_prep_fdatasync(struct nacre_ring *ring, int fd, uint64_t id) {
    struct io_uring_sqe *e = entry(ring);
    io_uring_prep_fsync(e, fd, IORING_FSYNC_DATASYNC);
    io_uring_sqe_set_data64(e, id);
}
void nacre_prep_fallocate(struct nacre_ring *ring, int fd, int mode, uint64_t at, uint64_t n, uint64_t id) {
    struct io_uring_sqe *e = entry(ring);
    io_uring_prep_rw(IORING_OP_FALLOCATE, e, fd, (const void *)(unsigned long)n, (unsigned)mode, at);
    io_uring_sqe_set_data64(e, id);
}
void nacre_prep_poll(struct nacre_ring *ring, int fd, unsigned mask, uint64_t id) {
    struct io_uring_sqe *e = entry(ring);
    io_uring_prep_poll_add(e, fd, mask);
    io_uring_sqe_set_data64(e, id);
}
void nacre_prep_poll_remove(struct nacre_ring *ring, uint64_t target, uint64_t id) {
    struct io_uring_sqe *e = entry(ring);
    io_uring_prep_poll_remove(e, target);
    io_uring_sqe_set_data64(e, id);
}

// Submits what is prepared; with wait, sleeps until a completion or for at most timeout_ns (0: for ever). A negative
// errno on failure; -ETIME and -EINTR are no failures.
int nacre_ring_enter(struct nacre_ring *r, int wait, uint64_t timeout_ns) {
    struct io_uring *ring = &r->ring;
    struct io_uring_cqe *cqe;
    if (!wait) return io_uring_submit_and_get_events(ring);
    if (timeout_ns == 0) return io_uring_submit_and_wait(ring, 1);
    struct __kernel_timespec ts = {.tv_sec = (int64_t)(timeout_ns / 1000000000ull), .tv_nsec = (long long)(timeout_ns % 1000000000ull)};
    return io_uring_submit_and_wait_timeout(ring, &cqe, 1, &ts, NULL);
}

// Takes up to count completions off the ring: their ids and results.
unsigned nacre_ring_reap(struct nacre_ring *r, uint64_t *ids, int *results, unsigned count) {
    struct io_uring *ring = &r->ring;
    struct io_uring_cqe *cqes[64];
    unsigned n = io_uring_peek_batch_cqe(ring, cqes, count < 64 ? count : 64);
    for (unsigned i = 0; i < n; i++) {
        ids[i] = cqes[i]->user_data;
        results[i] = cqes[i]->res;
    }
    io_uring_cq_advance(ring, n);
    return n;
}

int nacre_open(const char *path, int flags, unsigned mode) { return open(path, flags | O_CLOEXEC, mode); }
int nacre_open_without_links(const char *path, int flags) {
    struct open_how how = {.flags = (uint64_t)(flags | O_CLOEXEC), .resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
    return (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how);
}
void nacre_keep_freed(int keep, int largest) {
    mallopt(M_TRIM_THRESHOLD, keep);
    mallopt(M_MMAP_THRESHOLD, largest);
}
int nacre_open_unnamed(const char *folder, unsigned mode) { return open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, mode); }
int nacre_link_unnamed(int fd, const char *path) {
    char name[64];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    return linkat(AT_FDCWD, name, AT_FDCWD, path, AT_SYMLINK_FOLLOW);
}
int nacre_fallocate(int fd, int mode, int64_t at, int64_t n) { return fallocate(fd, mode, at, n); }
int nacre_eventfd(void) { return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); }
ssize_t nacre_pread_cached(int fd, void *p, size_t n, int64_t at) {
    struct iovec v = {.iov_base = p, .iov_len = n};
    return preadv2(fd, &v, 1, at, RWF_NOWAIT);
}
long nacre_thread_waits(void) {
    struct rusage usage;
    return getrusage(RUSAGE_THREAD, &usage) == 0 ? usage.ru_nvcsw : 0;
}
ssize_t nacre_preadv(int fd, void *p, size_t n, int64_t at) {
    struct iovec v = {.iov_base = p, .iov_len = n};
    return preadv(fd, &v, 1, at);
}
ssize_t nacre_pwritev(int fd, const void *p, size_t n, int64_t at) {
    struct iovec v = {.iov_base = (void *)p, .iov_len = n};
    return pwritev(fd, &v, 1, at);
}

// Open-file-description locks on [start, start + length): type is F_RDLCK, F_WRLCK or F_UNLCK. 0 or a negative errno.
int nacre_ofd_lock(int fd, short type, int64_t start, int64_t length) {
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
    return fcntl(fd, F_OFD_SETLK, &lock) == 0 ? 0 : -errno;
}
// Whether such a lock could be taken: 0 free, 1 held by someone else, or a negative errno.
int nacre_ofd_test(int fd, short type, int64_t start, int64_t length) {
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
    if (fcntl(fd, F_OFD_GETLK, &lock) != 0) return -errno;
    return lock.l_type == F_UNLCK ? 0 : 1;
}

void nacre_local_time(uint32_t seconds, int *parts) {
    time_t time = seconds;
    struct tm all;
    if (!localtime_r(&time, &all)) return;
    int each[] = {all.tm_year + 1900, all.tm_mon + 1, all.tm_mday, all.tm_hour, all.tm_min, all.tm_sec};
    memcpy(parts, each, sizeof(each));
}

int nacre_lock_file(int fd) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    return fcntl(fd, F_SETLK, &lock);
}

int nacre_set_direct(int fd, int on) {
    int flags = fcntl(fd, F_GETFL);
    return flags < 0 ? -1 : fcntl(fd, F_SETFL, on ? flags | O_DIRECT : flags & ~O_DIRECT);
}
int nacre_access_mode(int fd) {
    int flags = fcntl(fd, F_GETFL);
    return flags < 0 || flags & O_PATH ? -1 : flags & O_ACCMODE;
}

int nacre_duplicate(int fd) { return fcntl(fd, F_DUPFD_CLOEXEC, 0); }

int nacre_set_nonblocking(int fd) { return fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK); }

int nacre_device_size(int fd, uint64_t *bytes) { return ioctl(fd, BLKGETSIZE64, bytes); }
int nacre_device_sector(int fd, int *bytes) { return ioctl(fd, BLKSSZGET, bytes); }
int nacre_device_discard(int fd, uint64_t at, uint64_t n) {
    uint64_t range[2] = {at, n};
    return ioctl(fd, BLKDISCARD, range);
}

int nacre_set_no_cow(int fd) {
    int flags = 0;
    if (ioctl(fd, FS_IOC_GETFLAGS, &flags) != 0) return -1;
    flags |= FS_NOCOW_FL;
    return ioctl(fd, FS_IOC_SETFLAGS, &flags);
}

int nacre_set_extent_size(int fd, unsigned bytes) {
    struct fsxattr attributes;
    if (ioctl(fd, FS_IOC_FSGETXATTR, &attributes) != 0) return -1;
    attributes.fsx_xflags |= FS_XFLAG_EXTSIZE;
    attributes.fsx_extsize = bytes;
    return ioctl(fd, FS_IOC_FSSETXATTR, &attributes);
}

// Alignment that direct I/O on the file needs, where the kernel tells it: 0, or -1.
int nacre_direct_alignment(int fd, unsigned *memory, unsigned *offset) {
#ifdef STATX_DIOALIGN
    struct statx info;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &info) != 0 || !(info.stx_mask & STATX_DIOALIGN)) return -1;
    *memory = info.stx_dio_mem_align;
    *offset = info.stx_dio_offset_align;
    return *offset ? 0 : -1;
#else
    (void)fd; (void)memory; (void)offset;
    return -1;
#endif
}

// Receives bytes and, on unix sockets, passed descriptors: *nfds holds the room in fds and then how many came.
ssize_t nacre_recvmsg(int fd, void *p, size_t n, int *fds, int *nfds) {
    struct iovec v = {.iov_base = p, .iov_len = n};
    union { char bytes[CMSG_SPACE(16 * sizeof(int))]; struct cmsghdr align; } control;
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)};
    int room = *nfds;
    *nfds = 0;
    ssize_t got = recvmsg(fd, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (got < 0) return got;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
        int count = (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        for (int i = 0; i < count; i++) {
            int passed;
            memcpy(&passed, CMSG_DATA(c) + (size_t)i * sizeof(int), sizeof(int));
            if (*nfds < room) fds[(*nfds)++] = passed; else close(passed);
        }
    }
    return got;
}
// Sends two buffers as one message, without SIGPIPE and without waiting.
ssize_t nacre_send2(int fd, const void *p, size_t n, const void *q, size_t m) {
    struct iovec v[2] = {{.iov_base = (void *)p, .iov_len = n}, {.iov_base = (void *)q, .iov_len = m}};
    struct msghdr h = {.msg_iov = v, .msg_iovlen = m ? 2 : 1};
    return sendmsg(fd, &h, MSG_NOSIGNAL | MSG_DONTWAIT);
}
// A unix address: its length, or 0 where the path is too long.
static socklen_t nacre_unix_address(struct sockaddr_un *a, const char *path) {
    memset(a, 0, sizeof(*a));
    a->sun_family = AF_UNIX;
    if (strlen(path) >= sizeof(a->sun_path)) return 0;
    strcpy(a->sun_path, path);
    return sizeof(*a);
}
int nacre_bind_unix(int fd, const char *path) {
    struct sockaddr_un a;
    socklen_t n = nacre_unix_address(&a, path);
    if (n == 0) { errno = ENAMETOOLONG; return -1; }
    return bind(fd, (struct sockaddr *)&a, n);
}
int nacre_connect_unix(int fd, const char *path) {
    struct sockaddr_un a;
    socklen_t n = nacre_unix_address(&a, path);
    if (n == 0) { errno = ENAMETOOLONG; return -1; }
    return connect(fd, (struct sockaddr *)&a, n);
}
int nacre_errno(void) { return errno; }

int nacre_socket(int family) { return socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0); }
int nacre_accept(int fd) { return accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK); }
int nacre_local_port(int fd) {
    struct sockaddr_storage a;
    socklen_t n = sizeof(a);
    if (getsockname(fd, (struct sockaddr *)&a, &n) != 0) return -1;
    if (a.ss_family == AF_INET) return ntohs(((struct sockaddr_in *)&a)->sin_port);
    if (a.ss_family == AF_INET6) return ntohs(((struct sockaddr_in6 *)&a)->sin6_port);
    return -1;
}
int nacre_local_address(int fd, char *text, size_t n) {
    struct sockaddr_storage a;
    socklen_t length = sizeof(a);
    char host[INET6_ADDRSTRLEN + 1], port[8];
    if (getsockname(fd, (struct sockaddr *)&a, &length) != 0) return -1;
    if (a.ss_family != AF_INET && a.ss_family != AF_INET6) return -1;
    if (getnameinfo((struct sockaddr *)&a, length, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0) return -1;
    int used = snprintf(text, n, a.ss_family == AF_INET ? "%s:%s" : "[%s]:%s", host, port);
    return used > 0 && (size_t)used < n ? 0 : -1;
}
void nacre_set_send_timeout(int fd, int timeout_ms) {
    struct timeval time = { .tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000 };
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof(time));
}
int nacre_inet(const char *host, const char *port, int family, int numeric, int passive, int timeout_ms, int *code) {
    // Where no host is named, a socket for IPv6 takes IPv4 too.
    int both = passive && !host[0] && family == 0;
    struct addrinfo hints = {
        .ai_socktype = SOCK_STREAM,
        .ai_family = family == 4 ? AF_INET : family == 6 || both ? AF_INET6 : AF_UNSPEC,
        .ai_flags = (passive ? AI_PASSIVE : 0) | (numeric ? AI_NUMERICHOST : 0),
    }, *list;
    *code = getaddrinfo(host[0] ? host : NULL, port, &hints, &list);
    if (*code != 0) return -1;
    int fd = -1;
    for (struct addrinfo *a = list; a; a = a->ai_next) {
        fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, a->ai_protocol);
        if (fd < 0) { *code = errno; continue; }
        int one = 1, only = !both;
        if (passive && a->ai_family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof(only));
        if (passive) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
        else if (timeout_ms) nacre_set_send_timeout(fd, timeout_ms);
        if ((passive ? bind(fd, a->ai_addr, a->ai_addrlen) : connect(fd, a->ai_addr, a->ai_addrlen)) == 0) break;
        *code = errno == EINPROGRESS ? ETIMEDOUT : errno;
        close(fd);
        fd = -1;
    }
    freeaddrinfo(list);
    return fd < 0 && both ? nacre_inet(host, port, 4, numeric, passive, timeout_ms, code) : fd;
}
static void termination_set(sigset_t *set) {
    sigemptyset(set);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGHUP);
}
void nacre_block_signals(void) {
    sigset_t set;
    termination_set(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
}
int nacre_termination_signals(void) {
    sigset_t set;
    termination_set(&set);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}
int nacre_take_signal(int fd) {
    struct signalfd_siginfo info;
    return read(fd, &info, sizeof(info)) == sizeof(info) ? 0 : -1;
}
int nacre_punch_hole(void) { return FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE; }
int nacre_zero_range(void) { return FALLOC_FL_ZERO_RANGE; }
int nacre_o_direct(void) { return O_DIRECT; }
int nacre_seek_data(void) { return SEEK_DATA; }
int nacre_seek_hole(void) { return SEEK_HOLE; }

struct nacre_turns {
    pthread_rwlock_t lock;
};
struct nacre_turns *nacre_turns_make(void) {
    struct nacre_turns *turns = malloc(sizeof(*turns));
    if (!turns) abort();
    pthread_rwlockattr_t attributes;
    pthread_rwlockattr_init(&attributes);
    pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&turns->lock, &attributes);
    pthread_rwlockattr_destroy(&attributes);
    return turns;
}
void nacre_turns_begin(struct nacre_turns *turns, int alone) {
    if (alone) pthread_rwlock_wrlock(&turns->lock);
    else pthread_rwlock_rdlock(&turns->lock);
}
void nacre_turns_end(struct nacre_turns *turns) { pthread_rwlock_unlock(&turns->lock); }
void nacre_turns_free(struct nacre_turns *turns) {
    pthread_rwlock_destroy(&turns->lock);
    free(turns);
}
