// SPDX-License-Identifier: Apache-2.0
package main

import (
	"errors"
	"flag"
	"sync"
	"sync/atomic"
	"time"
)

const slowMax = 1000 // requests told one by one

type slow struct {
	At float64 `json:"at_s"` // unix seconds when the request was due
	Ms float64 `json:"ms"`
}

type sendResult struct {
	Proto     string  `json:"proto"`
	Clients   int     `json:"clients"`
	Rate      float64 `json:"rate"` // due a second, 0: as fast as answered
	Seconds   float64 `json:"seconds"`
	Requests  int64   `json:"requests"`
	PerSecond float64 `json:"requests_per_s"`
	Spans     int64   `json:"spans"`
	SpansPerS float64 `json:"spans_per_s"`
	Refused   int64   `json:"refused"`
	Broken    int64   `json:"broken"`
	Error     string  `json:"first_error,omitempty"`
	summary
	Over50    int     `json:"over_50_ms"`
	Over100   int     `json:"over_100_ms"`
	ClientCPU float64 `json:"client_cpu_us_a_request"`
	Slow      []slow  `json:"slow,omitempty"`
}

type sender struct {
	reqs    []*template
	dial    func() (exporter, error)
	clients int
	rate    float64
	end     time.Time
	began   time.Time
	slowMs  float64

	next, spans, refused, broken atomic.Int64
	firstErr                     atomic.Value
	mu                           sync.Mutex
	latencies                    []time.Duration
	slow                         []slow
}

func (s *sender) failed(refused bool, err error) {
	if refused {
		s.refused.Add(1)
	} else {
		s.broken.Add(1)
	}
	s.firstErr.CompareAndSwap(nil, err.Error())
}

// due is when the client has to send its k-th request.
func (s *sender) due(client int, k int) time.Time {
	if s.rate <= 0 {
		return time.Now()
	}
	at := s.began.Add(time.Duration((float64(k)*float64(s.clients) + float64(client)) / s.rate * 1e9))
	time.Sleep(time.Until(at))
	return at
}

func (s *sender) client(i int, conn exporter) {
	var buf []byte
	var own []time.Duration
	var late []slow
	defer func() { conn.close() }()
	for k := 0; ; k++ {
		due := s.due(i, k)
		if !due.Before(s.end) {
			break
		}
		number := s.next.Add(1)
		t := s.reqs[int(number)%len(s.reqs)]
		buf = t.fill(buf, uint64(s.began.UnixNano())+uint64(number), uint64(time.Now().UnixNano()))
		refused, err := conn.export(buf)
		took := time.Since(due)
		if err != nil {
			s.failed(refused, err)
			time.Sleep(10 * time.Millisecond) // it said no: not at once again
			if !refused {
				conn.close()
				if again, err := s.dial(); err == nil {
					conn = again
				}
			}
			continue
		}
		s.spans.Add(int64(t.n_spans))
		own = append(own, took)
		if s.slowMs > 0 && ms(took) > s.slowMs && len(late) < slowMax {
			late = append(late, slow{float64(due.UnixNano()) / 1e9, ms(took)})
		}
	}
	s.mu.Lock()
	s.latencies = append(s.latencies, own...)
	s.slow = append(s.slow, late...)
	s.mu.Unlock()
}

func (s *sender) over(limit time.Duration) (n int) {
	for _, d := range s.latencies {
		if d > limit {
			n++
		}
	}
	return n
}

func doSend(args []string) {
	fs := flag.NewFlagSet("send", flag.ExitOnError)
	file := fs.String("file", "corpus.bin", "made by loadgen gen")
	proto := fs.String("proto", "grpc", "grpc or http")
	addr := fs.String("addr", "127.0.0.1:4317", "")
	path := fs.String("path", "/v1/traces", "of HTTP")
	seconds := fs.Float64("seconds", 10, "")
	s := &sender{}
	fs.IntVar(&s.clients, "clients", 100, "each with a connection of its own")
	fs.Float64Var(&s.rate, "rate", 0, "requests a second over all clients; 0: as fast as answered")
	fs.Float64Var(&s.slowMs, "slow-ms", 0, "tell each request that took longer; 0: none")
	fs.Parse(args)
	s.dial = func() (exporter, error) {
		if *proto == "grpc" {
			return dialGRPC(*addr)
		}
		return dialHTTP1(*addr, *path)
	}
	var err error
	if s.reqs, err = readCorpus(*file); err != nil {
		fail(err)
	}
	conns := make([]exporter, s.clients)
	for i := range conns {
		if conns[i], err = s.dial(); err != nil {
			fail(errors.Join(errors.New("connect"), err))
		}
	}
	cpu := cpuSeconds()
	s.began = time.Now().Add(10 * time.Millisecond)
	s.end = s.began.Add(time.Duration(*seconds * 1e9))
	var wg sync.WaitGroup
	for i, c := range conns {
		wg.Add(1)
		go func() { defer wg.Done(); s.client(i, c) }()
	}
	wg.Wait()
	s.report(*proto, time.Since(s.began).Seconds(), cpuSeconds()-cpu)
}

func (s *sender) report(proto string, took, cpu float64) {
	r := sendResult{Proto: proto, Clients: s.clients, Rate: s.rate, Seconds: took, Requests: int64(len(s.latencies)),
		PerSecond: float64(len(s.latencies)) / took, Spans: s.spans.Load(), SpansPerS: float64(s.spans.Load()) / took,
		Refused: s.refused.Load(), Broken: s.broken.Load(), Slow: s.slow,
		Over50: s.over(50 * time.Millisecond), Over100: s.over(100 * time.Millisecond)}
	r.summary = summarize(s.latencies)
	if r.Requests > 0 {
		r.ClientCPU = cpu / float64(r.Requests) * 1e6
	}
	if e, ok := s.firstErr.Load().(string); ok {
		r.Error = e
	}
	print(r)
}
