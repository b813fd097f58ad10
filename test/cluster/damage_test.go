// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"keelson.io/keelson/test/harness"
)

// contents is all that a server holds, and the hash of it.
type contents struct {
	revision int64
	hash     uint32
	keys     string
}

// contentsOf reads a server.
func contentsOf(t *testing.T, server *harness.Server) contents {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), serveTimeout)
	defer cancel()
	conn := server.Conn(t)
	resp, err := pb.NewKVClient(conn).Range(ctx, &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}})
	if err != nil {
		t.Fatalf("read all keys: %v", err)
	}
	hash, err := pb.NewMaintenanceClient(conn).HashKV(ctx, &pb.HashKVRequest{})
	if err != nil {
		t.Fatalf("HashKV: %v", err)
	}
	var keys strings.Builder
	for _, kv := range resp.Kvs {
		fmt.Fprintf(&keys, "%q=%q created %d modified %d version %d\n", kv.Key, kv.Value, kv.CreateRevision, kv.ModRevision, kv.Version)
	}
	return contents{resp.Header.Revision, hash.Hash, keys.String()}
}

// filled starts a server, gives it a history, and kills it. It returns what it held.
func filled(t *testing.T, options harness.Options) (*harness.Server, contents) {
	t.Helper()
	server := harness.Start(t, serverKind(t), options)
	client := pb.NewKVClient(server.Conn(t))
	for i := range 300 {
		mustPut(t, client, fmt.Sprintf("key-%02d", i%40), fmt.Sprintf("value %d %s", i, strings.Repeat("x", i)))
	}
	held := contentsOf(t, server)
	server.Kill()
	return server, held
}

// restartedHolds starts a server again and wants it to hold what it held, and to go on from there.
func restartedHolds(t *testing.T, server *harness.Server, held contents) {
	t.Helper()
	server.Restart()
	if now := contentsOf(t, server); now != held {
		t.Errorf("after the restart: revision %d, hash %d; before: revision %d, hash %d; keys are equal: %v",
			now.revision, now.hash, held.revision, held.hash, now.keys == held.keys)
	}
	if revision := mustPut(t, pb.NewKVClient(server.Conn(t)), "after", "restart"); revision != held.revision+1 {
		t.Errorf("the first write after the restart has revision %d, want %d", revision, held.revision+1)
	}
}

// lastSegment is the newest file of the log, with the offset after its last record. Space that was only reserved is zeros.
func lastSegment(t *testing.T, server *harness.Server) (path string, end int) {
	t.Helper()
	segments, err := filepath.Glob(filepath.Join(walDir(server), "*.wal"))
	if err != nil || len(segments) == 0 {
		t.Fatalf("no log in %s (%v)", walDir(server), err)
	}
	path = slices.Max(segments)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	end = len(bytes.TrimRight(data, "\x00"))
	// A record is 8 bytes of length, with the padding in the highest byte, and a multiple of 8 bytes.
	end = (end + 7) / 8 * 8
	if end == 0 {
		t.Fatalf("%s is empty", path)
	}
	return path, end
}

// overwrite rewrites a part of a file and returns the function that puts back what was there.
func overwrite(t *testing.T, path string, offset int, with []byte) (undo func()) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	before := make([]byte, len(with))
	if _, err := file.ReadAt(before, int64(offset)); err != nil {
		t.Fatalf("read %d bytes at %d of %s: %v", len(with), offset, path, err)
	}
	if _, err := file.WriteAt(with, int64(offset)); err != nil {
		t.Fatal(err)
	}
	return func() { overwrite(t, path, offset, before) }
}

// TestTornLog ends the log in the middle of a record, as a power cut does. That record was acknowledged to nobody, so the server
// cuts it off and starts with all the others.
func TestTornLog(t *testing.T) {
	for name, tear := range map[string]func(t *testing.T, path string, end int){
		"half a record": func(t *testing.T, path string, end int) {
			overwrite(t, path, end, tornRecord(1000, 300))
		},
		"half a record at the end of the file": func(t *testing.T, path string, end int) {
			overwrite(t, path, end, tornRecord(1000, 300))
			if err := os.Truncate(path, int64(end+300)); err != nil {
				t.Fatal(err)
			}
		},
		"half a length": func(t *testing.T, path string, end int) {
			if err := os.Truncate(path, int64(end+3)); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			server, held := filled(t, harness.Options{})
			path, end := lastSegment(t, server)
			tear(t, path, end)
			restartedHolds(t, server, held)
		})
	}
}

// tornRecord is the length of a record and the first bytes of it.
func tornRecord(length, written int) []byte {
	record := binary.LittleEndian.AppendUint64(nil, uint64(length))
	return append(record, bytes.Repeat([]byte{0x5a}, written-len(record))...)
}

// TestFlippedBitInLog damages a record in the middle of the log. What follows it was acknowledged, so the server must not
// start without it; it says which file is damaged, and where.
func TestFlippedBitInLog(t *testing.T) {
	keelsonOnly(t)
	server, held := filled(t, harness.Options{})
	path, end := lastSegment(t, server)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// The padding of values is the only place where so many x are: this byte is a value's.
	middle := end/2 + bytes.Index(data[end/2:end], []byte("xxxxxxxx")) + 4
	undo := overwrite(t, path, middle, []byte{data[middle] ^ 1})
	line := wantOneLine(t, refusalOn(t, server), filepath.Base(path), "offset")
	match := regexp.MustCompile(`offset\D{0,5}(\d+)`).FindStringSubmatch(line)
	if match == nil {
		t.Fatalf("no offset in %s", line)
	}
	offset, err := strconv.Atoi(match[1])
	const longestRecord = 4 << 10
	if err != nil || offset > middle || offset < middle-longestRecord {
		t.Errorf("the damage is said to be at offset %s; the flipped bit is at %d", match[1], middle)
	}
	undo()
	restartedHolds(t, server, held)
}

// TestMissingDatabase removes the SQLite file of a server whose log reaches back to the beginning: it is built again from the log.
func TestMissingDatabase(t *testing.T) {
	keelsonOnly(t)
	server, held := filled(t, harness.Options{})
	removeDatabase(t, server)
	restartedHolds(t, server, held)
}

// TestMissingDatabaseAndLog removes the SQLite file when the log has been cut back: the server must not start with half of its data.
func TestMissingDatabaseAndLog(t *testing.T) {
	keelsonOnly(t)
	server := harness.Start(t, serverKind(t), harness.Options{Args: []string{"--snapshot-count=20", "--snapshot-catchup-entries=1", "--max-wals=1"}})
	client := pb.NewKVClient(server.Conn(t))
	segments := func() []string {
		found, err := filepath.Glob(filepath.Join(walDir(server), "*.wal"))
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	first := segments()[0]
	value := strings.Repeat("x", 1<<20)
	mustPut(t, client, "first", "value")
	// A segment is 64 MiB; it goes when a snapshot and the file cover it.
	const mostMiB = 400
	for written := 0; slices.Contains(segments(), first); written++ {
		if written == mostMiB {
			t.Fatalf("after %d MiB no segment was released: %v", written, segments())
		}
		mustPut(t, client, "large", value)
	}
	held := contentsOf(t, server)
	server.Kill()
	keep := moveDatabase(t, server)
	wantOneLine(t, refusalOn(t, server), filepath.Base(databasePath(server)))
	keep()
	restartedHolds(t, server, held)
}

// databaseFiles are the SQLite file and what belongs to it.
func databaseFiles(t *testing.T, server *harness.Server) []string {
	t.Helper()
	files, err := filepath.Glob(databasePath(server) + "*")
	if err != nil || len(files) == 0 {
		t.Fatalf("no SQLite file at %s (%v)", databasePath(server), err)
	}
	return files
}

func removeDatabase(t *testing.T, server *harness.Server) {
	t.Helper()
	for _, file := range databaseFiles(t, server) {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
}

// moveDatabase takes the SQLite file away and returns the function that brings it back, over whatever is there then.
func moveDatabase(t *testing.T, server *harness.Server) (back func()) {
	t.Helper()
	aside := t.TempDir()
	move := func(from []string, to string) {
		for _, file := range from {
			if err := os.Rename(file, filepath.Join(to, filepath.Base(file))); err != nil {
				t.Fatal(err)
			}
		}
	}
	move(databaseFiles(t, server), aside)
	return func() {
		left, err := filepath.Glob(databasePath(server) + "*")
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range left {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		}
		files, err := filepath.Glob(filepath.Join(aside, "*"))
		if err != nil {
			t.Fatal(err)
		}
		move(files, filepath.Dir(databasePath(server)))
	}
}

// TestDamagedDatabase starts a server on a SQLite file that is not whole, or not one that this version may write.
func TestDamagedDatabase(t *testing.T) {
	keelsonOnly(t)
	for name, test := range map[string]struct {
		damage func(t *testing.T, path string)
		words  []string
	}{
		"truncated":  {truncateHalf, nil},
		"no SQLite":  {func(t *testing.T, path string) { overwrite(t, path, 0, []byte("not a database..")) }, nil},
		"newer":      {newerSchema, []string{"schema"}},
		"other file": {otherDatabase, nil},
	} {
		t.Run(name, func(t *testing.T) {
			server := harness.Start(t, serverKind(t), harness.Options{})
			client := pb.NewKVClient(server.Conn(t))
			for i := range 100 {
				mustPut(t, client, fmt.Sprintf("key-%02d", i), strings.Repeat("x", 4<<10))
			}
			held := contentsOf(t, server)
			// All is in the file itself once the server was stopped.
			server.Stop()
			var before [][]byte
			files := databaseFiles(t, server)
			for _, file := range files {
				data, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				before = append(before, data)
			}
			test.damage(t, databasePath(server))
			wantOneLine(t, refusalOn(t, server), append(test.words, filepath.Base(databasePath(server)))...)
			removeDatabase(t, server)
			for i, file := range files {
				if err := os.WriteFile(file, before[i], 0o600); err != nil {
					t.Fatal(err)
				}
			}
			restartedHolds(t, server, held)
		})
	}
}

func truncateHalf(t *testing.T, path string) {
	t.Helper()
	info, err := os.Stat(path)
	if err == nil {
		err = os.Truncate(path, info.Size()/2)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// newerSchema makes the file look like one of a later version, which keeps its number where SQLite has a place for it.
func newerSchema(t *testing.T, path string) {
	t.Helper()
	execute(t, path, "PRAGMA user_version = 1000000")
}

// otherDatabase puts a sound SQLite file of somebody else in the place.
func otherDatabase(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	execute(t, path, "CREATE TABLE bookmarks (url TEXT)")
}

func execute(t *testing.T, path, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// TestDataDirectoryInUse starts a second server on the data directory of a first. It ends at once, and the first does not notice.
func TestDataDirectoryInUse(t *testing.T) {
	keelsonOnly(t)
	first := harness.Start(t, serverKind(t), harness.Options{})
	client := pb.NewKVClient(first.Conn(t))
	before := mustPut(t, client, "key", "value")
	second := harness.New(t, serverKind(t), harness.Options{DataDir: first.DataDir()})
	lines := refusalOn(t, second)
	wantOneLine(t, lines, first.DataDir(), "process")
	lines = slices.DeleteFunc(lines, func(line string) bool { return strings.HasPrefix(line, `{"level":"warn"`) }) // about flags
	if len(lines) != 1 {
		t.Errorf("the second server printed %d lines beside warnings, want one:\n%s", len(lines), strings.Join(lines, "\n"))
	}
	if after := mustPut(t, client, "key", "value"); after != before+1 {
		t.Errorf("revision %d was followed by %d", before, after)
	}
}
