// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package index

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"
)

// item is what the model holds for a key and what a visit of the tree yields.
type item struct {
	key   string
	live  Liveness
	value int
}

// model is a sorted slice: slow and plainly right.
type model []item

func (m model) find(key string) (int, bool) {
	return slices.BinarySearchFunc(m, key, func(it item, key string) int { return strings.Compare(it.key, key) })
}

func (m *model) set(it item) (old int, replaced bool) {
	i, found := m.find(it.key)
	if found {
		old = (*m)[i].value
		(*m)[i] = it
		return old, true
	}
	*m = slices.Insert(*m, i, it)
	return 0, false
}

func (m *model) delete(key string) (old int, ok bool) {
	i, found := m.find(key)
	if !found {
		return 0, false
	}
	old = (*m)[i].value
	*m = slices.Delete(*m, i, i+1)
	return old, true
}

func (m model) between(lo, hi string) model {
	var in model
	for _, it := range m {
		if it.key >= lo && (hi == "" || it.key < hi) {
			in = append(in, it)
		}
	}
	return in
}

func (m model) liveItems() int {
	live := 0
	for _, it := range m {
		if it.live == Live {
			live++
		}
	}
	return live
}

// equal fails t unless tree holds what want does, over the whole range and over [lo, hi).
func equal(t interface {
	Helper()
	Fatalf(string, ...any)
}, tree *Tree[int], want model, lo, hi string) {
	t.Helper()
	if err := tree.check(); err != nil {
		t.Fatalf("invariant: %v", err)
	}
	if tree.Len() != len(want) || tree.Live() != want.liveItems() {
		t.Fatalf("Len, Live = %d, %d, want %d, %d", tree.Len(), tree.Live(), len(want), want.liveItems())
	}
	for _, r := range [][2]string{{"", ""}, {lo, hi}, {lo, ""}, {"", hi}} {
		in := want.between(r[0], r[1])
		if got := tree.Count(r[0], r[1]); got != in.liveItems() {
			t.Fatalf("Count(%q, %q) = %d, want %d", r[0], r[1], got, in.liveItems())
		}
		i := 0
		tree.Ascend(r[0], r[1], func(key string, v int) bool {
			if i >= len(in) || in[i].key != key || in[i].value != v {
				t.Fatalf("Ascend(%q, %q): item %d is %q %d, want %v", r[0], r[1], i, key, v, in)
			}
			i++
			return true
		})
		if i != len(in) {
			t.Fatalf("Ascend(%q, %q): %d items, want %d", r[0], r[1], i, len(in))
		}
		tree.Descend(r[0], r[1], func(key string, v int) bool {
			i--
			if i < 0 || in[i].key != key || in[i].value != v {
				t.Fatalf("Descend(%q, %q): item %d is %q %d, want %v", r[0], r[1], i, key, v, in)
			}
			return true
		})
		if i != 0 {
			t.Fatalf("Descend(%q, %q): %d items missing", r[0], r[1], i)
		}
	}
}

// keys are drawn from a space small enough for collisions and large enough for several levels.
func keyGen() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		return fmt.Sprintf("/registry/pods/%04d", rapid.IntRange(0, 4000).Draw(t, "n"))
	})
}

func TestTreeEqualsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type frozen struct {
			tree *Tree[int]
			want model
		}
		var (
			want      model
			snapshots []frozen
			tree      = New[int]()
			key       = keyGen()
			liveness  = rapid.SampledFrom([]Liveness{Live, Live, Dead})
			next      = 0
		)
		if n := rapid.SampledFrom([]int{0, 1, 40, 3000}).Draw(t, "built"); n > 0 {
			var b Builder[int]
			for i := range n {
				it := item{fmt.Sprintf("/registry/pods/%04d", i+i/2), Liveness(i % 5 % 2), i}
				b.Append(it.key, it.live, it.value)
				want = append(want, it)
			}
			tree = b.Tree()
		}
		set := func(k string, live Liveness) {
			next++
			old, replaced := tree.Set(k, live, next)
			wantOld, wantReplaced := want.set(item{k, live, next})
			if old != wantOld || replaced != wantReplaced {
				t.Fatalf("Set(%q) = %d, %v, want %d, %v", k, old, replaced, wantOld, wantReplaced)
			}
		}
		remove := func(k string) {
			old, ok := tree.Delete(k)
			wantOld, wantOK := want.delete(k)
			if old != wantOld || ok != wantOK {
				t.Fatalf("Delete(%q) = %d, %v, want %d, %v", k, old, ok, wantOld, wantOK)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"set":    func(t *rapid.T) { set(key.Draw(t, "key"), liveness.Draw(t, "live")) },
			"delete": func(t *rapid.T) { remove(key.Draw(t, "key")) },
			"set a run": func(t *rapid.T) {
				first, n := rapid.IntRange(0, 4000).Draw(t, "first"), rapid.IntRange(1, 300).Draw(t, "n")
				for i := range n {
					set(fmt.Sprintf("/registry/pods/%04d", first+i), Liveness(i%3%2))
				}
			},
			"delete a run": func(t *rapid.T) {
				from := key.Draw(t, "from")
				for _, it := range slices.Clone(want.between(from, "")[:min(300, len(want.between(from, "")))]) {
					remove(it.key)
				}
			},
			"get": func(t *rapid.T) {
				k := key.Draw(t, "key")
				v, ok := tree.Get(k)
				if i, found := want.find(k); found != ok || found && want[i].value != v {
					t.Fatalf("Get(%q) = %d, %v", k, v, ok)
				}
			},
			"snapshot": func(*rapid.T) {
				snapshots = append(snapshots, frozen{tree.Snapshot(), slices.Clone(want)})
			},
			"": func(t *rapid.T) {
				lo, hi := key.Draw(t, "lo"), key.Draw(t, "hi")
				equal(t, tree, want, lo, hi)
				if len(snapshots) > 0 {
					s := rapid.SampledFrom(snapshots).Draw(t, "snapshot")
					equal(t, s.tree, s.want, lo, hi)
				}
			},
		})
	})
}

func TestVisitStops(t *testing.T) {
	tree := build(1000)
	for _, limit := range []int{1, 2, 47, 500} {
		var up, down []int
		tree.Ascend(testKey(100), "", func(_ string, v int) bool { up = append(up, v); return len(up) < limit })
		tree.Descend("", testKey(900), func(_ string, v int) bool { down = append(down, v); return len(down) < limit })
		if len(up) != limit || up[0] != 100 || up[limit-1] != 100+limit-1 {
			t.Errorf("Ascend to %d items: %v", limit, up)
		}
		if len(down) != limit || down[0] != 899 || down[limit-1] != 899-limit+1 {
			t.Errorf("Descend to %d items: %v", limit, down)
		}
	}
}

func TestEmptyRange(t *testing.T) {
	tree := build(100)
	for _, r := range [][2]string{{testKey(50), testKey(50)}, {testKey(51), testKey(50)}, {"~", ""}, {"", "!"}} {
		if n := tree.Count(r[0], r[1]); n != 0 {
			t.Errorf("Count(%q, %q) = %d", r[0], r[1], n)
		}
		tree.Ascend(r[0], r[1], func(key string, _ int) bool { t.Errorf("Ascend(%q, %q): %q", r[0], r[1], key); return true })
		tree.Descend(r[0], r[1], func(key string, _ int) bool { t.Errorf("Descend(%q, %q): %q", r[0], r[1], key); return true })
	}
}

func TestSnapshotIsReadOnly(t *testing.T) {
	s := build(10).Snapshot()
	if s.Snapshot() != s {
		t.Error("a snapshot's snapshot is another tree")
	}
	for name, write := range map[string]func(){
		"Set":    func() { s.Set("a", Live, 1) },
		"Delete": func() { s.Delete(testKey(1)) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s on a snapshot did not panic", name)
				}
			}()
			write()
		}()
	}
}

func TestBuilderRefusesDisorder(t *testing.T) {
	for _, second := range []string{"a", "b"} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%q after %q did not panic", second, "b")
				}
			}()
			var b Builder[int]
			b.Append("b", Live, 1)
			b.Append(second, Live, 2)
		}()
	}
}

func TestBuilderSizes(t *testing.T) {
	for n := range 3 * mergeItems * mergeItems {
		if n > 200 && n%97 != 0 {
			continue
		}
		tree := build(n)
		if err := tree.check(); err != nil {
			t.Fatalf("%d items: %v", n, err)
		}
		if tree.Len() != n {
			t.Fatalf("Len = %d, want %d", tree.Len(), n)
		}
	}
}

// TestReadersOfSnapshots has readers check each published snapshot while the writer goes on; the race
// detector is the other half of the assertion.
func TestReadersOfSnapshots(t *testing.T) {
	const keys, rounds, readers = 3000, 400, 3
	type state struct {
		tree *Tree[int]
		sum  int
		live int
	}
	var (
		published atomic.Pointer[state]
		done      atomic.Bool
		wg        sync.WaitGroup
		tree      = build(keys)
		rng       = rand.New(rand.NewPCG(1, 2))
		sum       = keys * (keys - 1) / 2
	)
	publish := func() { published.Store(&state{tree.Snapshot(), sum, tree.Live()}) }
	publish()
	for range readers {
		wg.Go(func() {
			for !done.Load() {
				s := published.Load()
				sum, items := 0, 0
				s.tree.Ascend("", "", func(_ string, v int) bool { sum += v; items++; return true })
				if sum != s.sum || items != s.tree.Len() || s.tree.Count("", "~") != s.live {
					t.Errorf("snapshot sums up to %d over %d items, want %d over %d", sum, items, s.sum, s.tree.Len())
					return
				}
			}
		})
	}
	for range rounds {
		for range 20 {
			k := testKey(rng.IntN(2 * keys))
			if rng.IntN(3) == 0 {
				old, _ := tree.Delete(k)
				sum -= old
				continue
			}
			v := rng.IntN(1000)
			old, _ := tree.Set(k, Liveness(rng.IntN(2)), v)
			sum += v - old
		}
		publish()
	}
	done.Store(true)
	wg.Wait()
	if err := tree.check(); err != nil {
		t.Fatal(err)
	}
}

func testKey(i int) string { return fmt.Sprintf("/registry/pods/default/pod-%07d", i) }

// build returns a tree of n live items with the values 0 to n-1.
func build(n int) *Tree[int] {
	var b Builder[int]
	for i := range n {
		b.Append(testKey(i), Live, i)
	}
	return b.Tree()
}
