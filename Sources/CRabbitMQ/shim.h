// What Swift cannot reach in librabbitmq's headers by itself: variadic functions, unions, and a few calls of
// the operating system. Stateless: every function works on what it is given.
#ifndef WARREN_CRABBITMQ_SHIM_H
#define WARREN_CRABBITMQ_SHIM_H

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/eventfd.h>
#endif

// From 0.12 on the headers live in a folder of their own and the old ones only warn.
#if __has_include(<rabbitmq-c/amqp.h>)
#include <rabbitmq-c/amqp.h>
#include <rabbitmq-c/framing.h>
#include <rabbitmq-c/tcp_socket.h>
#else
#include <amqp.h>
#include <amqp_framing.h>
#include <amqp_tcp_socket.h>
#endif

// MARK: Login (variadic in C)

/// librabbitmq's own login, which blocks: for clients in tests that share no code with Warren.
static inline amqp_rpc_reply_t warren_login_plain(
    amqp_connection_state_t state, const char *vhost, int channel_max, int frame_max, int heartbeat,
    const amqp_table_t *properties, const char *user, const char *password) {
  return amqp_login_with_properties(state, vhost, channel_max, frame_max, heartbeat, properties,
                                    AMQP_SASL_METHOD_PLAIN, user, password);
}

// MARK: Reading

/// One frame, flattened: Swift sees no unions and no casts.
typedef struct warren_frame {
  uint8_t type;
  uint16_t channel;
  uint32_t method;        // method frames
  void *decoded;          // method frames: the method's struct
  uint64_t body_size;     // header frames
  const uint8_t *bytes;   // header frames: the properties as they came; body frames: the fragment
  size_t count;
} warren_frame;

/// Decodes what has arrived, up to the end of one frame. Returns how many bytes that took, or librabbitmq's error (less
/// than 0). `out->type` is 0 while the frame is not whole.
static inline int warren_decode_frame(amqp_connection_state_t state, const uint8_t *bytes, size_t count,
                                      warren_frame *out) {
  amqp_frame_t frame;
  amqp_bytes_t input = {count, (void *)bytes};
  int taken = amqp_handle_input(state, input, &frame);
  if (taken < 0) return taken;
  memset(out, 0, sizeof *out);
  out->type = frame.frame_type;
  out->channel = frame.channel;
  switch (frame.frame_type) {
    case AMQP_FRAME_METHOD:
      out->method = frame.payload.method.id;
      out->decoded = frame.payload.method.decoded;
      break;
    case AMQP_FRAME_HEADER:
      out->body_size = frame.payload.properties.body_size;
      out->bytes = (const uint8_t *)frame.payload.properties.raw.bytes;
      out->count = frame.payload.properties.raw.len;
      break;
    case AMQP_FRAME_BODY:
      out->bytes = (const uint8_t *)frame.payload.body_fragment.bytes;
      out->count = frame.payload.body_fragment.len;
      break;
    default:
      break;
  }
  return taken;
}

// MARK: Writing

static inline void warren_put_u16(uint8_t *at, uint16_t v) {
  at[0] = (uint8_t)(v >> 8);
  at[1] = (uint8_t)v;
}
static inline void warren_put_u32(uint8_t *at, uint32_t v) {
  warren_put_u16(at, (uint16_t)(v >> 16));
  warren_put_u16(at + 2, (uint16_t)v);
}
static inline void warren_put_u64(uint8_t *at, uint64_t v) {
  warren_put_u32(at, (uint32_t)(v >> 32));
  warren_put_u32(at + 4, (uint32_t)v);
}

/// Writes one method frame; returns its size, or 0 when `capacity` is too small or a string is too long.
static inline size_t warren_encode_method(uint8_t *out, size_t capacity, uint16_t channel, uint32_t method,
                                          void *decoded) {
  if (capacity < 12) return 0;
  amqp_bytes_t arguments = {capacity - 12, out + 11};
  int n = amqp_encode_method(method, decoded, arguments);
  if (n < 0) return 0;
  out[0] = AMQP_FRAME_METHOD;
  warren_put_u16(out + 1, channel);
  warren_put_u32(out + 3, 4 + (uint32_t)n);
  warren_put_u32(out + 7, method);
  out[11 + n] = AMQP_FRAME_END;
  return 12 + (size_t)n;
}

/// Writes one content header frame of class `basic`; returns its size, or 0 when it does not fit.
static inline size_t warren_encode_header(uint8_t *out, size_t capacity, uint16_t channel, uint64_t body_size,
                                          amqp_basic_properties_t *properties) {
  if (capacity < 20) return 0;
  amqp_bytes_t encoded = {capacity - 20, out + 19};
  int n = amqp_encode_properties(AMQP_BASIC_CLASS, properties, encoded);
  if (n < 0) return 0;
  out[0] = AMQP_FRAME_HEADER;
  warren_put_u16(out + 1, channel);
  warren_put_u32(out + 3, 12 + (uint32_t)n);
  warren_put_u16(out + 7, AMQP_BASIC_CLASS);
  warren_put_u16(out + 9, 0);
  warren_put_u64(out + 11, body_size);
  out[19 + n] = AMQP_FRAME_END;
  return 20 + (size_t)n;
}

static inline ssize_t warren_send(int fd, const void *bytes, size_t count) {
#if defined(MSG_NOSIGNAL)
  return send(fd, bytes, count, MSG_NOSIGNAL);
#else
  return send(fd, bytes, count, 0);
#endif
}

// MARK: Header tables (unions in C)

static inline amqp_field_value_t warren_field_bytes(uint8_t kind, const void *bytes, size_t count) {
  amqp_field_value_t v;
  v.kind = kind;
  v.value.bytes.len = count;
  v.value.bytes.bytes = (void *)bytes;
  return v;
}
static inline amqp_field_value_t warren_field_i64(uint8_t kind, int64_t n) {
  amqp_field_value_t v;
  v.kind = kind;
  v.value.i64 = n;
  return v;
}
static inline amqp_field_value_t warren_field_bool(bool b) {
  amqp_field_value_t v;
  v.kind = AMQP_FIELD_KIND_BOOLEAN;
  v.value.boolean = b;
  return v;
}
static inline amqp_field_value_t warren_field_f64(double d) {
  amqp_field_value_t v;
  v.kind = AMQP_FIELD_KIND_F64;
  v.value.f64 = d;
  return v;
}
static inline amqp_field_value_t warren_field_void(void) {
  amqp_field_value_t v;
  memset(&v, 0, sizeof v);
  v.kind = AMQP_FIELD_KIND_VOID;
  return v;
}
static inline amqp_field_value_t warren_field_table(amqp_table_entry_t *entries, int count) {
  amqp_field_value_t v;
  v.kind = AMQP_FIELD_KIND_TABLE;
  v.value.table.num_entries = count;
  v.value.table.entries = entries;
  return v;
}
static inline amqp_field_value_t warren_field_array(amqp_field_value_t *values, int count) {
  amqp_field_value_t v;
  v.kind = AMQP_FIELD_KIND_ARRAY;
  v.value.array.num_entries = count;
  v.value.array.entries = values;
  return v;
}

// MARK: The operating system

/// SOCK_STREAM, whose type differs between systems.
static const int warren_stream = SOCK_STREAM;

/// A TCP socket that never blocks, is not inherited by child processes, sends at once, and whose writes raise no signal.
static inline int warren_tcp_socket(int family) {
#if defined(SOCK_CLOEXEC) && defined(SOCK_NONBLOCK)
  // At once: a child process started between two calls would keep the connection open after its owner closed it.
  int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP);
#else
  int fd = socket(family, SOCK_STREAM, IPPROTO_TCP);
#endif
  if (fd < 0) return -1;
  int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
#if defined(SO_NOSIGPIPE)
  setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on);
#endif
#if !defined(SOCK_CLOEXEC) || !defined(SOCK_NONBLOCK)
  if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || fcntl(fd, F_SETFL, O_NONBLOCK) < 0) {
    close(fd);
    return -1;
  }
#endif
  return fd;
}

/// Linux' eventfd on one descriptor; elsewhere a pipe. `fds[0]` is polled, `fds[1]` is written to.
static inline int warren_wakeup_open(int fds[2]) {
#if defined(__linux__)
  int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  fds[0] = fd;
  fds[1] = fd;
  return fd < 0 ? -1 : 0;
#else
  return pipe(fds);
#endif
}
static inline void warren_wakeup_signal(int fd) {
  uint64_t one = 1;
  ssize_t n;
  do n = write(fd, &one, sizeof one);
  while (n < 0 && errno == EINTR);
}
static inline void warren_wakeup_drain(int fd) {
  uint8_t buffer[64];
  ssize_t n;
  do n = read(fd, buffer, sizeof buffer);
  while (n < 0 && errno == EINTR);
}

/// Waits until `fd` can be read or the time is over. True when it can be read.
static inline bool warren_wait_readable(int fd, long microseconds) {
  struct pollfd poller = {.fd = fd, .events = POLLIN};
#if defined(__linux__)
  extern int ppoll(struct pollfd *, nfds_t, const struct timespec *, const sigset_t *);
  struct timespec time = {.tv_sec = microseconds / 1000000, .tv_nsec = microseconds % 1000000 * 1000};
  return ppoll(&poller, 1, &time, NULL) > 0;
#else
  return poll(&poller, 1, (int)((microseconds + 999) / 1000)) > 0;
#endif
}

static inline void warren_name_thread(const char *name) {
#if defined(__linux__)
  extern int pthread_setname_np(pthread_t, const char *);
  pthread_setname_np(pthread_self(), name);
#else
  pthread_setname_np(name);
#endif
}

#endif
