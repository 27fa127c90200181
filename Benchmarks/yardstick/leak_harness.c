// Drives everything in Sources/CRabbitMQ/shim.h against a broker, over and over, for valgrind to watch.
//
// Uses the functions as the Swift side does: one buffer that it sends itself, requests answered by whatever frame comes
// next, buffers given back after each message. Ends with an error when what comes back is not what was sent.
#include "../../Sources/CRabbitMQ/shim.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "support.h"

enum { channel = 1, buffer_size = 1 << 20, messages_a_round = 60 };

typedef struct link {
  amqp_connection_state_t state;
  int fd;
  int wakeup[2];
  size_t frame_max;
  uint8_t *out;
  size_t used;
  uint8_t in[65536];
  size_t in_start, in_end;
  uint8_t *expected;    // the encoded properties of the message that is expected next
  size_t expected_count;
} link_t;

static const size_t body_sizes[] = {160, 0, 1, 131064, 131065, 300000};

static amqp_bytes_t text(const char *string) { return amqp_cstring_bytes(string); }

static void flush(link_t *l) {
  size_t sent = 0;
  while (sent < l->used) {
    ssize_t n = warren_send(l->fd, l->out + sent, l->used - sent);
    if (n > 0) {
      sent += (size_t)n;
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      struct pollfd waiting = {.fd = l->fd, .events = POLLOUT};
      if (poll(&waiting, 1, 30000) == 0) fail(exit_too_slow, "the broker has not read for 30 seconds");
    } else if (errno != EINTR) {
      fail(exit_unavailable, "sending: %s", strerror(errno));
    }
  }
  l->used = 0;
}

static void put_method(link_t *l, uint16_t on, uint32_t id, void *method) {
  size_t n = warren_encode_method(l->out + l->used, buffer_size - l->used, on, id, method);
  if (n == 0) fail(exit_internal, "method %x was not encoded", id);
  l->used += n;
}

/// Waits for the next frame that is not a heartbeat.
static warren_frame next_frame(link_t *l) {
  for (;;) {
    while (l->in_start < l->in_end) {
      warren_frame frame;
      int taken = warren_decode_frame(l->state, l->in + l->in_start, l->in_end - l->in_start, &frame);
      if (taken <= 0) fail(exit_unavailable, "reading: %s", amqp_error_string2(taken));
      l->in_start += (size_t)taken;
      if (frame.type != 0 && frame.type != AMQP_FRAME_HEARTBEAT) return frame;
    }
    ssize_t n = recv(l->fd, l->in, sizeof l->in, 0);
    if (n > 0) {
      l->in_start = 0;
      l->in_end = (size_t)n;
      continue;
    }
    if (n == 0) fail(exit_unavailable, "the broker hung up");
    if (errno != EAGAIN && errno != EINTR) fail(exit_unavailable, "reading: %s", strerror(errno));
    struct pollfd waiting = {.fd = l->fd, .events = POLLIN};
    if (poll(&waiting, 1, 30000) == 0) fail(exit_too_slow, "the broker has not answered for 30 seconds");
  }
}

static warren_frame call(link_t *l, uint32_t id, void *method, uint32_t reply) {
  put_method(l, channel, id, method);
  flush(l);
  warren_frame frame = next_frame(l);
  if (frame.type != AMQP_FRAME_METHOD || frame.method != reply)
    fail(exit_internal, "method %x was answered by %x", id, frame.method);
  return frame;
}

static void log_in(link_t *l, struct amqp_connection_info *info) {
  l->state = amqp_new_connection();
  amqp_socket_t *socket = amqp_tcp_socket_new(l->state);
  struct timeval timeout = {10, 0};
  if (!socket) fail(exit_internal, "no memory");
  expect_status(amqp_socket_open_noblock(socket, info->host, info->port, &timeout), "connecting");
  const char *names[] = {"basic.nack", "connection.blocked", "consumer_cancel_notify", "publisher_confirms"};
  amqp_table_entry_t capabilities[4];
  for (int i = 0; i < 4; i++) capabilities[i] = (amqp_table_entry_t){text(names[i]), warren_field_bool(true)};
  amqp_table_entry_t properties[] = {
      {text("connection_name"), warren_field_bytes(AMQP_FIELD_KIND_UTF8, "leak-harness", 12)},
      {text("capabilities"), warren_field_table(capabilities, 4)}};
  amqp_table_t table = {2, properties};
  expect_reply(warren_login_plain(l->state, info->vhost, 0, 131072, 10, &table, info->user, info->password), "login");
  l->fd = amqp_get_sockfd(l->state);
  l->frame_max = (size_t)amqp_get_frame_max(l->state);
  if (!amqp_release_buffers_ok(l->state)) fail(exit_internal, "login ended in the middle of a frame");
  expect_status(amqp_tune_connection(l->state, amqp_get_channel_max(l->state), (int)l->frame_max, 0), "tuning");
}

/// A refused password must leave nothing behind either.
static void log_in_wrongly(struct amqp_connection_info *info) {
  amqp_connection_state_t state = amqp_new_connection();
  amqp_socket_t *socket = amqp_tcp_socket_new(state);
  struct timeval timeout = {10, 0};
  if (!socket) fail(exit_internal, "no memory");
  expect_status(amqp_socket_open_noblock(socket, info->host, info->port, &timeout), "connecting");
  amqp_table_t table = {0, NULL};
  amqp_rpc_reply_t reply = warren_login_plain(state, info->vhost, 0, 131072, 10, &table, "nobody", "wrong");
  if (reply.reply_type == AMQP_RESPONSE_NORMAL) fail(exit_internal, "the broker lets anybody in");
  amqp_destroy_connection(state);
}

static void put_message(link_t *l, amqp_bytes_t key, size_t size, uint64_t number) {
  amqp_field_value_t list[] = {warren_field_i64(AMQP_FIELD_KIND_I64, -1), warren_field_void(), warren_field_f64(0.5)};
  amqp_table_entry_t inner[] = {
      {text("list"), warren_field_array(list, 3)},
      {text("raw"), warren_field_bytes(AMQP_FIELD_KIND_BYTES, "\0\1\2", 3)}};
  amqp_table_entry_t headers[] = {
      {text("cloudEvents:source"), warren_field_bytes(AMQP_FIELD_KIND_UTF8, "leak-harness", 12)},
      {text("warren-seq"), warren_field_i64(AMQP_FIELD_KIND_I64, (int64_t)number)},
      {text("at"), warren_field_i64(AMQP_FIELD_KIND_TIMESTAMP, 1700000000)},
      {text("flag"), warren_field_bool(false)},
      {text("nested"), warren_field_table(inner, 2)}};
  amqp_basic_properties_t properties;
  memset(&properties, 0, sizeof properties);
  properties._flags = AMQP_BASIC_HEADERS_FLAG | AMQP_BASIC_TYPE_FLAG | AMQP_BASIC_DELIVERY_MODE_FLAG;
  properties.headers = (amqp_table_t){5, headers};
  properties.type = text("leak.checked");
  properties.delivery_mode = 2;

  amqp_basic_publish_t publish;
  memset(&publish, 0, sizeof publish);
  publish.exchange = text("");
  publish.routing_key = key;
  publish.mandatory = 1;
  put_method(l, channel, AMQP_BASIC_PUBLISH_METHOD, &publish);
  size_t n = warren_encode_header(l->out + l->used, buffer_size - l->used, channel, size, &properties);
  // Frame and class take 19 bytes before the properties and one after them.
  if (n <= 20) fail(exit_internal, "the header was not encoded");
  l->expected_count = n - 20;
  memcpy(l->expected, l->out + l->used + 19, l->expected_count);
  l->used += n;
  for (size_t done = 0; done < size;) {
    size_t part = size - done < l->frame_max - 8 ? size - done : l->frame_max - 8;
    uint8_t *at = l->out + l->used;
    at[0] = AMQP_FRAME_BODY;
    warren_put_u16(at + 1, channel);
    warren_put_u32(at + 3, (uint32_t)part);
    memset(at + 7, (int)(number & 0xff), part);
    at[7 + part] = AMQP_FRAME_END;
    l->used += part + 8;
    done += part;
  }
  flush(l);
}

/// Receives header and body after `basic.deliver` or `basic.return`, and compares them with what was sent.
static void receive_content(link_t *l, size_t size, uint64_t number) {
  warren_frame frame = next_frame(l);
  if (frame.type != AMQP_FRAME_HEADER || frame.body_size != size)
    fail(exit_internal, "%zu bytes were announced as %llu", size, (unsigned long long)frame.body_size);
  // A class and a weight come before what warren_encode_header writes as properties.
  if (frame.count != l->expected_count || memcmp(frame.bytes, l->expected, frame.count) != 0)
    fail(exit_internal, "the properties came back changed: %zu bytes, %zu sent", frame.count, l->expected_count);
  for (size_t done = 0; done < size;) {
    frame = next_frame(l);
    if (frame.type != AMQP_FRAME_BODY) fail(exit_internal, "a frame of type %d inside a body", frame.type);
    for (size_t i = 0; i < frame.count; i++)
      if (frame.bytes[i] != (uint8_t)number) fail(exit_internal, "byte %zu of a body came back changed", done + i);
    done += frame.count;
    amqp_maybe_release_buffers_on_channel(l->state, channel);
  }
}

/// One message there and back: its confirm, and its delivery or its return.
static void exchange_message(link_t *l, amqp_bytes_t queue, size_t size, uint64_t number, bool routable) {
  put_message(l, routable ? queue : text("nobody"), size, number);
  bool confirmed = false, received = false;
  while (!confirmed || !received) {
    warren_frame frame = next_frame(l);
    if (frame.type != AMQP_FRAME_METHOD) fail(exit_internal, "a frame of type %d outside a message", frame.type);
    if (frame.method == AMQP_BASIC_ACK_METHOD) {
      confirmed = true;
    } else if (frame.method == AMQP_BASIC_DELIVER_METHOD && routable) {
      amqp_basic_ack_t ack = {.delivery_tag = ((amqp_basic_deliver_t *)frame.decoded)->delivery_tag};
      receive_content(l, size, number);
      put_method(l, channel, AMQP_BASIC_ACK_METHOD, &ack);
      flush(l);
      received = true;
    } else if (frame.method == AMQP_BASIC_RETURN_METHOD && !routable) {
      receive_content(l, size, number);
      received = true;
    } else {
      fail(exit_internal, "method %x while waiting for a message", frame.method);
    }
    amqp_maybe_release_buffers_on_channel(l->state, channel);
  }
}

static void one_round(struct amqp_connection_info *info) {
  link_t l = {.out = malloc(buffer_size), .expected = malloc(4096)};
  if (!l.out || !l.expected) fail(exit_internal, "no memory");
  if (warren_wakeup_open(l.wakeup) != 0) fail(exit_internal, "no descriptor to wake up with");
  log_in(&l, info);

  amqp_channel_open_t open = {amqp_empty_bytes};
  call(&l, AMQP_CHANNEL_OPEN_METHOD, &open, AMQP_CHANNEL_OPEN_OK_METHOD);
  amqp_confirm_select_t confirm = {0};
  call(&l, AMQP_CONFIRM_SELECT_METHOD, &confirm, AMQP_CONFIRM_SELECT_OK_METHOD);
  amqp_queue_declare_t declare;
  memset(&declare, 0, sizeof declare);
  declare.exclusive = 1;
  warren_frame frame = call(&l, AMQP_QUEUE_DECLARE_METHOD, &declare, AMQP_QUEUE_DECLARE_OK_METHOD);
  amqp_bytes_t queue = amqp_bytes_malloc_dup(((amqp_queue_declare_ok_t *)frame.decoded)->queue);
  amqp_basic_consume_t consume;
  memset(&consume, 0, sizeof consume);
  consume.queue = queue;
  consume.consumer_tag = text("harness");
  call(&l, AMQP_BASIC_CONSUME_METHOD, &consume, AMQP_BASIC_CONSUME_OK_METHOD);
  amqp_maybe_release_buffers_on_channel(l.state, channel);

  for (uint64_t i = 0; i < messages_a_round; i++) {
    warren_wakeup_signal(l.wakeup[1]);
    exchange_message(&l, queue, body_sizes[i % (sizeof body_sizes / sizeof *body_sizes)], i + 1, i % 10 != 9);
    if (!warren_wait_readable(l.wakeup[0], 200)) fail(exit_internal, "a signal does not wake");
    warren_wakeup_drain(l.wakeup[0]);
    if (warren_wait_readable(l.wakeup[0], 200)) fail(exit_internal, "a wake-up without a signal");
  }
  // What does not fit is refused, and nothing is written beyond the buffer: valgrind watches the heap.
  char long_name[300];
  memset(long_name, 'n', sizeof long_name);
  uint8_t *small = malloc(32), *large = malloc(1024);
  if (!small || !large) fail(exit_internal, "no memory");
  declare.queue = (amqp_bytes_t){30, long_name};
  if (warren_encode_method(small, 32, channel, AMQP_QUEUE_DECLARE_METHOD, &declare) != 0)
    fail(exit_internal, "a method was encoded into a buffer that is too small");
  declare.queue = (amqp_bytes_t){256, long_name};
  if (warren_encode_method(large, 1024, channel, AMQP_QUEUE_DECLARE_METHOD, &declare) != 0)
    fail(exit_internal, "a name of 256 bytes was encoded");
  free(small);
  free(large);

  amqp_connection_close_t close_it;
  memset(&close_it, 0, sizeof close_it);
  close_it.reply_code = AMQP_REPLY_SUCCESS;
  close_it.reply_text = text("goodbye");
  put_method(&l, 0, AMQP_CONNECTION_CLOSE_METHOD, &close_it);
  flush(&l);
  if (next_frame(&l).method != AMQP_CONNECTION_CLOSE_OK_METHOD) fail(exit_internal, "the close was not answered");
  amqp_destroy_connection(l.state);
  amqp_bytes_free(queue);
  close(l.wakeup[0]);
  if (l.wakeup[1] != l.wakeup[0]) close(l.wakeup[1]);
  free(l.out);
  free(l.expected);
}

static int open_descriptors(void) {
  DIR *folder = opendir("/proc/self/fd");
  if (!folder) return 0;
  int count = 0;
  while (readdir(folder)) count++;
  closedir(folder);
  return count;
}

int main(int argc, char **argv) {
  const char *url = getenv("RABBITMQ_URL");
  long rounds = argc > 1 ? strtol(argv[1], NULL, 10) : 20;
  if (argc > 2 || rounds < 1) fail(exit_usage, "usage: leak_harness [ROUNDS]");
  char *copy = strdup(url && *url ? url : "amqp://guest:guest@localhost:5672");
  struct amqp_connection_info info;
  if (!copy || amqp_parse_url(copy, &info) != AMQP_STATUS_OK || info.ssl)
    fail(exit_usage, "RABBITMQ_URL is not of the form amqp://user:password@host:port/vhost");

  warren_name_thread("leak-harness");
  int before = open_descriptors();
  for (long i = 0; i < rounds; i++) {
    one_round(&info);
    log_in_wrongly(&info);
  }
  int after = open_descriptors();
  if (before != after) fail(exit_internal, "%d descriptors were open at the start, %d are now", before, after);
  printf("%ld connections, %ld refused logins, %ld messages there and back\n", rounds, rounds,
         rounds * messages_a_round);
  free(copy);
  return 0;
}
