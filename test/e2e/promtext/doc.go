// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

// Package promtext reads the few numbers that the programs here want from a
// server's /metrics, in Prometheus' text format.
//
// Allowed imports: the standard library, and Prometheus' own parser.
package promtext
