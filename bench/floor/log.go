// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

const (
	// segmentBytes is how much of the file is allocated at a time, so that a sync need not write the
	// file's size. etcd's log does the same.
	segmentBytes = 64 << 20
	// maxBatch bounds the records of one write.
	maxBatch = 4096
)

// record is what one request appends.
type record struct {
	data []byte
	done chan error
}

// log appends records, all that wait at a time.
type log struct {
	file      *os.File
	records   chan record
	end       int64 // of what was written
	allocated int64
}

func openLog(path string) (*log, error) {
	file, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	l := &log{file: file, records: make(chan record, maxBatch)}
	go l.write()
	return l, nil
}

// append returns when data is on disk.
func (l *log) append(data []byte) error {
	r := record{data, make(chan error, 1)}
	l.records <- r
	return <-r.done
}

// write writes and syncs batches for as long as the process lives.
func (l *log) write() {
	var (
		buffer []byte
		batch  []record
	)
	for first := range l.records {
		batch, buffer = append(batch[:0], first), append(buffer[:0], first.data...)
		for len(batch) < maxBatch && len(l.records) > 0 {
			r := <-l.records
			batch, buffer = append(batch, r), append(buffer, r.data...)
		}
		err := l.sync(buffer)
		for _, r := range batch {
			r.done <- err
		}
	}
}

func (l *log) sync(buffer []byte) error {
	for l.end+int64(len(buffer)) > l.allocated {
		if err := unix.Fallocate(int(l.file.Fd()), 0, l.allocated, segmentBytes); err != nil {
			return fmt.Errorf("allocate %s: %w", l.file.Name(), err)
		}
		l.allocated += segmentBytes
	}
	if _, err := l.file.WriteAt(buffer, l.end); err != nil {
		return err
	}
	l.end += int64(len(buffer))
	return unix.Fdatasync(int(l.file.Fd()))
}
