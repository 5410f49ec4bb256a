// The kernel interfaces Swift cannot reach: liburing, and variadic, macro-built or GNU-only system calls. Shims only, no
// logic. Every call answers what the system call answers: -1 with errno set, or a negative errno where its comment says
// so. No system header of types is included here, so that Swift sees one definition of each.
#ifndef NACRE_CLINUX_H
#define NACRE_CLINUX_H
#include <stdint.h>
#include <sys/types.h>

struct nacre_ring;

int nacre_ring_open(unsigned entries, struct nacre_ring **out);

void nacre_ring_close(struct nacre_ring *ring);

unsigned nacre_ring_ready(struct nacre_ring *ring);

void nacre_prep_read(struct nacre_ring *ring, int fd, void *p, unsigned n, uint64_t at, uint64_t id);

void nacre_prep_write(struct nacre_ring *ring, int fd, const void *p, unsigned n, uint64_t at, int dsync, uint64_t id);

void nacre_prep_fdatasync(struct nacre_ring *ring, int fd, uint64_t id);

void nacre_prep_fallocate(struct nacre_ring *ring, int fd, int mode, uint64_t at, uint64_t n, uint64_t id);

void nacre_prep_poll(struct nacre_ring *ring, int fd, unsigned mask, uint64_t id);

void nacre_prep_poll_remove(struct nacre_ring *ring, uint64_t target, uint64_t id);

// Submits what is prepared; with wait, sleeps until a completion or for at most timeout_ns (0: for ever). A negative
// errno on failure; -ETIME and -EINTR are no failures.
int nacre_ring_enter(struct nacre_ring *r, int wait, uint64_t timeout_ns);

// Takes up to count completions off the ring: their ids and results.
unsigned nacre_ring_reap(struct nacre_ring *r, uint64_t *ids, int *results, unsigned count);

// Modes and flags that Swift cannot name.
int nacre_punch_hole(void);
int nacre_zero_range(void);
int nacre_o_direct(void);
int nacre_seek_data(void);
int nacre_seek_hole(void);

int nacre_open(const char *path, int flags, unsigned mode);
// openat2(2): as open, but ELOOP where any component of the path is a symbolic link.
int nacre_open_without_links(const char *path, int flags);

// A file without a name in a folder (O_TMPFILE), gone when its last descriptor closes unless it gets one.
int nacre_open_unnamed(const char *folder, unsigned mode);
// Gives such a file a name that nothing has: EEXIST where something has it.
int nacre_link_unnamed(int fd, const char *path);

int nacre_fallocate(int fd, int mode, int64_t at, int64_t n);

// Reads what the page cache holds and never waits for the device: -1 and EAGAIN where it holds nothing.
ssize_t nacre_pread_cached(int fd, void *p, size_t n, int64_t at);

// The allocator keeps up to so many bytes of what is freed, and takes less than so many from its own memory.
void nacre_keep_freed(int keep, int largest);

// A wake-up: closed on exec, never blocks.
int nacre_eventfd(void);

// How often the calling thread has given its core up by itself.
long nacre_thread_waits(void);

ssize_t nacre_preadv(int fd, void *p, size_t n, int64_t at);

ssize_t nacre_pwritev(int fd, const void *p, size_t n, int64_t at);

// Open-file-description locks on [start, start + length): type is F_RDLCK, F_WRLCK or F_UNLCK. 0 or a negative errno.
int nacre_ofd_lock(int fd, short type, int64_t start, int64_t length);

// The year, month from 1 on, day, hour, minute and second of this place.
void nacre_local_time(uint32_t seconds, int *parts);

// Locks a whole file for this process until it ends. 0, or -1.
int nacre_lock_file(int fd);

// Whether such a lock could be taken: 0 free, 1 held by someone else, or a negative errno.
int nacre_ofd_test(int fd, short type, int64_t start, int64_t length);

int nacre_set_direct(int fd, int on);

int nacre_set_nonblocking(int fd);

// O_RDONLY, O_WRONLY or O_RDWR, as the open file was opened; -1 for what is no open file.
int nacre_access_mode(int fd);

// A second descriptor of the same open file, closed on exec.
int nacre_duplicate(int fd);

int nacre_device_size(int fd, uint64_t *bytes);

int nacre_device_sector(int fd, int *bytes);

int nacre_device_discard(int fd, uint64_t at, uint64_t n);

// Turns copy-on-write of a file off, which btrfs knows.
int nacre_set_no_cow(int fd);

// Tells the file system in which extents to give an empty file room, which XFS knows.
int nacre_set_extent_size(int fd, unsigned bytes);

// Alignment that direct I/O on the file needs, where the kernel tells it: 0, or -1.
int nacre_direct_alignment(int fd, unsigned *memory, unsigned *offset);

// Receives bytes and, on unix sockets, passed descriptors: *nfds holds the room in fds and then how many came.
ssize_t nacre_recvmsg(int fd, void *p, size_t n, int *fds, int *nfds);

// Sends two buffers as one message, without SIGPIPE and without waiting.
ssize_t nacre_send2(int fd, const void *p, size_t n, const void *q, size_t m);

int nacre_bind_unix(int fd, const char *path);

int nacre_connect_unix(int fd, const char *path);

int nacre_errno(void);

// A stream socket of a family, closed on exec.
int nacre_socket(int family);

// The next connection, closed on exec and not blocking.
int nacre_accept(int fd);

// The port a socket is bound to, or -1.
int nacre_local_port(int fd);

// The address it is bound to as "host:port" in numbers, ended by NUL: 0, or -1 where it is no inet socket.
int nacre_local_address(int fd, char *text, size_t n);

// A socket bound (passive) or connected to a host and port; -1, and in *code an errno, or a negative resolver error. The
// family is 4, 6 or 0 (either); without a host a passive socket takes both where the system has both. A connection to one
// address may take timeout_ms milliseconds (0: as long as the system waits); then *code is ETIMEDOUT.
int nacre_inet(const char *host, const char *port, int family, int numeric, int passive, int timeout_ms, int *code);

// Bounds how long connect and blocking sends on a socket wait, in milliseconds; 0: for ever.
void nacre_set_send_timeout(int fd, int timeout_ms);

// SIGINT, SIGTERM and SIGHUP are blocked in the calling thread and those it starts; SIGPIPE is ignored.
void nacre_block_signals(void);

// A descriptor that tells these signals, and the taking of one: 0, or -1 where there is none.
int nacre_termination_signals(void);
int nacre_take_signal(int fd);

// A lock that many share or one holds alone; whoever wants it alone goes before those who would share it.
struct nacre_turns;
struct nacre_turns *nacre_turns_make(void);
void nacre_turns_begin(struct nacre_turns *turns, int alone);
void nacre_turns_end(struct nacre_turns *turns);
void nacre_turns_free(struct nacre_turns *turns);

#endif
