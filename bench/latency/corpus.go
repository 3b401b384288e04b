// SPDX-License-Identifier: Apache-2.0
package main

import (
	"encoding/binary"
	"errors"
	"os"
)

// template is a request of the corpus and where in it the bytes lie that differ from one sending to the next.
type template struct {
	body    []byte
	ids     []int // 8 bytes each: both halves of trace ids, span ids, parents'
	times   []int // fixed64
	latest  uint64
	n_spans int
}

var errCorpus = errors.New("not a corpus of bench/loadgen")

// fields calls each(number, wire type, value from, to) for the fields of the message in b[from:to]; a fixed64 or a
// length-delimited value lies there, of a varint nothing is said.
func fields(b []byte, from, to int, each func(number, wire, from, to int) error) error {
	for from < to {
		tag, n := binary.Uvarint(b[from:to])
		if n <= 0 {
			return errCorpus
		}
		from += n
		size := 0
		switch tag & 7 {
		case 0:
			if _, size = binary.Uvarint(b[from:to]); size <= 0 {
				return errCorpus
			}
		case 1:
			size = 8
		case 2:
			l, n := binary.Uvarint(b[from:to])
			if n <= 0 || l > uint64(to-from-n) {
				return errCorpus
			}
			from, size = from+n, int(l)
		case 5:
			size = 4
		default:
			return errCorpus
		}
		if size > to-from {
			return errCorpus
		}
		if err := each(int(tag>>3), int(tag&7), from, from+size); err != nil {
			return err
		}
		from += size
	}
	return nil
}

func (t *template) span(from, to int) error {
	t.n_spans++
	return fields(t.body, from, to, func(number, wire, from, to int) error {
		switch {
		case number == 1 && to-from == 16:
			t.ids = append(t.ids, from, from+8)
		case (number == 2 || number == 4) && to-from == 8:
			t.ids = append(t.ids, from)
		case (number == 7 || number == 8) && wire == 1:
			t.times = append(t.times, from)
			t.latest = max(t.latest, binary.LittleEndian.Uint64(t.body[from:]))
		}
		return nil
	})
}

// inside walks into the fields of this number.
func inside(b []byte, from, to, number int, each func(from, to int) error) error {
	return fields(b, from, to, func(n, wire, from, to int) error {
		if n != number || wire != 2 {
			return nil
		}
		return each(from, to)
	})
}

func newTemplate(body []byte) (*template, error) {
	t := &template{body: body}
	err := inside(body, 0, len(body), 1, func(from, to int) error { // resource_spans
		return inside(body, from, to, 2, func(from, to int) error { // scope_spans
			return inside(body, from, to, 2, t.span) // spans
		})
	})
	return t, err
}

func readCorpus(path string) ([]*template, error) {
	d, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var out []*template
	for len(d) >= 4 {
		n := int(binary.LittleEndian.Uint32(d))
		if n > len(d)-4 {
			return nil, errCorpus
		}
		t, err := newTemplate(d[4 : 4+n])
		if err != nil {
			return nil, err
		}
		out = append(out, t)
		d = d[4+n:]
	}
	if len(out) == 0 {
		return nil, errCorpus
	}
	return out, nil
}

// fill writes the request into buf as the one of this number: what it has in common with no other are its ids, which
// keep their relations, and its times, the latest of which becomes now.
func (t *template) fill(buf []byte, number uint64, now uint64) []byte {
	buf = append(buf[:0], t.body...)
	x := (number + 1) * 0x9e3779b97f4a7c15 // never 0
	x ^= x >> 29
	for _, at := range t.ids {
		binary.LittleEndian.PutUint64(buf[at:], binary.LittleEndian.Uint64(buf[at:])^x)
	}
	shift := now - t.latest
	for _, at := range t.times {
		binary.LittleEndian.PutUint64(buf[at:], binary.LittleEndian.Uint64(buf[at:])+shift)
	}
	return buf
}
