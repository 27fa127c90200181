// What SQLite can do with the SQL of Warren's log, on a file that Warren has made: the yardstick for recording.
//
//   log_yardstick FILE [--count N] [--callers N] [--size BYTES]
//
// One transaction for each `callers` events, as if all of them always met in one commit. The bodies are made before; nothing
// is coded, checked or handed to another thread. Prints one JSON line.
#define _GNU_SOURCE
#include <sqlite3.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static sqlite3 *db;

static _Noreturn void fail(const char *what) {
  fprintf(stderr, "log_yardstick: %s: %s\n", what, db ? sqlite3_errmsg(db) : "no database");
  exit(70);
}

static void run(const char *sql) {
  if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK) fail(sql);
}

static sqlite3_stmt *prepared(const char *sql) {
  sqlite3_stmt *statement = NULL;
  if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) != SQLITE_OK) fail(sql);
  return statement;
}

static void done(sqlite3_stmt *statement) {
  if (sqlite3_step(statement) != SQLITE_DONE) fail("step");
  sqlite3_reset(statement);
}

static double now_us(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

static double cpu_us(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 + (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static void text(sqlite3_stmt *statement, int at, const char *value) {
  sqlite3_bind_text(statement, at, value, -1, SQLITE_TRANSIENT);
}

int main(int argc, char **argv) {
  long count = 60000, callers = 64, size = 160;
  const char *file = NULL;
  for (int i = 1; i < argc; i++) {
    if (strcmp(argv[i], "--count") == 0 && i + 1 < argc) count = atol(argv[++i]);
    else if (strcmp(argv[i], "--callers") == 0 && i + 1 < argc) callers = atol(argv[++i]);
    else if (strcmp(argv[i], "--size") == 0 && i + 1 < argc) size = atol(argv[++i]);
    else file = argv[i];
  }
  if (!file || count < 1 || callers < 1 || size < 1) {
    fprintf(stderr, "usage: log_yardstick FILE [--count N] [--callers N] [--size BYTES]\n");
    return 64;
  }
  if (sqlite3_open_v2(file, &db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK) fail("open");
  run("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL");
  sqlite3_stmt *begin = prepared("BEGIN IMMEDIATE"), *commit = prepared("COMMIT");
  sqlite3_stmt *head =
      prepared("UPDATE warren_head SET position = position + ?1, rows = rows + ?2, bytes = bytes + ?3");
  sqlite3_stmt *last = prepared("SELECT position, rows, bytes FROM warren_head");
  sqlite3_stmt *insert =
      prepared("INSERT INTO warren_outbox VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)");
  char *body = malloc((size_t)size);
  if (!body) fail("no memory");
  memset(body, 'x', (size_t)size);

  double began = now_us(), cpu = cpu_us();
  long written = 0;
  while (written < count) {
    long group = count - written < callers ? count - written : callers;
    done(begin);
    sqlite3_bind_int64(head, 1, group);
    sqlite3_bind_int64(head, 2, group);
    sqlite3_bind_int64(head, 3, group * size);
    done(head);
    if (sqlite3_step(last) != SQLITE_ROW) fail("head");
    sqlite3_int64 position = sqlite3_column_int64(last, 0) - group;
    sqlite3_reset(last);
    for (long i = 0; i < group; i++, written++) {
      char id[48], key[32];
      snprintf(id, sizeof id, "01234567-89ab-7def-8123-%012ld", written);
      snprintf(key, sizeof key, "key-%03d", (int)(written % 1000));
      sqlite3_clear_bindings(insert);
      sqlite3_bind_int64(insert, 1, ++position);
      text(insert, 2, "events.warren.bench");
      text(insert, 3, "warren.bench");
      text(insert, 4, id);
      sqlite3_bind_int64(insert, 5, 1);
      text(insert, 6, "warren-bench");
      sqlite3_bind_int64(insert, 7, 1750000000000);
      sqlite3_bind_int64(insert, 8, 1750000000000);
      text(insert, 9, key);
      text(insert, 16, "application/json");
      sqlite3_bind_blob(insert, 20, body, (int)size, SQLITE_TRANSIENT);
      done(insert);
    }
    done(commit);
  }
  double seconds = (now_us() - began) / 1e6;
  printf("{\"bench\":\"outbox.record\",\"n\":%ld,\"callers\":%ld,\"size\":%ld,\"rate\":%.0f,\"cpu_us\":%.2f,\"sqlite\":\"%s\"}\n",
         count, callers, size, (double)count / seconds, (cpu_us() - cpu) / (double)count, sqlite3_libversion());
  free(body);
  return 0;
}
