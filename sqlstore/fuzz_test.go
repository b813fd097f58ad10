// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqlstore

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"os"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// oddColumns are what FuzzOddRow changes.
var oddColumns = []string{
	"history.seq", "history.revision", "history.sub", "history.key", "history.create_revision", "history.version", "history.lease", "history.value",
	"lease.id", "lease.ttl", "lease.remaining", "alarm.member", "alarm.kind", "member.id", "member.removed", "member.json", "setting.name", "setting.value",
	"auth_user.password", "auth_user.no_password", "auth_user_role.role", "auth_role.name", "auth_permission.place", "auth_permission.kind", "auth_permission.key",
}

// FuzzOddRow puts any value into a column of a database, in its first rows. The store is refused, or it opens and answers.
func FuzzOddRow(f *testing.F) {
	good := oddFile(f)
	for column := range oddColumns {
		for kind := range 4 {
			f.Add(uint8(column), uint8(1), uint8(kind), int64(-1), []byte("odd"))
		}
	}
	f.Fuzz(func(t *testing.T, column, rows, kind uint8, number int64, data []byte) {
		o := newFixture(t, nil)
		if err := o.store.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(o.opts.DB.Path, good, 0o600); err != nil {
			t.Fatal(err)
		}
		if !makeOdd(t, o.opts.DB.Path, oddColumns[int(column)%len(oddColumns)], rows, []any{number, string(data), data, nil}[kind%4]) {
			return
		}
		s, err := Open(context.Background(), o.opts)
		if err != nil {
			return // and says why
		}
		defer func() { _ = s.Close(context.Background()) }()
		// Any answer, and any error, will do: what was put there may be a plausible row.
		_, _ = s.Range(t.Context(), &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}})
		_, _ = s.Range(t.Context(), &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, Revision: 3})
		_, _ = s.HashKV(t.Context(), 0)
		_ = fmt.Sprint(s.Leases(), s.Members(), s.Alarms(pb.AlarmType_NONE), s.Stats())
		index, term := s.Applied()
		e := o.entry(put("after", "it"))
		e.Index, e.Term = index+1, max(term, 1)
		_, _ = s.Apply([]Entry{e})
	})
}

// makeOdd sets a column, of a table that holds something, in its first rows. It says whether SQLite took the value.
func makeOdd(t *testing.T, path, column string, rows uint8, value any) bool {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	table, name, _ := bytes.Cut([]byte(column), []byte("."))
	statement := fmt.Sprintf("UPDATE %[1]s SET %[2]s = ? WHERE %[2]s IN (SELECT %[2]s FROM %[1]s LIMIT %d)", table, name, rows)
	_, err = db.ExecContext(t.Context(), statement, value)
	return err == nil
}

// oddFile is a database with rows in all tables.
func oddFile(f *testing.F) []byte {
	f.Helper()
	fix := newFixture(f, nil)
	fix.must(&pb.InternalRaftRequest{LeaseGrant: &pb.LeaseGrantRequest{ID: 7, TTL: 100}})
	for i := range 5 {
		fix.must(put(fmt.Sprintf("k%d", i), "value"))
	}
	fix.must(&pb.InternalRaftRequest{Put: &pb.PutRequest{Key: []byte("leased"), Lease: 7}})
	fix.must(del("k1", ""))
	fix.must(&pb.InternalRaftRequest{Alarm: &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, MemberID: 1, Alarm: pb.AlarmType_CORRUPT}})
	if err := fix.store.Close(f.Context()); err != nil {
		f.Fatal(err)
	}
	db, err := sql.Open("sqlite", "file:"+fix.opts.DB.Path)
	if err != nil {
		f.Fatal(err)
	}
	for _, statement := range []string{
		`INSERT INTO member VALUES ('1', 0, '{"id":1,"peerURLs":["http://a:2380"],"name":"a"}'), ('2', 1, '')`,
		`INSERT INTO auth_user VALUES ('root', x'00', 1)`, `INSERT INTO auth_role VALUES ('root'), ('r')`,
		`INSERT INTO auth_user_role VALUES ('root', 'root')`, `INSERT INTO auth_permission VALUES ('r', 0, 'READ', 'k', '')`,
	} {
		if _, err := db.ExecContext(f.Context(), statement); err != nil {
			f.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		f.Fatal(err)
	}
	content, err := os.ReadFile(fix.opts.DB.Path)
	if err != nil {
		f.Fatal(err)
	}
	return content
}
