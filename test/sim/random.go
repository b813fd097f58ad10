// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"crypto/rand"
	"encoding/binary"
	mathrand "math/rand/v2"
	"time"
)

// random is a seeded source of decisions.
type random struct{ *mathrand.Rand }

func newRandom(seed, stream uint64) random {
	return random{mathrand.New(mathrand.NewPCG(seed, stream))}
}

// chance is true with probability p.
func (r random) chance(p float64) bool { return r.Float64() < p }

// between returns a duration from low up to high.
func (r random) between(low, high time.Duration) time.Duration {
	if high <= low {
		return low
	}
	return low + time.Duration(r.Int64N(int64(high-low)))
}

// pick returns one of list, which is not empty.
func pick[T any](r random, list []T) T { return list[r.IntN(len(list))] }

// Read implements io.Reader.
func (r random) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return len(b), nil
}

// seedProcess gives raft, which takes its election timeouts from crypto/rand, seeded ones until the returned
// function is called. The variable is the process's: one world at a time.
func seedProcess(seed uint64) (restore func()) {
	before := rand.Reader
	rand.Reader = newRandom(seed, 0x72616674)
	return func() { rand.Reader = before }
}

// mix folds v into the hash h: FNV-1a over the eight bytes of v.
func mix(h uint64, values ...uint64) uint64 {
	var b [8]byte
	for _, v := range values {
		binary.LittleEndian.PutUint64(b[:], v)
		h = mixBytes(h, b[:])
	}
	return h
}

func mixBytes(h uint64, b []byte) uint64 {
	if h == 0 {
		h = 14695981039346656037
	}
	for _, c := range b {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h
}
