/*
 * Transactions of librdkafka, one after the other: each of `per_txn` messages of 100 bytes, in one partition after the other.
 *   txn BOOTSTRAP TOPIC TRANSACTIONS PER_TXN PARTITIONS
 * Prints messages/s, CPU seconds of this process a million messages, peak memory in KB, and how long a transaction takes
 * from its begin to the end of its commit, in microseconds: the median, and of a hundred and of a thousand the worst.
 * What the library sets by default would have each commit wait for its linger of 5 ms: that is 0 here.
 */
#include "rdkafka.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static void check(rd_kafka_error_t *error) {
  if (!error)
    return;
  fprintf(stderr, "txn: %s\n", rd_kafka_error_string(error));
  exit(1);
}

static void set(rd_kafka_conf_t *conf, const char *name, const char *value) {
  char why[512];
  if (rd_kafka_conf_set(conf, name, value, why, sizeof why) == RD_KAFKA_CONF_OK)
    return;
  fprintf(stderr, "txn: %s\n", why);
  exit(1);
}

static long now_us(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return t.tv_sec * 1000000L + t.tv_nsec / 1000;
}

static int by_size(const void *a, const void *b) {
  long x = *(const long *)a, y = *(const long *)b;
  return (x > y) - (x < y);
}

static long at(const long *sorted, int count, double q) { return sorted[(int)(q * (count - 1) + 0.5)]; }

int main(int argc, char **argv) {
  if (argc != 6) {
    fprintf(stderr, "usage: txn BOOTSTRAP TOPIC TRANSACTIONS PER_TXN PARTITIONS\n");
    return 2;
  }
  const char *topic = argv[2];
  int count = atoi(argv[3]), per_txn = atoi(argv[4]), partitions = atoi(argv[5]);
  long *took = count > 0 ? calloc(count, sizeof *took) : NULL;
  if (!took || per_txn < 1 || partitions < 1)
    return 2;
  char id[64], why[512], value[100];
  snprintf(id, sizeof id, "librdkafka-%ld-%d", now_us(CLOCK_REALTIME), (int)getpid());
  memset(value, 'a', sizeof value);
  for (size_t i = 0; i < sizeof value / 2; i++)
    value[i] = (char)rand();

  rd_kafka_conf_t *conf = rd_kafka_conf_new();
  set(conf, "bootstrap.servers", argv[1]);
  set(conf, "transactional.id", id);
  set(conf, "linger.ms", "0");
  rd_kafka_t *producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
  if (!producer) {
    fprintf(stderr, "txn: %s\n", why);
    return 1;
  }
  check(rd_kafka_init_transactions(producer, 60000));
  long started = 0, cpu = 0;
  /* The first one is not measured: it connects. */
  for (int n = -1; n < count; n++) {
    long begun = now_us(CLOCK_MONOTONIC);
    if (n == 0) {
      started = begun;
      cpu = now_us(CLOCK_PROCESS_CPUTIME_ID);
    }
    check(rd_kafka_begin_transaction(producer));
    for (int i = 0; i < per_txn; i++) {
      rd_kafka_resp_err_t error =
          rd_kafka_producev(producer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION((n + 1 + i) % partitions),
                            RD_KAFKA_V_VALUE(value, sizeof value), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY | RD_KAFKA_MSG_F_BLOCK),
                            RD_KAFKA_V_END);
      if (error) {
        fprintf(stderr, "txn: %s\n", rd_kafka_err2str(error));
        return 1;
      }
    }
    check(rd_kafka_commit_transaction(producer, 60000));
    if (n >= 0)
      took[n] = now_us(CLOCK_MONOTONIC) - begun;
  }
  double seconds = (now_us(CLOCK_MONOTONIC) - started) / 1e6;
  double cpu_seconds = (now_us(CLOCK_PROCESS_CPUTIME_ID) - cpu) / 1e6;
  double messages = (double)count * per_txn;
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  qsort(took, count, sizeof *took, by_size);
  printf("%.0f\t%.2f\t%ld\t%ld\t%ld\t%ld\n", messages / seconds, cpu_seconds * 1e6 / messages, usage.ru_maxrss,
         at(took, count, 0.5), at(took, count, 0.99), at(took, count, 0.999));
  rd_kafka_destroy(producer);
  free(took);
  return 0;
}
