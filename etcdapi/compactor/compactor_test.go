// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package compactor

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jonboulle/clockwork"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3compactor"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"go.uber.org/zap"
)

// world is what a compactor works on: a revision that grows, leadership that
// comes and goes, and compactions that fail, all by the clock.
type world struct {
	start    time.Time
	seed     uint64
	quiet    bool // the revision stands still every other hour
	failing  bool
	follower bool // leads only some of the time

	calls []string
}

func (w *world) minutes() uint64 { return uint64(time.Since(w.start) / time.Minute) }

// Rev implements v3compactor.RevGetter.
func (w *world) Rev() int64 {
	m := w.minutes()
	if hour := m / 60; w.quiet && hour%2 == 1 {
		m = hour * 60
	}
	return int64(1 + m*7)
}

func (w *world) leads() bool {
	return !w.follower || rand.New(rand.NewPCG(w.seed, w.minutes()/20)).IntN(2) == 0
}

// pass lets time pass and tells, every minute, whether this member leads. Never
// does it at a time at which a compactor looks, for then the two would race.
func (w *world) pass(lasts time.Duration, lead func(bool)) {
	const offset = 137 * time.Millisecond
	lead(w.leads())
	<-time.After(offset)
	for end := w.start.Add(lasts); time.Now().Before(end); {
		lead(w.leads())
		<-time.After(time.Minute)
		synctest.Wait()
	}
}

func (w *world) compact(revision int64) error {
	w.calls = append(w.calls, fmt.Sprintf("%v: %d", time.Since(w.start), revision))
	switch rand.New(rand.NewPCG(w.seed, uint64(len(w.calls)))).IntN(4) {
	case 0:
		if w.failing {
			return errors.New("failed")
		}
	case 1:
		return mvcc.ErrCompacted
	}
	return nil
}

// Compact implements v3compactor.Compactable.
func (w *world) Compact(_ context.Context, r *pb.CompactionRequest) (*pb.CompactionResponse, error) {
	return nil, w.compact(r.Revision)
}

// etcds runs etcd's own compactor for a time, and returns what it compacted.
func (w world) etcds(t *testing.T, mode string, retention, lasts time.Duration) []string {
	w.start = time.Now()
	c, err := v3compactor.New(zap.NewNop(), mode, retention, &w, &w)
	if err != nil {
		t.Fatal(err)
	}
	c.Run()
	defer c.Stop()
	w.pass(lasts, func(leads bool) {
		if leads {
			c.Resume()
		} else {
			c.Pause()
		}
	})
	return w.calls
}

func (w world) ours(retention Retention, lasts time.Duration) []string {
	w.start = time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), lasts)
	defer cancel()
	var leads atomic.Bool
	go Run(ctx, Options{
		Clock: clockwork.NewRealClock(), Logger: zap.NewNop(), Retention: retention, Revision: w.Rev,
		Leads: leads.Load,
		Compact: func(_ context.Context, revision int64) error {
			if err := w.compact(revision); !errors.Is(err, mvcc.ErrCompacted) {
				return err
			}
			return nil
		},
	})
	w.pass(lasts, leads.Store)
	return w.calls
}

// TestAsEtcd runs etcd's compactor and this one for days of a clock that does not
// take them, and wants both to compact the same revisions at the same times.
func TestAsEtcd(t *testing.T) {
	for _, mode := range []struct {
		name, retention string
		lasts           time.Duration
	}{
		{Periodic, "1", 12 * time.Hour}, {Periodic, "24", 50 * time.Hour}, {Periodic, "30m", 5 * time.Hour},
		{Periodic, "90m", 10 * time.Hour}, {Periodic, "7s", 2 * time.Hour},
		{Revision, "1", 3 * time.Hour}, {Revision, "1000", 10 * time.Hour}, {Revision, "5m", time.Hour},
	} {
		for seed := range uint64(8) {
			w := world{seed: seed, quiet: seed&1 != 0, failing: seed&2 != 0, follower: seed&4 != 0}
			t.Run(fmt.Sprintf("%s %s/%d", mode.name, mode.retention, seed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					retention, err := ParseRetention(mode.name, mode.retention)
					if err != nil {
						t.Fatal(err)
					}
					amount := max(retention.Period, time.Duration(retention.Revisions))
					want := w.etcds(t, mode.name, amount, mode.lasts)
					got := w.ours(retention, mode.lasts)
					if strings.Join(got, "\n") != strings.Join(want, "\n") {
						t.Errorf("etcd compacts\n%s\nand keelson\n%s", strings.Join(want, "\n"), strings.Join(got, "\n"))
					}
					if len(want) == 0 && mode.retention != "5m" {
						t.Error("nothing was compacted")
					}
				})
			})
		}
	}
}

func TestParseRetention(t *testing.T) {
	for _, test := range []struct {
		mode, text string
		want       Retention
		fault      string
	}{
		{Periodic, "", Retention{}, ""},
		{Periodic, "0", Retention{}, ""},
		{Periodic, "0s", Retention{}, ""},
		{Periodic, "2", Retention{Period: 2 * time.Hour}, ""},
		{Periodic, "1h30m", Retention{Period: 90 * time.Minute}, ""},
		{Revision, "0", Retention{}, ""},
		{Revision, "1000", Retention{Revisions: 1000}, ""},
		{Revision, "1us", Retention{Revisions: 1000}, ""},
		{Periodic, "1.5", Retention{}, `error parsing CompactionRetention: time: missing unit in duration "1.5"`},
		{Revision, "many", Retention{}, `error parsing CompactionRetention: time: invalid duration "many"`},
		{Periodic, "-1", Retention{}, `error parsing CompactionRetention: time: missing unit in duration "-1"`},
		{Periodic, "-1h", Retention{}, "--auto-compaction-retention=-1h is too short"},
		{Periodic, "9ns", Retention{}, "--auto-compaction-retention=9ns is too short"},
		{Periodic, "9999999", Retention{}, "--auto-compaction-retention=9999999 hours are too long"},
		{"", "1", Retention{}, "undefined auto-compaction-mode"},
		{"daily", "1", Retention{}, `unknown auto-compaction-mode "daily"`},
	} {
		got, err := ParseRetention(test.mode, test.text)
		if got != test.want || (err == nil) != (test.fault == "") || err != nil && err.Error() != test.fault {
			t.Errorf("%s %s: %+v, %v, want %+v %s", test.mode, test.text, got, err, test.want, test.fault)
		}
	}
}
