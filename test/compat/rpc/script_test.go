// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package rpc_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3election/v3electionpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3lock/v3lockpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// methods are those of all services, by name.
var methods = allMethods()

func allMethods() map[string]protoreflect.MethodDescriptor {
	all := make(map[string]protoreflect.MethodDescriptor)
	for _, file := range []protoreflect.FileDescriptor{
		pb.File_rpc_proto, v3electionpb.File_v3election_proto, v3lockpb.File_v3lock_proto,
	} {
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			for j := range service.Methods().Len() {
				m := service.Methods().Get(j)
				all[string(m.Name())] = m
			}
		}
	}
	return all
}

// path is a method's name on the wire.
func path(m protoreflect.MethodDescriptor) string {
	return fmt.Sprintf("/%s/%s", m.Parent().FullName(), m.Name())
}

// newMessage returns an empty message of a type.
func newMessage(t *testing.T, of protoreflect.MessageDescriptor) proto.Message {
	t.Helper()
	kind, err := protoregistry.GlobalTypes.FindMessageByName(of.FullName())
	if err != nil {
		t.Fatal(err)
	}
	return kind.New().Interface()
}

// verb says what a step does.
type verb int

const (
	call verb = iota
	open
	send
	receive
	closeSend
	drain
	save
	login
	pause
	restart
	second
	die
)

// step is a line of a script.
type step struct {
	verb   verb
	line   int
	text   string // as it stands in the script
	fails  bool
	user   string
	second bool // asked at the second member
	led    bool // a leader is required
	times  int
	stream string
	method protoreflect.MethodDescriptor
	body   string // a message as text, the rest of what is given otherwise
	count  int
	wait   time.Duration
}

// script is a file of testdata.
type script struct {
	args  []string
	steps []step
}

func readScript(t *testing.T, file string) script {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var s script
	n := 0
	for line := range strings.Lines(string(data)) {
		n++
		line = strings.TrimSpace(line)
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "args "):
			s.args = append(s.args, strings.Fields(line)[1:]...)
		default:
			parsed, err := parseStep(line)
			if err != nil {
				t.Fatalf("%s:%d: %v", file, n, err)
			}
			parsed.line, parsed.text = n, line
			s.steps = append(s.steps, parsed)
		}
	}
	return s
}

func parseStep(line string) (step, error) {
	var s step
	if rest, ok := strings.CutPrefix(line, "! "); ok {
		s.fails, line = true, rest
	}
	if rest, ok := strings.CutPrefix(line, "as "); ok {
		if s.user, line, ok = strings.Cut(rest, ": "); !ok {
			return s, fmt.Errorf("no call after %q", rest)
		}
	}
	if rest, ok := strings.CutPrefix(line, "at two: "); ok {
		s.second, line = true, rest
	}
	if rest, ok := strings.CutPrefix(line, "led: "); ok {
		s.led, line = true, rest
	}
	if rest, ok := strings.CutPrefix(line, "repeat "); ok {
		count, rest, _ := strings.Cut(rest, ": ")
		if _, err := fmt.Sscan(count, &s.times); err != nil {
			return s, err
		}
		line = rest
	}
	word, rest, _ := strings.Cut(line, " ")
	s.body = rest
	var err error
	switch {
	case word == "save":
		s.verb = save
	case word == "login":
		s.verb = login
	case word == "second":
		s.verb = second
	case word == "die":
		s.verb = die
	case word == "restart":
		s.verb = restart
	case word == "pause":
		s.verb = pause
		s.wait, err = time.ParseDuration(rest)
	case word == "open":
		s.verb = open
		s.stream, rest, _ = strings.Cut(rest, ": ")
		word, s.body, _ = strings.Cut(rest, " ")
		s.method, err = methodNamed(word)
	case strings.HasSuffix(word, ">"):
		s.verb, s.stream = send, strings.TrimSuffix(word, ">")
	case strings.HasSuffix(word, "<"):
		s.verb, s.stream = receive, strings.TrimSuffix(word, "<")
		_, err = fmt.Sscan(rest, &s.count)
	case strings.HasSuffix(word, "."):
		s.verb, s.stream = closeSend, strings.TrimSuffix(word, ".")
	case strings.HasSuffix(word, "$"):
		s.verb, s.stream = drain, strings.TrimSuffix(word, "$")
	default:
		s.verb = call
		s.method, err = methodNamed(word)
	}
	return s, err
}

func methodNamed(name string) (protoreflect.MethodDescriptor, error) {
	if m, ok := methods[name]; ok {
		return m, nil
	}
	return nil, fmt.Errorf("no method is called %q", name)
}
