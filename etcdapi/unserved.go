// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"context"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
)

// unservedServices are etcd's services that this version does not have, with
// their methods. They are registered all the same, so that clients are told
// what is missing and metrics have their names.
var unservedServices = []struct {
	name    string
	methods []string
}{
	{name: pb.Auth_ServiceDesc.ServiceName, methods: methodNames(&pb.Auth_ServiceDesc)},
}

func methodNames(desc *grpc.ServiceDesc) []string {
	names := make([]string, 0, len(desc.Methods))
	for _, m := range desc.Methods {
		names = append(names, m.MethodName)
	}
	return names
}

// registerUnserved registers unservedServices.
func registerUnserved(registrar grpc.ServiceRegistrar) {
	for _, s := range unservedServices {
		desc := &grpc.ServiceDesc{ServiceName: s.name, HandlerType: (*any)(nil)}
		short := s.name[strings.LastIndexByte(s.name, '.')+1:]
		for _, method := range s.methods {
			desc.Methods = append(desc.Methods, unservedMethod(s.name, short, method))
		}
		registrar.RegisterService(desc, struct{}{})
	}
}

func unservedMethod(service, short, method string) grpc.MethodDesc {
	info := &grpc.UnaryServerInfo{FullMethod: "/" + service + "/" + method}
	refuse := func(context.Context, any) (any, error) { return nil, notServed(short + "." + method) }
	return grpc.MethodDesc{
		MethodName: method,
		Handler: func(_ any, ctx context.Context, _ func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
			if interceptor == nil {
				return refuse(ctx, nil)
			}
			return interceptor(ctx, nil, info, refuse)
		},
	}
}
