// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package security

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"keelson.io/keelson/test/harness"
)

// TestCommonNamesAreUsers enables authentication, and lets certificates say who asks: with etcdctl, by gRPC over each of the
// ways that a connection can take, and by the JSON gateway, beside etcd.
func TestCommonNamesAreUsers(t *testing.T) {
	w := newWorld(t)
	root, alice := w.ca.Issue(harness.Leaf{CN: "root"}), w.ca.Issue(harness.Leaf{CN: "alice"})
	printed := map[harness.Kind][]string{}
	for _, kind := range []harness.Kind{harness.Etcd, harness.Keelson} {
		server := harness.Start(t, kind, harness.Options{TLS: w.ca.Client(w.clients["good"]), Args: w.mutual()})
		note := func(format string, args ...any) { printed[kind] = append(printed[kind], fmt.Sprintf(format, args...)) }
		as := func(pair harness.Pair, command string) {
			output, code := etcdctl(t, append([]string{"--endpoints=" + server.URL(), "--cacert=" + w.ca.File(),
				"--cert=" + pair.CertFile, "--key=" + pair.KeyFile}, strings.Fields(command)...))
			if i := strings.Index(output, "Error: "); i > 0 {
				output = output[i:] // after lines of the client's log
			}
			note("%s: %d %s", command, code, output)
		}
		for _, command := range []string{
			"user add root --new-user-password=secret", "user grant-role root root", "user add alice --no-password",
			"role add mine", "role grant-permission mine readwrite --prefix alice/", "user grant-role alice mine", "auth enable",
		} {
			as(root, command)
		}
		for _, command := range []string{"put alice/key value", "get alice/key", "put other value", "get other", "user list", "get / --user=root:secret"} {
			as(alice, command)
		}
		as(root, "user list")
		as(w.clients["good"], "get alice/key")
		for _, offered := range [][]string{nil, {"http/1.1"}} { // h2 is added
			config := w.ca.Client(alice)
			config.NextProtos = offered
			note("gRPC, own key: %s", rangeOf(t, server, config, "alice/key"))
			note("gRPC, other key: %s", rangeOf(t, server, config, "other"))
		}
		note("gateway: %s", gatewayRange(t, server, w.ca.Client(alice)))
	}
	if !slices.Equal(printed[harness.Etcd], printed[harness.Keelson]) {
		t.Errorf("etcd:\n%s\nkeelson:\n%s", strings.Join(printed[harness.Etcd], "\n"), strings.Join(printed[harness.Keelson], "\n"))
	}
}

func rangeOf(t *testing.T, server *harness.Server, config *tls.Config, key string) string {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+server.Endpoint(), grpc.WithTransportCredentials(credentials.NewTLS(config)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	got, err := pb.NewKVClient(conn).Range(t.Context(), &pb.RangeRequest{Key: []byte(key)})
	if err != nil {
		return status.Convert(err).String()
	}
	return fmt.Sprintf("%d keys", len(got.Kvs))
}

// gatewayRange asks the gateway, which does not take certificates for users.
func gatewayRange(t *testing.T, server *harness.Server, config *tls.Config) string {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}}
	defer client.CloseIdleConnections()
	resp, err := client.Post(server.URL()+"/v3/kv/range", "application/json", strings.NewReader(`{"key":"YWxpY2Uva2V5"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s %s %s", resp.Proto, resp.Status, body)
}
