// What the C programs of this folder share: a connection, the queues that Warren declares, and the figures of a run.
#ifndef WARREN_YARDSTICK_SUPPORT_H
#define WARREN_YARDSTICK_SUPPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/time.h>

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

enum { exit_usage = 64, exit_unavailable = 69, exit_internal = 70, exit_too_slow = 75 };

/// Writes one line to standard error and ends the process.
_Noreturn void fail(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/// Ends the process when the reply is not the normal one, with the broker's text where it gave one.
void expect_reply(amqp_rpc_reply_t reply, const char *what);

/// Ends the process when `status` is an error of librabbitmq.
void expect_status(int status, const char *what);

/// Ends the process with the broker's text when the frame closes the channel or the connection.
void expect_open(const amqp_frame_t *frame);

/// Connects and logs in, with the library's heartbeats off, and opens channel 1.
amqp_connection_state_t connect_to_broker(const char *url, const char *name);

void close_connection(amqp_connection_state_t connection);

/// The broker's version, as it introduced itself at login.
amqp_bytes_t broker_version(amqp_connection_state_t connection);

/// The names of the entities of one event type and one service, as Warren makes them. Longer ones are cut.
typedef struct entity_names {
  char type[136];
  char exchange[256];
  char work[256];
  char dead[256];
} entity_names;

entity_names names_for(const char *service, const char *type);

/// Declares exchange, dead-letter queue, work queue and binding with the arguments that Warren gives them.
void declare_entities(amqp_connection_state_t connection, const entity_names *names, bool quorum);

void delete_entities(amqp_connection_state_t connection, const entity_names *names);

/// A duration and the processor time (user and system, of the whole process) that passed in it.
typedef struct stopwatch {
  uint64_t wall_us;
  uint64_t cpu_us;
} stopwatch;

uint64_t now_us(void);
stopwatch stopwatch_start(void);
stopwatch stopwatch_stop(stopwatch start);

/// The most memory that the process has had resident.
long peak_rss_kb(void);

#endif
