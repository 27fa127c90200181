// One event as Warren writes it, made once; only the parts that differ from event to event are written anew.
#ifndef WARREN_YARDSTICK_EVENT_TEMPLATE_H
#define WARREN_YARDSTICK_EVENT_TEMPLATE_H

#include "support.h"

enum { event_smallest_size = 40, event_id_size = 36, event_header_count = 7 };

typedef struct event_template {
  amqp_basic_properties_t properties;
  amqp_bytes_t body;
  char id[event_id_size + 1];
  char time[32];
  char *counter;  // the digits in the body that count the events
  amqp_table_entry_t headers[event_header_count];
} event_template;

/// A JSON body of exactly `size` bytes (at least `event_smallest_size`). `bare` leaves out everything that Warren adds
/// to it: all headers and all properties but content type and delivery mode.
///
/// The template points into itself and must not be moved.
void event_template_init(event_template *event, const entity_names *names, size_t size, bool bare);

/// Makes it the event with this number: its id, its body's counter and its delivery tag.
void event_template_number(event_template *event, uint64_t number);

void event_template_free(event_template *event);

#endif
