// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package compat_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"keelson.io/keelson/test/harness"
)

// exchange is one request to a JSON gateway.
type exchange struct {
	path, body string
	method     string // default: POST
	lines      int    // of a stream's answer; 0: all, for the answer ends by itself
	header     [2]string
}

// gatewayRequests visit every path of the gateway, one after the other on one
// server, with what it serves and with what it refuses. Keys: YQ== is a, Yg== b,
// Yw== c.
var gatewayRequests = []exchange{
	{path: "/v3/kv/put", body: `{"key":"YQ==","value":"Yg=="}`},
	{path: "/v3/kv/put", body: `{"key":"YQ==","value":"Yw==","prev_kv":true}`},
	{path: "/v3/kv/put", body: `{"value":"Yw=="}`},
	{path: "/v3/kv/put", body: `{"key":"YQ==","ignore_value":true,"value":"Yw=="}`},
	{path: "/v3/kv/put", body: `{"key":"YQ==","lease":"123456"}`},
	{path: "/v3/kv/put", body: `{"key":"not base64"}`},
	{path: "/v3/kv/put", body: `{"key":7}`},
	{path: "/v3/kv/put", body: `no JSON`},
	{path: "/v3/kv/put", body: `{"key":"Yg==","value":"` + strings.Repeat("YmJi", 700_000) + `"}`}, // larger than gRPC takes
	{path: "/v3/kv/put", body: `{"key":"Yg==","value":"` + strings.Repeat("YmJi", 550_000) + `"}`}, // larger than an entry may be
	{path: "/v3/kv/range", body: `{"key":"YQ==","unknown_field":1}`},
	{path: "/v3/kv/range", body: `{"key":"YQ==","range_end":"AA==","limit":1,"sort_order":"DESCEND","sort_target":"MOD"}`},
	{path: "/v3/kv/range", body: `{"key":"YQ==","revision":"99"}`},
	{path: "/v3/kv/range", body: `{}`},
	{path: "/v3/kv/range", body: ``},
	{path: "/v3/kv/range", method: http.MethodGet},
	{path: "/v3/kv/range", method: http.MethodPut, body: `{"key":"YQ=="}`},
	{path: "/v3/kv/range", method: http.MethodOptions},
	{path: "/v3/kv/range", body: `{"key":"YQ=="}`, header: [2]string{"Grpc-Timeout", "nonsense"}},
	{path: "/v3beta/kv/range", body: `{"key":"YQ=="}`},
	{path: "/v3alpha/kv/range", body: `{"key":"YQ=="}`},
	{path: "/v3/kv/rangestream", body: `{"key":"YQ=="}`},
	{path: "/v3/kv/range_stream", body: `{"key":"YQ=="}`},
	{path: "/v3/kv/txn", body: `{"compare":[{"key":"YQ==","target":"VALUE","value":"Yw=="}],"success":[{"request_put":{"key":"Yg==","value":"Yg=="}},{"request_range":{"key":"YQ=="}}],"failure":[{"request_delete_range":{"key":"YQ=="}}]}`},
	{path: "/v3/kv/txn", body: `{"success":[{"request_put":{"key":"Yg=="}},{"request_put":{"key":"Yg=="}}]}`},
	{path: "/v3/kv/txn", body: `{"compare":[{"target":"NOPE"}]}`},
	{path: "/v3/kv/deleterange", body: `{"key":"Yg==","prev_kv":true}`},
	{path: "/v3/kv/deleterange", body: `{}`},
	{path: "/v3/kv/compaction", body: `{"revision":"3","physical":true}`},
	{path: "/v3/kv/compaction", body: `{"revision":"3"}`},
	{path: "/v3/kv/compaction", body: `{"revision":"300"}`},

	{path: "/v3/watch", body: `{"create_request":{"key":"YQ==","start_revision":"4"}}`, lines: 1},
	{path: "/v3/watch", body: `{"create_request":{"key":"Yg==","start_revision":"4","prev_kv":true}}`, lines: 2},
	{path: "/v3/watch", body: `{"create_request":{"key":"YQ==","start_revision":"1"}}`, lines: 2},

	{path: "/v3/lease/grant", body: `{"ID":"77","TTL":"100"}`},
	{path: "/v3/lease/grant", body: `{"ID":"77","TTL":"100"}`},
	{path: "/v3/lease/grant", body: `{"TTL":"9999999999999"}`},
	{path: "/v3/kv/put", body: `{"key":"Yw==","lease":"77"}`},
	{path: "/v3/lease/keepalive", body: `{"ID":"77"}`},
	{path: "/v3/lease/keepalive", body: `{"ID":"78"}`},
	{path: "/v3/lease/timetolive", body: `{"ID":"77","keys":true}`},
	{path: "/v3/kv/lease/timetolive", body: `{"ID":"78"}`},
	{path: "/v3/lease/leases", body: `{}`},
	{path: "/v3/kv/lease/leases", body: `{}`},
	{path: "/v3/lock/lock", body: `{"name":"bG9jaw==","lease":"77"}`},
	{path: "/v3/lock/lock", body: `{"name":"bG9jaw==","lease":"79"}`},
	{path: "/v3/lock/unlock", body: `{"key":"bG9jay80ZA=="}`},
	{path: "/v3/lock/unlock", body: `{}`},
	{path: "/v3/election/campaign", body: `{"name":"ZQ==","lease":"77","value":"dg=="}`},
	{path: "/v3/election/leader", body: `{"name":"ZQ=="}`},
	{path: "/v3/election/leader", body: `{"name":"bm9uZQ=="}`},
	{path: "/v3/election/observe", body: `{"name":"ZQ=="}`, lines: 1},
	{path: "/v3/election/proclaim", body: `{"leader":{"name":"ZQ==","key":"ZS80ZA==","rev":"8","lease":"77"},"value":"dw=="}`},
	{path: "/v3/election/proclaim", body: `{"leader":{"name":"ZQ==","key":"ZS80ZA==","rev":"99","lease":"77"},"value":"dw=="}`},
	{path: "/v3/election/proclaim", body: `{"value":"dw=="}`},
	{path: "/v3/election/resign", body: `{}`},
	{path: "/v3/election/resign", body: `{"leader":{"name":"ZQ==","key":"ZS80ZA==","rev":"8","lease":"77"}}`},
	{path: "/v3/kv/range", body: `{"key":"AA==","range_end":"AA=="}`},
	{path: "/v3/lease/revoke", body: `{"ID":"78"}`},
	{path: "/v3/lease/revoke", body: `{"ID":"77"}`},
	{path: "/v3/kv/lease/revoke", body: `{"ID":"77"}`},

	{path: "/v3/cluster/member/list", body: `{"linearizable":true}`},
	{path: "/v3/cluster/member/add", body: `{"peerURLs":["nonsense"]}`},
	{path: "/v3/cluster/member/add", body: `{"peerURLs":["http://127.0.0.1:1"],"isLearner":true}`},
	{path: "/v3/cluster/member/add", body: `{"peerURLs":["http://127.0.0.1:1"]}`},
	{path: "/v3/cluster/member/list", body: `{}`},
	{path: "/v3/cluster/member/update", body: `{"ID":"5","peerURLs":["http://127.0.0.1:2"]}`},
	{path: "/v3/cluster/member/promote", body: `{"ID":"5"}`},
	{path: "/v3/cluster/member/remove", body: `{"ID":"5"}`},

	{path: "/v3/maintenance/status", body: `{}`},
	{path: "/v3/maintenance/alarm", body: `{}`},
	{path: "/v3/maintenance/alarm", body: `{"action":"ACTIVATE","memberID":"9","alarm":"NOSPACE"}`},
	{path: "/v3/maintenance/alarm", body: `{"action":"DEACTIVATE","memberID":"9","alarm":"NOSPACE"}`},
	{path: "/v3/maintenance/alarm", body: `{"action":"DEACTIVATE","memberID":"9","alarm":"NOSPACE"}`},
	{path: "/v3/maintenance/alarm", body: `{"action":"ACTIVATE"}`},
	{path: "/v3/maintenance/alarm", body: `{"action":"ACTIVATE","memberID":"9","alarm":77}`},
	{path: "/v3/maintenance/alarm", body: `{"action":"ACTIVATE","memberID":"9","alarm":"CORRUPT"}`},
	{path: "/v3/maintenance/alarm", body: `{"alarm":"CORRUPT"}`},
	{path: "/v3/maintenance/alarm", body: `{"alarm":"NOSPACE"}`},
	{path: "/v3/kv/put", body: `{"key":"YQ=="}`},
	{path: "/v3/kv/deleterange", body: `{"key":"YQ=="}`},
	{path: "/v3/lease/grant", body: `{"ID":"80","TTL":"100"}`},
	{path: "/v3/lock/lock", body: `{"name":"bG9jaw=="}`},
	{path: "/v3/cluster/member/list", body: `{"linearizable":true}`},
	{path: "/v3/maintenance/alarm", body: `{"action":"DEACTIVATE","memberID":"9","alarm":"CORRUPT"}`},
	{path: "/v3/maintenance/alarm", body: `{"action":"DEACTIVATE","memberID":"9","alarm":77}`},
	{path: "/v3/maintenance/alarm", body: `{}`},
	{path: "/v3/maintenance/downgrade", body: `{"version":"3.6"}`},
	{path: "/v3/maintenance/downgrade", body: `{"action":"ENABLE","version":"3.5"}`},
	{path: "/v3/maintenance/downgrade", body: `{"action":"CANCEL"}`},
	{path: "/v3/maintenance/defragment", body: `{}`},
	{path: "/v3/maintenance/hash", body: `{}`},
	{path: "/v3/maintenance/hashkv", body: `{}`},
	{path: "/v3/maintenance/hashkv", body: `{"revision":"1"}`},
	{path: "/v3/maintenance/hashkv", body: `{"revision":"100"}`},
	{path: "/v3/maintenance/transfer-leadership", body: `{"targetID":"5"}`},

	{path: "/v3/maintenance/status", body: `{"unknown":1}`},

	{path: "/v3/", body: `{}`},
	{path: "/v3/nothing/here", body: `{}`},
	{path: "/v3", body: `{}`},
	{path: "/v3//kv/range", body: `{"key":"YQ=="}`},
}

// TestGateway wants the JSON gateway's answers to be etcd's: status, headers and
// body. What no two servers can have in common is left out of the comparison, and
// spaces, which vary from one build of protojson to the next.
func TestGateway(t *testing.T) {
	opts := harness.Options{Name: "node"}
	etcd, other := harness.Start(t, harness.Etcd, opts), harness.Start(t, challenger(), opts)
	for _, e := range gatewayRequests {
		want, got := e.send(t, etcd), e.send(t, other)
		if want != got {
			t.Errorf("%s %.100s\n--- etcd\n%s\n--- %v\n%s", e.path, e.body, want, other.Kind(), got)
		}
	}
}

// TestGatewayCanBeLeftOut compares servers that were told not to have one.
func TestGatewayCanBeLeftOut(t *testing.T) {
	opts := harness.Options{Args: []string{"--enable-grpc-gateway=false"}}
	etcd, other := harness.Start(t, harness.Etcd, opts), harness.Start(t, challenger(), opts)
	e := exchange{path: "/v3/kv/range", body: `{"key":"YQ=="}`}
	if want, got := e.send(t, etcd), e.send(t, other); want != got || !strings.HasPrefix(got, "404") {
		t.Errorf("etcd: %s\n%v: %s", want, other.Kind(), got)
	}
}

// TestGatewayWebsocket watches over a websocket, which is a stream in both
// directions where a plain request has but one message.
func TestGatewayWebsocket(t *testing.T) {
	var answers [2][]string
	for i, kind := range []harness.Kind{harness.Etcd, challenger()} {
		server := harness.Start(t, kind, harness.Options{})
		conn, resp, err := websocket.DefaultDialer.DialContext(t.Context(), "ws://"+server.Endpoint()+"/v3/watch", nil)
		if err != nil {
			t.Fatalf("%v: %v", kind, err)
		}
		defer conn.Close()
		answers[i] = append(answers[i], resp.Status)
		for _, message := range []string{
			`{"create_request":{"key":"YQ==","watch_id":"5"}}`, `{"create_request":{"key":"Yg==","watch_id":"6"}}`,
			`{"progress_request":{}}`, `{"cancel_request":{"watch_id":"5"}}`,
		} {
			if err := conn.WriteMessage(websocket.TextMessage, []byte(message)); err != nil {
				t.Fatalf("%v: %v", kind, err)
			}
			if err := conn.SetReadDeadline(time.Now().Add(commandWithin)); err != nil {
				t.Fatal(err)
			}
			_, answer, err := conn.ReadMessage()
			if err != nil {
				t.Fatalf("%v: after %s: %v", kind, message, err)
			}
			answers[i] = append(answers[i], comparable(answer))
		}
	}
	if !slices.Equal(answers[0], answers[1]) {
		t.Errorf("etcd:\n%s\n%v:\n%s", strings.Join(answers[0], "\n"), challenger(), strings.Join(answers[1], "\n"))
	}
}

// send returns the answer's status, headers and body, made comparable.
func (e exchange) send(t *testing.T, server *harness.Server) string {
	t.Helper()
	method := e.method
	if method == "" {
		method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(t.Context(), method, server.URL()+e.path, strings.NewReader(e.body))
	if err != nil {
		t.Fatal(err)
	}
	if e.header[0] != "" {
		req.Header.Set(e.header[0], e.header[1])
	}
	client := http.Client{
		Timeout:       commandWithin,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatalf("%v: %s: %v", server.Kind(), e.path, err)
	}
	defer resp.Body.Close()
	var text strings.Builder
	fmt.Fprintln(&text, resp.Status)
	for _, name := range slices.Sorted(maps.Keys(resp.Header)) {
		if name != "Date" && name != "Content-Length" {
			fmt.Fprintf(&text, "%s: %s\n", name, strings.Join(resp.Header[name], ", "))
		}
	}
	body := bufio.NewReader(resp.Body)
	for n := 0; e.lines == 0 || n < e.lines; n++ {
		line, err := body.ReadBytes('\n')
		if len(line) > 0 {
			fmt.Fprintln(&text, comparable(line))
		}
		if err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("%v: %s: %v after\n%s", server.Kind(), e.path, err, text.String())
		}
	}
	return text.String()
}

// variable are the fields that differ between two servers of the same history.
var variable = map[string]bool{
	"cluster_id": true, "member_id": true, "leader": true, "raftIndex": true, "raftAppliedIndex": true,
	"dbSize": true, "dbSizeInUse": true, "peerURLs": true, "clientURLs": true,
}

// comparable is a JSON text without what varies, or any other text as it is.
func comparable(text []byte) string {
	var value any
	if err := json.Unmarshal(text, &value); err != nil {
		return string(text)
	}
	// protojson makes its errors' first space a no-break one in some builds.
	out := strings.ReplaceAll(fmt.Sprint(blank("", value)), "\u00a0", " ")
	return out
}

// blank replaces the values of variable fields. A member's id is told from
// other ids, of leases, by its length.
func blank(name string, value any) any {
	switch v := value.(type) {
	case map[string]any:
		for key, inner := range v {
			v[key] = blank(key, inner)
		}
		if v["grantedTTL"] != nil && v["TTL"] != "-1" {
			v["TTL"] = "<left>"
		}
		if _, hashed := v["hash"]; hashed && v["hash_revision"] == nil {
			v["hash"] = "<hash>" // of a whole file
		}
		return v
	case []any:
		if !variable[name] {
			for i, inner := range v {
				v[i] = blank(name, inner)
			}
			if name == "members" { // in the order of their ids
				slices.SortFunc(v, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
			}
			return v
		}
	case string:
		if name == "ID" && len(v) > 12 {
			return "<id>"
		}
	}
	if variable[name] {
		return "<" + name + ">"
	}
	return value
}
