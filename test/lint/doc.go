// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

// Package lint holds the repository to its own rules of style and structure, as tests.
//
// A rule that is only written down is broken within a month, so each is a check over the syntax tree of
// every file, and each message names what to do instead. Two tables are the whole configuration: the
// exceptions, each with its reason, and the import graph, the arrows of the design that a package may
// follow. An exception that no file needs any more is an error too.
//
// The checks are tested themselves, on the small files of testdata: a comment "want check" stands where a check
// must speak, and it must be silent everywhere else.
//
// It is outside of a request's path, and imports no package of keelson.
package lint
