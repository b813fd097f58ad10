// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// TestRecordSpeaks wants the checks of TestKill to find what they are for: a check that never speaks is none.
func TestRecordSpeaks(t *testing.T) {
	put := func(key, value string) change { return change{key: key, value: value} }
	for _, test := range []struct {
		name string
		fill func(*record)
		log  []revisionEvents
		want string // substring of the one fault; empty: none
	}{
		{name: "all there", fill: func(r *record) {
			r.ack(2, write{"put", []change{put("b", "1"), put("a", "1")}})
			r.ack(2, write{"failed condition", nil})
			r.ackSomewhere(write{"revoke", []change{{key: "a", delete: true}}})
			r.doubt(write{"put", []change{put("c", "1")}})
			r.doubt(write{"put", []change{put("d", "1")}})
		}, log: []revisionEvents{
			{2, []change{put("a", "1"), put("b", "1")}}, {3, []change{{key: "a", delete: true}}}, {4, []change{put("d", "1")}},
		}},
		{name: "lost", fill: func(r *record) { r.ack(2, write{"put", []change{put("a", "1")}}) }, want: "is lost"},
		{name: "lost without a revision", fill: func(r *record) { r.ackSomewhere(write{"revoke", []change{put("a", "1")}}) }, want: "is lost"},
		{name: "changed", fill: func(r *record) { r.ack(2, write{"put", []change{put("a", "1")}}) },
			log: []revisionEvents{{2, []change{put("a", "2")}}}, want: "was acknowledged as"},
		{name: "half", fill: func(r *record) { r.ack(2, write{"put", []change{put("a", "1"), put("b", "1")}}) },
			log: []revisionEvents{{2, []change{put("a", "1")}}}, want: "was acknowledged as"},
		{name: "from nowhere", fill: func(*record) {}, log: []revisionEvents{{2, []change{put("a", "1")}}}, want: "nobody has asked for"},
		{name: "done twice", fill: func(r *record) { r.doubt(write{"put", []change{put("a", "1")}}) },
			log: []revisionEvents{{2, []change{put("a", "1")}}, {3, []change{put("a", "1")}}}, want: "nobody has asked for"},
		{name: "one revision for two", fill: func(r *record) {
			r.ack(2, write{"put", []change{put("a", "1")}})
			r.ack(2, write{"put", []change{put("b", "1")}})
		}, log: []revisionEvents{{2, []change{put("a", "1")}}}, want: "was given to two"},
		{name: "backwards", fill: func(r *record) { r.seen("get", 7, 6) }, want: "after revision 7 was seen"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRecord(new(atomic.Int64))
			test.fill(r)
			wantFault(t, r.explain(test.log), test.want)
		})
	}
}

// TestFollowerSpeaks wants a follower to find gaps, repeats, split revisions and false previous values.
func TestFollowerSpeaks(t *testing.T) {
	event := func(revision int64, key string) *mvccpb.Event {
		return &mvccpb.Event{Kv: &mvccpb.KeyValue{Key: []byte(key), Value: fmt.Append(nil, revision), ModRevision: revision, CreateRevision: revision, Version: 1}}
	}
	overwrite := event(6, "a")
	overwrite.Kv.CreateRevision, overwrite.Kv.Version, overwrite.PrevKv = 5, 2, event(5, "a").Kv
	for _, test := range []struct {
		name      string
		responses [][]*mvccpb.Event
		header    int64 // of the responses
		want      string
	}{
		{name: "in order", responses: [][]*mvccpb.Event{nil, {event(5, "a"), event(5, "b")}, {overwrite, event(7, "c")}}, header: 7},
		{name: "gap", responses: [][]*mvccpb.Event{{event(5, "a"), event(7, "b")}}, header: 7, want: "came after revision 5"},
		{name: "gap at the start", responses: [][]*mvccpb.Event{{event(6, "a")}}, header: 7, want: "came after revision 4"},
		{name: "repeat", responses: [][]*mvccpb.Event{{event(5, "a"), event(6, "b")}, {event(5, "a")}}, header: 7, want: "came after revision 6"},
		{name: "split", responses: [][]*mvccpb.Event{{event(5, "a")}, {event(5, "b")}}, header: 7, want: "came after revision 5"},
		{name: "no previous value", responses: [][]*mvccpb.Event{{event(5, "a"), event(6, "a")}}, header: 7, want: "previous value"},
		{name: "ahead of itself", responses: [][]*mvccpb.Event{{event(5, "a")}}, header: 4, want: "has revision 4"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := &follower{last: 4, prevKV: true, previous: state{}, advanced: make(chan struct{})}
			var faults []error
			for _, events := range test.responses {
				if err := f.take(&pb.WatchResponse{Header: &pb.ResponseHeader{Revision: test.header}, Events: events}); err != nil {
					faults = append(faults, err)
				}
			}
			wantFault(t, faults, test.want)
		})
	}
}

// wantFault wants one fault with a text, or none for the empty text.
func wantFault(t *testing.T, faults []error, want string) {
	t.Helper()
	if want == "" && len(faults) > 0 {
		t.Errorf("faults %v, want none", faults)
	}
	if want != "" && (len(faults) != 1 || !strings.Contains(faults[0].Error(), want)) {
		t.Errorf("faults %v, want one that says %q", faults, want)
	}
}
