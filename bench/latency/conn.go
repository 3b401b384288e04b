// SPDX-License-Identifier: Apache-2.0
package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const answerTimeout = 30 * time.Second

// exporter sends one request and waits for its answer. refused: the server said no; nothing was stored.
type exporter interface {
	export(body []byte) (refused bool, err error)
	close()
}

// HTTP/1.1.

type http1 struct {
	c    net.Conn
	r    *bufio.Reader
	head []byte // up to the value of Content-Length
	out  []byte
}

func dialHTTP1(addr, path string) (*http1, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	head := "POST " + path + " HTTP/1.1\r\nHost: " + addr + "\r\nContent-Type: application/x-protobuf\r\nContent-Length: "
	return &http1{c: c, r: bufio.NewReaderSize(c, 64<<10), head: []byte(head)}, nil
}

func (h *http1) close() { h.c.Close() }

// answer reads one; the body is thrown away.
func (h *http1) answer() (status int, n int64, err error) {
	h.c.SetReadDeadline(time.Now().Add(answerTimeout))
	line, err := h.r.ReadSlice('\n')
	if err != nil {
		return 0, 0, err
	}
	if len(line) < 12 {
		return 0, 0, fmt.Errorf("status line %q", line)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, 0, err
	}
	length, chunked := int64(0), false
	for {
		line, err := h.r.ReadSlice('\n')
		if err != nil {
			return 0, 0, err
		}
		if len(line) <= 2 {
			break
		}
		name, value, _ := strings.Cut(string(bytes.ToLower(bytes.TrimSpace(line))), ":")
		switch value = strings.TrimSpace(value); name {
		case "content-length":
			length, _ = strconv.ParseInt(value, 10, 64)
		case "transfer-encoding":
			chunked = value == "chunked"
		}
	}
	if !chunked {
		n, err = io.CopyN(io.Discard, h.r, length)
		return status, n, err
	}
	for {
		line, err := h.r.ReadSlice('\n')
		if err != nil {
			return 0, 0, err
		}
		size, err := strconv.ParseInt(string(bytes.TrimSpace(line)), 16, 64)
		if err != nil {
			return 0, 0, err
		}
		if _, err = io.CopyN(io.Discard, h.r, size+2); err != nil {
			return 0, 0, err
		}
		if n += size; size == 0 {
			return status, n, nil
		}
	}
}

func (h *http1) export(body []byte) (bool, error) {
	h.out = append(h.out[:0], h.head...)
	h.out = strconv.AppendInt(h.out, int64(len(body)), 10)
	h.out = append(append(h.out, "\r\n\r\n"...), body...)
	if _, err := h.c.Write(h.out); err != nil {
		return false, err
	}
	status, _, err := h.answer()
	if err == nil && status != 200 {
		return true, fmt.Errorf("HTTP %d", status)
	}
	return false, err
}

// gRPC: one stream at a time on a connection of its own.

type grpcConn struct {
	c       net.Conn
	w       *bufio.Writer
	f       *http2.Framer
	headers []byte
	stream  uint32
	window  int64 // of the connection, what we may send
	initial int64 // of a new stream
	own     int64 // of the stream
	frame   int64
	unread  uint32 // bytes received and not yet given back
}

const (
	grpcPath    = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
	windowAfter = 32 << 10
)

func dialGRPC(addr string) (*grpcConn, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	w := bufio.NewWriterSize(c, 64<<10)
	g := &grpcConn{c: c, w: w, f: http2.NewFramer(w, bufio.NewReaderSize(c, 16<<10)), window: 65535, initial: 65535, frame: 16384}
	g.stream = ^uint32(0) // the first is 1
	g.f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	g.f.SetReuseFrames()
	var block bytes.Buffer
	e := hpack.NewEncoder(&block)
	e.SetMaxDynamicTableSize(0) // the same bytes for every request
	for _, h := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":path", grpcPath}, {":authority", addr},
		{"content-type", "application/grpc"}, {"te", "trailers"}} {
		if err := e.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]}); err != nil {
			return nil, err
		}
	}
	g.headers = block.Bytes()
	if _, err := w.WriteString(http2.ClientPreface); err != nil {
		return nil, err
	}
	if err := g.f.WriteSettings(); err != nil {
		return nil, err
	}
	return g, w.Flush()
}

func (g *grpcConn) close() { g.c.Close() }

// step reads one frame. done: it ended the stream, with this status.
func (g *grpcConn) step() (done bool, status string, err error) {
	g.c.SetReadDeadline(time.Now().Add(answerTimeout))
	fr, err := g.f.ReadFrame()
	if err != nil {
		return false, "", err
	}
	switch fr := fr.(type) {
	case *http2.SettingsFrame:
		if fr.IsAck() {
			return false, "", nil
		}
		if v, ok := fr.Value(http2.SettingInitialWindowSize); ok {
			g.own += int64(v) - g.initial
			g.initial = int64(v)
		}
		if v, ok := fr.Value(http2.SettingMaxFrameSize); ok {
			g.frame = int64(v)
		}
		err = g.f.WriteSettingsAck()
	case *http2.PingFrame:
		if !fr.IsAck() {
			err = g.f.WritePing(true, fr.Data)
		}
	case *http2.WindowUpdateFrame:
		if fr.StreamID == 0 {
			g.window += int64(fr.Increment)
		} else if fr.StreamID == g.stream {
			g.own += int64(fr.Increment)
		}
	case *http2.DataFrame:
		if g.unread += fr.Length; g.unread > windowAfter {
			err = g.f.WriteWindowUpdate(0, g.unread)
			g.unread = 0
		}
	case *http2.RSTStreamFrame:
		if fr.StreamID == g.stream {
			return true, "RST_STREAM " + fr.ErrCode.String(), nil
		}
	case *http2.GoAwayFrame:
		if fr.LastStreamID < g.stream {
			return true, "GOAWAY", nil
		}
	case *http2.MetaHeadersFrame:
		if fr.StreamID == g.stream && fr.StreamEnded() {
			for _, h := range fr.RegularFields() {
				if h.Name == "grpc-status" {
					status = h.Value
				}
			}
			return true, status, nil
		}
	}
	return false, "", err
}

func (g *grpcConn) export(body []byte) (bool, error) {
	g.stream += 2
	g.own = g.initial
	err := g.f.WriteHeaders(http2.HeadersFrameParam{StreamID: g.stream, BlockFragment: g.headers, EndHeaders: true})
	if err != nil {
		return false, err
	}
	message := make([]byte, 0, len(body)+5)
	message = append(message, 0, byte(len(body)>>24), byte(len(body)>>16), byte(len(body)>>8), byte(len(body)))
	message = append(message, body...)
	done, status := false, ""
	for len(message) > 0 && err == nil && !done {
		n := min(int64(len(message)), g.frame, g.window, g.own)
		if n <= 0 {
			if err = g.w.Flush(); err == nil {
				done, status, err = g.step()
			}
			continue
		}
		err = g.f.WriteData(g.stream, n == int64(len(message)), message[:n])
		message = message[n:]
		g.window -= n
		g.own -= n
	}
	if err == nil {
		err = g.w.Flush()
	}
	for err == nil && !done {
		done, status, err = g.step()
	}
	if err == nil && status != "0" {
		return true, errors.New("gRPC status " + status)
	}
	return false, err
}
