// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package index

import (
	"math/rand/v2"
	"testing"
)

const benchItems = 300_000

func benchKeys() []string {
	keys := make([]string, benchItems)
	for i := range keys {
		keys[i] = testKey(i)
	}
	return keys
}

func BenchmarkBuild(b *testing.B) {
	keys := benchKeys()
	b.ReportAllocs()
	for b.Loop() {
		var builder Builder[*int]
		for _, key := range keys {
			builder.Append(key, Live, nil)
		}
		builder.Tree()
	}
}

func BenchmarkGet(b *testing.B) {
	keys, tree := benchKeys(), build(benchItems)
	rng := rand.New(rand.NewPCG(1, 2))
	b.ReportAllocs()
	for b.Loop() {
		tree.Get(keys[rng.IntN(len(keys))])
	}
}

func BenchmarkCount(b *testing.B) {
	keys, tree := benchKeys(), build(benchItems)
	rng := rand.New(rand.NewPCG(1, 2))
	b.ReportAllocs()
	for b.Loop() {
		tree.Count(keys[rng.IntN(len(keys))], keys[rng.IntN(len(keys))])
	}
}

// BenchmarkReplace replaces values, with a snapshot after so many writes.
func BenchmarkReplace(b *testing.B) {
	keys := benchKeys()
	for name, every := range map[string]int{"alone": 0, "snapshot each": 1, "snapshot each 50th": 50} {
		b.Run(name, func(b *testing.B) {
			tree := build(benchItems)
			rng := rand.New(rand.NewPCG(1, 2))
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				tree.Set(keys[rng.IntN(len(keys))], Live, n)
				if every > 0 && n%every == 0 {
					tree.Snapshot()
				}
			}
		})
	}
}

// BenchmarkInsertDelete takes a key out and puts it back, with a snapshot after each.
func BenchmarkInsertDelete(b *testing.B) {
	keys, tree := benchKeys(), build(benchItems)
	rng := rand.New(rand.NewPCG(1, 2))
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		key := keys[rng.IntN(len(keys))]
		tree.Delete(key)
		tree.Snapshot()
		tree.Set(key, Live, n)
		tree.Snapshot()
	}
}

func BenchmarkAscendPage(b *testing.B) {
	keys, tree := benchKeys(), build(benchItems)
	rng := rand.New(rand.NewPCG(1, 2))
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		tree.Ascend(keys[rng.IntN(len(keys))], "", func(string, int) bool { n++; return n < 500 })
	}
}
