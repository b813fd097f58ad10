// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sqldb

import (
	"context"
	"database/sql/driver"
	"fmt"
	"strings"
	"testing"
)

// TestViews shows what somebody sees who opens the file with an SQLite tool.
func TestViews(t *testing.T) {
	db := open(t, testOptions(t))
	b := &Batch{
		Leases:  []LeaseChange{{Lease: Lease{ID: 0x1f, TTL: 60}}},
		Members: []MemberChange{{Member: Member{ID: 0xab, JSON: []byte(`{"id":171,"peerURLs":["http://p"],"name":"n","clientURLs":["http://c"]}`)}}},
	}
	put := func(key, value string, version, lease int64) {
		n := int64(len(b.Rows) + 1)
		b.Rows = append(b.Rows, Row{
			Seq: n, Revision: n + 1, Key: []byte(key), CreateRevision: n + 2 - version, Version: version, Lease: lease, Value: []byte(value),
		})
	}
	put("/registry/pods/default/web", "1", 1, 0)
	put("/registry/pods/default/web", "22", 2, 0)
	put("/registry/minions/node-1", "333", 1, 0)
	put("/registry/services/specs/default/kubernetes", "4", 1, 0)
	put("/registry/services/endpoints/default/kubernetes", "5", 1, 0)
	put("/registry/apiregistration.k8s.io/apiservices/v1.apps", "6", 1, 0)
	put("/registry/stable.example.com/crontabs/team/backup", "7", 1, 0)
	put("/registry/events/default/e", "8", 1, 0x1f)
	put("compact_rev_key", "9", 1, 0)
	put("gone", "10", 1, 0)
	b.Rows = append(b.Rows, Row{Seq: 11, Revision: 12, Key: []byte("gone"), Tombstone: true})
	must(t, db.Write(b))
	must(t, db.Flush(context.Background()))

	for _, test := range []struct{ query, want string }{
		{"SELECT api_group, resource, namespace, name, revision, size FROM objects ORDER BY revision", `
- pods default web 3 2
- nodes - node-1 4 3
- services default kubernetes 5 1
- endpoints default kubernetes 6 1
apiregistration.k8s.io apiservices - v1.apps 7 1
stable.example.com crontabs team backup 8 1
- events default e 9 1
- - - compact_rev_key 10 1`},
		{"SELECT revision, op, key, version, size FROM changes WHERE key IN ('gone', '/registry/pods/default/web')", `
2 create /registry/pods/default/web 1 1
3 update /registry/pods/default/web 2 2
11 create gone 1 2
12 delete gone 0 -`},
		{"SELECT id, ttl, remaining, keys FROM leases", "\n1f 60 0 1"},
		{"SELECT id, name, peer_urls, client_urls, learner, removed FROM members", `
00000000000000ab n ["http://p"] ["http://c"] 0 0`},
	} {
		if got := query(t, db, test.query); got != test.want {
			t.Errorf("%s:%s\nwant:%s", test.query, got, test.want)
		}
	}
}

// query returns the rows of a query, a line each, NULL as a dash.
func query(t *testing.T, db *DB, sql string) string {
	t.Helper()
	var out strings.Builder
	must(t, db.readers.with(context.Background(), func(c *conn) error {
		return c.each(sql, func(cols []driver.Value) error {
			for i, col := range cols {
				sep := " "
				if i == 0 {
					sep = "\n"
				}
				if col == nil {
					col = "-"
				}
				if data, ok := col.([]byte); ok {
					col = string(data)
				}
				fmt.Fprint(&out, sep, col)
			}
			return nil
		})
	}))
	return out.String()
}
