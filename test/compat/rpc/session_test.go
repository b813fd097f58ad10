// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"keelson.io/keelson/test/harness"
)

// stepWithin bounds a step: it ends a test that hangs and is no measure.
const stepWithin = 30 * time.Second

// session runs a script on one server.
type session struct {
	t       *testing.T
	server  *harness.Server
	two     *harness.Server // the second member, once it runs
	conns   map[*harness.Server]*grpc.ClientConn
	seen    *coverage
	vars    map[string]string
	tokens  map[string]string
	streams map[string]*stream
	last    proto.Message
}

// stream is one that is open.
type stream struct {
	grpc.ClientStream
	method protoreflect.MethodDescriptor
	cancel context.CancelFunc
}

func newSession(t *testing.T, kind harness.Kind, args []string, seen *coverage) *session {
	t.Helper()
	s := &session{
		t: t, seen: seen, vars: make(map[string]string), tokens: make(map[string]string), streams: make(map[string]*stream), conns: make(map[*harness.Server]*grpc.ClientConn),
		server: harness.Start(t, kind, harness.Options{Name: "one", Args: append([]string{"--log-level=error"}, args...)}),
	}
	s.two = harness.New(t, kind, harness.Options{Name: "two", Args: []string{"--log-level=error"}})
	s.vars["peer2"] = s.two.PeerURL()
	s.setSelf()
	t.Cleanup(func() {
		for _, st := range s.streams {
			st.cancel()
		}
		if s.two.Running() {
			s.two.Kill() // alone, the other one would look for it while it stops
			s.server.Kill()
		}
	})
	return s
}

// conn returns the connection to a server.
func (s *session) conn(to *harness.Server) *grpc.ClientConn {
	if s.conns[to] == nil {
		s.conns[to] = to.Conn(s.t)
	}
	return s.conns[to]
}

// setSelf makes the server's member id known as $self.
func (s *session) setSelf() {
	s.t.Helper()
	got, err := pb.NewMaintenanceClient(s.conn(s.server)).Status(s.t.Context(), &pb.StatusRequest{})
	if err != nil {
		s.t.Fatalf("%v: %v", s.server.Kind(), err)
	}
	s.vars["self"] = strconv.FormatUint(got.Header.MemberId, 10)
}

// run carries out a step and returns what came of it, and whether that is an error.
func (s *session) run(st step) (line string, failed bool) {
	ctx, cancel := context.WithTimeout(s.t.Context(), stepWithin)
	defer cancel()
	var lines []string
	err := s.carryOut(ctx, st, &lines)
	if err != nil {
		lines = append(lines, s.errorLine(err))
	}
	return s.normal(strings.Join(lines, "\n")), err != nil
}

func (s *session) errorLine(err error) string {
	st, ok := status.FromError(err)
	if !ok {
		return "script: " + err.Error()
	}
	s.seen.addError(st.Message())
	return fmt.Sprintf("%v: %s", st.Code(), st.Message())
}

func (s *session) carryOut(ctx context.Context, st step, lines *[]string) error {
	switch st.verb {
	case call:
		return s.call(ctx, st, lines)
	case login:
		return s.login(ctx, st.body)
	case save:
		return s.save(st.body)
	case pause:
		<-time.After(st.wait)
		return nil
	case restart:
		s.server.Stop()
		s.server.Restart()
		return nil
	case second:
		return s.startSecond()
	case die:
		s.server.Kill()
		return nil
	case open:
		return s.open(st)
	}
	opened := s.streams[st.stream]
	if opened == nil {
		return fmt.Errorf("no stream is called %q", st.stream)
	}
	switch st.verb {
	case send:
		request, err := s.request(opened.method, st.body)
		if err != nil {
			return err
		}
		return opened.SendMsg(request)
	case receive:
		return s.receive(opened, st.count, lines)
	case closeSend:
		return opened.CloseSend()
	default:
		return s.drain(opened, lines)
	}
}

// request is a message of a method's, from its text.
func (s *session) request(m protoreflect.MethodDescriptor, text string) (proto.Message, error) {
	for name, value := range s.vars {
		text = strings.ReplaceAll(text, "$"+name, value)
	}
	request := newMessage(s.t, m.Input())
	if err := prototext.Unmarshal([]byte(text), request); err != nil {
		return nil, fmt.Errorf("%s: %w", m.Name(), err)
	}
	s.seen.addRequest(m, request)
	return request, nil
}

// by has a context carry a user's token.
func (s *session) by(ctx context.Context, user string) context.Context {
	if user == "" {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, "token", s.tokens[user])
}

func (s *session) call(ctx context.Context, st step, lines *[]string) error {
	request, err := s.request(st.method, st.body)
	if err != nil {
		return err
	}
	server := s.server
	if st.second {
		server = s.two
	}
	if st.led {
		ctx = clientv3.WithRequireLeader(ctx)
	}
	response := newMessage(s.t, st.method.Output())
	for range max(1, st.times) {
		if err := s.conn(server).Invoke(s.by(ctx, st.user), path(st.method), request, response); err != nil {
			return err
		}
	}
	s.answered(response, lines)
	return nil
}

// startSecond starts the member that was added at $peer2, and waits until it answers.
func (s *session) startSecond() error {
	s.two = s.two.WithArgs("--initial-cluster-state=existing",
		fmt.Sprintf("--initial-cluster=one=%s,two=%s", s.server.PeerURL(), s.two.PeerURL()))
	s.two.Run()
	client := pb.NewKVClient(s.conn(s.two))
	for {
		_, err := client.Range(s.t.Context(), &pb.RangeRequest{Key: []byte("x"), Serializable: true})
		if err == nil {
			return nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-s.t.Context().Done():
			return err
		}
	}
}

func (s *session) answered(response proto.Message, lines *[]string) {
	s.last = response
	s.seen.addResponse(response)
	// Parts of a snapshot are as many as its bytes need.
	if line := render(response); len(*lines) == 0 || (*lines)[len(*lines)-1] != line {
		*lines = append(*lines, line)
	}
}

func (s *session) login(ctx context.Context, body string) error {
	name, password, _ := strings.Cut(body, " ")
	got, err := pb.NewAuthClient(s.conn(s.server)).Authenticate(ctx, &pb.AuthenticateRequest{Name: name, Password: password})
	if err != nil {
		return err
	}
	s.tokens[name] = got.Token
	return nil
}

// save keeps a number of the last response, "NAME FIELD" or "NAME FIELD.FIELD".
func (s *session) save(body string) error {
	name, field, _ := strings.Cut(body, " ")
	m := s.last.ProtoReflect()
	for {
		first, rest, more := strings.Cut(field, ".")
		f := m.Descriptor().Fields().ByName(protoreflect.Name(first))
		if f == nil {
			return fmt.Errorf("%s has no field %q", m.Descriptor().Name(), first)
		}
		if !more {
			s.vars[name] = fmt.Sprint(m.Get(f).Interface())
			return nil
		}
		m, field = m.Get(f).Message(), rest
	}
}

func (s *session) open(st step) error {
	request, err := s.request(st.method, st.body)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(s.by(s.t.Context(), st.user))
	desc := &grpc.StreamDesc{ClientStreams: st.method.IsStreamingClient(), ServerStreams: true}
	opened, err := s.conn(s.server).NewStream(ctx, desc, path(st.method))
	if err != nil {
		cancel()
		return err
	}
	s.streams[st.stream] = &stream{ClientStream: opened, method: st.method, cancel: cancel}
	if st.method.IsStreamingClient() {
		return nil
	}
	return errors.Join(opened.SendMsg(request), opened.CloseSend())
}

// next receives a message; false when the stream has ended in order.
func (s *session) next(from *stream) (proto.Message, bool, error) {
	timer := time.AfterFunc(stepWithin, from.cancel)
	defer timer.Stop()
	response := newMessage(s.t, from.method.Output())
	err := from.RecvMsg(response)
	if errors.Is(err, io.EOF) {
		return nil, false, nil
	}
	return response, err == nil, err
}

func (s *session) receive(from *stream, count int, lines *[]string) error {
	for range count {
		response, ok, err := s.next(from)
		if err != nil {
			return err
		}
		if !ok {
			return io.ErrUnexpectedEOF
		}
		s.answered(response, lines)
	}
	return nil
}

func (s *session) drain(from *stream, lines *[]string) error {
	for {
		response, ok, err := s.next(from)
		if err != nil || !ok {
			return err
		}
		s.answered(response, lines)
	}
}
