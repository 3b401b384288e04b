// SPDX-License-Identifier: Apache-2.0
package main

import (
	"flag"
	"os"
	"syscall"
	"time"
)

const besideBytes = 192 << 20

// beside writes a large file over and over until stop is closed, as a merge does: synced at its end as a whole, or
// written back piece by piece (which is what the server does). It returns when it is done.
func beside(dir string, pieces bool, stop <-chan struct{}) {
	const writeOut = 7 // wait before, write, wait after: sync_file_range(2)
	piece := make([]byte, 1<<20)
	for i := range piece {
		piece[i] = byte(i * 2654435761 >> 13)
	}
	for {
		f, err := os.CreateTemp(dir, "latency-beside-")
		if err != nil {
			fail(err)
		}
		os.Remove(f.Name())
		for at := int64(0); at < besideBytes && err == nil; at += int64(len(piece)) {
			_, err = f.WriteAt(piece, at)
			if err == nil && pieces {
				err = syscall.SyncFileRange(int(f.Fd()), at, int64(len(piece)), writeOut)
			}
		}
		if err == nil {
			err = f.Sync()
		}
		if err != nil {
			fail(err)
		}
		f.Close()
		select {
		case <-stop:
			return
		case <-time.After(300 * time.Millisecond):
		}
	}
}

// doDisk is what the disk alone takes: pwrite and fdatasync, one after the other, in a file that was written before,
// as the log's segments are.
func doDisk(args []string) {
	fs := flag.NewFlagSet("disk", flag.ExitOnError)
	dir := fs.String("dir", ".", "")
	size := fs.Int("bytes", 4096, "of one write")
	seconds := fs.Float64("seconds", 2, "")
	how := fs.String("beside", "", "while 192 MiB are written beside it and synced: whole, or in pieces")
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
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		if *how != "" {
			beside(*dir, *how == "pieces", stop)
		}
	}()
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
	close(stop)
	<-done
	print(struct {
		Bytes  int    `json:"bytes"`
		Beside string `json:"beside,omitempty"`
		summary
	}{*size, *how, summarize(took)})
}
