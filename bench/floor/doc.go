// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

// Command floor is the least that a durable key-value server over gRPC can do: it decodes a request,
// appends its value to a file with one fdatasync for all requests that wait, and answers. It has no
// log that could be replayed, no revisions that could be read, no watch; it forgets everything when
// it stops. bench measures it to know how much of a server's cost is its own.
package main
