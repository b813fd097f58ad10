// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// usage is what a process has used and holds.
type usage struct {
	cpu           time.Duration // user and system
	writtenBytes  int64         // caused to be written to a disk
	residentBytes int64
}

// clockTick is the unit of times in /proc/<pid>/stat: USER_HZ is 100 on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// usage reads /proc.
func (p *process) usage() (usage, error) {
	var (
		u   usage
		dir = fmt.Sprintf("/proc/%d/", p.cmd.Process.Pid)
	)
	stat, err := os.ReadFile(dir + "stat")
	if err != nil {
		return u, err
	}
	// The second field, the program's name in parentheses, may hold anything.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	const userTime, systemTime = 14 - 3, 15 - 3
	if len(fields) <= systemTime {
		return u, fmt.Errorf("%sstat has %d fields", dir, len(fields))
	}
	for _, i := range []int{userTime, systemTime} {
		ticks, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return u, fmt.Errorf("%sstat: %w", dir, err)
		}
		u.cpu += time.Duration(ticks) * clockTick
	}
	if u.writtenBytes, err = field(dir+"io", "write_bytes:"); err != nil {
		return u, err
	}
	// The kernel counts a page when it is dirtied. What a process cuts off a file before it was
	// written never reaches the disk, and is counted here.
	cancelled, err := field(dir+"io", "cancelled_write_bytes:")
	if err != nil {
		return u, err
	}
	u.writtenBytes -= cancelled
	kilobytes, err := field(dir+"status", "VmRSS:")
	u.residentBytes = kilobytes << 10
	return u, err
}

// field returns the number after name in a file of names and numbers.
func field(path, name string) (int64, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == name {
			return strconv.ParseInt(f[1], 10, 64)
		}
	}
	return 0, fmt.Errorf("%s: no %s", path, name)
}

const (
	// restWindow is how long a server must have done next to nothing to be at rest.
	restWindow = 500 * time.Millisecond
	// restTimeout is when it is taken to be at rest whatever it does.
	restTimeout = 10 * time.Second
)

// rest waits until the server has done what it put off, and returns its usage then.
func (s *server) rest(ctx context.Context) (usage, error) {
	last, err := s.usage()
	for waited := time.Duration(0); err == nil && waited < restTimeout; waited += restWindow {
		select {
		case <-ctx.Done():
			return last, ctx.Err()
		case <-time.After(restWindow):
		}
		var now usage
		now, err = s.usage()
		idle := now.cpu-last.cpu <= 2*clockTick && now.writtenBytes-last.writtenBytes < 64<<10
		last = now
		if idle {
			break
		}
	}
	return last, err
}
