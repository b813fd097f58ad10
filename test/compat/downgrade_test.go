// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package compat_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/version"
	"google.golang.org/grpc/status"

	"keelson.io/keelson/test/harness"
)

// downgrading is a server that is told to be downgraded, and what it said.
type downgrading struct {
	t      *testing.T
	ctx    context.Context
	server *harness.Server
	maint  pb.MaintenanceClient
	said   []string
}

func (d *downgrading) ask(action pb.DowngradeRequest_DowngradeAction, target string) {
	r, err := d.maint.Downgrade(d.ctx, &pb.DowngradeRequest{Action: action, Version: target})
	s := status.Convert(err)
	d.said = append(d.said, fmt.Sprintf("%v %q: %v %q %q at %d", action, target, s.Code(), s.Message(), r.GetVersion(), r.GetHeader().GetRevision()))
}

func (d *downgrading) get(url string) string {
	req, err := http.NewRequestWithContext(d.ctx, http.MethodGet, url, nil)
	if err != nil {
		d.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	return string(body)
}

// await waits until cluster and storage are of a version, and then notes all that
// tells of a downgrade.
func (d *downgrading) await(want string) {
	d.t.Helper()
	for {
		var versions version.Versions
		text := d.get(d.server.URL() + "/version")
		if err := json.Unmarshal([]byte(text), &versions); err != nil {
			d.t.Fatalf("%s: %v", text, err)
		}
		if versions.Cluster == want && versions.Storage == want {
			break
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-d.ctx.Done():
			d.t.Fatalf("%v is not of version %s: %s", d.server.Kind(), want, text)
		}
	}
	s, err := d.maint.Status(d.ctx, &pb.StatusRequest{})
	if err != nil {
		d.t.Fatal(err)
	}
	d.said = append(d.said, fmt.Sprintf("%s: status %s, storage %s, %v %q; peers: %s", want, s.Version, s.StorageVersion,
		s.DowngradeInfo.Enabled, s.DowngradeInfo.TargetVersion, d.get(d.server.PeerURL()+"/downgrade/enabled")))
}

// awaitLine waits for what operators wait for in the log.
func (d *downgrading) awaitLine(message string) {
	d.t.Helper()
	for !strings.Contains(d.server.Log(), `"msg":"`+message+`"`) {
		select {
		case <-time.After(50 * time.Millisecond):
		case <-d.ctx.Done():
			d.t.Fatalf("%v does not log %q", d.server.Kind(), message)
		}
	}
}

// snapshot notes what a snapshot says of the cluster.
func (d *downgrading) snapshot() {
	stream, err := d.maint.Snapshot(d.ctx, &pb.SnapshotRequest{})
	if err != nil {
		d.t.Fatal(err)
	}
	path := filepath.Join(d.t.TempDir(), "snapshot")
	var content []byte
	for {
		r, err := stream.Recv()
		if err == io.EOF {
			break
		}
		if err != nil {
			d.t.Fatal(err)
		}
		content = append(content, r.Blob...)
	}
	if err := os.WriteFile(path, content[:len(content)-sha256.Size], 0o600); err != nil {
		d.t.Fatal(err)
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true})
	if err != nil {
		d.t.Fatal(err)
	}
	defer db.Close()
	if err := db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte("cluster")).ForEach(func(key, value []byte) error {
			d.said = append(d.said, fmt.Sprintf("snapshot: %s %s", key, value))
			return nil
		})
	}); err != nil {
		d.t.Fatal(err)
	}
}

// TestDowngrade goes through a downgrade that is allowed and cancelled, with
// what is refused at each step.
func TestDowngrade(t *testing.T) {
	var said [2][]string
	for i, kind := range []harness.Kind{harness.Etcd, challenger()} {
		server := harness.Start(t, kind, harness.Options{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		d := &downgrading{t: t, ctx: ctx, server: server, maint: pb.NewMaintenanceClient(server.Conn(t))}
		d.await("3.7.0")
		for _, target := range []string{"3.5", "3.7", "3.8.0", "4.6.0", "2.6.0", "", "next", "3", "3.6.5", "3.6"} {
			d.ask(pb.DowngradeRequest_VALIDATE, target)
		}
		d.ask(pb.DowngradeRequest_ENABLE, "3.5.0")
		d.ask(pb.DowngradeRequest_ENABLE, "x")
		d.ask(pb.DowngradeRequest_CANCEL, "")
		d.ask(7, "3.6")

		d.ask(pb.DowngradeRequest_ENABLE, "3.6.2")
		d.await("3.6.0")
		d.awaitLine("The server is ready to downgrade")
		d.ask(pb.DowngradeRequest_VALIDATE, "3.5")
		d.ask(pb.DowngradeRequest_VALIDATE, "3.6")
		d.ask(pb.DowngradeRequest_ENABLE, "3.5")
		server.Stop()
		server.Restart()
		d.await("3.6.0")
		d.snapshot()

		d.ask(pb.DowngradeRequest_CANCEL, "")
		d.await("3.7.0")
		d.ask(pb.DowngradeRequest_VALIDATE, "3.6")
		said[i] = d.said
	}
	if !slices.Equal(said[0], said[1]) {
		t.Errorf("etcd:\n%s\n%v:\n%s", strings.Join(said[0], "\n"), challenger(), strings.Join(said[1], "\n"))
	}
}
