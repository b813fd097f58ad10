// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqldb

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// Roles of a child process, which is this test binary run again.
const (
	roleEnv   = "SQLDB_TEST_ROLE"
	pathEnv   = "SQLDB_TEST_PATH"
	roleWrite = "write" // write rows until killed, say what is durable
	roleHold  = "hold"  // hold a read transaction until stdin is closed
	roleIdle  = "idle"  // hold a connection, but no transaction, until stdin is closed
)

func TestMain(m *testing.M) {
	path := os.Getenv(pathEnv)
	switch os.Getenv(roleEnv) {
	case roleWrite:
		fmt.Println("error", writeForever(path))
		os.Exit(1)
	case roleHold, roleIdle:
		if err := holdUntilClosed(path, os.Getenv(roleEnv)); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// crashOptions make checkpoints so frequent that many kills hit one.
func crashOptions(path string) Options {
	return Options{Path: path, Clock: realClock{}, CommitInterval: time.Millisecond, CheckpointBytes: 200_000, TxRows: 300}
}

func writeForever(path string) error {
	ctx := context.Background()
	db, err := Open(ctx, crashOptions(path))
	if err != nil {
		return err
	}
	state, err := db.LoadState(ctx)
	if err != nil {
		return err
	}
	fmt.Println("open", state.AppliedIndex)
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	for next := state.NextSeq; ; {
		n := 1 + rng.IntN(50)
		if err := db.Write(batchOf(next, n)); err != nil {
			return err
		}
		next += int64(n)
		if rng.IntN(40) == 0 {
			durable, err := db.Persist(ctx)
			if err != nil {
				return err
			}
			fmt.Println("durable", durable)
		}
	}
}

func holdUntilClosed(path, role string) error {
	c, err := openConn(context.Background(), path, modeUse, "busy_timeout=5000")
	if err != nil {
		return err
	}
	if role == roleHold {
		if err := c.exec("BEGIN"); err != nil {
			return err
		}
	}
	n, err := c.int("SELECT coalesce(max(seq), 0) FROM history")
	if err != nil {
		return err
	}
	fmt.Println("holding", n)
	_, err = bufio.NewReader(os.Stdin).ReadString('\n')
	if err.Error() != "EOF" {
		return err
	}
	return c.close()
}

// child is this binary in a role. Lines are what it prints.
type child struct {
	cmd   *exec.Cmd
	lines chan string
	stdin interface{ Close() error }
}

func start(t *testing.T, role, path string) *child {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), roleEnv+"="+role, pathEnv+"="+path)
	out, err := cmd.StdoutPipe()
	must(t, err)
	stdin, err := cmd.StdinPipe()
	must(t, err)
	cmd.Stderr = os.Stderr
	must(t, cmd.Start())
	c := &child{cmd: cmd, lines: make(chan string, 1000), stdin: stdin}
	go func() {
		defer close(c.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			c.lines <- s.Text()
		}
	}()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return c
}

// until returns the number in the next line that begins with word.
func (c *child) until(t *testing.T, word string) (n uint64) {
	t.Helper()
	for line := range c.lines {
		if _, err := fmt.Sscanf(line, word+" %d", &n); err == nil {
			return n
		}
		if strings.HasPrefix(line, "error") {
			t.Fatal(line)
		}
	}
	t.Fatalf("the child ended before it said %q", word)
	return 0
}

// TestKill kills a writer at any moment, again and again, with and without another
// process that reads, and checks invariant 3 each time.
func TestKill(t *testing.T) {
	path := testOptions(t).Path
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	durable := uint64(0)
	for round := range 12 {
		writer := start(t, roleWrite, path)
		if applied := writer.until(t, "open"); applied < durable {
			t.Fatalf("round %d: the writer found %d, durable was %d", round, applied, durable)
		}
		durable = max(durable, writer.until(t, "durable"))
		var reader *child
		if role := []string{"", roleIdle, roleHold}[round%3]; role != "" {
			reader = start(t, role, path)
			reader.until(t, "holding")
		}
		timer := time.NewTimer(time.Duration(rng.IntN(200)) * time.Millisecond)
		for killed := false; !killed; {
			select {
			case line := <-writer.lines:
				_, err := fmt.Sscanf(line, "durable %d", &durable)
				must(t, err)
			case <-timer.C:
				must(t, writer.cmd.Process.Kill())
				killed = true
			}
		}
		for line := range writer.lines { // what it said before it died
			var n uint64
			if _, err := fmt.Sscanf(line, "durable %d", &n); err == nil {
				durable = n
			}
		}
		_ = writer.cmd.Wait() // killed
		db, err := Open(t.Context(), crashOptions(path))
		must(t, err)
		if got := verify(t, db, none); got < durable {
			t.Fatalf("round %d: found %d, durable was %d", round, got, durable)
		}
		must(t, db.Close(t.Context()))
		if reader != nil {
			must(t, reader.stdin.Close())
			must(t, reader.cmd.Wait())
		}
	}
}
