// SPDX-License-Identifier: Apache-2.0

// loadgen makes and sends OTLP trace corpora.
//   loadgen gen  -traces N -seed S -minutes M -end UNIX -out FILE [-batch 500]
//   loadgen send -file FILE -proto grpc|http -addr HOST:PORT [-path /v1/traces] -conns C [-tenant T] [-gzip] [-shift]
// FILE: u32le length + ExportTraceServiceRequest, repeated.
package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand"
	"net/http"
	"os"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	coll "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	cpb "go.opentelemetry.io/proto/otlp/common/v1"
	rpb "go.opentelemetry.io/proto/otlp/resource/v1"
	tpb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

func s(k, v string) *cpb.KeyValue {
	return &cpb.KeyValue{Key: k, Value: &cpb.AnyValue{Value: &cpb.AnyValue_StringValue{StringValue: v}}}
}
func i(k string, v int64) *cpb.KeyValue {
	return &cpb.KeyValue{Key: k, Value: &cpb.AnyValue{Value: &cpb.AnyValue_IntValue{IntValue: v}}}
}
func f(k string, v float64) *cpb.KeyValue {
	return &cpb.KeyValue{Key: k, Value: &cpb.AnyValue{Value: &cpb.AnyValue_DoubleValue{DoubleValue: v}}}
}
func b(k string, v bool) *cpb.KeyValue {
	return &cpb.KeyValue{Key: k, Value: &cpb.AnyValue{Value: &cpb.AnyValue_BoolValue{BoolValue: v}}}
}
func arr(k string, vs ...string) *cpb.KeyValue {
	a := &cpb.ArrayValue{}
	for _, v := range vs {
		a.Values = append(a.Values, &cpb.AnyValue{Value: &cpb.AnyValue_StringValue{StringValue: v}})
	}
	return &cpb.KeyValue{Key: k, Value: &cpb.AnyValue{Value: &cpb.AnyValue_ArrayValue{ArrayValue: a}}}
}

type svc struct {
	name, ns, lang string
	kind           string
	calls          []string
}

var svcs = map[string]svc{
	"frontend-proxy":  {"frontend-proxy", "shop", "cpp", "http", []string{"frontend"}},
	"frontend":        {"frontend", "shop", "nodejs", "http", []string{"cart", "catalog", "checkout", "recommend", "ads", "assistant"}},
	"cart":            {"cart", "shop", "dotnet", "grpc", []string{"redis"}},
	"catalog":         {"catalog", "shop", "go", "grpc", []string{"postgres"}},
	"checkout":        {"checkout", "shop", "go", "grpc", []string{"payment", "shipping", "currency", "email", "kafka"}},
	"payment":         {"payment", "pay", "nodejs", "grpc", nil},
	"shipping":        {"shipping", "shop", "rust", "http", []string{"quote"}},
	"quote":           {"quote", "shop", "php", "http", nil},
	"currency":        {"currency", "shop", "cpp", "grpc", nil},
	"email":           {"email", "shop", "ruby", "http", nil},
	"recommend":       {"recommend", "shop", "python", "grpc", []string{"catalog"}},
	"ads":             {"ads", "shop", "java", "grpc", []string{"postgres"}},
	"assistant":       {"assistant", "llm-d", "python", "http", []string{"llama-stack"}},
	"llama-stack":     {"llama-stack", "llm-d", "python", "http", []string{"epp-gateway", "postgres"}},
	"epp-gateway":     {"epp-gateway", "llm-d", "go", "grpc", []string{"vllm-prefill", "vllm-decode"}},
	"vllm-prefill":    {"vllm-prefill", "llm-d", "python", "http", nil},
	"vllm-decode":     {"vllm-decode", "llm-d", "python", "http", nil},
	"nova-api":        {"nova-api", "openstack", "python", "http", []string{"neutron-server", "postgres", "kafka"}},
	"neutron-server":  {"neutron-server", "openstack", "python", "http", []string{"postgres"}},
	"ros2-controller": {"ros2-controller", "robots", "cpp", "http", []string{"localai"}},
	"localai":         {"localai", "robots", "go", "http", nil},
}
var roots = []string{"frontend-proxy", "frontend-proxy", "frontend-proxy", "frontend-proxy", "frontend-proxy", "nova-api", "ros2-controller", "assistant"}
var routes = []string{"/", "/api/cart", "/api/products/{id}", "/api/checkout", "/api/recommendations", "/api/ads", "/v1/chat/completions", "/v1/models", "/healthz", "/servers/{id}/action", "/v2.1/ports", "/api/currency", "/quote", "/ship-order", "/send_email", "/cmd_vel"}
var methods = []string{"GET", "GET", "GET", "POST", "POST", "PUT", "DELETE"}
var models = []string{"meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen2.5-72B", "mistral-7b", "gpt-oss-120b"}
var sql = []string{"SELECT * FROM products WHERE id = $1", "SELECT id, name FROM ads WHERE category = ANY($1)", "UPDATE instances SET vm_state = $1 WHERE uuid = $2", "INSERT INTO orders (id, user_id, total) VALUES ($1, $2, $3)", "SELECT p.id FROM ports p JOIN networks n ON n.id = p.network_id WHERE n.tenant_id = $1"}

type gen struct {
	r   *rand.Rand
	by  map[string]map[string]*tpb.ScopeSpans // resource key -> scope
	res map[string]*rpb.Resource
}

func (g *gen) resource(name string, pod int) (string, *rpb.Resource) {
	sv := svcs[name]
	key := fmt.Sprintf("%s/%d", name, pod)
	if r, ok := g.res[key]; ok {
		return key, r
	}
	r := &rpb.Resource{Attributes: []*cpb.KeyValue{
		s("service.name", name), s("service.namespace", sv.ns), s("service.version", fmt.Sprintf("1.%d.0", pod%3)),
		s("service.instance.id", fmt.Sprintf("%s-%08x", name, pod*2654435761)),
		s("k8s.namespace.name", sv.ns), s("k8s.pod.name", fmt.Sprintf("%s-7d9f8b6c5-%05x", name, pod*7919)),
		s("k8s.node.name", fmt.Sprintf("node-%d", pod%12)), s("k8s.container.name", name),
		s("deployment.environment", []string{"production", "staging"}[pod%2]),
		s("telemetry.sdk.language", sv.lang), s("telemetry.sdk.name", "opentelemetry"), s("telemetry.sdk.version", "1.30.0"),
		s("host.name", fmt.Sprintf("host-%d.example.internal", pod%12)), i("process.pid", int64(1000+pod)),
	}}
	g.res[key] = r
	return key, r
}

func (g *gen) add(name string, pod int, scope string, sp *tpb.Span) {
	key, _ := g.resource(name, pod)
	m := g.by[key]
	if m == nil {
		m = map[string]*tpb.ScopeSpans{}
		g.by[key] = m
	}
	ss := m[scope]
	if ss == nil {
		ss = &tpb.ScopeSpans{Scope: &cpb.InstrumentationScope{Name: scope, Version: "0.55.0"}}
		m[scope] = ss
	}
	ss.Spans = append(ss.Spans, sp)
}
func (g *gen) id(n int) []byte { x := make([]byte, n); g.r.Read(x); return x }

// call emits the spans of one service's handling; returns its duration.
func (g *gen) call(trace []byte, parent []byte, name string, start uint64, depth int) (uint64, int) {
	r := g.r
	sv := svcs[name]
	pod := r.Intn(8)
	route := routes[r.Intn(len(routes))]
	m := methods[r.Intn(len(methods))]
	id := g.id(8)
	self := uint64(50e3 + r.ExpFloat64()*4e6)
	if r.Intn(200) == 0 {
		self *= 40
	}
	errd := r.Intn(60) == 0
	code := int64(200)
	if errd {
		code = []int64{500, 502, 503, 404, 429}[r.Intn(5)]
	}
	sp := &tpb.Span{TraceId: trace, SpanId: id, ParentSpanId: parent, Kind: tpb.Span_SPAN_KIND_SERVER, StartTimeUnixNano: start}
	scope := "go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	if sv.kind == "http" {
		sp.Name = m + " " + route
		sp.Attributes = append(sp.Attributes, s("http.method", m), s("http.request.method", m), s("http.route", route), s("http.target", fmt.Sprintf("%s?session=%08x", route, r.Uint32())),
			i("http.status_code", code), i("http.response.status_code", code), s("net.peer.ip", fmt.Sprintf("10.%d.%d.%d", r.Intn(4), r.Intn(255), r.Intn(255))), s("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"), s("server.address", name), i("http.response_content_length", int64(r.Intn(100000))), b("http.tls", r.Intn(2) == 0))
	} else {
		scope = "google.golang.org/grpc/otelgrpc"
		mth := []string{"Get", "List", "Place", "Convert"}[r.Intn(4)]
		sp.Name = "shop." + name + "/" + mth
		sp.Attributes = append(sp.Attributes, s("rpc.system", "grpc"), s("rpc.service", "shop."+name), s("rpc.method", mth), i("rpc.grpc.status_code", map[bool]int64{true: 13, false: 0}[errd]), s("net.peer.ip", fmt.Sprintf("10.%d.%d.%d", r.Intn(4), r.Intn(255), r.Intn(255))))
	}
	if r.Intn(3) == 0 {
		sp.Attributes = append(sp.Attributes, s("user.id", fmt.Sprintf("user-%06d", r.Intn(100000))), s("session.id", hex.EncodeToString(g.id(8))))
	}
	if r.Intn(10) == 0 {
		sp.Attributes = append(sp.Attributes, arr("feature.flags", "new-ui", fmt.Sprintf("exp-%d", r.Intn(5))))
	}
	t := start + self/3
	n := 1
	if name == "vllm-prefill" || name == "vllm-decode" || name == "localai" || name == "llama-stack" {
		md := models[r.Intn(len(models))]
		gs := &tpb.Span{TraceId: trace, SpanId: g.id(8), ParentSpanId: id, Kind: tpb.Span_SPAN_KIND_INTERNAL, Name: "llm_request", StartTimeUnixNano: t,
			Attributes: []*cpb.KeyValue{s("gen_ai.request.model", md), s("gen_ai.request.id", hex.EncodeToString(g.id(12))), i("gen_ai.usage.prompt_tokens", int64(r.Intn(4000))), i("gen_ai.usage.completion_tokens", int64(r.Intn(1500))), f("gen_ai.latency.time_to_first_token", r.ExpFloat64()*0.3), f("gen_ai.latency.e2e", r.ExpFloat64()*2), f("gen_ai.request.temperature", 0.7), i("gen_ai.request.max_tokens", 1024)}}
		d := uint64(5e7 + r.ExpFloat64()*4e8)
		gs.EndTimeUnixNano = t + d
		gs.Events = append(gs.Events, &tpb.Span_Event{TimeUnixNano: t + d/4, Name: "first_token", Attributes: []*cpb.KeyValue{i("token.index", 0)}})
		g.add(name, pod, "vllm.engine", gs)
		t += d
		n++
	}
	for _, c := range sv.calls {
		if depth > 6 || r.Intn(10) < 3 {
			continue
		}
		cid := g.id(8)
		cs := &tpb.Span{TraceId: trace, SpanId: cid, ParentSpanId: id, StartTimeUnixNano: t, Kind: tpb.Span_SPAN_KIND_CLIENT}
		var d uint64
		switch c {
		case "postgres":
			q := sql[r.Intn(len(sql))]
			cs.Name = q[:6] + " shopdb"
			cs.Attributes = []*cpb.KeyValue{s("db.system", "postgresql"), s("db.name", "shopdb"), s("db.statement", q), s("peer.service", "postgres"), s("net.peer.name", "postgres.db.svc"), i("net.peer.port", 5432)}
			d = uint64(2e5 + r.ExpFloat64()*2e6)
			g.add(name, pod, "opentelemetry.instrumentation.sqlalchemy", cs)
		case "redis":
			cs.Name = []string{"HGET", "HSET", "EXPIRE"}[r.Intn(3)]
			cs.Attributes = []*cpb.KeyValue{s("db.system", "redis"), s("db.statement", fmt.Sprintf("%s cart:%06d", cs.Name, r.Intn(100000))), s("net.peer.name", "redis.db.svc"), i("net.peer.port", 6379)}
			d = uint64(5e4 + r.ExpFloat64()*4e5)
			g.add(name, pod, "OpenTelemetry.Instrumentation.StackExchangeRedis", cs)
		case "kafka":
			cs.Name = "orders publish"
			cs.Kind = tpb.Span_SPAN_KIND_PRODUCER
			cs.Attributes = []*cpb.KeyValue{s("messaging.system", "kafka"), s("messaging.destination.name", "orders"), i("messaging.kafka.partition", int64(r.Intn(12))), i("messaging.message.payload_size_bytes", int64(r.Intn(4000)))}
			d = uint64(1e5 + r.ExpFloat64()*1e6)
			g.add(name, pod, "kafka-client", cs)
			if r.Intn(2) == 0 {
				cid2 := g.id(8)
				g.add("email", r.Intn(8), "kafka-client", &tpb.Span{TraceId: trace, SpanId: cid2, ParentSpanId: cid, Name: "orders process", Kind: tpb.Span_SPAN_KIND_CONSUMER, StartTimeUnixNano: t + d, EndTimeUnixNano: t + d + 3e6,
					Links:      []*tpb.Span_Link{{TraceId: g.id(16), SpanId: g.id(8), Attributes: []*cpb.KeyValue{s("link.reason", "batch")}}},
					Attributes: []*cpb.KeyValue{s("messaging.system", "kafka"), s("messaging.operation", "process")}})
				n++
			}
		default:
			cs.Name = svcs[c].kind + "." + c
			cs.Attributes = []*cpb.KeyValue{s("peer.service", c), s("net.peer.name", c+"."+svcs[c].ns+".svc.cluster.local"), i("net.peer.port", 8080), s("rpc.system", svcs[c].kind)}
			var k int
			d, k = g.call(trace, cid, c, t+2e5, depth+1)
			n += k
			d += 4e5
			g.add(name, pod, scope, cs)
		}
		cs.EndTimeUnixNano = t + d
		t += d
		n++
	}
	end := t + self/3
	sp.EndTimeUnixNano = end
	if errd {
		sp.Status = &tpb.Status{Code: tpb.Status_STATUS_CODE_ERROR, Message: fmt.Sprintf("upstream %d", code)}
		sp.Events = append(sp.Events, &tpb.Span_Event{TimeUnixNano: end - 1000, Name: "exception", Attributes: []*cpb.KeyValue{s("exception.type", []string{"TimeoutError", "ConnectionReset", "ValueError"}[r.Intn(3)]), s("exception.message", "call failed after 3 attempts"), s("exception.stacktrace", "Traceback (most recent call last):\n  File \"app.py\", line 42, in handle\n    raise TimeoutError()\n")}})
	} else if r.Intn(4) == 0 {
		sp.Status = &tpb.Status{Code: tpb.Status_STATUS_CODE_OK}
	}
	g.add(name, pod, scope, sp)
	return end - start, n
}

func (g *gen) flush() *coll.ExportTraceServiceRequest {
	req := &coll.ExportTraceServiceRequest{}
	keys := make([]string, 0, len(g.by))
	for k := range g.by {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for _, k := range keys {
		rs := &tpb.ResourceSpans{Resource: g.res[k]}
		sk := make([]string, 0)
		for x := range g.by[k] {
			sk = append(sk, x)
		}
		sort.Strings(sk)
		for _, x := range sk {
			rs.ScopeSpans = append(rs.ScopeSpans, g.by[k][x])
		}
		req.ResourceSpans = append(req.ResourceSpans, rs)
	}
	g.by = map[string]map[string]*tpb.ScopeSpans{}
	return req
}

func doGen(args []string) {
	fs := flag.NewFlagSet("gen", flag.ExitOnError)
	traces := fs.Int("traces", 1000, "")
	seed := fs.Int64("seed", 1, "")
	minutes := fs.Float64("minutes", 30, "")
	endS := fs.Int64("end", time.Now().Unix(), "")
	out := fs.String("out", "corpus.bin", "")
	batch := fs.Int("batch", 500, "")
	fs.Parse(args)
	g := &gen{r: rand.New(rand.NewSource(*seed)), by: map[string]map[string]*tpb.ScopeSpans{}, res: map[string]*rpb.Resource{}}
	w, err := os.Create(*out)
	if err != nil {
		panic(err)
	}
	n, total, bytesT := 0, 0, 0
	put := func() {
		raw, _ := proto.MarshalOptions{Deterministic: true}.Marshal(g.flush())
		var l [4]byte
		binary.LittleEndian.PutUint32(l[:], uint32(len(raw)))
		w.Write(l[:])
		w.Write(raw)
		bytesT += len(raw)
		n = 0
	}
	span := *minutes * 60e9
	begin := float64(*endS)*1e9 - span
	for t := 0; t < *traces; t++ {
		start := uint64(begin + span*float64(t)/float64(*traces))
		_, k := g.call(g.id(16), nil, roots[g.r.Intn(len(roots))], start, 0)
		n += k
		total += k
		if n >= *batch {
			put()
		}
	}
	if n > 0 {
		put()
	}
	w.Close()
	fmt.Printf("traces=%d spans=%d bytes=%d bytes/span=%.1f\n", *traces, total, bytesT, float64(bytesT)/float64(total))
}

type rawCodec struct{}

func (rawCodec) Marshal(v any) ([]byte, error)   { return *(v.(*[]byte)), nil }
func (rawCodec) Unmarshal(d []byte, v any) error { *(v.(*[]byte)) = append([]byte(nil), d...); return nil }
func (rawCodec) Name() string                    { return "proto" }

func readFile(p string) [][]byte {
	d, err := os.ReadFile(p)
	if err != nil {
		panic(err)
	}
	var out [][]byte
	for len(d) >= 4 {
		l := binary.LittleEndian.Uint32(d)
		out = append(out, d[4:4+l])
		d = d[4+l:]
	}
	return out
}

func doSend(args []string) {
	fs := flag.NewFlagSet("send", flag.ExitOnError)
	file := fs.String("file", "corpus.bin", "")
	pr := fs.String("proto", "grpc", "")
	addr := fs.String("addr", "127.0.0.1:4317", "")
	path := fs.String("path", "/v1/traces", "")
	conns := fs.Int("conns", 4, "")
	tenant := fs.String("tenant", "", "")
	gz := fs.Bool("gzip", false, "")
	asJSON := fs.Bool("summary-json", false, "")
	fs.Parse(args)
	reqs := readFile(*file)
	var next, failed, retried int64
	next = -1
	lat := make([]time.Duration, len(reqs))
	var firstErr atomic.Value
	spans := 0
	for _, r := range reqs {
		m := &coll.ExportTraceServiceRequest{}
		if proto.Unmarshal(r, m) == nil {
			for _, a := range m.ResourceSpans {
				for _, c := range a.ScopeSpans {
					spans += len(c.Spans)
				}
			}
		}
	}
	var bodies [][]byte
	if *pr == "http" && *gz {
		for _, r := range reqs {
			var bb bytes.Buffer
			zw := gzip.NewWriter(&bb)
			zw.Write(r)
			zw.Close()
			bodies = append(bodies, bb.Bytes())
		}
	} else {
		bodies = reqs
	}
	start := time.Now()
	encoding.RegisterCodec(rawCodec{}) // a plain map: before the senders start
	var wg sync.WaitGroup
	for c := 0; c < *conns; c++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			var do func(bd []byte) (error, bool)
			if *pr == "grpc" {
				opts := []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
				cc, err := grpc.NewClient("passthrough:///"+*addr, opts...)
				if err != nil {
					panic(err)
				}
				defer cc.Close()
				do = func(bd []byte) (error, bool) {
					ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
					defer cancel()
					if *tenant != "" {
						ctx = metadata.AppendToOutgoingContext(ctx, "x-scope-orgid", *tenant)
					}
					var resp []byte
					co := []grpc.CallOption{grpc.ForceCodec(rawCodec{})}
					if *gz {
						co = append(co, grpc.UseCompressor("gzip"))
					}
					err := cc.Invoke(ctx, "/opentelemetry.proto.collector.trace.v1.TraceService/Export", &bd, &resp, co...)
					return err, err != nil
				}
			} else {
				cl := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1}, Timeout: 60 * time.Second}
				do = func(bd []byte) (error, bool) {
					rq, _ := http.NewRequest("POST", "http://"+*addr+*path, bytes.NewReader(bd))
					rq.Header.Set("Content-Type", "application/x-protobuf")
					if *tenant != "" {
						rq.Header.Set("X-Scope-OrgID", *tenant)
					}
					if *gz {
						rq.Header.Set("Content-Encoding", "gzip")
					}
					rs, err := cl.Do(rq)
					if err != nil {
						return err, true
					}
					body, _ := io.ReadAll(rs.Body)
					rs.Body.Close()
					if rs.StatusCode/100 != 2 {
						return fmt.Errorf("http %d: %.200s", rs.StatusCode, body), rs.StatusCode == 429 || rs.StatusCode == 503
					}
					return nil, false
				}
			}
			for {
				k := atomic.AddInt64(&next, 1)
				if int(k) >= len(bodies) {
					return
				}
				t0 := time.Now()
				for try := 0; ; try++ {
					err, retry := do(bodies[k])
					if err == nil {
						break
					}
					firstErr.CompareAndSwap(nil, err.Error())
					if !retry || try > 30 {
						atomic.AddInt64(&failed, 1)
						break
					}
					atomic.AddInt64(&retried, 1)
					time.Sleep(100 * time.Millisecond)
				}
				lat[k] = time.Since(t0)
			}
		}()
	}
	wg.Wait()
	el := time.Since(start).Seconds()
	sort.Slice(lat, func(a, b int) bool { return lat[a] < lat[b] })
	res := map[string]any{"requests": len(reqs), "spans": spans, "seconds": el, "spans_per_s": float64(spans) / el, "failed": failed, "retried": retried, "p50_ms": lat[len(lat)/2].Seconds() * 1e3, "p99_ms": lat[len(lat)*99/100].Seconds() * 1e3}
	if e := firstErr.Load(); e != nil {
		res["first_error"] = e
	}
	if *asJSON {
		json.NewEncoder(os.Stdout).Encode(res)
	} else {
		for k, v := range res {
			fmt.Printf("%s=%v ", k, v)
		}
		fmt.Println()
	}
}

func main() {
	switch os.Args[1] {
	case "gen":
		doGen(os.Args[2:])
	case "ids":
		for _, r := range readFile(os.Args[2]) {
			m := &coll.ExportTraceServiceRequest{}
			if proto.Unmarshal(r, m) != nil {
				continue
			}
			for _, a := range m.ResourceSpans {
				for _, c := range a.ScopeSpans {
					for _, sp := range c.Spans {
						if len(sp.ParentSpanId) == 0 {
							fmt.Println(hex.EncodeToString(sp.TraceId))
						}
					}
				}
			}
		}
	case "send":
		doSend(os.Args[2:])
	}
}
