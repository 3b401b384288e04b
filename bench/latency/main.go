// SPDX-License-Identifier: Apache-2.0

// latency measures the time of answers from outside: one line of JSON per run.
//
//	latency send  -file CORPUS -proto grpc|http -addr HOST:PORT -clients N -seconds S [-rate R] [-slow-ms 50]
//	latency query -file QUERIES.json -addr HOST:PORT -clients N -seconds S [-pause-ms P]
//	latency disk  -dir FOLDER [-bytes 4096] [-seconds 2] [-beside whole|pieces]
//
// CORPUS is made by bench/loadgen. Its requests are sent over and over, each time with other trace and span ids and
// with times that end now. Without -rate every client sends again as soon as it is answered; with it R requests a
// second are due, spread evenly over the clients, and a latency counts from when the request was due: a client that
// is kept waiting does not stop the clock of its next requests.
//
// The client speaks HTTP/1.1 and HTTP/2 by hand from bytes made in advance: on a machine of few cores a client
// library's own work would be most of the latency.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"syscall"
	"time"
)

func main() {
	modes := map[string]func([]string){"send": doSend, "query": doQuery, "disk": doDisk}
	if len(os.Args) < 2 || modes[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: latency send|query|disk [options]")
		os.Exit(2)
	}
	modes[os.Args[1]](os.Args[2:])
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "latency:", err)
	os.Exit(1)
}

func print(v any) {
	if err := json.NewEncoder(os.Stdout).Encode(v); err != nil {
		fail(err)
	}
}

// summary is what a set of latencies comes down to.
type summary struct {
	N    int     `json:"n"`
	P50  float64 `json:"p50_ms"`
	P99  float64 `json:"p99_ms"`
	P999 float64 `json:"p999_ms"`
	Max  float64 `json:"max_ms"`
}

func ms(d time.Duration) float64 {
	return float64(d.Microseconds()) / 1e3
}

func summarize(d []time.Duration) summary {
	if len(d) == 0 {
		return summary{}
	}
	sort.Slice(d, func(a, b int) bool { return d[a] < d[b] })
	at := func(thousandths int) float64 { return ms(d[min(len(d)*thousandths/1000, len(d)-1)]) }
	return summary{N: len(d), P50: at(500), P99: at(990), P999: at(999), Max: ms(d[len(d)-1])}
}

// cpuSeconds is the CPU time of this process: on two cores the client's share matters.
func cpuSeconds() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return float64(u.Utime.Sec+u.Stime.Sec) + float64(u.Utime.Usec+u.Stime.Usec)/1e6
}
