// What franz-go takes for what bench_client.erl measures, on the same broker. One scenario a run:
//
//	franz produce|consume|latency|txn KEY=VALUE...
//
// Prints one line of fields separated by tabs, as bench_client.erl does: name, messages/s, MB/s, CPU seconds of this
// process per million messages, peak memory in MB, and percentiles
// where steps are timed.
package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

type options map[string]string

func (o options) number(key string, otherwise int) int {
	text, ok := o[key]
	if !ok {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	check(err)
	return n
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "franz:", err)
		os.Exit(1)
	}
}

// Each does its work with what it is given, and says how many messages that was and how long each step took.
var scenarios = map[string]func(options) *measured{
	"consume": consume,
	"latency": latency,
	"produce": produce,
	"txn":     transactions,
}

func main() {
	if len(os.Args) < 2 || scenarios[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: franz SCENARIO KEY=VALUE...")
		os.Exit(2)
	}
	given := options{}
	for _, setting := range os.Args[2:] {
		key, value, _ := strings.Cut(setting, "=")
		given[key] = value
	}
	measured := scenarios[os.Args[1]](given)
	measured.print(given)
}

// Every caller has a transactional id, and writes `per_txn` messages a transaction into `partitions` partitions, the
// same ones as in bench_client.erl: 100 messages each in turn. Batches leave without lingering.
func transactions(given options) *measured {
	callers, perTxn := given.number("callers", 8), given.number("per_txn", 1000)
	partitions, perCall := given.number("partitions", 8), min(perTxn, given.number("per_call", 100))
	each := max(1, given.number("messages", 1000000)/perTxn/callers)
	size := given.number("size", 100)
	value := make([]byte, size)
	_, err := rand.Read(value[:size/2])
	check(err)
	run := func(client *kgo.Client, caller int) {
		check(client.BeginTransaction())
		for i := 0; i < perTxn; i++ {
			partition := int32((caller + 1 + i/perCall) % partitions)
			record := &kgo.Record{Topic: given["topic"], Partition: partition, Value: value}
			client.Produce(context.Background(), record, func(_ *kgo.Record, err error) { check(err) })
		}
		check(client.Flush(context.Background()))
		check(client.EndTransaction(context.Background(), kgo.TryCommit))
	}
	clients := make([]*kgo.Client, callers)
	for caller := range clients {
		clients[caller], err = kgo.NewClient(
			kgo.SeedBrokers(strings.Split(given["bootstrap"], ",")...),
			kgo.TransactionalID(fmt.Sprintf("franz-%d-%d", time.Now().UnixNano(), caller)),
			kgo.RecordPartitioner(kgo.ManualPartitioner()),
			kgo.ProducerBatchCompression(kgo.NoCompression()),
			kgo.ProducerLinger(0),
		)
		check(err)
		// Connected, with a producer id and the metadata.
		run(clients[caller], caller)
	}
	return measure(callers*each*perTxn, size, func() []time.Duration {
		times := make([][]time.Duration, callers)
		var all sync.WaitGroup
		for caller, client := range clients {
			all.Add(1)
			go func() {
				defer all.Done()
				for i := 0; i < each; i++ {
					started := time.Now()
					run(client, caller)
					times[caller] = append(times[caller], time.Since(started))
				}
			}()
		}
		all.Wait()
		var together []time.Duration
		for _, of := range times {
			together = append(together, of...)
		}
		return together
	})
}

// Messages are handed over one by one by `callers` goroutines, with what the library sets by default: idempotent, acks of all
// replicas, 10,000 messages outstanding. `choice=spread` takes the partitions in turn, `choice=sticky` is the library's own way.
func produce(given options) *measured {
	callers, messages := given.number("callers", 8), given.number("messages", 1000000)
	partitions, size := given.number("partitions", 8), given.number("size", 100)
	value := make([]byte, size)
	_, err := rand.Read(value[:size/2])
	check(err)
	settings := []kgo.Opt{kgo.ProducerBatchCompression(kgo.NoCompression())}
	if given["choice"] != "sticky" {
		settings = append(settings, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	}
	client := connect(given, settings...)
	send := func(count, first int, acked *sync.WaitGroup) {
		for i := 0; i < count; i++ {
			record := &kgo.Record{Topic: given["topic"], Partition: int32((first + i) % partitions), Value: value}
			client.Produce(context.Background(), record, func(_ *kgo.Record, err error) { check(err); acked.Done() })
		}
	}
	// Every partition has its leader and the client its producer id before the clock starts.
	var warm sync.WaitGroup
	warm.Add(partitions)
	send(partitions, 0, &warm)
	warm.Wait()
	return measure(messages, size, func() []time.Duration {
		var acked sync.WaitGroup
		acked.Add(messages)
		for caller := 0; caller < callers; caller++ {
			count := messages / callers
			if caller == 0 {
				count += messages % callers
			}
			go send(count, caller, &acked)
		}
		acked.Wait()
		return nil
	})
}

// Reads a topic from its beginning, without a group.
func consume(given options) *measured {
	messages, size := given.number("messages", 1000000), given.number("size", 100)
	client := connect(given, kgo.ConsumeTopics(given["topic"]), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	return measure(messages, size, func() []time.Duration {
		for read := 0; read < messages; {
			fetches := client.PollFetches(context.Background())
			check(fetches.Err())
			fetches.EachRecord(func(*kgo.Record) { read++ })
		}
		return nil
	})
}

// From Produce until the record is polled by the same process: the next one leaves when the one before has arrived, or, with
// `rate`, so many a second. Neither side waits for more than there is.
func latency(given options) *measured {
	messages, rate, size := given.number("messages", 5000), given.number("rate", 0), given.number("size", 100)
	partitions := given.number("partitions", 8)
	reader := connect(given, kgo.ConsumeTopics(given["topic"]), kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()))
	writer := connect(given, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0),
		kgo.ProducerBatchCompression(kgo.NoCompression()))
	send := func(n int) {
		value := make([]byte, size)
		binary.BigEndian.PutUint64(value, uint64(time.Now().UnixNano()))
		record := &kgo.Record{Topic: given["topic"], Partition: int32(n % partitions), Value: value}
		writer.Produce(context.Background(), record, func(_ *kgo.Record, err error) { check(err) })
	}
	arrived := make(chan time.Duration, messages)
	go func() {
		for {
			fetches := reader.PollFetches(context.Background())
			check(fetches.Err())
			now := time.Now().UnixNano()
			fetches.EachRecord(func(r *kgo.Record) {
				arrived <- time.Duration(now - int64(binary.BigEndian.Uint64(r.Value)))
			})
		}
	}()
	// The reader's positions are where it began once it has seen each partition's next message.
	for p := 0; p < partitions; p++ {
		for seen := false; !seen; {
			send(p)
			select {
			case <-arrived:
				seen = true
			case <-time.After(time.Second):
			}
		}
	}
	return measure(messages, size, func() []time.Duration {
		steps := make([]time.Duration, 0, messages)
		if rate == 0 {
			for n := 0; n < messages; n++ {
				send(n)
				steps = append(steps, <-arrived)
			}
			return steps
		}
		go func() {
			started := time.Now()
			for sent := 0; sent < messages; {
				due := min(messages, int(time.Since(started).Seconds()*float64(rate)))
				for ; sent < due; sent++ {
					send(sent)
				}
				time.Sleep(time.Millisecond)
			}
		}()
		for len(steps) < messages {
			steps = append(steps, <-arrived)
		}
		return steps
	})
}

func connect(given options, settings ...kgo.Opt) *kgo.Client {
	client, err := kgo.NewClient(append(settings, kgo.SeedBrokers(strings.Split(given["bootstrap"], ",")...))...)
	check(err)
	check(client.Ping(context.Background()))
	return client
}

type measured struct {
	messages, size int
	took, cpu      time.Duration
	steps          []time.Duration
}

func measure(messages, size int, work func() []time.Duration) *measured {
	cpu, started := cpuTime(), time.Now()
	steps := work()
	return &measured{messages, size, time.Since(started), cpuTime() - cpu, steps}
}

func (m *measured) print(given options) {
	rate := float64(m.messages) / m.took.Seconds()
	sort.Slice(m.steps, func(i, j int) bool { return m.steps[i] < m.steps[j] })
	at := func(q float64) int64 { return m.steps[max(0, int(q*float64(len(m.steps))+0.5)-1)].Microseconds() }
	steps := "peer"
	if len(m.steps) > 0 {
		steps += fmt.Sprintf(", p50 %d us, p99 %d us, p99.9 %d us", at(0.5), at(0.99), at(0.999))
	}
	fmt.Printf("%s\t%.0f\t%.1f\t%.2f\t%.1f\t%s\n",
		given["name"], rate, rate*float64(m.size)/1e6, m.cpu.Seconds()*1e6/float64(m.messages), peakMB(), steps)
}

func cpuTime() time.Duration {
	var usage syscall.Rusage
	check(syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func peakMB() float64 {
	var usage syscall.Rusage
	check(syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	// In KB on Linux.
	return float64(usage.Maxrss) / 1024
}
