// SPDX-License-Identifier: Apache-2.0
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand"
	"net"
	"os"
	"sync"
	"time"
)

// question is a path with its parameters, the name it is counted under, and the kind of question that it is.
type question struct {
	Name string `json:"name"`
	Kind string `json:"kind"`
	Path string `json:"path"`
}

type queryResult struct {
	Clients int                `json:"clients"`
	Seconds float64            `json:"seconds"`
	Failed  int                `json:"failed"`  // broken connections, and any status but 200
	Refused int                `json:"refused"` // of these: 422, 429, 503
	Error   string             `json:"first_error,omitempty"`
	Bytes   int64              `json:"bytes"`
	CPU     float64            `json:"client_cpu_s"`
	All     summary            `json:"all"`
	ByKind  map[string]summary `json:"by_kind"`
	By      map[string]summary `json:"by"`
}

type asker struct {
	mu      sync.Mutex
	took    map[string][]time.Duration
	failed  int
	refused int
	first   string
	bytes   int64
}

// statusError is an answer other than 200.
type statusError int

func (e statusError) Error() string { return fmt.Sprintf("HTTP %d", int(e)) }

func (a *asker) done(name string, took time.Duration, n int64, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.bytes += n
	if err == nil {
		a.took[name] = append(a.took[name], took)
		return
	}
	a.failed++
	if status := statusError(0); errors.As(err, &status) && (status == 422 || status == 429 || status == 503) {
		a.refused++
	}
	if a.first == "" {
		a.first = name + ": " + err.Error()
	}
}

func (h *http1) get(path, addr string) (int64, error) {
	if _, err := h.c.Write([]byte("GET " + path + " HTTP/1.1\r\nHost: " + addr + "\r\n\r\n")); err != nil {
		return 0, err
	}
	status, n, err := h.answer()
	if err == nil && status != 200 {
		err = statusError(status)
	}
	return n, err
}

// client asks the questions in an order of its own, each as often as the others.
func (a *asker) client(seed int64, questions []question, addr string, end time.Time, pause time.Duration) {
	r := rand.New(rand.NewSource(seed))
	var h *http1
	time.Sleep(time.Duration(r.Float64() * float64(pause)))
	for {
		for _, i := range r.Perm(len(questions)) {
			if !time.Now().Before(end) {
				return
			}
			q := questions[i]
			if h == nil {
				c, err := net.Dial("tcp", addr)
				if err != nil {
					a.done(q.Name, 0, 0, err)
					time.Sleep(100 * time.Millisecond)
					continue
				}
				h = &http1{c: c, r: bufio.NewReaderSize(c, 64<<10)}
			}
			began := time.Now()
			n, err := h.get(q.Path, addr)
			a.done(q.Name, time.Since(began), n, err)
			if err != nil {
				h.close()
				h = nil
			}
			time.Sleep(time.Duration((0.5 + r.Float64()) * float64(pause)))
		}
	}
}

func doQuery(args []string) {
	fs := flag.NewFlagSet("query", flag.ExitOnError)
	file := fs.String("file", "queries.json", "a list of {name, path}")
	addr := fs.String("addr", "127.0.0.1:3200", "")
	clients := fs.Int("clients", 10, "")
	seconds := fs.Float64("seconds", 10, "")
	pause := fs.Float64("pause-ms", 0, "mean pause of a client after an answer")
	fs.Parse(args)
	raw, err := os.ReadFile(*file)
	if err != nil {
		fail(err)
	}
	var questions []question
	if err := json.Unmarshal(raw, &questions); err != nil {
		fail(err)
	}
	a := &asker{took: map[string][]time.Duration{}}
	began := time.Now()
	end := began.Add(time.Duration(*seconds * 1e9))
	var wg sync.WaitGroup
	for i := 0; i < *clients; i++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			a.client(int64(i), questions, *addr, end, time.Duration(*pause*1e6))
		}()
	}
	wg.Wait()
	r := queryResult{Clients: *clients, Seconds: time.Since(began).Seconds(), Failed: a.failed, Refused: a.refused, Error: a.first,
		Bytes: a.bytes, CPU: cpuSeconds(), ByKind: map[string]summary{}, By: map[string]summary{}}
	kinds, kindOf := map[string][]time.Duration{}, map[string]string{}
	for _, q := range questions {
		kindOf[q.Name] = q.Kind
	}
	var all []time.Duration
	for name, d := range a.took {
		all = append(all, d...)
		kinds[kindOf[name]] = append(kinds[kindOf[name]], d...)
		r.By[name] = summarize(d)
	}
	for kind, d := range kinds {
		r.ByKind[kind] = summarize(d)
	}
	r.All = summarize(all)
	print(r)
}
