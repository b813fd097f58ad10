// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package codec

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"keelson.io/keelson/sqlstore/wire"
)

// KVServer is etcd's KV service in terms of hand-coded messages. Interceptors see those too.
type KVServer interface {
	Range(context.Context, *Range) (*wire.RangeResponse, error)
	// RangeStream sends *wire.RangeStreamResponse messages.
	RangeStream(*Range, grpc.ServerStream) error
	Put(context.Context, *Put) (*wire.PutResponse, error)
	DeleteRange(context.Context, *DeleteRange) (*wire.DeleteRangeResponse, error)
	Txn(context.Context, *Txn) (*wire.TxnResponse, error)
	Compact(context.Context, *pb.CompactionRequest) (*pb.CompactionResponse, error)
}

// RegisterKVServer registers the KV service. The server must have been made with
// grpc.ForceServerCodecV2(Codec{}).
func RegisterKVServer(registrar grpc.ServiceRegistrar, srv KVServer) {
	registrar.RegisterService(&KVServiceDesc, srv)
}

// KVServiceDesc describes the KV service, to be registered with a KVServer.
var KVServiceDesc = grpc.ServiceDesc{
	ServiceName: pb.KV_ServiceDesc.ServiceName,
	HandlerType: (*KVServer)(nil),
	Methods: []grpc.MethodDesc{
		unary("Range", pb.KV_Range_FullMethodName, KVServer.Range),
		unary("Put", pb.KV_Put_FullMethodName, KVServer.Put),
		unary("DeleteRange", pb.KV_DeleteRange_FullMethodName, KVServer.DeleteRange),
		unary("Txn", pb.KV_Txn_FullMethodName, KVServer.Txn),
		unary("Compact", pb.KV_Compact_FullMethodName, KVServer.Compact),
	},
	Streams: []grpc.StreamDesc{{
		StreamName:    "RangeStream",
		Handler:       rangeStream,
		ServerStreams: true,
	}},
	Metadata: pb.KV_ServiceDesc.Metadata,
}

// unary describes a method as protoc-gen-go-grpc would: the request is decoded, then handed to
// the server, through the interceptor if there is one.
func unary[Req, Resp any](name, fullMethod string, call func(KVServer, context.Context, *Req) (*Resp, error)) grpc.MethodDesc {
	handler := func(srv any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
		in := new(Req)
		if err := decode(in); err != nil {
			return nil, err
		}
		if interceptor == nil {
			return call(srv.(KVServer), ctx, in)
		}
		info := &grpc.UnaryServerInfo{Server: srv, FullMethod: fullMethod}
		return interceptor(ctx, in, info, func(ctx context.Context, req any) (any, error) {
			return call(srv.(KVServer), ctx, req.(*Req))
		})
	}
	return grpc.MethodDesc{MethodName: name, Handler: handler}
}

func rangeStream(srv any, stream grpc.ServerStream) error {
	in := new(Range)
	if err := stream.RecvMsg(in); err != nil {
		return err
	}
	return srv.(KVServer).RangeStream(in, stream)
}
