// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package commandline_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/etcd/server/v3/embed"

	"keelson.io/keelson/test/harness"
)

// moreKeys are those of etcd's file that it does not export the type of.
var moreKeys = []string{
	"listen-peer-urls", "listen-client-urls", "listen-client-http-urls", "initial-advertise-peer-urls", "advertise-client-urls",
	"cors", "host-whitelist", "feature-gates",
	"client-transport-security.cert-file", "client-transport-security.key-file", "client-transport-security.client-cert-file",
	"client-transport-security.client-key-file", "client-transport-security.client-cert-auth", "client-transport-security.trusted-ca-file",
	"client-transport-security.auto-tls", "client-transport-security.allowed-cn", "client-transport-security.allowed-hostname",
	"client-transport-security.skip-client-san-verification",
	"peer-transport-security.cert-file", "peer-transport-security.key-file", "peer-transport-security.client-cert-file",
	"peer-transport-security.client-key-file", "peer-transport-security.client-cert-auth", "peer-transport-security.trusted-ca-file",
	"peer-transport-security.auto-tls", "peer-transport-security.allowed-cn", "peer-transport-security.allowed-hostname",
	"peer-transport-security.skip-client-san-verification",
}

// notInFiles is a key that etcd's type has and no file can give: it stands for functions.
const notInFiles = "grpc-additional-server-options"

// keysOf are the keys of a type that is read from a file.
func keysOf(t reflect.Type, section string) []string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	var keys []string
	for i := range t.NumField() {
		f := t.Field(i)
		tag, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		kind := f.Type
		if kind.Kind() == reflect.Pointer {
			kind = kind.Elem()
		}
		switch {
		case tag == "" || tag == "-":
		case kind.Kind() == reflect.Struct:
			keys = append(keys, keysOf(kind, section+tag+".")...)
		default:
			keys = append(keys, section+tag)
		}
	}
	return keys
}

// TestFileKeysAreEtcds gives keelson a file with each of etcd's keys, none of which
// it may call unknown. Their values are none: the server does not start.
func TestFileKeysAreEtcds(t *testing.T) {
	keys := append(keysOf(reflect.TypeFor[embed.Config](), ""), moreKeys...)
	if len(keys) < 90 || !slices.Contains(keys, "discovery-config.client.secure.cert") || !slices.Contains(keys, "socket-options.reuse-port") {
		t.Fatalf("%d keys: %v", len(keys), keys)
	}
	for _, key := range append(keys, "no-such-key") {
		sections := strings.Split(key, ".")
		var text strings.Builder
		for i, s := range sections {
			fmt.Fprintf(&text, "%s%s:\n", strings.Repeat(" ", i), s)
		}
		fmt.Fprintf(&text, "%sno-value: 1\n", strings.Repeat(" ", len(sections)))
		path := filepath.Join(t.TempDir(), "conf")
		if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		command := exec.Command(harness.Build(t, harness.KeelsonServer), "--config-file="+path)
		command.Env, command.Dir = harness.CleanEnviron(), t.TempDir()
		out, err := command.CombinedOutput()
		if unknown := strings.Contains(string(out), fmt.Sprintf("unknown setting %q", key)); err == nil || unknown != (key == notInFiles || key == "no-such-key") {
			t.Errorf("%s: %v\n%s", key, err, out)
		}
	}
}
