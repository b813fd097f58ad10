// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package security

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/etcd/server/v3/etcdserver/api/v3lock/v3lockpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"keelson.io/keelson/test/harness"
)

// caller is a client with a certificate, and what it was told.
type caller struct {
	t      *testing.T
	ctx    context.Context
	server *harness.Server
	config *tls.Config
	said   *[]string
}

// post asks the gateway, with an Authorization header if there is a token.
func (c caller) post(path, body, token string) string {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.ctx, http.MethodPost, "https://"+c.server.Endpoint()+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Accept", "*/*") // without it etcd takes the client for the user of the server's certificate
	if token != "" {
		req.Header.Set("Authorization", token)
	}
	client := http.Client{Transport: &http.Transport{TLSClientConfig: c.config.Clone()}}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		c.t.Fatalf("%v: %s: %v", c.server.Kind(), path, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	*c.said = append(*c.said, fmt.Sprintf("%s: %s %s", path, resp.Status, withoutIDs.ReplaceAllString(string(text), "")))
	return string(text)
}

// withoutIDs finds what differs from server to server: ids, tokens, and the spaces
// of JSON.
var withoutIDs = regexp.MustCompile(`"(cluster_id|member_id|token)": ?"[^"]*"|\s`)

// lock acquires a lock by gRPC.
func (c caller) lock(name string, lease int64) {
	c.t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+c.server.Endpoint(), grpc.WithTransportCredentials(credentials.NewTLS(c.config.Clone())))
	if err != nil {
		c.t.Fatal(err)
	}
	defer conn.Close()
	r, err := v3lockpb.NewLockClient(conn).Lock(c.ctx, &v3lockpb.LockRequest{Name: []byte(name), Lease: lease})
	s := status.Convert(err)
	*c.said = append(*c.said, fmt.Sprintf("lock %s: %v %q %q", name, s.Code(), s.Message(), r.GetKey()))
}

// TestCommonNameAtGateway compares what a certificate's name is worth: to the
// gateway nothing, which it says; to a lock, which is made of other requests, all
// that its user may do.
func TestCommonNameAtGateway(t *testing.T) {
	w := newWorld(t)
	nameless := w.ca.Issue(harness.Leaf{Hosts: []string{"client.example"}})
	var said [2][]string
	for i, kind := range []harness.Kind{harness.Etcd, harness.Keelson} {
		server := harness.Start(t, kind, harness.Options{TLS: w.ca.Client(w.clients["good"]), Args: w.mutual("--bcrypt-cost=4")})
		ctx, cancel := context.WithTimeout(t.Context(), patient)
		defer cancel()
		named := caller{t, ctx, server, w.ca.Client(w.clients["good"]), &said[i]}
		unnamed := caller{t, ctx, server, w.ca.Client(nameless), &said[i]}
		named.setUp()
		named.post("/v3/kv/range", `{"key":"YS8="}`, "")
		named.post("/v3/auth/enable", `{}`, "")

		for _, path := range []string{"/v3/kv/range", "/v3beta/kv/range", "/v3/nothing", "/version", "/nothing"} {
			named.post(path, `{"key":"YS8="}`, "")
			unnamed.post(path, `{"key":"YS8="}`, "")
		}
		_, token, _ := strings.Cut(unnamed.post("/v3/auth/authenticate", `{"name":"root","password":"r"}`, ""), `"token":`)
		token = strings.Trim(token, ` "}`)
		named.post("/v3/kv/range", `{"key":"YS8="}`, token)
		unnamed.post("/v3/kv/range", `{"key":"YS8="}`, token)
		named.lock("a/lock", 7)
		named.lock("b", 7)
		unnamed.lock("a/lock", 7)
	}
	if !slices.Equal(said[0], said[1]) {
		t.Errorf("etcd:\n%s\nkeelson:\n%s", strings.Join(said[0], "\n"), strings.Join(said[1], "\n"))
	}
}

// setUp makes the user good, who may do everything below a/, and root.
func (c caller) setUp() {
	for _, request := range [][2]string{
		{"/v3/auth/user/add", `{"name":"root","password":"r"}`},
		{"/v3/auth/user/add", `{"name":"good","options":{"no_password":true}}`},
		{"/v3/auth/role/add", `{"name":"root"}`},
		{"/v3/auth/role/add", `{"name":"below"}`},
		{"/v3/auth/role/grant", `{"name":"below","perm":{"permType":"READWRITE","key":"YS8=","range_end":"YTA="}}`},
		{"/v3/auth/user/grant", `{"user":"root","role":"root"}`},
		{"/v3/auth/user/grant", `{"user":"good","role":"below"}`},
		{"/v3/lease/grant", `{"ID":"7","TTL":"1000"}`},
	} {
		c.post(request[0], request[1], "")
	}
}
