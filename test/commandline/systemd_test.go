// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package commandline_test

import (
	"fmt"
	"net"
	"path/filepath"
	"testing"
	"time"

	"keelson.io/keelson/test/harness"
)

// TestSystemdIsTold wants systemd's socket to be told that the server is ready.
func TestSystemdIsTold(t *testing.T) {
	for _, kind := range bothKinds {
		path := filepath.Join(t.TempDir(), "notify")
		socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		defer socket.Close()
		at := fmt.Sprintf("http://127.0.0.1:%d", harness.FreePort(t))
		server := launchWith(t, kind, []string{"NOTIFY_SOCKET=" + path}, "--listen-client-urls="+at, "--advertise-client-urls="+at,
			fmt.Sprintf("--listen-peer-urls=http://127.0.0.1:%d", harness.FreePort(t)))
		server.awaitReady(t)
		if err := socket.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 1<<10)
		n, err := socket.Read(buf)
		if err != nil || string(buf[:n]) != "READY=1" {
			t.Errorf("%s tells systemd %q, %v", kind, buf[:n], err)
		}
	}
}
