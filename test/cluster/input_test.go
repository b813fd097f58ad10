// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"keelson.io/keelson/test/harness"
)

// serveTimeout bounds one request of a client that keeps to the rules, while others do not.
const serveTimeout = 20 * time.Second

// TestGarbageOnThePort talks to the client port in wrong languages. A client that talks right is served all the time.
func TestGarbageOnThePort(t *testing.T) {
	server := harness.Start(t, serverKind(t), harness.Options{})
	client := pb.NewKVClient(server.Conn(t))
	noise := make([]byte, 1<<16)
	if _, err := rand.Read(noise); err != nil {
		t.Fatal(err)
	}
	preface := "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	for name, garbage := range map[string][]byte{
		"nothing":               {},
		"noise":                 noise,
		"zeros":                 make([]byte, 1<<16),
		"TLS hello":             {0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0},
		"half a preface":        []byte(preface[:10]),
		"noise for frames":      append([]byte(preface), noise...),
		"a frame of 16 MiB":     append([]byte(preface), 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1),
		"noise for headers":     append([]byte(preface+"\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x40\x00\x01\x05\x00\x00\x00\x01"), noise[:64]...),
		"unknown HTTP method":   []byte("BREW /pot HTTP/1.1\r\nHost: keelson\r\n\r\n"),
		"endless HTTP header":   append([]byte("GET /health HTTP/1.1\r\nX: "), bytes.Repeat([]byte("x"), 4<<20)...),
		"half an HTTP request":  []byte("GET /health HTTP/1.1\r\nHost:"),
		"HTTP path with zeroes": []byte("GET /\x00\x00 HTTP/1.1\r\n\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			for range 20 {
				conn, err := net.Dial("tcp", server.Endpoint())
				if err != nil {
					t.Fatalf("connect: %v", err)
				}
				t.Cleanup(func() { conn.Close() })
				// The server may hang up before it has read all of it.
				_ = conn.SetWriteDeadline(time.Now().Add(serveTimeout))
				_, _ = conn.Write(garbage)
			}
			mustPut(t, client, "after", name)
		})
	}
	resp, err := http.Get(server.URL() + "/health")
	if err != nil {
		t.Fatalf("health: %v", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("health is %s", resp.Status)
	}
}

// TestMalformedMessages sends gRPC calls whose bytes are no message of the method.
func TestMalformedMessages(t *testing.T) {
	server := harness.Start(t, serverKind(t), harness.Options{})
	conn := server.Conn(t)
	client := pb.NewKVClient(conn)
	before := mustPut(t, client, "key", "value")
	for _, method := range []string{
		"/etcdserverpb.KV/Range", "/etcdserverpb.KV/Put", "/etcdserverpb.KV/DeleteRange", "/etcdserverpb.KV/Txn", "/etcdserverpb.KV/Compact",
		"/etcdserverpb.Lease/LeaseGrant", "/etcdserverpb.Maintenance/HashKV", "/etcdserverpb.Nothing/AtAll",
	} {
		for _, message := range []string{"\xff", "\x0a\xff\xff\xff\xff\x0f", "\x0a\x05abc", strings.Repeat("\x0b", 1000)} {
			var answer []byte
			err := conn.Invoke(t.Context(), method, []byte(message), &answer, grpc.ForceCodec(rawCodec{}))
			if code := status.Code(err); code != codes.Internal && code != codes.Unimplemented {
				t.Errorf("%s of %q: %v, want the code of a message that cannot be read", method, message, err)
			}
		}
	}
	if after := mustPut(t, client, "key", "value"); after != before+1 {
		t.Errorf("revision %d was followed by %d: a malformed message changed something", before, after)
	}
}

// rawCodec sends bytes as they are.
type rawCodec struct{}

func (rawCodec) Marshal(v any) ([]byte, error)      { return v.([]byte), nil }
func (rawCodec) Unmarshal(data []byte, v any) error { *v.(*[]byte) = data; return nil }
func (rawCodec) Name() string                       { return "proto" }

// TestOversizedRequests sends what is larger than --max-request-bytes and --max-txn-ops allow.
func TestOversizedRequests(t *testing.T) {
	server := harness.Start(t, serverKind(t), harness.Options{})
	client := pb.NewKVClient(server.Conn(t))
	before := mustPut(t, client, "key", "value")
	large, huge := bytes.Repeat([]byte("x"), 1536<<10), bytes.Repeat([]byte("x"), 64<<20)
	many := make([]*pb.RequestOp, 129)
	for i := range many {
		many[i] = putOp(change{key: strconv.Itoa(i), value: "value"})
	}
	for name, test := range map[string]struct {
		send func(context.Context) error
		want error // nil: the code of gRPC's own limit
	}{
		"large put": {func(ctx context.Context) error {
			_, err := client.Put(ctx, &pb.PutRequest{Key: []byte("key"), Value: large})
			return err
		}, rpctypes.ErrGRPCRequestTooLarge},
		"huge put": {func(ctx context.Context) error {
			_, err := client.Put(ctx, &pb.PutRequest{Key: []byte("key"), Value: huge})
			return err
		}, nil},
		"large transaction": {func(ctx context.Context) error {
			_, err := client.Txn(ctx, &pb.TxnRequest{Success: []*pb.RequestOp{putOp(change{key: "key", value: string(large)})}})
			return err
		}, rpctypes.ErrGRPCRequestTooLarge},
		"many operations": {func(ctx context.Context) error {
			_, err := client.Txn(ctx, &pb.TxnRequest{Success: many})
			return err
		}, rpctypes.ErrGRPCTooManyOps},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), serveTimeout)
			defer cancel()
			err := test.send(ctx)
			if test.want == nil {
				if status.Code(err) != codes.ResourceExhausted {
					t.Errorf("answer %v, want %v", err, codes.ResourceExhausted)
				}
			} else if status.Convert(err).String() != status.Convert(test.want).String() {
				t.Errorf("answer %v, want %v", err, test.want)
			}
		})
	}
	if after := mustPut(t, client, "key", "value"); after != before+1 {
		t.Errorf("revision %d was followed by %d: an oversized request changed something", before, after)
	}
}

// Sizes of TestWatchesThatAreNotRead. What the server may keep for a client that does not read is bounded, so the growth of its memory
// is, whatever is written: the events alone would be watches * writes * bytes, 2 GB.
const (
	idleStreams          = 100
	idleWatchesPerStream = 100
	idleWrites           = 200
	idleValueBytes       = 1 << 10
	mostGrowthBytes      = 400 << 20
)

// TestWatchesThatAreNotRead opens 10,000 watches and reads none of them. Others write and watch undisturbed.
func TestWatchesThatAreNotRead(t *testing.T) {
	server := harness.Start(t, serverKind(t), harness.Options{})
	client := pb.NewKVClient(server.Conn(t))
	revision := mustPut(t, client, "watched", "first")
	before := residentBytes(t, server.PID())
	openIdleWatches(t, server.Conn(t))
	follower := newFollower(t, "client that reads", server.Conn(t), revision)
	for range idleWrites {
		revision = mustPut(t, client, "watched", strings.Repeat("x", idleValueBytes))
	}
	ctx, cancel := context.WithTimeout(t.Context(), roundTimeout)
	defer cancel()
	if _, err := follower.until(ctx, revision); err != nil {
		t.Error(err)
	}
	grown := residentBytes(t, server.PID()) - before
	t.Logf("the server's memory grew by %d MiB", grown>>20)
	if most := int64(mostGrowthBytes * raceMemoryFactor()); grown > most {
		t.Errorf("the server's memory grew by %d MiB, more than %d", grown>>20, most>>20)
	}
}

// raceMemoryFactor is how much more memory a server takes that was built with the race detector.
func raceMemoryFactor() int {
	if os.Getenv("KEELSON_RACE") == "1" {
		return 8
	}
	return 1
}

// openIdleWatches creates the watches of one client and does not read the answers. They end with the test.
func openIdleWatches(t *testing.T, conn *grpc.ClientConn) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	request := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: []byte("watched")}}}
	for range idleStreams {
		stream, err := pb.NewWatchClient(conn).Watch(ctx)
		if err != nil {
			t.Fatalf("open a stream of watches: %v", err)
		}
		for range idleWatchesPerStream {
			if err := stream.Send(request); err != nil {
				t.Fatalf("open a watch: %v", err)
			}
		}
	}
}

// residentBytes is the memory that a process has now.
func residentBytes(t *testing.T, pid int) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("needs /proc to read the memory of a process")
	}
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err != nil {
				t.Fatalf("read VmRSS: %v", err)
			}
			return kib << 10
		}
	}
	t.Fatalf("no VmRSS in the status of process %d", pid)
	return 0
}

// mustPut writes a key and returns the revision.
func mustPut(t *testing.T, client pb.KVClient, key, value string) int64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), serveTimeout)
	defer cancel()
	resp, err := client.Put(ctx, &pb.PutRequest{Key: []byte(key), Value: []byte(value)})
	if err != nil {
		t.Fatalf("put: %v", err)
	}
	return resp.Header.Revision
}
