// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"context"
	"crypto/tls"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3election"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3election/v3electionpb"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3lock"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3lock/v3lockpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"keelson.io/keelson/etcdapi/codec"
	"keelson.io/keelson/etcdapi/inproc"
)

// Elections and locks are etcd's own services. They are made of requests to the
// services of this server, sent by etcd's client within the process.

// coordination are the services that elections and locks are made of.
type coordination struct {
	kv    codec.KVServer
	lease pb.LeaseServer
	watch pb.WatchServer
}

// firstKeepAliveTimeout is the value that etcd gives its own client.
const firstKeepAliveTimeout = time.Second

// registerCoordination serves elections and locks. The client is to be closed when
// the server stops, which ends those who wait for a lock or an election.
func registerCoordination(server grpc.ServiceRegistrar, opts *Options, c coordination) *clientv3.Client {
	conn := inproc.NewConn()
	codec.RegisterKVServer(conn, c.kv)
	pb.RegisterLeaseServer(conn, c.lease)
	pb.RegisterWatchServer(conn, c.watch)
	client := clientv3.NewCtxClient(context.Background(), clientv3.WithZapLogger(opts.Logger))
	client.KV = clientv3.NewKVFromKVClient(pb.NewKVClient(conn), client)
	client.Lease = clientv3.NewLeaseFromLeaseClient(pb.NewLeaseClient(conn), client, firstKeepAliveTimeout)
	client.Watcher = perUser{clientv3.NewWatchFromWatchClient(pb.NewWatchClient(conn), client)}
	v3electionpb.RegisterElectionServer(server, v3election.NewElectionServer(client))
	v3lockpb.RegisterLockServer(server, v3lock.NewLockServer(client))
	return client
}

// perUser gives the watches of each user a stream of their own. etcd's client
// shares one among all whose outgoing metadata is the same, and a stream has the
// permissions of who opened it.
type perUser struct{ clientv3.Watcher }

// Watch implements clientv3.Watcher.
func (w perUser) Watch(ctx context.Context, key string, opts ...clientv3.OpOption) clientv3.WatchChan {
	user := metadata.Pairs("user", callerOf(ctx))
	return w.Watcher.Watch(metadata.NewOutgoingContext(ctx, user), key, opts...)
}

// callerOf tells apart those who may have different permissions: by their token
// and by their certificate.
func callerOf(ctx context.Context) string {
	caller := strings.Join(metadata.ValueFromIncomingContext(ctx, rpctypes.TokenFieldNameGRPC), "\n") +
		"\n" + strings.Join(metadata.ValueFromIncomingContext(ctx, rpctypes.TokenFieldNameSwagger), "\n")
	p, known := peer.FromContext(ctx)
	if !known {
		return caller
	}
	if info, secured := p.AuthInfo.(credentials.TLSInfo); secured {
		caller += "\n" + commonName(info.State)
	}
	return caller
}

// commonName is that of the certificate that a client has shown, empty if none was
// verified.
func commonName(state tls.ConnectionState) string {
	if len(state.VerifiedChains) == 0 || len(state.VerifiedChains[0]) == 0 {
		return ""
	}
	return state.VerifiedChains[0][0].Subject.CommonName
}
