// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"keelson.io/keelson/raftlog"
)

const (
	cluster = 0xc0ffee
	patient = 20 * time.Second
)

// member is a transport with a handler that notes what it gets.
type member struct {
	t         *testing.T
	id        uint64
	transport *Transport
	url       string
	messages  chan *raftpb.Message
	snapshots chan raft.SnapshotStatus
	onReport  func()
	clock     *hastyClock
	logs      *observer.ObservedLogs // errors

	mu      sync.Mutex
	removed map[uint64]bool
	verify  func(path string) error
	serve   http.HandlerFunc // in the place of /version
}

// hastyClock is the machine's, but for timers, which end a hundred times as soon, and for what was added to Now.
type hastyClock struct {
	raftlog.Clock
	added atomic.Int64
}

func (c *hastyClock) Now() time.Time { return c.Clock.Now().Add(time.Duration(c.added.Load())) }

func (c *hastyClock) NewTimer(d time.Duration) raftlog.Timer { return c.Clock.NewTimer(d / 100) }

func (m *member) Step(_ context.Context, msg *raftpb.Message) error {
	m.messages <- msg
	return nil
}

func (m *member) ReportUnreachable(uint64) {
	if m.onReport != nil {
		m.onReport()
	}
}

func (m *member) ReportSnapshot(_ uint64, status raft.SnapshotStatus) { m.snapshots <- status }

func (m *member) IsRemoved(id uint64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.removed[id]
}

func (m *member) VerifySnapshot(_ context.Context, _ *raftpb.Snapshot, path string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.verify == nil {
		return nil
	}
	return m.verify(path)
}

func newMember(t *testing.T, id, cluster uint64) *member {
	t.Helper()
	m := &member{
		t: t, id: id, messages: make(chan *raftpb.Message, 1000), snapshots: make(chan raft.SnapshotStatus, 10),
		removed: make(map[uint64]bool), clock: &hastyClock{Clock: raftlog.SystemClock()},
		serve: asKeelson,
	}
	var logs zapcore.Core
	logs, m.logs = observer.New(zapcore.ErrorLevel)
	var err error
	m.transport, err = New(Options{
		MemberID: id, ClusterID: cluster, SnapDir: t.TempDir(), Clock: m.clock, Logger: zap.New(logs),
		ElectionTimeout: 500 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *member) start() {
	m.t.Helper()
	if err := m.transport.Start(m); err != nil {
		m.t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/raft", m.transport.Handler())
	mux.Handle("/raft/", m.transport.Handler())
	mux.HandleFunc("/version", func(w http.ResponseWriter, r *http.Request) {
		m.mu.Lock()
		serve := m.serve
		m.mu.Unlock()
		serve(w, r)
	})
	server := httptest.NewServer(mux)
	m.url = server.URL
	m.t.Cleanup(func() {
		m.transport.Stop()
		server.CloseClientConnections()
		server.Close()
	})
}

// asKeelson answers what a keelson's listener for members does.
func asKeelson(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set(KeelsonHeader, "test")
	w.WriteHeader(http.StatusOK)
}

// asEtcd is asKeelson for an etcd.
func asEtcd(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }

// pair is two members that are connected.
func pair(t *testing.T) (*member, *member) {
	t.Helper()
	a, b := newMember(t, 1, cluster), newMember(t, 2, cluster)
	a.start()
	b.start()
	a.transport.AddPeer(b.id, []string{b.url})
	b.transport.AddPeer(a.id, []string{a.url})
	eventually(t, "both are connected", func() bool {
		return !a.transport.ActiveSince(b.id).IsZero() && !b.transport.ActiveSince(a.id).IsZero()
	})
	return a, b
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patient); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, patient)
		}
	}
}

func receive[T any](t *testing.T, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patient):
		t.Fatalf("no %s within %v", what, patient)
		panic("unreachable")
	}
}

func message(kind raftpb.MessageType, from, to *member) *raftpb.Message {
	return &raftpb.Message{Type: kind.Enum(), From: &from.id, To: &to.id, Term: new(uint64(3))}
}

func TestMessagesArrive(t *testing.T) {
	a, b := pair(t)
	for i := range uint64(100) {
		m := message(raftpb.MsgApp, a, b)
		m.Index, m.LogTerm, m.Commit = new(i), new(uint64(1)), new(i)
		m.Entries = []*raftpb.Entry{{Index: new(i + 1), Term: new(uint64(3)), Data: []byte("entry")}}
		// One after the other: until its streams are there rafthttp sends each by a request of its own.
		a.transport.Send([]*raftpb.Message{m})
		if got := receive(t, "message", b.messages); got.GetIndex() != i || string(got.Entries[0].Data) != "entry" {
			t.Fatalf("message %d is %v", i, got)
		}
	}
}

// snapshotMessage is one for content that body gives.
func snapshotMessage(from, to *member, index uint64) *raftpb.Message {
	m := message(raftpb.MsgSnap, from, to)
	m.Snapshot = &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{Index: &index, Term: new(uint64(3)), ConfState: &raftpb.ConfState{}}}
	return m
}

func TestSnapshotIsReceivedAndVerified(t *testing.T) {
	a, b := pair(t)
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<18) // 4 MiB
	path := SnapshotPath(b.transport.opts.SnapDir, 77)
	send := func() raft.SnapshotStatus {
		a.transport.SendSnapshot(snapshotMessage(a, b, 77), &raftlog.StateSnapshot{
			Size: int64(len(content)), Body: io.NopCloser(bytes.NewReader(content)),
		})
		return receive(t, "report of the snapshot", a.snapshots)
	}
	b.verify = func(string) error { return errors.New("not for us") }
	if got := send(); got != raft.SnapshotFailure {
		t.Errorf("a refused snapshot is reported as %v", got)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a refused snapshot stays: %v", err)
	}
	b.mu.Lock()
	b.verify = func(got string) error {
		data, err := os.ReadFile(got)
		if got != path || !bytes.Equal(data, content) {
			err = errors.Join(err, errors.New("other content"))
		}
		return err
	}
	b.mu.Unlock()
	if got := send(); got != raft.SnapshotFailure {
		t.Errorf("one that comes at once after a refused one is reported as %v", got)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("one that comes at once after a refused one is received: %v", err)
	}
	b.clock.added.Add(int64(firstRefusalPause))
	if got := send(); got != raft.SnapshotFinish {
		t.Errorf("a good snapshot is reported as %v", got)
	}
	if got := receive(t, "snapshot", b.messages); got.GetType() != raftpb.MsgSnap || got.Snapshot.GetMetadata().GetIndex() != 77 {
		t.Errorf("got %v", got)
	}
	b.mu.Lock()
	b.verify = func(string) error {
		t.Error("the content that the log took is opened")
		return errors.New("no memory to look at it")
	}
	b.mu.Unlock()
	again := func() {
		t.Helper()
		if got := send(); got != raft.SnapshotFinish {
			t.Errorf("a snapshot sent again is reported as %v", got)
		}
		receive(t, "message of a snapshot sent again", b.messages)
	}
	again()
	if data, err := os.ReadFile(path); err != nil || !bytes.Equal(data, content) {
		t.Errorf("the content that the log took is gone: %v", err)
	}
	live := path + ".live" // as the state machine does when it takes the content over
	if err := os.Rename(path, live); err != nil {
		t.Fatal(err)
	}
	again()
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("content that came after the log had taken the first over stays: %v", err)
	}
	if data, err := os.ReadFile(live); err != nil || !bytes.Equal(data, content) {
		t.Errorf("the content that was taken over is gone: %v", err)
	}
}

// TestPortableSnapshotGoesToAll: to an etcd as well, and who takes it may put another file in its place.
func TestPortableSnapshotGoesToAll(t *testing.T) {
	a, b := pair(t)
	b.mu.Lock()
	b.serve = asEtcd
	b.verify = func(path string) error {
		made := path + ".made"
		return errors.Join(os.WriteFile(made, []byte("converted"), 0o600), os.Rename(made, path))
	}
	b.mu.Unlock()
	for range 2 { // the second time the log has it already
		content := strings.NewReader("content")
		a.transport.SendSnapshot(snapshotMessage(a, b, 77), &raftlog.StateSnapshot{
			Size: content.Size(), Body: io.NopCloser(content), Portable: true,
		})
		if got := receive(t, "report of the snapshot", a.snapshots); got != raft.SnapshotFinish {
			t.Errorf("it is reported as %v", got)
		}
		receive(t, "snapshot", b.messages)
		if data, err := os.ReadFile(SnapshotPath(b.transport.opts.SnapDir, 77)); err != nil || string(data) != "converted" {
			t.Errorf("the log's content is %q, %v", data, err)
		}
	}
}

// TestSnapshotGoesToKeelsonsOnly: an etcd would put it in the place of its own file, and never start again.
func TestSnapshotGoesToKeelsonsOnly(t *testing.T) {
	a, b := pair(t)
	b.verify = func(string) error { t.Error("it arrives"); return nil }
	for name, serve := range map[string]http.HandlerFunc{
		"an etcd":                  asEtcd,
		"one that fails":           func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusInternalServerError) },
		"one that does not answer": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	} {
		b.mu.Lock()
		b.serve = serve
		b.mu.Unlock()
		a.clock.added.Add(int64(unfitLogInterval))
		for range 2 {
			body := &closing{closed: make(chan struct{})}
			sent := time.Now()
			a.transport.SendSnapshot(snapshotMessage(a, b, 77), &raftlog.StateSnapshot{Size: 1 << 20, Body: body})
			if took := time.Since(sent); took > time.Second {
				t.Errorf("%s: sending holds its caller up for %v", name, took)
			}
			if got := receive(t, "report of the snapshot", a.snapshots); got != raft.SnapshotFailure {
				t.Errorf("%s: reported as %v", name, got)
			}
			receive(t, "end of the body", body.closed)
		}
		if told := a.logs.TakeAll(); len(told) != 1 || !strings.Contains(told[0].Message, "cannot send a snapshot") {
			t.Errorf("%s: in a minute it is logged %v", name, told)
		}
	}
}

func TestStopEndsTheQuestion(t *testing.T) {
	a, b := pair(t)
	asked := make(chan struct{})
	b.mu.Lock()
	b.serve = func(_ http.ResponseWriter, r *http.Request) { close(asked); <-r.Context().Done() }
	b.mu.Unlock()
	a.transport.opts.ElectionTimeout = time.Hour
	body := &closing{closed: make(chan struct{})}
	a.transport.SendSnapshot(snapshotMessage(a, b, 77), &raftlog.StateSnapshot{Size: 1, Body: body})
	receive(t, "question", asked)
	a.transport.disconnect()
	receive(t, "end of the body", body.closed)
}

func TestRefusedWaitLonger(t *testing.T) {
	clock := &hastyClock{Clock: raftlog.SystemClock()}
	f := refused{clock: clock}
	var all []time.Duration
	for range 8 {
		all = append(all, f.note(7))
	}
	if !slices.IsSorted(all) || all[0] != firstRefusalPause || all[7] != maxRefusalPause {
		t.Errorf("the pauses are %v", all)
	}
	if !f.waits(7) || f.waits(8) {
		t.Error("another than the refused one waits")
	}
	clock.added.Add(int64(maxRefusalPause))
	if f.waits(7) {
		t.Error("it waits for longer than that")
	}
	f.note(7)
	f.forget()
	if f.waits(7) {
		t.Error("it waits after one was taken")
	}
}

// cutReader gives some bytes and then an error.
type cutReader struct{ left int }

func (r *cutReader) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, errors.New("the disk is gone")
	}
	n := min(len(p), r.left)
	r.left -= n
	return n, nil
}

func (r *cutReader) Close() error { return nil }

func TestSnapshotCutOffIsNone(t *testing.T) {
	a, b := pair(t)
	b.verify = func(string) error { t.Error("half a snapshot is verified"); return nil }
	a.transport.SendSnapshot(snapshotMessage(a, b, 5), &raftlog.StateSnapshot{Size: 1 << 20, Body: &cutReader{left: 1 << 19}})
	if got := receive(t, "report of the snapshot", a.snapshots); got != raft.SnapshotFailure {
		t.Errorf("half a snapshot is reported as %v", got)
	}
	eventually(t, "nothing is left", func() bool {
		left, err := os.ReadDir(b.transport.opts.SnapDir)
		return err == nil && len(left) == 0
	})
	if len(b.messages) != 0 {
		t.Error("half a snapshot's message arrives")
	}
}

func TestSnapshotToNobodyFails(t *testing.T) {
	a := newMember(t, 1, cluster)
	other := &member{id: 9}
	s := &raftlog.StateSnapshot{Size: 1, Body: io.NopCloser(strings.NewReader("x"))}
	a.transport.SendSnapshot(snapshotMessage(a, other, 5), s) // not connected yet
	a.start()
	a.transport.SendSnapshot(snapshotMessage(a, other, 6), s)
	for range 2 {
		if got := receive(t, "report of the snapshot", a.snapshots); got != raft.SnapshotFailure {
			t.Errorf("reported as %v", got)
		}
	}
}

func TestRemovedMemberIsTold(t *testing.T) {
	a, b := pair(t)
	b.mu.Lock()
	b.removed[a.id] = true
	b.mu.Unlock()
	b.transport.RemovePeer(a.id)
	eventually(t, "the removed member is told", func() bool {
		a.transport.Send([]*raftpb.Message{message(raftpb.MsgHeartbeat, a, b)})
		select {
		case err := <-a.transport.Errors():
			return strings.Contains(err.Error(), "permanently removed")
		default:
			return false
		}
	})
}

// TestRemoveBesideReports: rafthttp waits, while it disconnects a member, for goroutines that report that messages
// were not delivered, and who is told that may be sending at the moment.
func TestRemoveBesideReports(t *testing.T) {
	a := newMember(t, 1, cluster)
	var sending sync.Mutex
	send := func(to uint64) {
		sending.Lock()
		defer sending.Unlock()
		a.transport.Send([]*raftpb.Message{{Type: raftpb.MsgVote.Enum(), From: &a.id, To: &to, Term: new(uint64(3))}})
	}
	a.onReport = func() { send(3) }
	a.start()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range uint64(50) {
			id := 10 + i
			a.transport.AddPeer(id, []string{"http://127.0.0.1:1"}) // nobody is there
			for range 20 {
				send(id)
			}
			a.transport.RemovePeer(id)
		}
	}()
	for {
		select {
		case <-done:
			return
		case <-time.After(patient):
			t.Fatal("removing a member hangs")
		default:
			send(10)
		}
	}
}

func TestStrangersAreRefused(t *testing.T) {
	a := newMember(t, 1, cluster)
	a.start()
	for name, request := range map[string]func() (*http.Response, error){
		"garbage to the pipeline": func() (*http.Response, error) {
			r, err := http.NewRequest(http.MethodPost, a.url+"/raft", strings.NewReader("\xff\xff\xff\xffgarbage"))
			if err != nil {
				return nil, err
			}
			r.Header.Set("X-Etcd-Cluster-ID", "c0ffee")
			return http.DefaultClient.Do(r)
		},
		"another cluster": func() (*http.Response, error) {
			r, err := http.NewRequest(http.MethodPost, a.url+"/raft", strings.NewReader(""))
			if err != nil {
				return nil, err
			}
			r.Header.Set("X-Etcd-Cluster-ID", "bad")
			return http.DefaultClient.Do(r)
		},
		"a stream from nobody": func() (*http.Response, error) {
			return http.Get(a.url + "/raft/stream/message/7")
		},
		"a snapshot of garbage": func() (*http.Response, error) {
			r, err := http.NewRequest(http.MethodPost, a.url+"/raft/snapshot", strings.NewReader(strings.Repeat("x", 1000)))
			if err != nil {
				return nil, err
			}
			r.Header.Set("X-Etcd-Cluster-ID", "c0ffee")
			return http.DefaultClient.Do(r)
		},
	} {
		resp, err := request()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		resp.Body.Close()
		if resp.StatusCode < 400 {
			t.Errorf("%s is answered with %s", name, resp.Status)
		}
	}
	if len(a.messages) != 0 {
		t.Errorf("a stranger's message arrived: %v", <-a.messages)
	}
}

func TestNewRemovesLeftovers(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"tmp123", "0000000000000005.snap.db", "keelson.db", "0000000000000001-0000000000000005.snap"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := New(Options{MemberID: 1, ClusterID: cluster, SnapDir: dir}); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 2 || left[1].Name() != "keelson.db" {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	_, err := New(Options{ElectionTimeout: -1})
	for _, fault := range []string{"MemberID", "SnapDir", "ElectionTimeout"} {
		if err == nil || !strings.Contains(err.Error(), fault) {
			t.Errorf("%v does not tell of %s", err, fault)
		}
	}
}

func TestSnapshotOfAnotherLengthIsNone(t *testing.T) {
	for said, want := range map[int64]bool{4: false, 5: true, 6: false} {
		c := &content{ReadCloser: io.NopCloser(strings.NewReader("12345")), size: said}
		if _, err := io.ReadAll(c); (err == nil) != want {
			t.Errorf("5 bytes, %d said: %v", said, err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestStopTwice(t *testing.T) {
	a := newMember(t, 1, cluster)
	a.start()
	a.transport.Stop()
	a.transport.Stop()
}

// closing is a body that tells when it is closed.
type closing struct {
	io.Reader // nil: it has no end
	once      sync.Once
	closed    chan struct{}
}

func (c *closing) Read(p []byte) (int, error) {
	if c.Reader == nil {
		return len(p), nil
	}
	return c.Reader.Read(p)
}

func (c *closing) Close() error {
	c.once.Do(func() { close(c.closed) })
	return nil
}
