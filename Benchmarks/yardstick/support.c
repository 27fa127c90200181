#include "support.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

void fail(int code, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fputc('\n', stderr);
  exit(code);
}

static void fail_closed(const char *what, amqp_method_number_t id, const void *decoded) {
  if (decoded && id == AMQP_CHANNEL_CLOSE_METHOD) {
    const amqp_channel_close_t *m = decoded;
    fail(exit_internal, "%s: the broker closed the channel: %d %.*s", what, m->reply_code, (int)m->reply_text.len,
         (const char *)m->reply_text.bytes);
  }
  if (decoded && id == AMQP_CONNECTION_CLOSE_METHOD) {
    const amqp_connection_close_t *m = decoded;
    fail(exit_unavailable, "%s: the broker closed the connection: %d %.*s", what, m->reply_code,
         (int)m->reply_text.len, (const char *)m->reply_text.bytes);
  }
}

void expect_reply(amqp_rpc_reply_t reply, const char *what) {
  if (reply.reply_type == AMQP_RESPONSE_NORMAL) return;
  if (reply.reply_type == AMQP_RESPONSE_SERVER_EXCEPTION) fail_closed(what, reply.reply.id, reply.reply.decoded);
  fail(exit_unavailable, "%s: %s", what, amqp_error_string2(reply.library_error));
}

void expect_status(int status, const char *what) {
  if (status < 0) fail(exit_unavailable, "%s: %s", what, amqp_error_string2(status));
}

void expect_open(const amqp_frame_t *frame) {
  if (frame->frame_type == AMQP_FRAME_METHOD)
    fail_closed("in the middle of a run", frame->payload.method.id, frame->payload.method.decoded);
}

static amqp_table_entry_t entry_text(const char *key, const char *text) {
  amqp_table_entry_t entry = {.key = amqp_cstring_bytes(key)};
  entry.value.kind = AMQP_FIELD_KIND_UTF8;
  entry.value.value.bytes = amqp_cstring_bytes(text);
  return entry;
}

static amqp_table_entry_t entry_number(const char *key, int64_t number) {
  amqp_table_entry_t entry = {.key = amqp_cstring_bytes(key)};
  entry.value.kind = AMQP_FIELD_KIND_I64;
  entry.value.value.i64 = number;
  return entry;
}

static amqp_table_entry_t entry_true(const char *key) {
  amqp_table_entry_t entry = {.key = amqp_cstring_bytes(key)};
  entry.value.kind = AMQP_FIELD_KIND_BOOLEAN;
  entry.value.value.boolean = 1;
  return entry;
}

amqp_connection_state_t connect_to_broker(const char *url, const char *name) {
  // amqp_parse_url writes into its argument and leaves pointers into it.
  char *copy = strdup(url);
  if (!copy) fail(exit_internal, "no memory");
  struct amqp_connection_info info;
  if (amqp_parse_url(copy, &info) != AMQP_STATUS_OK || info.ssl)
    fail(exit_usage, "not a URL of the form amqp://user:password@host:port/vhost");

  amqp_connection_state_t connection = amqp_new_connection();
  amqp_socket_t *socket = amqp_tcp_socket_new(connection);
  if (!socket) fail(exit_internal, "no memory");
  struct timeval timeout = {10, 0};
  expect_status(amqp_socket_open_noblock(socket, info.host, info.port, &timeout), "connecting");

  amqp_table_entry_t capabilities[] = {
      entry_true("basic.nack"), entry_true("publisher_confirms"), entry_true("consumer_cancel_notify")};
  amqp_table_entry_t properties[] = {entry_text("connection_name", name), {.key = amqp_cstring_bytes("capabilities")}};
  properties[1].value.kind = AMQP_FIELD_KIND_TABLE;
  properties[1].value.value.table = (amqp_table_t){3, capabilities};
  amqp_table_t table = {2, properties};
  amqp_rpc_reply_t reply = amqp_login_with_properties(
      connection, info.vhost, 0, 131072, 0, &table, AMQP_SASL_METHOD_PLAIN, info.user, info.password);
  expect_reply(reply, "login");
  amqp_channel_open(connection, 1);
  expect_reply(amqp_get_rpc_reply(connection), "opening a channel");
  free(copy);
  return connection;
}

void close_connection(amqp_connection_state_t connection) {
  amqp_connection_close(connection, AMQP_REPLY_SUCCESS);
  amqp_destroy_connection(connection);
}

amqp_bytes_t broker_version(amqp_connection_state_t connection) {
  amqp_table_t *properties = amqp_get_server_properties(connection);
  for (int i = 0; i < properties->num_entries; i++) {
    amqp_table_entry_t *entry = &properties->entries[i];
    if (entry->key.len == 7 && memcmp(entry->key.bytes, "version", 7) == 0) return entry->value.value.bytes;
  }
  return amqp_empty_bytes;
}

entity_names names_for(const char *service, const char *type) {
  entity_names names;
  snprintf(names.type, sizeof names.type, "%s", type);
  snprintf(names.exchange, sizeof names.exchange, "events.%s", type);
  snprintf(names.work, sizeof names.work, "%s.%s", service, type);
  snprintf(names.dead, sizeof names.dead, "%s.dead.%s", service, type);
  return names;
}

static void declare_queue(amqp_connection_state_t connection, const char *name, amqp_table_t arguments) {
  amqp_queue_declare(connection, 1, amqp_cstring_bytes(name), 0, 1, 0, 0, arguments);
  expect_reply(amqp_get_rpc_reply(connection), name);
}

void declare_entities(amqp_connection_state_t connection, const entity_names *names, bool quorum) {
  amqp_exchange_declare(connection, 1, amqp_cstring_bytes(names->exchange), amqp_cstring_bytes("topic"), 0, 1, 0, 0,
                        amqp_empty_table);
  expect_reply(amqp_get_rpc_reply(connection), names->exchange);

  amqp_table_entry_t dead[] = {
      entry_text("x-queue-type", "quorum"), entry_number("x-delivery-limit", 1000000000)};
  declare_queue(connection, names->dead, (amqp_table_t){2, dead});

  amqp_table_entry_t work[] = {
      entry_text("x-dead-letter-exchange", ""), entry_text("x-dead-letter-routing-key", names->dead),
      entry_text("x-overflow", "reject-publish"), entry_text("x-queue-type", quorum ? "quorum" : "classic"),
      entry_text("x-dead-letter-strategy", "at-least-once"), entry_number("x-delivery-limit", 100)};
  declare_queue(connection, names->work, (amqp_table_t){quorum ? 6 : 4, work});

  amqp_queue_bind(connection, 1, amqp_cstring_bytes(names->work), amqp_cstring_bytes(names->exchange),
                  amqp_cstring_bytes("#"), amqp_empty_table);
  expect_reply(amqp_get_rpc_reply(connection), "binding the work queue");
}

void delete_entities(amqp_connection_state_t connection, const entity_names *names) {
  // Deleting what is not there succeeds, since RabbitMQ 3.2.
  amqp_queue_delete(connection, 1, amqp_cstring_bytes(names->work), 0, 0);
  expect_reply(amqp_get_rpc_reply(connection), "deleting the work queue");
  amqp_queue_delete(connection, 1, amqp_cstring_bytes(names->dead), 0, 0);
  expect_reply(amqp_get_rpc_reply(connection), "deleting the dead-letter queue");
  amqp_exchange_delete(connection, 1, amqp_cstring_bytes(names->exchange), 0);
  expect_reply(amqp_get_rpc_reply(connection), "deleting the exchange");
}

uint64_t now_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static uint64_t microseconds(struct timeval time) { return (uint64_t)time.tv_sec * 1000000 + (uint64_t)time.tv_usec; }

stopwatch stopwatch_start(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return (stopwatch){now_us(), microseconds(usage.ru_utime) + microseconds(usage.ru_stime)};
}

stopwatch stopwatch_stop(stopwatch start) {
  stopwatch now = stopwatch_start();
  return (stopwatch){now.wall_us - start.wall_us, now.cpu_us - start.cpu_us};
}

long peak_rss_kb(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
#if defined(__APPLE__)
  return usage.ru_maxrss / 1024;
#else
  return usage.ru_maxrss;
#endif
}
