// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package lint

import "strings"

// exception lets one check pass for one file, or for all files below a folder (a path that ends in "/").
type exception struct {
	path   string
	check  string
	reason string
}

// exceptions are all that the repository needs. One that lets nothing pass any more is reported.
var exceptions = []exception{
	{"raftlog/clock.go", "clock", "the machine's clock, which Options take by default"},
}

func (e exception) covers(f Finding) bool {
	if e.check != f.Check {
		return false
	}
	return e.path == f.Path || strings.HasSuffix(e.path, "/") && strings.HasPrefix(f.Path, e.path)
}

// withoutExceptions drops the findings that an exception covers, and returns the exceptions that covered none.
func withoutExceptions(findings []Finding, allowed []exception) (left []Finding, unused []exception) {
	used := make([]bool, len(allowed))
	for _, f := range findings {
		covered := false
		for i, e := range allowed {
			if e.covers(f) {
				used[i], covered = true, true
			}
		}
		if !covered {
			left = append(left, f)
		}
	}
	for i, e := range allowed {
		if !used[i] {
			unused = append(unused, e)
		}
	}
	return left, unused
}
