// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package compat_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"keelson.io/keelson/test/harness"
)

// as is an exchange by a user, nobody if that is empty.
type as struct {
	user string
	exchange
}

// authRequests visit every path of the gateway that is about users and roles, and
// then what a user may do, by a token in the Authorization header. Keys: a/ is
// what the user may read and write, b what not.
var authRequests = []as{
	{"", exchange{path: "/v3/auth/status", body: `{}`}},
	{"", exchange{path: "/v3/auth/authenticate", body: `{"name":"root","password":"r"}`}},
	{"", exchange{path: "/v3/auth/disable", body: `{}`}},
	{"", exchange{path: "/v3/auth/enable", body: `{}`}},
	{"", exchange{path: "/v3/auth/user/add", body: `{"name":"root","password":"r"}`}},
	{"", exchange{path: "/v3/auth/user/add", body: `{"name":"root","password":"r"}`}},
	{"", exchange{path: "/v3/auth/user/add", body: `{"password":"r"}`}},
	{"", exchange{path: "/v3/auth/enable", body: `{}`}},
	{"", exchange{path: "/v3/auth/user/add", body: `{"name":"user","password":"u"}`}},
	{"", exchange{path: "/v3/auth/user/add", body: `{"name":"gone","options":{"no_password":true}}`}},
	{"", exchange{path: "/v3/auth/user/changepw", body: `{"name":"user","password":"v"}`}},
	{"", exchange{path: "/v3/auth/user/changepw", body: `{"name":"nobody","password":"v"}`}},
	{"", exchange{path: "/v3/auth/role/add", body: `{"name":"root"}`}},
	{"", exchange{path: "/v3/auth/role/add", body: `{"name":"writer"}`}},
	{"", exchange{path: "/v3/auth/role/add", body: `{"name":"writer"}`}},
	{"", exchange{path: "/v3/auth/role/add", body: `{"name":"idle"}`}},
	{"", exchange{path: "/v3/auth/role/grant", body: `{"name":"writer","perm":{"permType":"READWRITE","key":"YS8=","range_end":"YTA="}}`}},
	{"", exchange{path: "/v3/auth/role/grant", body: `{"name":"writer","perm":{"permType":"READ","key":"Yw=="}}`}},
	{"", exchange{path: "/v3/auth/role/grant", body: `{"name":"nothing","perm":{"key":"Yw=="}}`}},
	{"", exchange{path: "/v3/auth/role/revoke", body: `{"role":"writer","key":"Yw=="}`}},
	{"", exchange{path: "/v3/auth/role/revoke", body: `{"role":"writer","key":"Yw=="}`}},
	{"", exchange{path: "/v3/auth/role/get", body: `{"role":"writer"}`}},
	{"", exchange{path: "/v3/auth/role/get", body: `{"role":"nothing"}`}},
	{"", exchange{path: "/v3/auth/role/list", body: `{}`}},
	{"", exchange{path: "/v3/auth/user/grant", body: `{"user":"root","role":"root"}`}},
	{"", exchange{path: "/v3/auth/user/grant", body: `{"user":"user","role":"writer"}`}},
	{"", exchange{path: "/v3/auth/user/grant", body: `{"user":"user","role":"idle"}`}},
	{"", exchange{path: "/v3/auth/user/grant", body: `{"user":"user","role":"nothing"}`}},
	{"", exchange{path: "/v3/auth/user/revoke", body: `{"name":"user","role":"idle"}`}},
	{"", exchange{path: "/v3/auth/user/revoke", body: `{"name":"user","role":"idle"}`}},
	{"", exchange{path: "/v3/auth/role/delete", body: `{"role":"idle"}`}},
	{"", exchange{path: "/v3/auth/user/delete", body: `{"name":"gone"}`}},
	{"", exchange{path: "/v3/auth/user/delete", body: `{"name":"gone"}`}},
	{"", exchange{path: "/v3/auth/user/get", body: `{"name":"user"}`}},
	{"", exchange{path: "/v3/auth/user/list", body: `{}`}},
	{"", exchange{path: "/v3/kv/put", body: `{"key":"Yg==","value":"Yg=="}`}},
	{"", exchange{path: "/v3/lease/grant", body: `{"ID":"77","TTL":"1000"}`}},
	{"", exchange{path: "/v3/auth/enable", body: `{}`}},

	{"", exchange{path: "/v3/auth/authenticate", body: `{"name":"root","password":"wrong"}`}},
	{"", exchange{path: "/v3/auth/authenticate", body: `{"name":"nobody","password":"r"}`}},
	{"", exchange{path: "/v3/kv/range", body: `{"key":"YS8="}`}},
	{"", exchange{path: "/v3/maintenance/status", body: `{}`}},
	{"", exchange{path: "/v3/lock/lock", body: `{"name":"YS9s","lease":"77"}`}},
	{"", exchange{path: "/v3/auth/status", body: `{}`}},
	{"", exchange{path: "/v3/kv/range", body: `{"key":"YS8="}`, header: [2]string{"Authorization", "nonsense"}}},
	{"", exchange{path: "/v3/lock/lock", body: `{"name":"YS9s","lease":"77"}`, header: [2]string{"Authorization", "nonsense"}}},
	{"user", exchange{path: "/v3/kv/put", body: `{"key":"YS9r","value":"dg=="}`}},
	{"user", exchange{path: "/v3/kv/put", body: `{"key":"Yg==","value":"dg=="}`}},
	{"user", exchange{path: "/v3/kv/range", body: `{"key":"YS9r"}`}},
	{"user", exchange{path: "/v3/kv/range", body: `{"key":"Yg=="}`}},
	{"user", exchange{path: "/v3/kv/compaction", body: `{"revision":"2"}`}},
	{"user", exchange{path: "/v3/watch", body: `{"create_request":{"key":"YS9r","start_revision":"3"}}`, lines: 2}},
	{"user", exchange{path: "/v3/watch", body: `{"create_request":{"key":"Yg==","start_revision":"2"}}`, lines: 1}},
	{"user", exchange{path: "/v3/lease/timetolive", body: `{"ID":"77","keys":true}`}},
	{"user", exchange{path: "/v3/lease/keepalive", body: `{"ID":"77"}`}},
	{"user", exchange{path: "/v3/lock/lock", body: `{"name":"YS9s","lease":"77"}`}},
	{"user", exchange{path: "/v3/lock/lock", body: `{"name":"Yg==","lease":"77"}`}},
	{"user", exchange{path: "/v3/lock/unlock", body: `{"key":"YS9sLzRk"}`}},
	{"user", exchange{path: "/v3/lock/unlock", body: `{"key":"Yg=="}`}},
	{"user", exchange{path: "/v3/election/campaign", body: `{"name":"YS9l","lease":"77","value":"dg=="}`}},
	{"user", exchange{path: "/v3/election/campaign", body: `{"name":"Yg==","lease":"77","value":"dg=="}`}},
	{"user", exchange{path: "/v3/election/leader", body: `{"name":"YS9l"}`}},
	{"user", exchange{path: "/v3/election/leader", body: `{"name":"Yg=="}`}},
	{"user", exchange{path: "/v3/election/observe", body: `{"name":"YS9l"}`, lines: 1}},
	{"user", exchange{path: "/v3/cluster/member/list", body: `{}`}},
	{"user", exchange{path: "/v3/cluster/member/remove", body: `{"ID":"5"}`}},
	{"user", exchange{path: "/v3/maintenance/alarm", body: `{}`}},
	{"user", exchange{path: "/v3/maintenance/alarm", body: `{"action":"ACTIVATE","alarm":"NOSPACE"}`}},
	{"user", exchange{path: "/v3/maintenance/defragment", body: `{}`}},
	{"user", exchange{path: "/v3/maintenance/downgrade", body: `{"version":"3.6"}`}},
	{"user", exchange{path: "/v3/maintenance/hashkv", body: `{}`}},
	{"user", exchange{path: "/v3/maintenance/snapshot", body: `{}`}},
	{"user", exchange{path: "/v3/maintenance/transfer-leadership", body: `{}`}},
	{"user", exchange{path: "/v3/auth/user/get", body: `{"name":"user"}`}},
	{"user", exchange{path: "/v3/auth/user/get", body: `{"name":"root"}`}},
	{"user", exchange{path: "/v3/auth/role/get", body: `{"role":"writer"}`}},
	{"user", exchange{path: "/v3/auth/role/get", body: `{"role":"root"}`}},
	{"user", exchange{path: "/v3/auth/user/list", body: `{}`}},
	{"user", exchange{path: "/v3/auth/disable", body: `{}`}},
	{"root", exchange{path: "/v3/auth/user/revoke", body: `{"name":"root","role":"root"}`}},
	{"root", exchange{path: "/v3/maintenance/hashkv", body: `{}`}},
	{"root", exchange{path: "/v3/lease/revoke", body: `{"ID":"77"}`}},
	{"root", exchange{path: "/v3/auth/user/revoke", body: `{"name":"user","role":"writer"}`}},
	{"user", exchange{path: "/v3/kv/range", body: `{"key":"YS9r"}`}},
	{"root", exchange{path: "/v3/auth/disable", body: `{}`}},
	{"", exchange{path: "/v3/kv/range", body: `{"key":"YS8="}`}},
}

// TestGatewayAuth is TestGateway for servers whose clients have to authenticate.
func TestGatewayAuth(t *testing.T) {
	opts := harness.Options{Name: "node", Args: []string{"--bcrypt-cost=4"}}
	etcd, other := harness.Start(t, harness.Etcd, opts), harness.Start(t, challenger(), opts)
	passwords := map[string]string{"root": "r", "user": "v"}
	for _, e := range authRequests {
		var answers [2]string
		for i, server := range []*harness.Server{etcd, other} {
			if e.user != "" {
				// A token may be of no use once users and roles have changed.
				e.header = [2]string{"Authorization", gatewayToken(t, server, e.user, passwords[e.user])}
			}
			answers[i] = e.send(t, server)
		}
		if answers[0] != answers[1] {
			t.Errorf("%s: %s %s\n--- etcd\n%s\n--- %v\n%s", e.user, e.path, e.body, answers[0], other.Kind(), answers[1])
		}
	}
}

// gatewayToken authenticates.
func gatewayToken(t *testing.T, server *harness.Server, user, password string) string {
	t.Helper()
	question := strings.NewReader(`{"name":"` + user + `","password":"` + password + `"}`)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL()+"/v3/auth/authenticate", question)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct{ Token string }
	if err := json.Unmarshal(body, &answer); err != nil || answer.Token == "" {
		t.Fatalf("%v: no token for %s: %s, %v", server.Kind(), user, body, err)
	}
	return answer.Token
}
