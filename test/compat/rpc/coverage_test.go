// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package rpc_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// coverage is what scripts have used and servers have answered.
type coverage struct {
	mu     sync.Mutex
	used   map[string]bool // methods, fields of requests, values of enums
	filled map[string]bool // fields of responses
	errors map[string]bool // texts
}

func newCoverage() *coverage {
	return &coverage{used: make(map[string]bool), filled: make(map[string]bool), errors: make(map[string]bool)}
}

func (c *coverage) addRequest(m protoreflect.MethodDescriptor, request proto.Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.used[path(m)] = true
	addFields(c.used, request.ProtoReflect())
}

func (c *coverage) addResponse(response proto.Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	addFields(c.filled, response.ProtoReflect())
}

func (c *coverage) addError(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.errors[text] = true
}

// addFields notes the fields that are set, and the values of enums.
func addFields(set map[string]bool, m protoreflect.Message) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		set[string(f.FullName())] = true
		each := func(v protoreflect.Value) {
			switch f.Kind() {
			case protoreflect.MessageKind:
				addFields(set, v.Message())
			case protoreflect.EnumKind:
				set[enumValue(f, v.Enum())] = true
			}
		}
		if !f.IsList() {
			each(v)
			return true
		}
		for i := range v.List().Len() {
			each(v.List().Get(i))
		}
		return true
	})
}

func enumValue(f protoreflect.FieldDescriptor, n protoreflect.EnumNumber) string {
	return fmt.Sprintf("%s=%d", f.FullName(), n)
}

// wanted adds all that messages of a type can have set. The first value of an enum is
// what a field has that is not set.
func wanted(set map[string]bool, of protoreflect.MessageDescriptor) {
	for i := range of.Fields().Len() {
		f := of.Fields().Get(i)
		if set[string(f.FullName())] {
			continue
		}
		set[string(f.FullName())] = true
		switch f.Kind() {
		case protoreflect.MessageKind:
			wanted(set, f.Message())
		case protoreflect.EnumKind:
			for j := range f.Enum().Values().Len() {
				if n := f.Enum().Values().Get(j).Number(); n != 0 || f.IsList() {
					set[enumValue(f, n)] = true
				}
			}
		}
	}
}

// check fails the test for what is missing without a reason, and for reasons that
// nothing needs.
func (c *coverage) check(t *testing.T) {
	t.Helper()
	requests, responses := make(map[string]bool), make(map[string]bool)
	for _, m := range methods {
		requests[path(m)] = true
		wanted(requests, m.Input())
		wanted(responses, m.Output())
	}
	compare(t, "no script uses", requests, c.used, unusedFields)
	compare(t, "no server has answered", responses, c.filled, unansweredFields)
	compare(t, "no script gets the error", rpcErrors(t), c.errors, otherErrors)
}

func compare(t *testing.T, what string, want, got map[string]bool, except map[string]string) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if reason := except[name]; !got[name] && reason == "" {
			t.Errorf("%s %s", what, name)
		} else if got[name] && reason != "" {
			t.Errorf("%s is used, but there is a reason why it is not: %s", name, reason)
		}
	}
	for name := range except {
		if !want[name] {
			t.Errorf("there is a reason for %s, which does not exist", name)
		}
	}
}

// rpcErrors are the texts of all errors that etcd's clients know, from the source of
// the package that has them.
func rpcErrors(t *testing.T) map[string]bool {
	t.Helper()
	dir, err := exec.Command("go", "list", "-f", "{{.Dir}}", "go.etcd.io/etcd/api/v3/v3rpc/rpctypes").Output()
	if err != nil {
		t.Fatal(err)
	}
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(strings.TrimSpace(string(dir)), "error.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	texts := make(map[string]bool)
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 || !strings.HasPrefix(spec.Names[0].Name, "ErrGRPC") {
			return true
		}
		if made, ok := spec.Values[0].(*ast.CallExpr); ok && len(made.Args) == 2 {
			if text, ok := made.Args[1].(*ast.BasicLit); ok {
				unquoted, err := strconv.Unquote(text.Value)
				if err != nil {
					t.Fatal(err)
				}
				texts[unquoted] = true
			}
		}
		return true
	})
	if len(texts) < 60 {
		t.Fatalf("only %d errors are found in rpctypes", len(texts))
	}
	return texts
}
