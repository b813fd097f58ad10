// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
)

// The range that ports are taken from: below the kernel's default ephemeral
// range (32768 and up), so that no outgoing connection, a client's reconnect
// among them, sits on the port of a server that is down for a moment.
const (
	firstPort = 12000
	lastPort  = 31999
)

// held keeps the lock files of the reserved ports open: a port stays reserved
// for the life of the process, and goes to nobody else in it.
var held struct {
	sync.Mutex
	files map[int]*os.File
}

// FreePort reserves a TCP port of 127.0.0.1 that nobody listens on. It belongs
// to the caller until the test process ends.
func FreePort(t testing.TB) int {
	t.Helper()
	port, err := reservePort()
	if err != nil {
		t.Fatalf("harness: %v", err)
	}
	return port
}

func reservePort() (int, error) {
	dir := filepath.Join(os.TempDir(), "keelson-test-"+strconv.Itoa(os.Getuid()), "ports")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return 0, fmt.Errorf("make the port locks' directory: %w", err)
	}
	held.Lock()
	defer held.Unlock()
	if held.files == nil {
		held.files = map[int]*os.File{}
	}
	const tries = 1000
	for range tries {
		port := firstPort + rand.IntN(lastPort-firstPort+1)
		if held.files[port] != nil {
			continue
		}
		f, err := os.OpenFile(filepath.Join(dir, strconv.Itoa(port)), os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return 0, fmt.Errorf("reserve port %d: %w", port, err)
		}
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil || !canListen(port) {
			f.Close()
			continue
		}
		held.files[port] = f
		return port, nil
	}
	return 0, errors.New("no free port on 127.0.0.1")
}

func canListen(port int) bool {
	l, err := net.Listen("tcp", Address(port))
	if err != nil {
		return false
	}
	l.Close()
	return true
}

const loopback = "127.0.0.1"

// Address returns host:port of a port on 127.0.0.1.
func Address(port int) string {
	return net.JoinHostPort(loopback, strconv.Itoa(port))
}
