// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestRepository runs every check over every file of the repository.
func TestRepository(t *testing.T) {
	findings := lintRepository(t)
	left, unused := withoutExceptions(findings, exceptions)
	sortFindings(left)
	for _, f := range left {
		t.Error(f)
	}
	for _, e := range unused {
		t.Errorf("the exception of %s for %s lets nothing pass: remove it", e.check, e.path)
	}
	for _, e := range exceptions {
		if e.reason == "" {
			t.Errorf("the exception of %s for %s has no reason", e.check, e.path)
		}
	}
}

// lintRepository are the findings before exceptions. Go files of testdata are data and not checked.
func lintRepository(t *testing.T) []Finding {
	t.Helper()
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	files, err := Files(root)
	if err != nil {
		t.Fatal(err)
	}
	var findings []Finding
	var sources []*Source
	for _, file := range files {
		text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(file)))
		if err != nil {
			t.Fatal(err)
		}
		findings = append(findings, CheckText(file, text)...)
		if !strings.HasSuffix(file, ".go") || strings.Contains("/"+file, "/testdata/") {
			continue
		}
		source, err := Parse(file, text)
		if err != nil {
			t.Error(err)
			continue
		}
		sources = append(sources, source)
		for _, check := range Checks() {
			findings = append(findings, check.Run(source)...)
		}
	}
	return append(findings, CheckPackageDocs(sources)...)
}

// wantMark names the checks that must speak about a line: in a comment or, where a comment would make a difference,
// in a text.
var wantMark = regexp.MustCompile(`(?:// |")want ([a-z -]+)`)

// TestChecks runs every check over the files of testdata. Their first line, "path: x", says where in the
// repository the rest is to stand; findings are wanted exactly on the lines with a wantMark.
func TestChecks(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no fixtures: %v", err)
	}
	spoken := map[string]bool{}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			// The path is a line of its own before the file proper.
			place, rest, _ := strings.Cut(string(text), "\n")
			source, err := Parse(strings.TrimPrefix(place, "path: "), []byte(rest))
			if err != nil {
				t.Fatal(err)
			}
			for name := range checkFixture(t, source, rest) {
				spoken[name] = true
			}
		})
	}
	for _, check := range Checks() {
		if !spoken[check.Name] {
			t.Errorf("no fixture makes %s speak", check.Name)
		}
	}
}

// checkFixture compares the findings of all checks with the wanted ones, and returns the checks that spoke.
func checkFixture(t *testing.T, source *Source, text string) map[string]bool {
	t.Helper()
	type place struct {
		line  int
		check string
	}
	wanted, found := map[place]bool{}, map[place]bool{}
	for i, line := range strings.Split(text, "\n") {
		if match := wantMark.FindStringSubmatch(line); match != nil {
			for _, name := range strings.Fields(match[1]) {
				wanted[place{i + 1, name}] = true
			}
		}
	}
	spoken := map[string]bool{}
	for _, check := range Checks() {
		for _, f := range check.Run(source) {
			found[place{f.Line, f.Check}] = true
			spoken[f.Check] = true
			if !wanted[place{f.Line, f.Check}] {
				t.Errorf("unwanted: %v", f)
			}
		}
	}
	for w := range wanted {
		if !found[w] {
			t.Errorf("line %d: %s is silent", w.line, w.check)
		}
	}
	return spoken
}

func TestPackageDocs(t *testing.T) {
	parse := func(path, text string) *Source {
		s, err := Parse(path, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	findings := CheckPackageDocs([]*Source{
		parse("good/doc.go", "// Package good is good.\npackage good\n"),
		parse("program/doc.go", "// Command program is good.\npackage main\n"),
		parse("silent/doc.go", "package silent\n"),
		parse("other/doc.go", "// This package is other.\npackage other\n"),
		parse("missing/code.go", "// Package missing has no doc.go.\npackage missing\n"),
		parse("tests/only_test.go", "package tests\n"),
	})
	sortFindings(findings)
	var got []string
	for _, f := range findings {
		got = append(got, f.Path)
	}
	if want := "missing/code.go other/doc.go silent/doc.go"; strings.Join(got, " ") != want {
		t.Errorf("without documentation: %v, want %s", got, want)
	}
}

func TestForbiddenText(t *testing.T) {
	for text, forbidden := range map[string]bool{
		"cd /wo" + "rk/main":                true,
		"/tmp/" + "bin/etcd":                true,
		"/ro" + "ot/go":                     true,
		"done for iss" + "ue 7":             true,
		"the issue of 10 watchers":          false,
		"/tmp/binary":                       false,
		"see go.etcd.io/etcd/issues/12345":  false,
		"\xff\xfe /wo" + "rk/main (binary)": false,
	} {
		if got := len(CheckText("file", []byte(text))) > 0; got != forbidden {
			t.Errorf("%q: forbidden is %v, want %v", text, got, forbidden)
		}
	}
}

func TestExceptions(t *testing.T) {
	findings := []Finding{{Path: "a/b.go", Check: "clock"}, {Path: "a/b.go", Check: "print"}, {Path: "c/d.go", Check: "clock"}}
	left, unused := withoutExceptions(findings, []exception{{"a/b.go", "clock", "r"}, {"c/", "clock", "r"}, {"e.go", "clock", "r"}})
	if len(left) != 1 || left[0].Check != "print" {
		t.Errorf("left are %v, want the print alone", left)
	}
	if len(unused) != 1 || unused[0].path != "e.go" {
		t.Errorf("unused are %v, want e.go alone", unused)
	}
}
