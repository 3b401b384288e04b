// SPDX-License-Identifier: Apache-2.0
package main

import (
	"flag"
	"os"
	"syscall"
	"time"
)

// doDisk is what the disk alone takes: pwrite and fdatasync, one after the other, in a file that was written before,
// as the log's segments are.
func doDisk(args []string) {
	fs := flag.NewFlagSet("disk", flag.ExitOnError)
	dir := fs.String("dir", ".", "")
	size := fs.Int("bytes", 4096, "of one write")
	seconds := fs.Float64("seconds", 2, "")
	fs.Parse(args)
	f, err := os.CreateTemp(*dir, "latency-disk-")
	if err != nil {
		fail(err)
	}
	defer os.Remove(f.Name())
	const bytes = 16 << 20
	piece := make([]byte, 1<<20)
	for at := int64(0); at < bytes; at += int64(len(piece)) {
		if _, err := f.WriteAt(piece, at); err != nil {
			fail(err)
		}
	}
	if err := f.Sync(); err != nil {
		fail(err)
	}
	var took []time.Duration
	data := make([]byte, *size)
	for i := range data {
		data[i] = byte(i * 7)
	}
	end := time.Now().Add(time.Duration(*seconds * 1e9))
	for at := int64(0); time.Now().Before(end); at = (at + int64(*size)) % (bytes - int64(*size)) {
		began := time.Now()
		if _, err := f.WriteAt(data, at); err != nil {
			fail(err)
		}
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			fail(err)
		}
		took = append(took, time.Since(began))
	}
	print(struct {
		Bytes int `json:"bytes"`
		summary
	}{*size, summarize(took)})
}
